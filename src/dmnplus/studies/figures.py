"""What the figures of the studies are made of: bars and lines of means, with a dot for every start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dmnplus.studies.study import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def bars(axes: Axes, groups: Mapping[str, Mapping[str, Spread]], title: str, *, percent: bool = True) -> None:
    """A group of bars for each of `groups`, in it a bar for each of its series; groups may lack some."""
    series = list(dict.fromkeys(name for group in groups.values() for name in group))
    width = 0.8 / len(series)
    for i, name in enumerate(series):
        places = [p + (i - (len(series) - 1) / 2) * width for p, group in enumerate(groups.values()) if name in group]
        spreads = [group[name] for group in groups.values() if name in group]
        axes.bar(places, [scale(s.mean, percent) for s in spreads], 0.9 * width, label=name, alpha=0.6)
        _dots(axes, places, spreads, percent)
    axes.set_xticks(range(len(groups)), list(groups), rotation=20, ha="right", rotation_mode="anchor")
    _frame(axes, title)
    if len(series) > 1:
        # Room above the bars.
        axes.set_ylim(0, axes.get_ylim()[1] * (1.1 + 0.1 * len(series)))
        axes.legend(fontsize=7, loc="upper left", framealpha=0)


def lines(
    axes: Axes,
    x: Sequence[float],
    series: Mapping[str, Sequence[Spread]],
    title: str,
    xlabel: str,
    *,
    percent: bool = True,
) -> None:
    """A line for each of `series` through its means at `x`."""
    for name, spreads in series.items():
        axes.plot(x, [scale(s.mean, percent) for s in spreads], marker="o", markersize=3, label=name)
        _dots(axes, x, spreads, percent)
    axes.set_xticks(list(x), [f"{value:g}" for value in x])
    axes.set_xlabel(xlabel)
    if len(series) > 1:
        axes.legend(fontsize=7)
    _frame(axes, title)


def scale(value: float, percent: bool) -> float:
    return 100 * value if percent else value


def _dots(axes: Axes, places: Sequence[float], spreads: Sequence[Spread], percent: bool) -> None:
    for place, spread in zip(places, spreads, strict=True):
        values = [scale(value, percent) for value in spread.values]
        axes.scatter([place] * len(values), values, s=6, color="black", zorder=3, linewidths=0)


def _frame(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
