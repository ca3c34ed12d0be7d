"""Which facts the network used in which pass, drawn: a heat map of the sentences, the regions over the pictures."""

from __future__ import annotations

import io
import textwrap
import warnings
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmnplus.answering import Answer
from dmnplus.data.example import DataError, Picture
from dmnplus.data.writing import write_whole
from dmnplus.explain.trace import points, printable
from dmnplus.explain.what_if import Change, Explanation, brightness, left_without, looked_at
from dmnplus.vision.image import read_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES = 2.2
_LINE = 0.17
_SUFFIXES = (".png", ".pdf", ".svg")
# A taller figure is more than a drawing holds; the sentences that were looked at least are left out.
_MOST_SENTENCES = 80


def draw(explanation: Explanation, path: Path) -> None:
    """Write a figure to `path` (.png, .pdf, .svg): a row a fact, a column a pass.

    Of a picture, light is where the pass looked; the number is the share of its attention on the whole fact. A last
    column shows, where that was tried, what is left of the answer's probability without each fact. Raises `DataError`
    where matplotlib is missing or the file cannot be written, and `ValueError` for another ending.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"{path}: a figure is written as {', '.join(_SUFFIXES)}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise DataError('figures are drawn by matplotlib; install it: pip install "dmnplus[vision]"') from None
    answer = explanation.answer
    pictures = [(i, fact) for i, fact in enumerate(answer.facts) if isinstance(fact, Picture)]
    sentences = _most_looked_at(explanation)
    texts = [
        textwrap.fill(f"{i + 1}  {printable(str(answer.facts[i]))}", 48, max_lines=3, placeholder=" …")
        for i in sentences
    ]
    passes = len(answer.attention)
    columns = passes + 1 + bool(explanation.regions)
    lines = sum(text.count("\n") + 1 for text in texts)
    heights = [*[_INCHES] * len(pictures), *([_LINE * lines + 0.12 * len(texts) + 0.5] if texts else [])]
    figure = Figure(figsize=(max(_INCHES * columns if pictures else 0, 6.5), sum(heights) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    title = f"{explanation.question}  {answer.answer} ({answer.probability:.0%})"
    figure.suptitle(textwrap.fill(printable(title), 80), fontsize=11, parse_math=False)
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    for row, (i, picture) in enumerate(pictures):
        pixels = read_image(picture)
        cells = [figure.add_subplot(grid[row, column]) for column in range(columns)]
        for axes in cells:
            axes.imshow(pixels, extent=(0, 1, 1, 0))
            axes.axis("off")
        change = left_without(explanation).get(i)
        cells[0].set_title(
            f"fact {i + 1}" + (f"; without it {_left(change, answer)}" if change else ""), fontsize=9, parse_math=False
        )
        for t, axes in enumerate(cells[1 : passes + 1]):
            _darken(axes, looked_at(answer, i, t))
            axes.set_title(f"pass {t + 1}: {answer.attention[t][i]:.0%}", fontsize=9)
        if i in explanation.regions:
            falls = {place: [[-move for move in line] for line in r] for place, r in explanation.regions.items()}
            _darken(cells[-1], brightness(falls[i], [*falls.values()]))
            most = points(-max(map(max, falls[i])))
            cells[-1].set_title(f"without a region: {most}", fontsize=9)
    if texts:
        _heat_map(figure.add_subplot(grid[-1, :]), sentences, texts, explanation)
    content = io.BytesIO()
    with warnings.catch_warnings():
        # A character that the font lacks is drawn as a box, and that is seen.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(content, dpi=110, format=path.suffix[1:].lower())
    write_whole(path, content.getvalue())


def _most_looked_at(explanation: Explanation) -> list[int]:
    """Places of the sentences to draw, in order."""
    answer = explanation.answer
    places = [i for i, fact in enumerate(answer.facts) if isinstance(fact, str)]
    ranked = sorted(places, key=lambda i: -max(gates[i] for gates in answer.attention))
    return sorted(ranked[:_MOST_SENTENCES])


def _darken(axes: Axes, light: list[list[float]]) -> None:
    """Darken what is not light (1) in a picture."""
    dark: Any = [[0.75 * (1 - share) for share in line] for line in light]
    black = [[0.0] * len(line) for line in dark]
    axes.imshow(black, alpha=dark, cmap="gray", extent=(0, 1, 1, 0), vmin=0, vmax=1)


def _heat_map(axes: Axes, sentences: list[int], texts: list[str], explanation: Explanation) -> None:
    """The attention of every pass to each sentence, and what is left of the answer's probability without it."""
    answer = explanation.answer
    passes = len(answer.attention)
    # As tall as its text, so that long sentences do not run into each other.
    edges = [0.0]
    for text in texts:
        edges.append(edges[-1] + text.count("\n") + 1.7)
    shares = [[gates[i] for gates in answer.attention] for i in sentences]
    axes.pcolormesh(range(passes + 1), edges, shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
    names = [f"pass {t + 1}" for t in range(passes)]
    middles = [(top + bottom) / 2 for top, bottom in pairwise(edges)]
    for middle, row in zip(middles, shares, strict=True):
        for t, share in enumerate(row):
            _number(axes, t + 0.5, middle, f"{share:.0%}", dark=share > 0.55)
    left = left_without(explanation)
    if left:
        known = [left.get(i) for i in sentences]
        falls = [[max(0.0, -change.move) if change else 0.0] for change in known]
        x = passes + 0.2
        axes.pcolormesh([x, x + 1.6], edges, falls, cmap="Oranges", vmin=0, vmax=1, edgecolors="white", linewidth=1)
        names.append("without it: " + textwrap.shorten(printable(answer.answer), 14, placeholder="…"))
        for middle, change, (fall,) in zip(middles, known, falls, strict=True):
            if change:
                _number(axes, x + 0.8, middle, _left(change, answer), dark=fall > 0.6)
    axes.set_xticks(
        [t + 0.5 for t in range(passes)] + ([passes + 1.0] if left else []), names, fontsize=8, parse_math=False
    )
    axes.xaxis.tick_top()
    axes.set_yticks(middles, texts, fontsize=8, parse_math=False)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    for side in axes.spines.values():
        side.set_visible(False)


def _left(change: Change, answer: Answer) -> str:
    """What is left of the answer's probability, and the new answer if it is another."""
    other = "" if change.answer.answer == answer.answer else f" → {printable(change.answer.answer)}"
    return textwrap.shorten(f"{change.original:.0%}{other}", 22, placeholder="…")


def _number(axes: Axes, x: float, y: float, text: str, *, dark: bool) -> None:
    colour = "white" if dark else "black"
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour, parse_math=False)
