"""NLVR's pictures as pixels, with Pillow."""

from __future__ import annotations

from PIL import Image, ImageDraw

from dmnplus.data.statements.boxes import BOX, BOX_LEFTS, PICTURE, Boxes

_RGB = {"yellow": (255, 255, 0), "black": (0, 0, 0), "blue": (0, 153, 255)}
_INSIDE, _BETWEEN = (211, 211, 211), (128, 128, 128)


def draw(boxes: Boxes) -> Image.Image:
    """The picture of `boxes`, RGB, 400 x 100 pixels."""
    picture = Image.new("RGB", PICTURE, _BETWEEN)
    pen = ImageDraw.Draw(picture)
    for start, box in zip(BOX_LEFTS, boxes, strict=True):
        pen.rectangle((start, 0, start + BOX - 1, BOX - 1), fill=_INSIDE)
        for item in box:
            left, top = start + item.left, item.top
            right, bottom = left + item.size - 1, top + item.size - 1
            match item.shape:
                case "circle":
                    pen.ellipse((left, top, right, bottom), fill=_RGB[item.colour])
                case "square":
                    pen.rectangle((left, top, right, bottom), fill=_RGB[item.colour])
                case _:
                    pen.polygon([((left + right) / 2, top), (right, bottom), (left, bottom)], fill=_RGB[item.colour])
    return picture
