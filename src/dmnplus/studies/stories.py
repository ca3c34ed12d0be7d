"""The made-up stories that studies learn: short ones, so that a start takes seconds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from dmnplus.data.example import Example, Splits
from dmnplus.data.generate import generate


@dataclass(frozen=True)
class Stories:
    """Generated questions of a bAbI task, none after more than `longest` facts."""

    task: int
    questions: int = 10000
    longest: int = 12
    validation: int = 500
    test: int = 1000

    @property
    def name(self) -> str:
        return f"generated bAbI task {self.task}, at most {self.longest} facts, {self.questions:,} questions"

    def splits(self) -> Splits:
        longest = self.task, self.longest
        return Splits(
            self.name,
            training=short(*longest, self.questions, 0, "train"),
            validation=short(*longest, self.validation, 1, "train"),
            test=short(*longest, self.test, 0, "test"),
        )

    def pictures(self) -> None:
        return None


@cache
def short(task: int, longest: int, questions: int, seed: int, split: str) -> tuple[Example, ...]:
    """The first `questions` generated ones of `task` that come after at most `longest` facts."""
    found: list[Example] = []
    drawn = questions
    while len(found) < questions:
        drawn *= 2
        found = [e for e in generate(task, questions=drawn, seed=seed, split=split) if len(e.facts) <= longest]
    return tuple(found[:questions])
