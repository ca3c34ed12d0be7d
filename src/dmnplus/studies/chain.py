"""Question 9: attention beside the chain of labelled facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from dmnplus.studies.figures import bars
from dmnplus.studies.reading import Reading, read
from dmnplus.studies.scenes import picture_arm
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import Arm, Column, Results, Study, Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALONE, SHOWN = "answers alone", "labels shown"
PASSES = (1, 2, 3)
# Share of the questions below which the chain is hardly followed.
SELDOM = 0.1


def first_visits(reading: Reading) -> list[torch.Tensor]:
    """The first pass whose top fact is of the first and of the second step, past the last if there is none, [N]."""
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
        "in order": float((visited & (first < second)).float().mean()),
        **{f"pass {t + 1}": float((step_N >= 0).float().mean()) for t, step_N in enumerate(top_PN)},
        **{
            f"pass {t + 1}, recall": int((step_N >= 0).sum()) / int(labelled_NF.sum())
            for t, step_N in enumerate(top_PN)
        },
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
    visited, order = results[ALONE, "visited"], results[ALONE, "in order"]
    shares = [first / both if both else 0.0 for first, both in zip(order.values, visited.values, strict=True)]
    follows = (
        "hardly follows the chain"
        if visited.high < SELDOM
        else "follows the chain in its order"
        if min(shares) > 0.5
        else "follows the chain against its order"
        if max(shares) < 0.5
        else "follows the chain in an order that the start decides"
    )
    return (
        f"Trained on answers alone, the top facts of the three passes together find {results[ALONE, 'recall']:.0%} of "
        f"the labelled facts, and {results[ALONE, 'precision']:.0%} of them are labelled; pass by pass it is "
        f"{top[0]:.0%}, {top[1]:.0%} and {top[2]:.0%}.",
        f"Both facts of the chain are on top of some pass in {visited:.1%} of the questions, the first before the "
        f"second in {order:.1%}: the attention {follows}.",
        f"Shown the labels in training, precision is {results[SHOWN, 'precision']:.0%}, recall "
        f"{results[SHOWN, 'recall']:.0%}, and both facts come in order in {results[SHOWN, 'in order']:.0%} of the "
        f"questions.",
    )


def on_pictures(results: Results) -> str:
    arm = "pictures, labels shown"
    return (
        f"shown the labels, precision is {results[arm, 'precision']:.0%}, recall {results[arm, 'recall']:.0%}, and the "
        f"region comes before the sentence in {results[arm, 'in order']:.0%} of the questions."
    )


STUDY = Study(
    name="chain",
    question="Does the attention follow the chain of supporting facts, in order?",
    arms=(
        Arm(name=ALONE, data=Stories(2)),
        Arm(name=SHOWN, data=Stories(2), settings=("training.attention_weight=1",)),
        picture_arm("labels shown"),
    ),
    columns=(
        Column("precision", "precision of the top facts", ".0%"),
        Column("recall", "recall", ".0%"),
        *(Column(f"pass {t}", f"pass {t}: precision", ".0%") for t in PASSES),
        *(Column(f"pass {t}, recall", f"pass {t}: recall", ".0%") for t in PASSES),
        Column("visited", "both facts on top", ".1%"),
        Column("in order", "first before second", ".1%"),
    ),
    measure=measure,
    draw=draw,
    answer=answer,
    on_pictures=on_pictures,
    method="The top fact of a pass is the one with most of its attention; a fact that is on top of several passes "
    "counts once. Precision is the share of top facts that are "
    "labelled, recall the share of labelled facts that are on top. The order of the chain is that of the labels: who "
    "handled the thing, then where that person went.",
)
