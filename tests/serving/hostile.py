"""Files that a server must survive, made when they are asked for."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from PIL import Image


def png(width: int = 20, height: int = 10, colour: str = "red") -> bytes:
    """A harmless picture."""
    return _saved(Image.new("RGB", (width, height), colour), "PNG")


def files() -> dict[str, bytes]:
    """By name, files that are no pictures, or no sound or small ones."""
    return {
        "a declared bomb.png": _png_of(60_000, 60_000, b""),
        "a real bomb.png": _png_of(20_000, 20_000, zlib.compress(bytes(20_000 * 2_501), 9), bits=1),
        "a bomb in an icon.ico": _icon_of(_png_of(20_000, 20_000, zlib.compress(bytes(20_000 * 2_501), 9), bits=1)),
        "an inflating note.png": _with_chunk(png(), b"zTXt", b"note\x00\x00" + zlib.compress(bytes(50_000_000), 9)),
        "cut short.png": _saved(Image.effect_noise((64, 64), 50), "PNG")[:-200],
        "cut short.jpg": _saved(Image.effect_noise((64, 64), 50), "JPEG")[:-200],
        "flipped.png": png()[:40] + bytes(20) + png()[60:],
        "a page.png": b"<!doctype html><script>alert(1)</script>",
        "a drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "a programme.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "a document.pdf": b"%PDF-1.7\n1 0 obj << /Type /Catalog >> endobj\n",
        "an archive.jpg": _archive(),
        "nothing.png": b"",
        "noughts.png": bytes(5_000),
        "only a signature.gif": b"GIF89a",
    }


def polyglots() -> dict[str, bytes]:
    """By name, sound pictures that are something else as well."""
    return {
        "a picture and a page.png": png() + b"<script>alert(1)</script>",
        "a picture and an archive.png": png() + _archive(),
        "a picture with a page in it.png": _with_chunk(png(), b"tEXt", b"note\x00<script>alert(1)</script>"),
    }


NAMES = (
    "../../../../tmp/dmnplus-traversal.png",
    "/tmp/dmnplus-traversal.png",
    "..\\..\\dmnplus-traversal.png",
    "%2e%2e%2fdmnplus-traversal.png",
    "x" * 5_000 + ".png",
    "CON.png",
)
"""What a file can call itself."""


def _saved(image: Image.Image, format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_of(width: int, height: int, data: bytes, bits: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _with_chunk(picture: bytes, kind: bytes, content: bytes) -> bytes:
    # After the signature and the header, which take 33 bytes.
    return picture[:33] + _chunk(kind, content) + picture[33:]


def _icon_of(content: bytes) -> bytes:
    # It says 16 x 16, whatever is in it.
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(content), 22) + content


def _archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../x", "y")
    return file.getvalue()
