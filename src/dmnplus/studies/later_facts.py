"""Question 2: facts that an earlier pass threw away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dmnplus.studies.figures import bars
from dmnplus.studies.reading import gates, read
from dmnplus.studies.scenes import picture_arm
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import THAN, Arm, Column, Results, Study, Trained
from dmnplus.training.metrics import USED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 0.5
ALONE, SHOWN = "answers alone", "labels shown"


def thrown_away(earlier: list[Tensor]) -> Tensor:
    """What every pass so far gave less than `USED` of its attention."""
    return torch.stack(earlier).amax(dim=0) < USED


def measure(trained: Trained) -> Mapping[str, float]:
    reading = read(trained)
    passes = list(reading.attention_PNF)
    taken_up = torch.stack(
        [thrown_away(passes[:t]) & (passes[t] >= MOST) & reading.mask_NF for t in range(1, len(passes))]
    ).any(dim=0)
    labelled = taken_up & (reading.steps_NF >= 0)
    with gates(trained.model, lambda earlier, g: g * ~thrown_away(earlier) if earlier else g):
        kept_from_new = read(trained).error
    with gates(trained.model, lambda earlier, g: g * thrown_away(earlier) if earlier else g):
        kept_from_old = read(trained).error
    return {
        "taken up": float(taken_up.any(dim=1).float().mean()),
        "labelled": float(labelled.any(dim=1).float().mean()),
        "kept from new": kept_from_new,
        "kept from old": kept_from_old,
    }


def draw(figure: Figure, results: Results) -> None:
    left, right = figure.subplots(1, 2)
    bars(
        left,
        {
            arm: {
                "questions where a later pass turns to a fact thrown away": results[arm, "taken up"],
                "and that fact is labelled": results[arm, "labelled"],
            }
            for arm in (ALONE, SHOWN)
        },
        "%",
    )
    bars(
        right,
        {
            arm: {
                "as trained": results[arm, "error"],
                "later passes kept from what was thrown away": results[arm, "kept from new"],
                "kept from what was used": results[arm, "kept from old"],
            }
            for arm in (ALONE, SHOWN)
        },
        "test error, %",
    )


def answer(results: Results) -> tuple[str, str, str]:
    sentences = []
    for arm in (ALONE, SHOWN):
        error, new, old = (results[arm, name] for name in ("error", "kept from new", "kept from old"))
        yes = new.changed(error, "it does not", "it does", "it hardly does")
        sentences.append(
            f"{yes}: with later passes kept from all facts that every earlier pass gave less than {USED:.0%} of its "
            f"attention, {new:.1%} of the questions go wrong instead of {error:.1%}; kept from those that an earlier "
            f"pass did use, {old:.1%} ({old.changed(error, *THAN)} "
            f"before)"
        )
    turned, labelled = ([results[arm, name] for arm in (ALONE, SHOWN)] for name in ("taken up", "labelled"))
    return (
        f"Trained on answers alone, {sentences[0]}.",
        f"Shown in training which facts are needed, {sentences[1]}.",
        f"A later pass turns to a fact thrown away before in {turned[0]:.0%} of the questions without and "
        f"{turned[1]:.0%} with labels, and to one that is labelled as needed in {labelled[0]:.0%} and "
        f"{labelled[1]:.0%}.",
    )


def on_pictures(results: Results) -> str:
    arm = "pictures, labels shown"
    error, new, old = (results[arm, name] for name in ("error", "kept from new", "kept from old"))
    return (
        f"where a region and then a sentence are needed, and the labels are shown, "
        f"{new.changed(error, 'it does not', 'it does', 'it hardly does')}: {new:.1%} are wrong instead of {error:.1%} "
        f"with later passes kept from what was thrown away, {old:.1%} with them kept from what was used."
    )


STUDY = Study(
    name="later_facts",
    question="Does a later pass use facts that an earlier pass threw away?",
    arms=(
        Arm(name=ALONE, data=Stories(2)),
        Arm(name=SHOWN, data=Stories(2), settings=("training.attention_weight=1",)),
        picture_arm("labels shown"),
    ),
    columns=(
        Column("taken up", "questions where a later pass turns to a fact thrown away", ".0%"),
        Column("labelled", "and that fact is labelled", ".0%"),
        Column("kept from new", "error, later passes kept from facts thrown away"),
        Column("kept from old", "error, kept from facts used before"),
    ),
    measure=measure,
    draw=draw,
    answer=answer,
    on_pictures=on_pictures,
    method=f"A fact is thrown away if every earlier pass gave it less than {USED:.0%} of its attention, and turned to "
    f"if a "
    "later one gives it half or more. Kept from a fact, a trained network's gate is shut there, and nothing else "
    "changed.",
)
