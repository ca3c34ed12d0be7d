"""What is to be reached, beside what the sections of one run found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import torch
from rich.table import Table

from benchmarks.sections import Bench

Sections = Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Goal:
    """One figure that is wanted: at least, or at most, so much."""

    name: str
    wanted: float
    unit: str
    at_least: bool
    find: Callable[[Sections], float | None]
    gpu: bool = False

    def holds(self, figure: float) -> bool:
        return figure >= self.wanted if self.at_least else figure <= self.wanted


def _entry(sections: Sections, section: str, **wanted: Any) -> dict[str, Any] | None:
    """The first figures of a section that have these values, and were not skipped."""
    for figures in sections.get(section, []):
        plain = {key: asdict(v) if is_dataclass(v) and not isinstance(v, type) else v for key, v in figures.items()}
        if all(plain.get(key) == value for key, value in wanted.items()) and not {"skipped", "error"} & plain.keys():
            return plain
    return None


def _ratio(what: str, facts: int, hidden: int = 80) -> Callable[[Sections], float | None]:
    def find(sections: Sections) -> float | None:
        found = _entry(sections, "speed", run=what, facts=facts, batch=128, hidden=hidden)
        return None if found is None else found["ratio"]["median"]

    return find


def _share(facts: int, hidden: int) -> Callable[[Sections], float | None]:
    def find(sections: Sections) -> float | None:
        found = _entry(sections, "limit", run="training", facts=facts, batch=128, hidden=hidden)
        return None if found is None else 100 * found["share"]["median"]

    return find


def _latency(sections: Sections) -> float | None:
    found = _entry(sections, "latency", what="QuestionAnswerer.answer")
    return None if found is None else 1e3 * found["median"]


def _memory(sections: Sections) -> float | None:
    found = _entry(sections, "memory", facts=130, batch=128, hidden=80)
    if found is None or any("error" in found[name] for name in ("ours", "baseline")):
        return None
    return 100 * found["ours"]["bytes"] / max(found["baseline"]["bytes"], 1)


def _long(sections: Sections) -> float | None:
    found = _entry(sections, "long", facts=100_000)
    return None if found is None else found["seconds"]


def _long_memory(sections: Sections) -> float | None:
    found = _entry(sections, "long", against="facts", of="bytes")
    return None if found is None else found["exponent"]


def _restarts(sections: Sections) -> float | None:
    found = _entry(sections, "restarts", restarts=10)
    return None if found is None else found["over one"]["median"]


GOALS = (
    Goal("training step over the baseline, 10 facts", 4, "x", True, _ratio("training", 10)),
    Goal("training step over the baseline, 40 facts", 4.5, "x", True, _ratio("training", 40)),
    Goal("training step over the baseline, 130 facts", 5, "x", True, _ratio("training", 130)),
    Goal("share of the arithmetic limit, 40 facts", 50, "%", True, _share(40, 80)),
    Goal("inference over the baseline, batch 128, 40 facts", 5, "x", True, _ratio("inference", 40)),
    Goal("latency of one answer to a 10-fact story", 1, " ms", False, _latency),
    Goal("memory of a training step, 130 facts, of the baseline's", 50, "%", False, _memory),
    Goal("100,000 facts, one question", 10, " s", False, _long),
    Goal("exponent of memory against facts, up to 100,000", 1.05, "", False, _long_memory),
    Goal("GPU: training step over the baseline, 40 facts", 20, "x", True, _ratio("training", 40), gpu=True),
    Goal("GPU: ten restarts at once, over one", 2, "x", False, _restarts, gpu=True),
    Goal("GPU: the same, 196 facts, hidden 512", 5, "x", True, _ratio("training", 196, 512), True),
)


def reached(sections: Sections, device: torch.device) -> list[dict[str, Any]]:
    """Every goal of the device with the figure that the sections hold, None where it was not measured."""
    found = []
    for goal in GOALS:
        if goal.gpu != (device.type == "cuda"):
            continue
        figure = goal.find(sections)
        held = None if figure is None else goal.holds(figure)
        found.append({"goal": goal.name, "wanted": goal.wanted, "unit": goal.unit, "reached": figure, "held": held})
    return found


def table(bench: Bench, found: list[dict[str, Any]]) -> Table:
    """Goals beside what was reached."""
    by_name = {goal.name: goal for goal in GOALS}
    rows = bench.table("goals, beside what was reached", "goal", "wanted", "reached", "")
    for row in found:
        sign = ">=" if by_name[row["goal"]].at_least else "<="
        figure, unit = row["reached"], row["unit"]
        cells = ("not measured", "") if figure is None else (f"{figure:.2f}{unit}", "yes" if row["held"] else "no")
        rows.add_row(row["goal"], f"{sign} {row['wanted']:g}{unit}", *cells)
    return rows
