"""Question 7: q in the gate, in the memory update, in the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dmnplus.studies.figures import bars
from dmnplus.studies.scenes import picture_arm
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import Column, Results, Study, every_pair

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WITHOUT = {
    "gate": "model.gate_compares=['memory']",
    "memory update": "model.update_question=false",
    "answer": "model.answer_question=false",
}
EVERYWHERE, NOWHERE = "q everywhere", "q in none of them"
STORIES = {"where is it": Stories(2), "is somebody there": Stories(6, questions=2000)}
NETWORKS = {
    EVERYWHERE: (),
    **{f"no q in the {place}": (setting,) for place, setting in WITHOUT.items()},
    NOWHERE: (*WITHOUT.values(),),
}


def name(stories: str, network: str) -> str:
    return f"{stories}, {network}"


def draw(figure: Figure, results: Results) -> None:
    for axes, stories in zip(figure.subplots(1, 2), STORIES, strict=True):
        errors = {network: {"": results[name(stories, network), "error"]} for network in NETWORKS}
        bars(axes, errors, f"{stories}: test error, %")


def answer(results: Results) -> tuple[str, str, str]:
    where, there = STORIES
    sentences = []
    for stories, asked in ((where, "Where is the football?"), (there, "Is Mary in the garden?")):
        base = results[name(stories, EVERYWHERE), "error"]
        parts = []
        for place in WITHOUT:
            without = results[name(stories, f"no q in the {place}"), "error"]
            word = without.compared(base)
            parts.append(f"{without:.1%} without q in the {place} ({word})")
        sentences.append(f'Of questions like "{asked}", {base:.1%} are wrong with q everywhere, {", ".join(parts)}.')
    nowhere = {stories: results[name(stories, NOWHERE), "error"] for stories in STORIES}
    return (
        sentences[0],
        sentences[1],
        "With q in none of the three, when it is only the first memory that the passes start from, "
        f"{nowhere[where]:.1%} and {nowhere[there]:.1%} are wrong.",
    )


def on_pictures(results: Results) -> str:
    error = {network: results[f"pictures, {network}", "error"] for network in NETWORKS}
    base = error[EVERYWHERE]
    parts = ", ".join(
        f"{error[network]:.1%} with {network} ({error[network].compared(base)})"
        for network in NETWORKS
        if network != EVERYWHERE
    )
    return f"{base:.1%} are wrong with q everywhere, {parts}."


STUDY = Study(
    name="question_everywhere",
    question="Feeding q into every step: what is lost without it in the gate, in the memory update, in the answer?",
    arms=(
        *every_pair(STORIES, NETWORKS, name),
        *(picture_arm(network, *settings) for network, settings in NETWORKS.items()),
    ),
    columns=(Column("loss", "test loss", ".2f"), Column("best_epoch", "best epoch", ".0f")),
    draw=draw,
    answer=answer,
    on_pictures=on_pictures,
    method="The first memory is q in every network. Without q in the gate, facts are compared with the memory alone.",
)
