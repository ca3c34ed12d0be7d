"""What a set of questions looks like in numbers, and how close generated stories come to the real ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean, median, pstdev
from typing import TypeVar

from rich.table import Table

from dmnplus.data.example import Example
from dmnplus.data.vocabulary import tokenize

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, standard deviation (of the population), and the least, middle and greatest value."""

    mean: float
    deviation: float
    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Sequence[int]) -> Spread:
        return cls(fmean(values), pstdev(values), min(values), median(values), max(values))

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.deviation:.2f} ({self.least:g}, {self.median:g}, {self.most:g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """The figures of some questions, each with the facts that precede it.

    `statements` counts the facts of a question, `supporting` those listed as supporting, `supporting_age` how many
    facts lie between the question and each of those (0 for the fact just before it). `answers` and
    `supporting_counts` are shares that add up to 1. `supporting_ascending` is the share of questions that list their
    supporting facts in story order. Words are those of `dmnplus.data.vocabulary.tokenize`, answers not counted in.
    """

    questions: int
    stories: int
    questions_per_story: Spread
    statements: Spread
    words_per_statement: Spread
    words_per_question: Spread
    vocabulary: frozenset[str]
    answers: Mapping[str, float]
    supporting: Spread
    supporting_counts: Mapping[int, float]
    supporting_age: Spread
    supporting_ascending: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Generated questions beside real ones.

    `differences` holds generated minus real for each number in `Statistics`, by name ("statements.mean"). A distance
    is the total variation between two distributions: the share that would have to change, 0 to 1.
    """

    generated: Statistics
    real: Statistics
    differences: Mapping[str, float]
    words_only_generated: tuple[str, ...]
    words_only_real: tuple[str, ...]
    answer_distance: float
    supporting_distance: float


def statistics(examples: Sequence[Example]) -> Statistics:
    """The figures of `examples`, which are in file order. Raises ValueError if there are none."""
    if not examples:
        raise ValueError("no questions to describe; give at least one")
    questions_per_story: list[int] = []
    words_per_statement: list[int] = []
    vocabulary: set[str] = set()
    # Sentences repeat a lot.
    words_of: dict[str, list[str]] = {}

    def words(sentence: str) -> int:
        if sentence not in words_of:
            words_of[sentence] = tokenize(sentence)
            vocabulary.update(words_of[sentence])
        return len(words_of[sentence])

    before: Example | None = None
    for example in examples:
        told = 0
        if before is None or not _continues(before, example):
            questions_per_story.append(0)
        else:
            told = len(before.facts)
        questions_per_story[-1] += 1
        words_per_statement += map(words, map(str, example.facts[told:]))
        before = example
    ages = [len(example.facts) - 1 - fact for example in examples for fact in example.supporting]
    return Statistics(
        questions=len(examples),
        stories=len(questions_per_story),
        questions_per_story=Spread.of(questions_per_story),
        statements=Spread.of([len(example.facts) for example in examples]),
        words_per_statement=Spread.of(words_per_statement or [0]),
        words_per_question=Spread.of([words(example.question) for example in examples]),
        vocabulary=frozenset(vocabulary),
        answers=_shares(example.answer_text for example in examples),
        supporting=Spread.of([len(example.supporting) for example in examples]),
        supporting_counts=_shares(len(example.supporting) for example in examples),
        supporting_age=Spread.of(ages or [0]),
        supporting_ascending=fmean(list(example.supporting) == sorted(example.supporting) for example in examples),
    )


def compare(generated: Sequence[Example], real: Sequence[Example]) -> Comparison:
    """The figures of both and what sets them apart. Raises ValueError if either is empty."""
    ours, theirs = statistics(generated), statistics(real)
    ours_by_name, theirs_by_name = _numbers(ours), _numbers(theirs)
    return Comparison(
        generated=ours,
        real=theirs,
        differences={name: ours_by_name[name] - theirs_by_name[name] for name in ours_by_name},
        words_only_generated=tuple(sorted(ours.vocabulary - theirs.vocabulary)),
        words_only_real=tuple(sorted(theirs.vocabulary - ours.vocabulary)),
        answer_distance=_total_variation(ours.answers, theirs.answers),
        supporting_distance=_total_variation(ours.supporting_counts, theirs.supporting_counts),
    )


def render(comparisons: Mapping[str, Comparison]) -> Table:
    """One block for each entry (by name: a task and split), the generated figures beside the real ones."""
    table = Table("", "", "generated", "real", title="generated and real questions")
    table.caption = "mean ± standard deviation (least, median, most)"
    for name, comparison in comparisons.items():
        ours, theirs = comparison.generated, comparison.real
        rows = [(label, _text(getattr(ours, field)), _text(getattr(theirs, field))) for field, label in _LABELS.items()]
        distance = f"{comparison.answer_distance:.1%} apart"
        rows.append(("different answers", f"{len(ours.answers)}, {distance}", str(len(theirs.answers))))
        only = comparison.words_only_generated, comparison.words_only_real
        if any(only):
            here, there = (", ".join(words) or "none" for words in only)
            rows.append(("words only here", here, there))
        for label, *values in rows:
            table.add_row(name if label == rows[0][0] else "", label, *values)
        table.add_section()
    return table


_LABELS = {
    "questions": "questions",
    "stories": "stories",
    "questions_per_story": "questions per story",
    "statements": "statements per question",
    "words_per_statement": "words per statement",
    "words_per_question": "words per question",
    "vocabulary": "vocabulary",
    "supporting": "supporting facts",
    "supporting_age": "facts since a supporting one",
    "supporting_ascending": "supporting in story order",
}


def _text(value: int | float | Spread | frozenset[str]) -> str:
    match value:
        case frozenset():
            return f"{len(value)} words"
        case float():
            return f"{value:.1%}"
        case int():
            return f"{value:,}"
        case Spread():
            return str(value)


def _continues(before: Example, example: Example) -> bool:
    """Whether `example` goes on with the story of `before`: its facts do, and so does its line where one is known."""
    told, now = len(before.facts), len(example.facts)
    if example.facts[:told] != before.facts:
        return False
    if before.source.line and example.source.line:
        return example.source.line - before.source.line == now - told + 1
    return True


def _shares(values: Iterable[Key]) -> dict[Key, float]:
    counts = Counter(values)
    return {value: count / counts.total() for value, count in counts.most_common()}


def _total_variation(one: Mapping[Key, float], other: Mapping[Key, float]) -> float:
    return sum(abs(one.get(value, 0.0) - other.get(value, 0.0)) for value in {*one, *other}) / 2


def _numbers(figures: Statistics) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for field in fields(Statistics):
        value = getattr(figures, field.name)
        if isinstance(value, Spread):
            numbers |= {f"{field.name}.{part.name}": getattr(value, part.name) for part in fields(Spread)}
        elif isinstance(value, int | float):
            numbers[field.name] = value
        elif isinstance(value, frozenset):
            numbers[field.name] = len(value)
    return numbers
