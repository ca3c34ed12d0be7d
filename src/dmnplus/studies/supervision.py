"""Question 10: attention shown the labelled facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dmnplus.studies.figures import lines
from dmnplus.studies.reading import read
from dmnplus.studies.scenes import picture_arm
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import Arm, Column, Results, Study, Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUESTIONS = Stories(2)
SHARES = (0.0, 0.01, 0.1, 1.0)
EARLY = 4


def name(share: float) -> str:
    return f"labels of {share:.0%}"


def settings(share: float) -> tuple[str, ...]:
    if not share:
        return ()
    return ("training.attention_weight=1", *((f"training.attention_share={share}",) if share < 1 else ()))


def measure(trained: Trained) -> Mapping[str, float]:
    top_PN = read(trained).top_step()
    return {"labelled": float((top_PN >= 0).float().mean()), "early": trained.validation_errors[EARLY - 1]}


def draw(figure: Figure, results: Results) -> None:
    left, right = figure.subplots(1, 2)
    places = range(len(SHARES))
    errors = {
        "test": [results[name(share), "error"] for share in SHARES],
        f"validation, after {EARLY} epochs": [results[name(share), "early"] for share in SHARES],
    }
    lines(left, places, errors, "error, %", "labelled training questions")
    labelled = {"": [results[name(share), "labelled"] for share in SHARES]}
    lines(right, places, labelled, "top fact of a pass is labelled, %", "labelled training questions")
    for axes in (left, right):
        axes.set_xticks(places, [f"{share:.0%}" for share in SHARES])


def answer(results: Results) -> tuple[str, str, str]:
    error = {share: results[name(share), "error"] for share in SHARES}
    top = {share: results[name(share), "labelled"] for share in SHARES}
    few = [share for share in SHARES[1:] if error[share].below(error[0.0])]
    enough = (
        f"the labels of {few[0]:.0%} of the questions ({few[0] * QUESTIONS.questions:,.0f}) are already enough for a "
        f"clear "
        "gain"
        if few
        else "none of these is a clear gain"
    )
    return (
        f"With the labels of all training questions {error[1.0]:.1%} of the test questions are wrong, instead of "
        f"{error[0.0]:.1%} with none of them.",
        f"With a tenth of the labels it is {error[0.1]:.1%}, with a hundredth {error[0.01]:.1%}: {enough}.",
        f"The top fact of a pass is a labelled one in {top[0.0]:.0%} of the cases without labels, {top[0.01]:.0%}, "
        f"{top[0.1]:.0%} and {top[1.0]:.0%} with them, and after {EARLY} epochs {results[name(0.0), 'early']:.1%} of "
        f"the validation questions are wrong without labels and {results[name(1.0), 'early']:.1%} with all.",
    )


def on_pictures(results: Results) -> str:
    error = {share: results[f"pictures, {name(share)}", "error"] for share in SHARES}
    few = ", ".join(f"{error[share]:.1%} with those of {share:.0%}" for share in SHARES[1:-1])
    return (
        f"{error[0.0]:.1%} are wrong without labels, {few}, and {error[1.0]:.1%} with all "
        f"({error[1.0].compared(error[0.0])})."
    )


STUDY = Study(
    name="supervision",
    question="What does supervision of the attention by the labelled facts bring, and with how few labels?",
    arms=(
        *(Arm(name=name(share), data=QUESTIONS, settings=settings(share)) for share in SHARES),
        *(picture_arm(name(share), *(settings(share) or ("training.attention_weight=0",))) for share in SHARES),
    ),
    columns=(
        Column("labelled", "top fact of a pass is labelled", ".0%"),
        Column("early", f"validation error after {EARLY} epochs"),
        Column("best_epoch", "best epoch", ".0f"),
    ),
    measure=measure,
    draw=draw,
    answer=answer,
    on_pictures=on_pictures,
    method="The loss of the attention is -log of what a pass gives the facts of its step of the chain, added to that "
    "of the answer with weight 1, for the questions whose labels are used; the same ones for every start.",
)
