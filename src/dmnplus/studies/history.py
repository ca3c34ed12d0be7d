"""Question 5: whether attention depends on the memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dmnplus.studies.figures import bars
from dmnplus.studies.reading import memories, read
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import Arm, Column, Results, Study, Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEMORY, QUESTION = "gate sees q and m", "gate sees q alone"


def measure(trained: Trained) -> Mapping[str, float]:
    reading = read(trained)
    with memories(trained.model, lambda q, m: q):
        replaced = read(trained)
    moved_P = (reading.attention_PNF - replaced.attention_PNF).abs().sum(dim=-1).mean(dim=-1) / 2
    return {
        "replaced": replaced.error,
        **{f"moved {t}": float(moved) for t, moved in enumerate(moved_P, 1)},
    }


def draw(figure: Figure, results: Results) -> None:
    left, right = figure.subplots(1, 2)
    moved = {f"pass {t}": {"": results[MEMORY, f"moved {t}"]} for t in (1, 2, 3)}
    bars(left, moved, "attention that moves with m replaced by q, %")
    errors = {
        "as trained": results[MEMORY, "error"],
        "m replaced by q\nafter training": results[MEMORY, "replaced"],
        "trained without m\nin the gate": results[QUESTION, "error"],
    }
    bars(right, {name: {"": spread} for name, spread in errors.items()}, "test error, %")


def answer(results: Results) -> tuple[str, str, str]:
    error, replaced = results[MEMORY, "error"], results[MEMORY, "replaced"]
    without = results[QUESTION, "error"]
    yes = "Yes" if error.below(replaced) else "Hardly"
    learnt = without.compared(
        error,
        "which is less: the history is not worth having here",
        "so training does not make up for it",
        "so training makes up for it",
    )
    return (
        f"{yes}: with q in the place of m_{{t-1}} in the gate, {results[MEMORY, 'moved 2']:.0%} of the attention of "
        f"pass 2 and {results[MEMORY, 'moved 3']:.0%} of that of pass 3 move to other facts; pass 1 has no history.",
        f"The error of the trained networks goes from {error:.1%} to {replaced:.1%} by that, "
        f"{replaced.compared(error, 'down', 'up', 'no clear difference')}.",
        f"A network trained with a gate that never sees m leaves {without:.1%} wrong, {learnt}.",
    )


STUDY = Study(
    name="history",
    question="Does the attention depend on the history, that is, does pass t change if m_{t-1} is replaced by q?",
    arms=(
        Arm(name=MEMORY, data=Stories(2)),
        Arm(name=QUESTION, data=Stories(2), settings=("model.gate_compares=['question']",)),
    ),
    columns=(
        Column("replaced", "error with m replaced by q after training"),
        *(Column(f"moved {t}", f"attention of pass {t} that moves", ".0%") for t in (2, 3)),
    ),
    measure=measure,
    draw=draw,
    answer=answer,
    method="Attention that moves: half the sum of absolute differences, the mean over the test questions.",
)
