"""Question 11: words that question and facts share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from dmnplus.data.example import Example
from dmnplus.data.names import looks_like_name
from dmnplus.data.words import find_words
from dmnplus.studies.figures import bars
from dmnplus.studies.reading import read
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import THAN, Arm, Column, Results, Study, Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What every question of these tasks has.
_FRAME = {"where", "is", "the"}
UNSEEN_NAME, UNSEEN_THING = "Xanthe", "zeppelin"
ANONYMOUS = "data.anonymous_names=true"
PEOPLE, THINGS = "Where is Mary?", "Where is the football?"
PLAIN, PLACEHOLDERS = "words", "names as placeholders"
NETWORKS = {
    (PEOPLE, PLAIN): (),
    (PEOPLE, PLACEHOLDERS): (ANONYMOUS,),
    (THINGS, PLAIN): (),
}
_SHORT = dict(zip(NETWORKS, ("person", "person,\nplaceholders", "thing"), strict=True))
DATA = {PEOPLE: Stories(1, questions=2000), THINGS: Stories(2)}


def name(asked: str, network: str) -> str:
    return f"{asked} {network}"


def asked_word(example: Example) -> str:
    """The one word that a question shares with its facts beyond the words of every question."""
    (word,) = (word for word in find_words(example.question) if word.lower() not in _FRAME)
    return word


def renamed(example: Example) -> Example:
    """The same question with what it asks for called by a word that training never saw, in the facts, too."""
    word = asked_word(example)
    unseen = UNSEEN_NAME if looks_like_name(word) else UNSEEN_THING

    def rename(text: str) -> str:
        return re.sub(rf"\b{word}\b", unseen, text)

    facts = tuple(rename(fact) if isinstance(fact, str) else fact for fact in example.facts)
    return replace(example, facts=facts, question=rename(example.question))


def measure(trained: Trained) -> Mapping[str, float]:
    examples = trained.splits.test
    reading = read(trained)
    shared_NF = torch.zeros_like(reading.mask_NF)
    for i, example in enumerate(examples):
        for j, fact in enumerate(example.facts):
            shared_NF[i, j] = asked_word(example) in find_words(str(fact))
    highest_NF = reading.attention_PNF.amax(dim=0)
    needed_NF = reading.steps_NF >= 0
    parts = {"needed unshared": needed_NF & ~shared_NF, "lures": ~needed_NF & shared_NF}
    return {
        "renamed": read(trained, [renamed(example) for example in examples]).error,
        **{part: float(highest_NF[where].mean()) for part, where in parts.items() if where.any()},
    }


def draw(figure: Figure, results: Results) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    errors = {
        _SHORT[asked, network]: {
            "as trained": results[name(asked, network), "error"],
            "shared word never seen": results[name(asked, network), "renamed"],
        }
        for asked, network in NETWORKS
    }
    bars(left, errors, "test error, %")
    arm = name(THINGS, PLAIN)
    bars(
        right,
        {
            "needed,\nno shared word": {"": results[arm, "needed unshared"]},
            "shared word,\nnot needed": {"": results[arm, "lures"]},
        },
        "highest attention, %",
    )


def answer(results: Results) -> tuple[str, str, str]:
    needed, lures = results[name(THINGS, PLAIN), "needed unshared"], results[name(THINGS, PLAIN), "lures"]
    only = "No" if lures.below(needed) else "Largely, yes" if needed.below(lures) else "Not clearly"
    pair = {
        (asked, network): (results[name(asked, network), "error"], results[name(asked, network), "renamed"])
        for asked, network in NETWORKS
    }
    before, after = pair[THINGS, PLAIN]
    people, unseen = pair[PEOPLE, PLAIN]
    placed = pair[PEOPLE, PLACEHOLDERS][1]
    return (
        f'{only}: at "{THINGS}" the needed facts that do not name the football get {needed:.0%} of some pass\'s '
        f"attention, "
        f"and those that name it but are not needed {lures:.0%}.",
        f"With the shared word replaced by one never seen, the error goes from {before:.1%} to {after:.1%} there "
        f"({after.changed(before)}), and from {people:.1%} to {unseen:.1%} at "
        f'"{PEOPLE}" ({unseen.changed(people)}).',
        f"With names read as placeholders it is {placed:.1%} for a person never seen, "
        f"{placed.compared(unseen, *THAN)} with names as words.",
    )


STUDY = Study(
    name="shared_words",
    question="Does it only focus on words shared with the question?",
    arms=tuple(
        Arm(name=name(asked, network), data=DATA[asked], settings=settings)
        for (asked, network), settings in NETWORKS.items()
    ),
    columns=(
        Column("renamed", "error, shared word never seen"),
        Column("needed unshared", "highest attention, needed without the word", ".0%"),
        Column("lures", "highest attention, not needed with the word", ".0%"),
    ),
    measure=measure,
    draw=draw,
    answer=answer,
    on_pictures=lambda results: "not asked, as a region has no words.",
    method=f"The shared word is the person or the thing asked for; in the test it becomes {UNSEEN_NAME} or "
    f"{UNSEEN_THING} in "
    "question and facts. Highest attention: of the three passes, the mean over such facts of the test stories as they "
    "were.",
)
