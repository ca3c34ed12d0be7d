"""Question 6: the input fusion layer and the order of the facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from dmnplus.data.example import Example
from dmnplus.studies.figures import bars
from dmnplus.studies.reading import read
from dmnplus.studies.scenes import picture_arm
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import THAN, Column, Results, Study, Trained, every_pair

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STORIES = {
    "last move counts": Stories(1, questions=2000),
    "two facts in order": Stories(2),
    "any order": Stories(4, questions=2000),
}
FUSION, FORWARD, READER, BLIND = "fusion", "forward fusion", "no fusion", "no fusion, soft attention"
NETWORKS = {
    FUSION: (),
    FORWARD: ("model.input=forward_fusion",),
    READER: ("model.input=reader",),
    BLIND: ("model.input=reader", "model.episode=soft_attention"),
}


def name(stories: str, network: str) -> str:
    return f"{stories}, {network}"


def turned(example: Example) -> Example:
    """The same question after the same facts, the last one first."""
    last = len(example.facts) - 1
    return replace(
        example,
        facts=example.facts[::-1],
        supporting=tuple(last - fact for fact in example.supporting),
        regions=tuple(replace(region, fact=last - region.fact) for region in example.regions),
    )


def measure(trained: Trained) -> Mapping[str, float]:
    straight = read(trained)
    backwards = read(trained, [turned(example) for example in trained.splits.test])
    return {
        "backwards": backwards.error,
        "same answer": float((straight.answer_N == backwards.answer_N).float().mean()),
    }


def draw(figure: Figure, results: Results) -> None:
    left, right = figure.subplots(1, 2)
    bars(left, {s: {n: results[name(s, n), "error"] for n in NETWORKS} for s in STORIES}, "test error, %")
    bars(
        right,
        {s: {n: results[name(s, n), "same answer"] for n in NETWORKS} for s in STORIES},
        "same answer to the facts told backwards, %",
    )


def answer(results: Results) -> tuple[str, str, str]:
    error = {(s, n): results[name(s, n), "error"] for s in STORIES for n in NETWORKS}
    last, two, free = STORIES
    gain, both = (error[two, FUSION].compared(error[two, other], *THAN) for other in (READER, FORWARD))
    return (
        f"Where two facts in the right order give the answer, {error[two, FUSION]:.1%} of the questions are wrong "
        f"with the bidirectional fusion layer, {both} the {error[two, FORWARD]:.1%} of one that reads forwards only, "
        f"and {gain} the {error[two, READER]:.1%} without any, when only the attention GRU still reads in order; with "
        f"soft attention in its place nothing knows the order, and {error[two, BLIND]:.1%} are wrong.",
        f"Where the last move counts it is {error[last, FUSION]:.1%} with the fusion layer, "
        f"{error[last, FORWARD]:.1%} forwards only, {error[last, READER]:.1%} without, and {error[last, BLIND]:.1%} "
        f"where nothing knows the order.",
        f"Where the order says nothing ({error[free, FUSION]:.1%} wrong with the fusion layer, "
        f"{error[free, READER]:.1%} without), the facts told backwards get the same answer in "
        f"{results[name(free, FUSION), 'same answer']:.0%} of the questions with the fusion layer and in "
        f"{results[name(free, READER), 'same answer']:.0%} without, and "
        f"{results[name(free, FUSION), 'backwards']:.1%} and {results[name(free, READER), 'backwards']:.1%} are wrong "
        f"then.",
    )


def on_pictures(results: Results) -> str:
    fusion, forward, without = (results[f"pictures, {network}", "error"] for network in (FUSION, FORWARD, READER))
    return (
        f"{fusion:.1%} are wrong with the fusion layer over regions and sentences, {forward:.1%} with one that reads "
        f"forwards only ({forward.compared(fusion)}), {without:.1%} without "
        f"({without.compared(fusion)})."
    )


STUDY = Study(
    name="fusion_order",
    question="How much does the bidirectional fusion give when the order of facts is swapped?",
    arms=(
        *every_pair(STORIES, NETWORKS, name),
        *(picture_arm(network, *NETWORKS[network]) for network in (FUSION, FORWARD, READER)),
    ),
    columns=(
        Column("backwards", "error, facts told backwards"),
        Column("same answer", "same answer to the facts told backwards", ".0%"),
    ),
    measure=measure,
    draw=draw,
    answer=answer,
    on_pictures=on_pictures,
    method="Told backwards, the facts come in reverse order after training. In the third kind of story that changes "
    "nothing in what is true; in the others it does, and the error there is against the answer to the story as it was.",
)
