"""What readers share: text and JSON that may be damaged, archives, folders of pictures."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dmnplus.data.archive import extract_safely, is_archive
from dmnplus.data.example import DataError, Example, iter_pictures
from dmnplus.data.location import cache_folder

PICTURE_SUFFIXES = (".jpg", ".png", ".jpeg")


def read_text(path: Path, hint: str) -> str:
    """The UTF-8 text of a file, unpacked if it is gzip.

    Raises DataError if it is missing, empty, cut short or in another encoding; `hint` says where to get the file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; {hint}") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder; give one of its files") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path}: is a damaged or incomplete gzip file ({error}); fetch it again") from error
    if not data.strip():
        raise DataError(f"{path}: is empty; {hint}")
    return decode(data, str(path))


def decode(data: bytes, file: str, line: int = 1) -> str:
    """What begins at `line` of `file`, as UTF-8 without a byte order mark. Raises DataError with a line that is not."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        guess = "UTF-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "another encoding"
        raise DataError(f"{file}:{line}: is not UTF-8 text (looks like {guess}); save it as UTF-8") from None


def read_json(path: Path, hint: str) -> Any:
    """The content of a .json or .json.gz file. Raises DataError with the line where it stops being JSON."""
    return parse_json(read_text(path, hint), path)


def parse_json(text: str, path: Path, line: int = 1) -> Any:
    """`text`, which starts at `line` of the file `path`, as JSON. Raises DataError with file and line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{line + error.lineno - 1}: is not JSON from column {error.colno} on ({error.msg}); "
            "it may be cut: fetch it again"
        ) from error
    except RecursionError as error:
        raise DataError(f"{path}:{line}: is nested too deeply; fetch it again") from error


def unpacked(path: Path, folder: Path | None = None) -> Path:
    """`path` itself if it is a folder; an archive is unpacked once, into `folder` or this user's cache folder.

    Pictures are read from files, so an archive of pictures cannot stay packed. Raises DataError.
    """
    if path.is_dir():
        return path
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: no such file or folder; give the archive or its unpacked folder") from error
    if folder is None:
        # A changed archive is another one.
        name = f"{path.name.split('.')[0]}-{status.st_size:x}-{status.st_mtime_ns:x}"
        folder = cache_folder() / "unpacked" / name
    if not folder.is_dir() or not any(folder.iterdir()):
        if not is_archive(path):
            raise DataError(
                f"{path}: is no folder, .tar, .tar.gz or .tgz; give one, or unpack this and give its folder"
            )
        try:
            extract_safely(path, folder)
        except DataError:
            # Another process may have been faster: a folder appears whole or not at all.
            if not folder.is_dir() or not any(folder.iterdir()):
                raise
        except OSError as error:
            raise DataError(f"{folder}: cannot be made ({error.strerror or error}); choose another folder") from error
    return folder


def pictures_without_questions(examples: Sequence[Example]) -> list[Path]:
    """The picture files beside those of `examples` that no question is about, sorted. Readers ignore them."""
    asked = {Path(picture.path) for picture in iter_pictures(examples)}
    folders = {path.parent for path in asked if path.is_file()}
    return sorted({folder / name for folder in folders for name in picture_names(folder)} - asked)


def picture_names(folder: Path) -> set[str]:
    """The names of the picture files in `folder`. Raises DataError where there is no such folder."""
    try:
        return {entry.name for entry in folder.iterdir() if entry.suffix.lower() in PICTURE_SUFFIXES}
    # The name of a folder may also be one that no folder can have.
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: no folder of pictures is there; put the pictures into it or name it") from error
