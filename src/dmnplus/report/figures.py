"""The figures of the report, as SVG that is the same to the last byte for the same records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from statistics import mean
from typing import TYPE_CHECKING, Any

from dmnplus.data.example import DataError
from dmnplus.report.published import TASKS, published
from dmnplus.report.records import Start, paper_cells
from dmnplus.report.tables import ABLATION, common_tasks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OURS, _PAPER, _FAINT = "#1b6ca8", "#c4501b", "#9fb8c9"
_STYLE: dict[Any, Any] = {
    # Names inside the file come from this and not from chance; letters stay letters, so that no font's shapes matter.
    "svg.hashsalt": "dmnplus",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def tasks_figure(starts: Sequence[Start], figure: Figure) -> None:
    """A panel a variant: each start's test error by task, the one chosen by validation, and the paper's."""
    columns, ours = published()[0], paper_cells(starts)
    figure.set_size_inches(9.0, 8.5)
    panels = figure.subplots(len(ABLATION), 1, sharex=True, sharey=True)
    for axes, variant in zip(panels, reversed(ABLATION), strict=True):
        column = columns[variant]
        for task in TASKS:
            if cell := ours.get((task, variant)):
                others = [100 * start.test_error for start in cell.starts if start is not cell.best]
                axes.plot([task] * len(others), others, "o", color=_FAINT, markersize=4, zorder=1)
                axes.plot(task, 100 * cell.best.test_error, "o", color=_OURS, markersize=6, zorder=3)
            if task in column.errors:
                axes.plot(
                    task, 100 * column.errors[task], "_", color=_PAPER, markersize=14, markeredgewidth=2, zorder=2
                )
        # Linear up to 1%, so that 0 has a place, and logarithmic above.
        axes.set_yscale("symlog", linthresh=1.0)
        axes.set_ylim(-0.15, 100)
        axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        axes.set_title(column.title, loc="left", fontweight="bold")
        axes.grid(axis="y", color="#e4e4e4")
        axes.set_axisbelow(True)
        axes.set_xticks(list(TASKS))
    panels[-1].set_xlabel("bAbI task")
    figure.supylabel("test error, %")
    marks = [
        ("o", _OURS, "ours, chosen by validation loss"),
        ("o", _FAINT, "ours, other starts"),
        ("_", _PAPER, "paper"),
    ]
    handles = [panels[0].plot([], [], mark, color=colour, label=label)[0] for mark, colour, label in marks]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)


def ablation_figure(starts: Sequence[Start], figure: Figure) -> None:
    """Mean test error of each variant, ours and the paper's, over the tasks all four were trained on."""
    columns, ours, common = published()[0], paper_cells(starts), common_tasks(starts)
    figure.set_size_inches(6.0, 3.2)
    axes = figure.subplots()
    places = range(len(ABLATION))
    # Tasks for which the paper names no figure for a variant leave both means.
    tasks = [task for task in common if all(task in columns[variant].errors for variant in ABLATION)]
    axes.set_xticks(list(places), [columns[variant].title for variant in ABLATION])
    axes.set_ylabel("mean test error, %")
    if not tasks:
        axes.set_title("no task with published figures has been trained with all four", loc="left")
        return
    axes.set_title(f"tasks {', '.join(map(str, tasks))}", loc="left")
    for values, colour, label, shift in (
        ([100 * mean(ours[task, v].best.test_error for task in tasks) for v in ABLATION], _OURS, "ours", -0.2),
        ([100 * mean(columns[v].errors[task] for task in tasks) for v in ABLATION], _PAPER, "paper", 0.2),
    ):
        bars = axes.bar([place + shift for place in places], values, width=0.38, color=colour, label=label)
        axes.bar_label(bars, fmt="%.1f", padding=2)
    axes.legend(frameon=False)


def svg(draw: Callable[[Sequence[Start], Figure], None], starts: Sequence[Start]) -> bytes:
    """The file of the figure that `draw` draws. Raises `DataError` where matplotlib is missing."""
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise DataError("the figures are drawn by matplotlib; install it: pip install 'dmnplus[report]'") from None
    file = BytesIO()
    with rc_context(_STYLE):
        figure = Figure(layout="constrained")
        FigureCanvasSVG(figure)
        draw(starts, figure)
        # Without the date; the version of matplotlib stays, as others lay out otherwise.
        figure.savefig(file, format="svg", metadata={"Date": None})
    lines = file.getvalue().decode().splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines).encode()
