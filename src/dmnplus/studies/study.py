"""What a study is: networks that differ in a setting, several starts of each, and what is measured on them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dmnplus.config import Config, resolve
from dmnplus.data.example import DataError, Splits
from dmnplus.data.pictures import Pictures
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.model import DMN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL = (
    "model.hidden=40",
    "training.rate=0.003",
    "training.batch=64",
    "training.l2=1e-4",
    "training.schedule=cosine",
    "training.epochs=12",
    "training.patience=12",
)
"""Settings that learn short stories in half a minute: what every study starts from."""


class Data(Protocol):
    """Questions to learn and to measure on."""

    @property
    def name(self) -> str:
        """What they are, in words; two that differ have different names."""
        ...

    def splits(self) -> Splits: ...

    def pictures(self) -> Pictures | None: ...


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One network on one set of questions."""

    name: str
    data: Data
    settings: tuple[str, ...] = ()
    """`section.key=value`, on top of `SMALL`."""

    @cached_property
    def config(self) -> Config:
        return resolve(settings=(*SMALL, *self.settings))


def every_pair(
    stories: Mapping[str, Data], networks: Mapping[str, tuple[str, ...]], name: Callable[[str, str], str]
) -> tuple[Arm, ...]:
    """An arm for each kind of stories with each network, called `name(stories, network)`."""
    return tuple(
        Arm(name=name(told, network), data=data, settings=settings)
        for told, data in stories.items()
        for network, settings in networks.items()
    )


class Trained(NamedTuple):
    """One start of an arm, for a measurement."""

    model: DMN
    vocabulary: Vocabulary
    config: Config
    splits: Splits
    pictures: Pictures | None
    validation_errors: tuple[float, ...]
    """Of each epoch."""


UNCLEAR = "no clear difference"
THAN = ("less than", "more than", f"{UNCLEAR} from")
"""Words of a comparison before what is compared with."""


class Spread(NamedTuple):
    """One number of an arm, a value a start. Formatted (`f"{spread:.1%}"`) it is "mean (lowest to highest)"."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def below(self, other: Spread) -> bool:
        """Whether every start is below every start of `other`."""
        return self.high < other.low

    def compared(self, other: Spread, below: str = "less", above: str = "more", neither: str = UNCLEAR) -> str:
        """The word for this one beside `other`, by `below`."""
        return below if self.below(other) else above if other.below(self) else neither

    def changed(self, before: Spread, below: str = "less", above: str = "more", neither: str = UNCLEAR) -> str:
        """The word for this one beside the same networks' numbers `before` something was done to them.

        Start by start: how much the starts differ does not count.
        """
        pairs = list(zip(self.values, before.values, strict=True))
        return below if all(a < b for a, b in pairs) else above if all(a > b for a, b in pairs) else neither

    def __format__(self, spec: str) -> str:
        return f"{self.mean:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


class Results:
    """The numbers of a study: `results["3 passes", "error"]`."""

    def __init__(self, measured: Mapping[str, Mapping[str, Spread]]) -> None:
        self.measured = measured

    def __getitem__(self, key: tuple[str, str]) -> Spread:
        arm, measure = key
        if measure not in self.measured.get(arm, {}):
            raise DataError(f"the records hold no {measure!r} of {arm!r}; run the study again")
        return self.measured[arm][measure]


class Column(NamedTuple):
    """A column of a page's table: a measure, what it is called, and how it is written."""

    measure: str
    heading: str
    form: str = ".1%"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question, the networks that answer it, and how the answer follows from their numbers."""

    name: str
    question: str
    """As the project's readers ask it."""
    arms: tuple[Arm, ...]
    columns: tuple[Column, ...]
    answer: Callable[[Results], tuple[str, str, str]]
    """Three sentences, every number and every comparison in them from the results."""
    draw: Callable[[Figure, Results], None]
    measure: Callable[[Trained], Mapping[str, float]] = lambda trained: {}
    """What is measured on the test questions of a start, besides its error."""
    method: str = ""
    """What the measures are, for the page."""
    on_pictures: Callable[[Results], str] | None = None
    """What pictures say to the question, or why nothing, in a sentence more; None where the three are about them."""
    starts: int = 5
