"""Question 4: what the gate compares facts by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from dmnplus.studies.figures import bars
from dmnplus.studies.reading import read
from dmnplus.studies.scenes import picture_arm
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import THAN, Arm, Column, Results, Study, Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABSOLUTE, ALONE = "absolute difference", "product alone"
OTHERS = {"squared difference": ("product", "squared"), "cosine": ("product", "cosine"), ALONE: ("product",)}
GATES = {ABSOLUTE: ("product", "absolute"), **OTHERS}


def measure(trained: Trained) -> Mapping[str, float]:
    attention_PNF = read(trained).attention_PNF
    entropy_PN = torch.special.entr(attention_PNF).sum(dim=-1)
    return {"facts": float(entropy_PN.exp().mean()), "top": float(attention_PNF.amax(dim=-1).mean())}


def draw(figure: Figure, results: Results) -> None:
    left, right = figure.subplots(1, 2)
    bars(left, {name: {"": results[name, "error"]} for name in GATES}, "test error, %")
    bars(right, {name: {"": results[name, "facts"]} for name in GATES}, "facts that a pass attends to", percent=False)


def answer(results: Results) -> tuple[str, str, str]:
    error = {name: results[name, "error"] for name in GATES}
    facts = {name: results[name, "facts"] for name in GATES}
    than_alone = {name: error[name].compared(error[ALONE], *THAN) for name in GATES}
    squared, cosine, _ = OTHERS
    by_squares = error[squared].compared(error[ABSOLUTE], *THAN)
    by_cosine = error[cosine].compared(error[ABSOLUTE], *THAN)
    sparsest, widest = (pick(GATES, key=lambda name: facts[name].mean) for pick in (min, max))
    sparse = facts[ABSOLUTE].compared(
        facts[ALONE],
        "Absolute differences make attention sparser",
        "Absolute differences make attention wider",
        "Absolute differences do not clearly change how sparse attention is",
    )
    return (
        f"With absolute differences beside the product {error[ABSOLUTE]:.1%} of the questions are wrong, "
        f"{than_alone[ABSOLUTE]} the {error[ALONE]:.1%} of the product alone.",
        f"Squared differences in their place leave {error[squared]:.1%} wrong, {by_squares} absolute ones "
        f"and {than_alone[squared]} the product alone; the cosine leaves {error[cosine]:.1%}, {by_cosine} absolute "
        f"differences and {than_alone[cosine]} the product alone.",
        f"{sparse}: a pass attends to {facts[ABSOLUTE]:.2f} facts with them and to {facts[ALONE]:.2f} with the product "
        f"alone; the sparsest on the mean is the gate with the {sparsest} ({facts[sparsest].mean:.2f}), the widest "
        f"the one with the {widest} ({facts[widest].mean:.2f}).",
    )


def on_pictures(results: Results) -> str:
    error, facts = ({name: results[f"pictures, {name}", m] for name in GATES} for m in ("error", "facts"))
    shown = ", ".join(f"{error[name]:.1%} with the {name} ({facts[name].mean:.2f} facts a pass)" for name in GATES)
    return f"wrong are {shown}."


STUDY = Study(
    name="gate_features",
    question="Equation 8: why absolute differences, against squared difference, cosine, and the product alone; which "
    "gives sparser attention?",
    arms=(
        *(
            Arm(name=name, data=Stories(2), settings=(f"model.gate={list(features)}",))
            for name, features in GATES.items()
        ),
        *(picture_arm(name, f"model.gate={list(features)}") for name, features in GATES.items()),
    ),
    columns=(
        Column("facts", "facts attended to", ".2f"),
        Column("top", "attention on the top fact", ".0%"),
        Column("parameters", "weights", ",.0f"),
    ),
    measure=measure,
    draw=draw,
    answer=answer,
    on_pictures=on_pictures,
    method="Facts attended to: e to the entropy of a pass's attention, 1 where all is on one fact, the mean over "
    "passes and questions. Every gate has the product with q and m, and the named feature beside it.",
)
