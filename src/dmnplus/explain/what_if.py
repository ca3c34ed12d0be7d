"""Why an answer: the attention of every pass, and how the answer moves if the story were another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from dmnplus.answering import Answer, QuestionAnswerer
from dmnplus.data.example import Example, Fact, Picture, iter_sentences
from dmnplus.data.pictures import snake_order

# Questions of a batch that leaves out regions; a grid has up to hundreds, and each is as many facts again.
_REGIONS_AT_A_TIME = 32


@dataclass(frozen=True)
class Change:
    """What the network answers to the story changed in one way."""

    kind: Literal["without", "swap"]
    facts: tuple[int, ...]
    """Places, from 0, of the facts that were left out, or of the two that were swapped."""
    answer: Answer
    original: float
    """The probability that is left to the answer to the story as it is."""
    move: float
    """`original` less the probability that this answer has in the story as it is."""


@dataclass(frozen=True)
class Explanation:
    """An answer, and what it rests on."""

    question: str
    answer: Answer
    """To the story as it is, with the attention of every pass to every fact."""
    changes: list[Change] = field(default_factory=list)
    regions: dict[int, list[list[float]]] = field(default_factory=dict)
    """For each picture, by its place among the facts: how the answer's probability moves without each region."""

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; pictures are named by file name and box."""
        return {
            "question": self.question,
            **_plain(self.answer),
            "facts": [_plain_fact(fact) for fact in self.answer.facts],
            "attention": self.answer.attention,
            "regions": [{"fact": i, "attention": r} for i, r in self.answer.regions.items()],
            "unknown_words": self.answer.unknown_words,
            "changes": [
                {"kind": c.kind, "facts": [*c.facts], **_plain(c.answer), "original": c.original, "move": c.move}
                for c in self.changes
            ],
            "without_regions": [{"fact": i, "move": moves} for i, moves in self.regions.items()],
        }


def explain(
    answerer: QuestionAnswerer,
    story: str | Sequence[Fact],
    question: str,
    *,
    top: int = 5,
    without: Iterable[int | Sequence[int]] | None = None,
    swaps: Iterable[tuple[int, int]] = (),
    regions: bool = False,
) -> Explanation:
    """Answer a question, and answer it again with the story changed; all changes are one batch.

    Each of `without` is a fact to leave out, or several to leave out together; by default every fact in turn, if there
    are two or more. Each of `swaps` are two facts that change places. Places count from 0 among the facts that are
    read: of a story longer than `data.last_facts`, the last. `regions` leaves out every region of every picture in
    turn, too, which takes as many questions again as there are regions.

    Names that are made anonymous keep their placeholders, so that nothing but the change moves the answer. Raises
    `DataError` for an empty story or question, and `ValueError` for a place where no fact is and for a change that
    leaves no fact.
    """
    asked = answerer.example(story, question)
    count = len(asked.facts)
    if without is None:
        without = range(count) if count > 1 else ()
    left_out = [(place,) if isinstance(place, int) else tuple(place) for place in without]
    swapped = [(first, second) for first, second in swaps]
    orders = [*(_without(count, places) for places in left_out), *(_swapped(count, *pair) for pair in swapped)]
    cast = answerer.vocabulary.cast(asked.facts, question)
    (answer,), _ = answerer.measure([asked], top=top, casts=[cast])
    # What is measured is this answer, in the story as it is, too, so that both probabilities are of one batch.
    words = answer.answer.split(answerer.vocabulary.separator) if answer.answer else []
    known = replace(asked, answer=tuple(words))
    examples = [known, *(replace(known, facts=tuple(known.facts[i] for i in order)) for order in orders)]
    casts = [cast.within(iter_sentences([example])) for example in examples]
    answers, (before, *after) = answerer.measure(examples, top=top, casts=casts)
    kinds: list[tuple[Literal["without", "swap"], tuple[int, ...]]] = [
        *(("without", places) for places in left_out),
        *(("swap", pair) for pair in swapped),
    ]
    changes = [
        Change(kind, places, changed, original, original - before)
        for (kind, places), changed, original in zip(kinds, answers[1:], after, strict=True)
    ]
    return Explanation(question, answer, changes, _without_regions(answerer, known) if regions else {})


def left_without(explanation: Explanation) -> dict[int, Change]:
    """The changes that leave out one fact, by its place."""
    return {c.facts[0]: c for c in explanation.changes if c.kind == "without" and len(c.facts) == 1}


def brightness(regions: list[list[float]], together: Iterable[list[list[float]]]) -> list[list[float]]:
    """How light to draw each region, from 0 to 1: its value beside the highest of those drawn `together`."""
    highest = max(value for grid in together for line in grid for value in line)
    return [[max(0.0, value) / highest if highest > 0 else 0.0 for value in line] for line in regions]


def looked_at(answer: Answer, place: int, t: int) -> list[list[float]]:
    """`brightness` of the regions of the picture at `place` in pass `t`, beside all that the pass looked at."""
    sentences = [[[answer.attention[t][i]]] for i, fact in enumerate(answer.facts) if isinstance(fact, str)]
    return brightness(answer.regions[place][t], [*sentences, *(grids[t] for grids in answer.regions.values())])


def _without(count: int, places: Sequence[int]) -> list[int]:
    if not places:
        raise ValueError("a change that leaves out facts names no fact")
    for place in places:
        _require(place, count)
    kept = [i for i in range(count) if i not in places]
    if not kept:
        raise ValueError(f"leaving out {_listed(places)} leaves no fact of the story's {count}")
    return kept


def _swapped(count: int, first: int, second: int) -> list[int]:
    _require(first, count)
    _require(second, count)
    if first == second:
        raise ValueError(f"fact {first} cannot change places with itself")
    order = [*range(count)]
    order[first], order[second] = second, first
    return order


def _require(place: int, count: int) -> None:
    if not 0 <= place < count:
        raise ValueError(f"there is no fact {place}; the story that is read has {count}, counted from 0")


def _listed(places: Iterable[int]) -> str:
    return ", ".join(map(str, places))


@torch.inference_mode()
def _without_regions(answerer: QuestionAnswerer, example: Example) -> dict[int, list[list[float]]]:
    """How the probability of the example's answer moves without each region of each picture, by row and column."""
    grid = answerer.model.pictures
    if grid is None or not any(isinstance(fact, Picture) for fact in example.facts):
        return {}
    questions = answerer.encode([example])
    device = answerer.model.device
    whole = questions.batch(torch.tensor([0])).to(device)
    before = answerer.model.probabilities(answerer.model(whole), whole)
    # A region is a fact with a place in a series; what is masked is not there.
    columns = whole.places_BF[0].nonzero()[:, 0]
    moves = []
    for hidden in columns.split(_REGIONS_AT_A_TIME):
        batch = questions.batch(torch.zeros(len(hidden), dtype=torch.long)).to(device)
        mask_BF = batch.mask_BF.clone()
        mask_BF[torch.arange(len(hidden)), hidden] = False
        batch = replace(batch, mask_BF=mask_BF)
        moves.append(answerer.model.probabilities(answerer.model(batch), batch) - before)
    in_rows = torch.tensor(snake_order(grid.rows, grid.columns)).argsort()
    moves_IR = torch.cat(moves).cpu().unflatten(0, (-1, grid.rows * grid.columns))[:, in_rows]
    shown = (i for i, fact in enumerate(example.facts) if isinstance(fact, Picture))
    return dict(zip(shown, moves_IR.unflatten(1, (grid.rows, grid.columns)).tolist(), strict=True))


def _plain(answer: Answer) -> dict[str, Any]:
    ranked = [{"answer": text, "probability": probability} for text, probability in answer.ranked]
    return {"answer": answer.answer, "probability": answer.probability, "ranked": ranked}


def _plain_fact(fact: Fact) -> dict[str, Any]:
    if isinstance(fact, str):
        return {"sentence": fact}
    # The folder that a picture lies in is nobody's business who is shown an explanation.
    return {"picture": Path(fact.path).name, "box": [*fact.box]}
