"""Question 5: whether attention depends on the memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dmnplus.studies.figures import bars
from dmnplus.studies.reading import memories, read
from dmnplus.studies.scenes import picture_arm
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import Arm, Column, Results, Study, Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEMORY, SHOWN, QUESTION = "gate sees q and m", "gate sees q and m, labels shown", "gate sees q alone"
# Of a pass's attention, to be called a change.
MUCH = 0.1


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
    arms = {"answers alone": MEMORY, "labels shown": SHOWN}
    moved = {f"pass {t}": {how: results[arm, f"moved {t}"] for how, arm in arms.items()} for t in (2, 3)}
    bars(left, moved, "attention that moves with m replaced by q, %")
    errors = {
        "as trained": {how: results[arm, "error"] for how, arm in arms.items()},
        "m replaced by q\nafter training": {how: results[arm, "replaced"] for how, arm in arms.items()},
        "trained without m\nin the gate": {"answers alone": results[QUESTION, "error"]},
    }
    bars(right, errors, "test error, %")


def answer(results: Results) -> tuple[str, str, str]:
    sentences = []
    for arm in (MEMORY, SHOWN):
        second, third = results[arm, "moved 2"], results[arm, "moved 3"]
        error, replaced = results[arm, "error"], results[arm, "replaced"]
        yes = "it does" if max(second.low, third.low) > MUCH else "it hardly does"
        word = replaced.changed(error)
        sentences.append(
            f"{yes}: with q in the place of m_{{t-1}} in the gate, {second:.0%} of the attention of pass 2 and "
            f"{third:.0%} of that of pass 3 move to other facts, and the error goes from {error:.1%} to "
            f"{replaced:.1%} ({word})"
        )
    without = results[QUESTION, "error"]
    learnt = without.compared(
        results[MEMORY, "error"],
        "less than with it",
        "more than with it, so training does not make up for it",
        "no clear difference from one that does",
    )
    return (
        f"Trained on answers alone, {sentences[0]}.",
        f"Shown in training which fact each pass is to attend to, {sentences[1]}.",
        f"A network trained on answers alone with a gate that never sees m leaves {without:.1%} wrong, {learnt}.",
    )


def on_pictures(results: Results) -> str:
    arm = "pictures, labels shown"
    second, third = results[arm, "moved 2"], results[arm, "moved 3"]
    error, replaced = results[arm, "error"], results[arm, "replaced"]
    return (
        f"shown the labels, {second:.0%} and {third:.0%} of the attention of passes 2 and 3 move, and the error goes "
        f"from {error:.1%} to {replaced:.1%} ({replaced.changed(error)})."
    )


STUDY = Study(
    name="history",
    question="Does the attention depend on the history, that is, does pass t change if m_{t-1} is replaced by q?",
    arms=(
        Arm(name=MEMORY, data=Stories(2)),
        Arm(name=SHOWN, data=Stories(2), settings=("training.attention_weight=1",)),
        Arm(name=QUESTION, data=Stories(2), settings=("model.gate_compares=['question']",)),
        picture_arm("labels shown"),
    ),
    columns=(
        Column("replaced", "error with m replaced by q after training"),
        *(Column(f"moved {t}", f"attention of pass {t} that moves", ".0%") for t in (2, 3)),
    ),
    measure=measure,
    draw=draw,
    answer=answer,
    on_pictures=on_pictures,
    method="Attention that moves: half the sum of absolute differences, the mean over the test questions.",
)
