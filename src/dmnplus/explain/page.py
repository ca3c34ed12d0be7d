"""An explanation as one HTML file that needs nothing else: pictures are inside, no script, no outside request."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from dmnplus.data.example import Picture
from dmnplus.data.writing import write_whole
from dmnplus.explain.trace import points, printable
from dmnplus.explain.what_if import Explanation, brightness, looked_at
from dmnplus.vision.image import read_image

# Enough for a phone and a column of a desk's page; a photo as it is would make a page of megabytes.
_SIDE = 448


@dataclass(frozen=True)
class _View:
    """A picture, darkened where it counted less."""

    title: str
    text: str
    light: list[list[float]]


@dataclass(frozen=True)
class _Shown:
    """A picture in the page."""

    uri: str
    width: int
    height: int
    views: list[_View]


def write_page(explanation: Explanation, path: Path) -> None:
    """Write `page` to a file. Raises `DataError` where it cannot be written, or a picture not be read."""
    write_whole(path, page(explanation))


def page(explanation: Explanation) -> str:
    """The explanation as HTML. Pictures are read again, made smaller and written anew, without what else was in their
    files."""
    environment = Environment(
        loader=PackageLoader("dmnplus.explain"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"printable": printable, "percent": _percent, "points": points}
    answer = explanation.answer
    pictures = {i: _show(explanation, i, fact) for i, fact in enumerate(answer.facts) if isinstance(fact, Picture)}
    texts = [_name(fact) if isinstance(fact, Picture) else printable(fact) for fact in answer.facts]
    return environment.get_template("explanation.html").render(
        question=printable(explanation.question),
        answer=answer,
        texts=texts,
        pictures=pictures,
        changes=explanation.changes,
        version=version("dmnplus"),
    )


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _name(picture: Picture) -> str:
    """A picture's file and box; where the file lies is nobody's business who reads the page."""
    return printable(str(picture).removeprefix(picture.path.removesuffix(Path(picture.path).name)))


def _show(explanation: Explanation, place: int, picture: Picture) -> _Shown:
    answer = explanation.answer
    image = read_image(picture)
    image.thumbnail((_SIDE, _SIDE))
    views = []
    for t, regions in enumerate(answer.regions.get(place, [])):
        text = f"{answer.attention[t][place]:.0%} of its attention, most of it in {_highest(regions)}"
        views.append(_View(f"Pass {t + 1}", text, looked_at(answer, place, t)))
    if place in explanation.regions:
        falls = {i: [[-move for move in line] for line in grid] for i, grid in explanation.regions.items()}
        most = max(map(max, falls[place]))
        text = f"{points(-most)} points at most, without {_highest(falls[place])}"
        views.append(_View("Without a region", text, brightness(falls[place], [*falls.values()])))
    encoded = {}
    for kind, options in (("png", {"optimize": True}), ("jpeg", {"quality": 85})):
        content = io.BytesIO()
        image.save(content, kind, **options)
        encoded[kind] = content.getvalue()
    # Drawings are smaller and sharper as PNG, photos as JPEG.
    kind = min(encoded, key=lambda kind: len(encoded[kind]))
    uri = f"data:image/{kind};base64,{base64.b64encode(encoded[kind]).decode()}"
    return _Shown(uri, image.width, image.height, views)


def _highest(grid: list[list[float]]) -> str:
    """The region with the highest value, by its row and column from 1."""
    row, column = max(((r, c) for r, line in enumerate(grid) for c in range(len(line))), key=lambda p: grid[p[0]][p[1]])
    return f"row {row + 1}, column {column + 1}"
