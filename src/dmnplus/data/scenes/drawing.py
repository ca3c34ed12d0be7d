"""Scenes as pixels, with Pillow."""

from __future__ import annotations

from functools import cache
from math import cos, pi, sin

from PIL import Image, ImageDraw

from dmnplus.data.scenes.scene import PICTURE, SIZES, Scene

RGB = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (30, 80, 220),
    "yellow": (245, 190, 0),
    "purple": (150, 50, 190),
    "black": (25, 25, 25),
}
# Shapes are drawn this many times larger and shrunk, which smooths their edges.
_FINER = 8
# Side of the coarse grid of shades that the background is blown up from.
_SHADES = 4
BACKGROUND_BYTES = 3 * _SHADES * _SHADES


def draw(scene: Scene, background: bytes) -> Image.Image:
    """The picture of `scene`, RGB, `PICTURE` pixels wide and high.

    `background` are `BACKGROUND_BYTES` random bytes; they shade the light grey behind the things a little.
    """
    shades = bytes(228 + byte // 16 for byte in background)
    picture = Image.frombytes("RGB", (_SHADES, _SHADES), shades).resize((PICTURE, PICTURE), Image.Resampling.BICUBIC)
    for thing in scene:
        picture.paste(RGB[thing.colour], (thing.left, thing.top), _mask(thing.shape, SIZES[thing.size]))
    return picture


@cache
def _mask(shape: str, pixels: int) -> Image.Image:
    """How much of each pixel of a square of `pixels` the shape covers, 0 to 255."""
    side = pixels * _FINER
    mask = Image.new("L", (side, side))
    pen = ImageDraw.Draw(mask)
    end = side - 1
    match shape:
        case "circle":
            pen.ellipse((0, 0, end, end), fill=255)
        case "square":
            # Slightly smaller than its box, or it would look larger than a circle of the same size.
            edge = side // 16
            pen.rectangle((edge, edge, end - edge, end - edge), fill=255)
        case "triangle":
            pen.polygon([(end / 2, 0), (end, end), (0, end)], fill=255)
        case "cross":
            arm = round(side * 0.35)
            pen.rectangle((arm, 0, end - arm, end), fill=255)
            pen.rectangle((0, arm, end, end - arm), fill=255)
        case _:
            pen.polygon(_star(side), fill=255)
    return mask.resize((pixels, pixels), Image.Resampling.BOX)


def _star(side: int) -> list[tuple[float, float]]:
    """Five points, stretched to fill the square."""
    corners = [
        (radius * sin(turn * pi / 5), -radius * cos(turn * pi / 5)) for turn, radius in enumerate((1.0, 0.42) * 5)
    ]
    left, right = min(x for x, _ in corners), max(x for x, _ in corners)
    top, bottom = min(y for _, y in corners), max(y for _, y in corners)
    return [((x - left) / (right - left) * (side - 1), (y - top) / (bottom - top) * (side - 1)) for x, y in corners]
