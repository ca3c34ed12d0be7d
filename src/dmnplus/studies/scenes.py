"""Scenes that are told outright: every cell of a picture as ones and zeros, so that nothing has to be learnt to see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Literal, get_args

import torch
from torch import Tensor

from dmnplus.data.example import DataError, Example, Picture, Source, Splits
from dmnplus.data.pictures import PictureFormat
from dmnplus.data.scenes import as_example, compose
from dmnplus.data.scenes.question import Asked
from dmnplus.data.scenes.scene import CELLS, PICTURE, VALUES, Scene
from dmnplus.studies.study import Arm

Shown = Literal["everything", "sentences alone", "picture alone", "last picture alone"]
# Kind of question and how its text begins and ends.
ASKED = {
    "Who owns the circle?": ("mixed", "Who owns", "?"),
    "What colour did the circle have at first?": ("change", "What colour", "at first?"),
}
_LOOKS = [(attribute, value) for attribute, values in VALUES.items() for value in values]


@dataclass(frozen=True)
class Scenes:
    """Questions about drawn scenes, like `asked`, of which `shown` is left to see."""

    asked: str
    shown: Shown = "everything"
    questions: int = 3000
    validation: int = 500
    test: int = 1000

    def __post_init__(self) -> None:
        if self.asked not in ASKED or self.shown not in get_args(Shown):
            raise ValueError(f"{self.asked!r}, {self.shown!r}: there are {', '.join((*ASKED, *get_args(Shown)))}")

    @property
    def name(self) -> str:
        return f'scenes, questions like "{self.asked}", {self.shown} shown, {self.questions:,} questions'

    def splits(self) -> Splits:
        training, validation, test = ([_left(e, self.shown) for _, e in part] for part in self._parts())
        return Splits(self.name, training, validation, test)

    def pictures(self) -> Outright | None:
        if self.shown == "sentences alone":
            return None
        return Outright(pair for part in self._parts() for pair in part)

    def _parts(self) -> list[tuple[tuple[tuple[Scene, ...], Example], ...]]:
        sizes = {"train": self.questions, "valid": self.validation, "test": self.test}
        return [asked_of(self.asked, split, count) for split, count in sizes.items()]


def picture_arm(name: str, *settings: str) -> Arm:
    """A network on pictures: a region tells the colour of the thing asked for, and a sentence whose that colour is.

    The labels are used; without them nothing is learnt from so few questions (the study of supervision shows it).
    """
    shown = "model.image_dropout=0", "training.attention_weight=1"
    return Arm(name=f"pictures, {name}", data=Scenes("Who owns the circle?"), settings=(*shown, *settings))


class Outright:
    """The scenes behind pictures as regions: what is in each cell as ones and zeros."""

    format = PictureFormat(kind="regions", size=PICTURE, rows=CELLS, columns=CELLS, channels=len(_LOOKS))

    def __init__(self, asked: Iterable[tuple[Sequence[Scene], Example]]) -> None:
        self._rows: dict[Picture, int] = {}
        regions = []
        for scenes, example in asked:
            for picture, scene in zip((f for f in example.facts if isinstance(f, Picture)), scenes, strict=True):
                self._rows[picture] = len(regions)
                regions.append(_cells(scene))
        self._regions_IRCV = torch.stack(regions)

    def index(self, picture: Picture) -> int:
        if picture not in self._rows:
            raise DataError(f"{picture}: is not among these scenes")
        return self._rows[picture]

    def read(self, indices: Tensor) -> Tensor:
        return self._regions_IRCV[indices]


@cache
def asked_of(asked: str, split: str, count: int) -> tuple[tuple[tuple[Scene, ...], Example], ...]:
    """`count` questions like `asked` with their scenes; no two share a picture."""
    kind, begin, end = ASKED[asked]

    def wanted() -> Iterable[tuple[tuple[Scene, ...], Asked]]:
        # As many as it takes; one scene in a few has such a question.
        for scenes, questions in compose(1000 * count, kinds=(kind,), split=split):
            for _, question in questions:
                if question.text.startswith(begin) and question.text.endswith(end):
                    yield scenes, question
                    break

    return tuple(
        (scenes, as_example(question, _named(split, number, len(scenes)), Source("scenes", number, f"scenes/{kind}")))
        for number, (scenes, question) in enumerate(islice(wanted(), count), 1)
    )


def _named(split: str, number: int, count: int) -> list[Picture]:
    return [Picture(f"{split}/{number}-{place}") for place in range(1, count + 1)]


def _cells(scene: Scene) -> Tensor:
    regions_RCV = torch.zeros(CELLS, CELLS, len(_LOOKS))
    for thing in scene:
        column, row = thing.cell
        for attribute in VALUES:
            regions_RCV[row, column, _LOOKS.index((attribute, getattr(thing, attribute)))] = 1
    return regions_RCV


def _left(example: Example, shown: Shown) -> Example:
    """The example with the facts that are shown, and what remains of its labels."""
    kept = list(range(len(example.facts)))
    match shown:
        case "everything":
            pass
        case "sentences alone":
            kept = [place for place in kept if isinstance(example.facts[place], str)]
        case "picture alone":
            kept = [place for place in kept if isinstance(example.facts[place], Picture)]
        case "last picture alone":
            kept = kept[-1:]
    places = {old: new for new, old in enumerate(kept)}
    return replace(
        example,
        facts=tuple(example.facts[place] for place in kept),
        supporting=tuple(places[fact] for fact in example.supporting if fact in places),
        regions=tuple(replace(region, fact=places[region.fact]) for region in example.regions if region.fact in places),
    )
