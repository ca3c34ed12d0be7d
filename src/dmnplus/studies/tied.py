"""Question 8: tied or untied memory updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dmnplus.studies.figures import bars
from dmnplus.studies.scenes import picture_arm
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import THAN, Column, Results, Study, every_pair

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNTIED, TIED, LARGER = "untied", "tied", "tied, as many weights"
NETWORKS = {UNTIED: (), TIED: ("model.tied=true",), LARGER: ("model.tied=true", "model.hidden=44")}
STORIES = {"10,000 questions": Stories(2), "3,000 questions": Stories(2, questions=3000)}


def name(stories: str, network: str) -> str:
    return f"{network}, {stories}"


def draw(figure: Figure, results: Results) -> None:
    left, right = figure.subplots(1, 2)
    bars(left, {s: {n: results[name(s, n), "error"] for n in NETWORKS} for s in STORIES}, "test error, %")
    many, _ = STORIES
    bars(right, {n: {"": results[name(many, n), "parameters"]} for n in NETWORKS}, "weights", percent=False)


def answer(results: Results) -> tuple[str, str, str]:
    many, few = STORIES
    error = {(s, n): results[name(s, n), "error"] for s in STORIES for n in NETWORKS}
    weights = {n: results[name(many, n), "parameters"].mean for n in NETWORKS}
    gain = error[many, UNTIED].compared(error[many, TIED], *THAN)
    beyond = error[many, UNTIED].compared(
        error[many, LARGER],
        "so that the gain is more than one of weights",
        "so that weights are better spent elsewhere",
        "so that a gain beyond that of more weights is not shown",
    )
    easier = error[few, TIED].compared(
        error[few, UNTIED],
        "Yes, the smaller model is easier to learn",
        "No, the smaller model is not easier to learn",
        "The smaller model is not clearly easier to learn",
    )
    return (
        f"Untied ({weights[UNTIED]:,.0f} weights) {error[many, UNTIED]:.1%} of the questions are wrong, {gain} the "
        f"{error[many, TIED]:.1%} of tied ({weights[TIED]:,.0f} weights).",
        f"A tied network grown to {weights[LARGER]:,.0f} weights leaves {error[many, LARGER]:.1%} wrong, {beyond}.",
        f"{easier}: from {few} it leaves {error[few, TIED]:.1%} wrong, the untied one {error[few, UNTIED]:.1%}.",
    )


def on_pictures(results: Results) -> str:
    untied, tied = (results[f"pictures, {network}", "error"] for network in (UNTIED, TIED))
    word = untied.compared(tied, *THAN)
    return f"untied {untied:.1%} are wrong, {word} the {tied:.1%} of tied."


STUDY = Study(
    name="tied",
    question="Tied or untied weights: is the gain more than the gain from more parameters? Is the smaller model "
    "easier to learn?",
    arms=(
        *every_pair(STORIES, NETWORKS, name),
        *(picture_arm(network, *NETWORKS[network]) for network in (UNTIED, TIED)),
    ),
    columns=(Column("parameters", "weights", ",.0f"), Column("best_epoch", "best epoch", ".0f")),
    draw=draw,
    answer=answer,
    on_pictures=on_pictures,
    method="Tied, the passes share one ReLU memory update; everything else is shared in either case.",
)
