"""Which facts the network used in which pass, drawn: pictures with the attention over their regions, and sentences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dmnplus.answering import Answer
from dmnplus.data.example import DataError, Picture
from dmnplus.vision.image import read_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES = 2.2


def draw(question: str, answer: Answer, path: Path) -> None:
    """Write a figure to `path` (.png, .pdf, .svg): a row a picture, a column a pass, sentences beneath.

    Light is where the pass looked; the number is the share of its attention on the whole fact. Raises `DataError` where
    matplotlib is missing or the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise DataError('figures are drawn by matplotlib; install it: pip install "dmnplus[vision]"') from None
    pictures = [(i, fact) for i, fact in enumerate(answer.facts) if isinstance(fact, Picture)]
    sentences = [(i, str(fact)) for i, fact in enumerate(answer.facts) if not isinstance(fact, Picture)]
    passes = len(answer.attention)
    heights = [*[_INCHES] * len(pictures), *([0.3 * len(sentences) + 0.4] if sentences else [])]
    figure = Figure(figsize=(_INCHES * (passes + 1), sum(heights) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{question}  {answer.answer} ({answer.probability:.0%})", fontsize=11)
    grid = figure.add_gridspec(len(heights), passes + 1, height_ratios=heights)
    for row, (i, picture) in enumerate(pictures):
        pixels = read_image(picture)
        plain = figure.add_subplot(grid[row, 0])
        plain.imshow(pixels)
        plain.set_title(f"fact {i + 1}", fontsize=9)
        plain.axis("off")
        for t in range(passes):
            axes = figure.add_subplot(grid[row, t + 1])
            axes.imshow(pixels, extent=(0, 1, 1, 0))
            # What is not looked at darkens.
            regions = answer.regions[i][t]
            highest = max(max(max(line) for line in r[t]) for r in answer.regions.values())
            dark = [[0.75 * (1 - share / highest) for share in line] for line in regions]
            axes.imshow(
                [[0.0] * len(line) for line in dark], alpha=dark, cmap="gray", extent=(0, 1, 1, 0), vmin=0, vmax=1
            )
            axes.set_title(f"pass {t + 1}: {answer.attention[t][i]:.0%}", fontsize=9)
            axes.axis("off")
    if sentences:
        _bars(figure.add_subplot(grid[-1, :]), sentences, answer)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the figure cannot be written: {error}") from None


def _bars(axes: Axes, sentences: list[tuple[int, str]], answer: Answer) -> None:
    """The attention of every pass to each sentence, a bar a pass."""
    passes = len(answer.attention)
    height = 0.8 / passes
    for t, gates in enumerate(answer.attention):
        places = [row + t * height for row in range(len(sentences))]
        axes.barh(places, [gates[i] for i, _ in sentences], height=height, label=f"pass {t + 1}")
    axes.set_yticks(
        [row + 0.4 - height / 2 for row in range(len(sentences))], [text for _, text in sentences], fontsize=8
    )
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelsize=7)
    axes.legend(fontsize=7, loc="lower right")
