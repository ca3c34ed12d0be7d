"""The one in-memory form of a question, whatever file, generator or user it came from."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

# The box of a picture that is shown as it is.
WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a fact: the image file at `path`, or the part of it inside `box`.

    `box` is left, top, right, bottom as shares of the picture's width and height.
    """

    path: str
    box: tuple[float, float, float, float] = WHOLE

    def __str__(self) -> str:
        return self.path if self.box == WHOLE else f"{self.path}[{','.join(f'{x:g}' for x in self.box)}]"


@dataclass(frozen=True, slots=True)
class Region:
    """The part of a picture that supports an answer: the `fact` it is in, and its box as in `Picture`.

    `step` is its place in the chain of facts that lead to the answer; regions of one step are looked at together, and
    supporting sentences take the places that regions leave, in their order.
    """

    fact: int
    box: tuple[float, float, float, float]
    step: int = 0


# A fact is a sentence as written, or a picture.
Fact: TypeAlias = str | Picture


class DataError(ValueError):
    """Bad input, described for the person who wrote it: what is wrong, in which file and line, and what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a question came from: `file` (or generator name), 1-based `line`, and the question type (`babi/2`)."""

    file: str = ""
    line: int = 0
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A question, the facts that precede it, and its answer.

    `facts` are in story order. `answer` holds its words in order ("milk,football" is two). `supporting` are 0-based
    indices into `facts` in the order the source lists them, empty if not labelled; in a picture, `regions` are what to
    look at.
    """

    facts: tuple[Fact, ...]
    question: str
    answer: tuple[str, ...]
    supporting: tuple[int, ...] = ()
    regions: tuple[Region, ...] = ()
    source: Source = field(default_factory=Source)

    @property
    def answer_text(self) -> str:
        return ",".join(self.answer)


@dataclass(frozen=True)
class Splits:
    """The questions of a run, and what they are called in its records."""

    name: str
    training: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    separator: str = ","
    """What joins the words of an answer."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by what it is of: own files (`data`, `valid`, `test`), or questions as `fingerprint` has them."""
    sources: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What was named in the place of official files: `train`, `valid` and `test`, as the command line takes them."""

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """`files`, or the `fingerprint` of each part where there are none."""
        parts = {"training": self.training, "validation": self.validation, "test": self.test}
        return dict(self.files) or {name: fingerprint(part) for name, part in parts.items() if part}


def fingerprint(examples: Sequence[Example]) -> str:
    """SHA-256 of the facts, questions, answers and labels, in order, whatever file they came from.

    Pictures are told by the names of their files, wherever these are.
    """
    digest = hashlib.sha256()
    for example in examples:
        facts = [
            fact if isinstance(fact, str) else str(replace(fact, path=Path(fact.path).name)) for fact in example.facts
        ]
        content: list[Any] = [facts, example.question, example.answer, example.supporting]
        # Text's stays what it was before pictures had labels.
        content += [[asdict(region) for region in example.regions]] if example.regions else []
        digest.update(json.dumps(content).encode())
    return digest.hexdigest()


def split_validation(examples: Sequence[Example], share: float = 0.1) -> tuple[Sequence[Example], Sequence[Example]]:
    """The paper's split: the last `share` of the training file, as it stands, validates (section 4)."""
    if not 0 < share < 1:
        raise ValueError(f"validation share {share} is not between 0 and 1")
    cut = len(examples) - max(1, round(len(examples) * share))
    if cut < 1:
        raise DataError(f"{len(examples)} questions are too few to hold out a share of {share}; give at least 2")
    return examples[:cut], examples[cut:]


def split_by_picture(
    examples: Sequence[Example], share: float = 0.1, seed: int = 0
) -> tuple[list[Example], list[Example]]:
    """Training and validation questions without a picture in common: a random `share` of the pictures validates.

    Which pictures depends on their paths and `seed`, not on the order of `examples`. Raises DataError for a question
    without a picture, or whose pictures fall on both sides.
    """
    if not 0 < share < 1:
        raise ValueError(f"validation share {share} is not between 0 and 1")
    paths = sorted({picture.path for picture in iter_pictures(examples)})
    count = max(1, round(len(paths) * share))
    if len(paths) <= count:
        raise DataError(f"{len(paths)} pictures are too few to hold out a share of {share}; give at least 2")
    held_out = set(random.Random(seed).sample(paths, count))
    sides: tuple[list[Example], list[Example]] = [], []
    for example in examples:
        side = {picture.path in held_out for picture in iter_pictures([example])}
        if len(side) != 1:
            problem = "has pictures in both parts" if side else "has no picture"
            raise DataError(f"{example.source}: {problem}; split these questions in another way")
        sides[side.pop()].append(example)
    return sides


def most_common_answers(examples: Sequence[Example], size: int) -> list[str]:
    """The `size` most frequent answers, the most frequent first, equals in alphabetical order.

    The usual size for VQA is 1,000 to 3,000 (the paper does not say).
    """
    if size < 1:
        raise ValueError(f"answer vocabulary size {size} is not positive")
    counts = Counter(example.answer_text for example in examples if example.answer)
    return sorted(counts, key=lambda answer: (-counts[answer], answer))[:size]


def with_common_answers(examples: Sequence[Example], size: int) -> list[Example]:
    """Those of `examples` with one of their `size` most frequent answers: what a classifier over them is trained on."""
    known = frozenset(most_common_answers(examples, size))
    return [example for example in examples if example.answer_text in known]


def iter_sentences(examples: Sequence[Example]) -> Iterator[str]:
    """Every sentence among the facts, and every question, in order, repeats included."""
    for example in examples:
        yield from (fact for fact in example.facts if isinstance(fact, str))
        yield example.question


def iter_pictures(examples: Sequence[Example]) -> Iterator[Picture]:
    """Every picture among the facts, in order, repeats included."""
    for example in examples:
        yield from (fact for fact in example.facts if isinstance(fact, Picture))
