"""Any picture file that a user may bring, as eight-bit RGB."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmnplus.data.example import DataError, Picture

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 89_478_485
"""Pillow's own limit; decoded, a picture of this size takes 268 MB."""

# Pillow would hand an EPS file to Ghostscript, which runs what is written in it, and guesses at formats without a
# signature. A format that this copy of Pillow lacks is left out.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "HEIF", "JPEG2000", "PPM")
_ENDINGS = "jpg jpeg jpe jfif png apng gif bmp tif tiff webp avif heic heif jp2 ppm pgm pbm pnm ico"
SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""Endings by which pictures are found in a folder; a file's content decides how it is read."""

_ORIENTATION = 0x0112
# Its limit is a global of Pillow's.
_PILLOW_LIMIT = threading.Lock()


class TooLargeError(DataError):
    """A picture of more pixels than allowed."""


def read_image(picture: str | Path | Picture, *, max_pixels: int = MAX_PIXELS, animations: bool = True) -> Image.Image:
    """The picture upright, in mode RGB, or the part of it inside `Picture.box`.

    Turned as its EXIF data say. What is transparent becomes white. 16-bit greys are scaled to eight bits; greys
    without a known range (32-bit integers, floating point) are stretched from their least to their greatest value, or,
    where all are one, kept as what they are of 0 to 255. Of an animation or a file of several pages it is the first, or
    with `animations` false it is refused. Colour profiles are not applied.

    Raises DataError if it is missing, no picture or damaged, and TooLargeError if it has more than `max_pixels` pixels,
    which are not decoded.
    """
    from PIL import Image

    picture = picture if isinstance(picture, Picture) else Picture(str(picture))
    path = Path(picture.path)
    try:
        if not path.is_file():
            raise DataError(f"{path}: {'is not a file' if path.exists() else 'there is no such file'}; check the path")
        image = _open(path, max_pixels)
        with image:
            _check_size(path, image, max_pixels)
            if not animations:
                _check_still(path, image)
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or max_pixels):
                with _pillow_limit(None):
                    image.load()
            else:
                image.load()
            rgb = crop(_to_rgb(_upright(image), image.format), picture)
            # Closing the file would close a picture that needed no change, too.
            return rgb.copy() if rgb is image else rgb
    except DataError:
        raise
    except Image.UnidentifiedImageError:
        raise DataError(
            f"{path}: is not a picture in a known format; convert it to JPEG or PNG, or remove it"
        ) from None
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    # A damaged file makes Pillow's decoders raise nearly anything.
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{path}: damaged or not readable ({reason}); replace or remove it") from error


def read_pixels(
    picture: str | Path | Picture, size: int, *, max_pixels: int = MAX_PIXELS, animations: bool = True
) -> np.ndarray:
    """`squeeze` of `read_image`."""
    return squeeze(read_image(picture, max_pixels=max_pixels, animations=animations), size)


def squeeze(image: Image.Image, size: int) -> np.ndarray:
    """`image` as a square of `size` pixels, as in the paper (section 3.2): uint8 [size, size, 3].

    Bilinear with antialiasing, the filter that torchvision's weights are evaluated with.
    """
    from PIL import Image

    return np.array(image.resize((size, size), Image.Resampling.BILINEAR))


def find_images(path: Path) -> list[str]:
    """Pictures in a folder and its folders, by ending, as sorted paths relative to it; of a file, its name.

    Hidden files are left out. Raises DataError if there are none.
    """
    if path.is_file():
        return [path.name]
    if not path.is_dir():
        raise DataError(f"{path}: there is no such file or folder")
    found = (file.relative_to(path) for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    names = sorted(name.as_posix() for name in found if not any(part.startswith(".") for part in name.parts))
    if not names:
        raise DataError(
            f"{path}: no pictures are in it; they are found by their endings ({' '.join(sorted(SUFFIXES))})"
        )
    return names


def _open(path: Path, max_pixels: int) -> Image.Image:
    """The picture, not decoded yet."""
    from PIL import Image

    Image.init()
    readable = [name for name in _FORMATS if name in Image.OPEN]
    try:
        # Pillow warns, or raises without the sizes, before a limit of ours could be looked at.
        with _pillow_limit(None):
            return Image.open(path, formats=readable)
    except Image.UnidentifiedImageError:
        # An icon is decoded at once, and may be larger than it says; twice its limit is where Pillow raises.
        with _pillow_limit(max_pixels // 2):
            return Image.open(path, formats=["ICO"])


@contextmanager
def _pillow_limit(pixels: int | None) -> Iterator[None]:
    from PIL import Image

    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_size(path: Path, image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise TooLargeError(
            f"{path}: {image.width} x {image.height} is {image.width * image.height:,} pixels, more than the limit of "
            f"{max_pixels:,}; make it smaller"
        )


def _check_still(path: Path, image: Image.Image) -> None:
    # Cameras add a preview or a second view to a photo (MPO), which is a still all the same.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise DataError(f"{path}: is an animation or has several pages ({frames} frames); save the one that is meant")


def _upright(image: Image.Image) -> Image.Image:
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    # Broken EXIF data are no reason to refuse a sound picture.
    except Exception:
        orientation = 1
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _to_rgb(image: Image.Image, format: str | None) -> Image.Image:
    """`image`, which a file of this format holds, in mode RGB."""
    from PIL import Image

    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = np.asarray(image)
        # Pillow widens the 16-bit greys of PGM.
        eight = _eight_bits(grey, known=image.mode.startswith("I;16") or (image.mode, format) == ("I", "PPM"))
        if "transparency" in image.info:
            eight[grey == image.info["transparency"]] = 255
        return Image.fromarray(eight).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        # The modes with premultiplied alpha convert only to their plain form.
        if image.mode in ("RGBa", "La"):
            image = image.convert(image.mode.upper())
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(grey: np.ndarray, *, known: bool) -> np.ndarray:
    """Greys of 16 bits, or with `known` false of a range that only they themselves can tell."""
    low, high = 0.0, 65535.0
    if not known:
        grey = np.nan_to_num(grey.astype(np.float64), posinf=0, neginf=0)
        low, high = float(grey.min()), float(grey.max())
        if low == high:
            return np.rint(grey.clip(0, 255)).astype(np.uint8)
    return np.rint((grey.astype(np.float64) - low) * (255 / (high - low))).astype(np.uint8)


def crop(image: Image.Image, picture: Picture) -> Image.Image:
    """What is inside the box of `picture`, whose file `image` is. Raises DataError for a box that is none."""
    left, top, right, bottom = picture.box
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise DataError(
            f"{picture}: the box is not left, top, right, bottom with 0 <= left < right <= 1 and the same downwards"
        )
    if picture.box == (0, 0, 1, 1):
        return image
    # Rounded alike at both ends, so that boxes side by side share no pixel; at least one is left.
    x, y = (min(round(share * side), side - 1) for share, side in ((left, image.width), (top, image.height)))
    return image.crop((x, y, max(x + 1, round(right * image.width)), max(y + 1, round(bottom * image.height))))
