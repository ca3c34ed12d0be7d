"""Question 9: attention beside the chain of labelled facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from dmnplus.studies.figures import bars
from dmnplus.studies.reading import Reading, read
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import Arm, Column, Results, Study, Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALONE, SHOWN = "answers alone", "labels shown"
PASSES = (1, 2, 3)


def first_visits(reading: Reading) -> list[torch.Tensor]:
    """The first pass whose top fact is of the first and of the second step, past the last pass if there is none, "
    "[N]."""
    top_PN = reading.top_step()
    P = len(top_PN)
    passes_P1 = torch.arange(P)[:, None]
    return [torch.where(top_PN == step, passes_P1, P).amin(dim=0) for step in (0, 1)]


def measure(trained: Trained) -> Mapping[str, float]:
    reading = read(trained)
    N, F = reading.mask_NF.shape
    best_PN = reading.attention_PNF.argmax(dim=-1)
    top_NF = torch.zeros(N, F, dtype=torch.bool).scatter(1, best_PN.T, True)
    labelled_NF = reading.steps_NF >= 0
    both = int((top_NF & labelled_NF).sum())
    first, second = first_visits(reading)
    visited = (first < len(best_PN)) & (second < len(best_PN))
    top_PN = reading.top_step()
    return {
        "precision": both / int(top_NF.sum()),
        "recall": both / int(labelled_NF.sum()),
        "visited": float(visited.float().mean()),
        "in order": float((first < second)[visited].float().mean()) if visited.any() else 0.0,
        **{f"pass {t + 1}": float((step_N >= 0).float().mean()) for t, step_N in enumerate(top_PN)},
        **{
            f"pass {t + 1}, step {step + 1}": float((step_N == step).float().mean())
            for t, step_N in enumerate(top_PN)
            for step in (0, 1)
        },
    }


def draw(figure: Figure, results: Results) -> None:
    for axes, arm in zip(figure.subplots(1, 2), (ALONE, SHOWN), strict=True):
        groups = {
            f"pass {t}": {f"step {step} of the chain": results[arm, f"pass {t}, step {step}"] for step in (1, 2)}
            for t in PASSES
        }
        bars(axes, groups, f"top fact is, % of questions: {arm}")


def answer(results: Results) -> tuple[str, str, str]:
    top = [results[ALONE, f"pass {t}"] for t in PASSES]
    order = results[ALONE, "in order"]
    follows = (
        "in its order"
        if order.low > 0.5
        else "against its order"
        if order.high < 0.5
        else "in an order that the start decides"
    )
    return (
        f"Trained on answers alone, the top facts of the three passes together find {results[ALONE, 'recall']:.0%} of "
        f"the labelled facts, and {results[ALONE, 'precision']:.0%} of them are labelled; pass by pass it is "
        f"{top[0]:.0%}, {top[1]:.0%} and {top[2]:.0%}.",
        f"Both facts of the chain are on top of some pass in {results[ALONE, 'visited']:.0%} of the questions, and of "
        f"these the first comes before the second in {order:.0%}: the attention follows the chain {follows}.",
        f"Shown the labels in training, precision is {results[SHOWN, 'precision']:.0%}, recall "
        f"{results[SHOWN, 'recall']:.0%}, and {results[SHOWN, 'in order']:.0%} come in order.",
    )


STUDY = Study(
    name="chain",
    question="Does the attention follow the chain of supporting facts, in order?",
    arms=(
        Arm(name=ALONE, data=Stories(2)),
        Arm(name=SHOWN, data=Stories(2), settings=("training.attention_weight=1",)),
    ),
    columns=(
        Column("precision", "precision of the top facts", ".0%"),
        Column("recall", "recall", ".0%"),
        *(Column(f"pass {t}", f"pass {t}: top fact is labelled", ".0%") for t in PASSES),
        Column("visited", "both facts on top", ".0%"),
        Column("in order", "of these in order", ".0%"),
    ),
    measure=measure,
    draw=draw,
    answer=answer,
    method="The top fact of a pass is the one with most of its attention; a fact that is on top of several passes "
    "counts once. The order of the chain is that of the labels: who handled the thing, then where that person went.",
)
