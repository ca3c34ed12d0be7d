"""A question as it is put to a scene or a series, and the choice among many that keeps the answers even."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from dmnplus.data.scenes.scene import Thing

# A thing and the picture it is seen in, counted from 0.
Seen: TypeAlias = tuple[int, Thing]
YES_NO = ("yes", "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question with its `answer`, one of `choices`.

    `form` is what questions of one wording share. `look` are the things to look at, in the order of the steps that lead
    to the answer; the first of them is step `first`. `sentences` are told, the pictures coming after `told_before` of
    them; those that matter are `supporting`, in the order in which they are needed.
    """

    form: str
    text: str
    answer: str
    choices: tuple[str, ...]
    look: tuple[tuple[Seen, ...], ...] = ()
    first: int = 0
    sentences: tuple[str, ...] = ()
    told_before: int = 0
    supporting: tuple[int, ...] = ()


def yes_no(truth: bool) -> str:
    return "yes" if truth else "no"


def seen(*steps: Iterable[Thing], picture: int = 0) -> tuple[tuple[Seen, ...], ...]:
    """The things of each step in one picture; a step without any is left out."""
    groups = (tuple((picture, thing) for thing in things) for things in steps)
    return tuple(group for group in groups if group)


class Balance:
    """Chooses questions so that, within a form, no answer is given much more often than another."""

    # By how many an answer may be ahead of the rarest one.
    AHEAD = 2

    def __init__(self, random: Random) -> None:
        self._random = random
        self._forms: Counter[str] = Counter()
        self._answers: Counter[tuple[str, str]] = Counter()
        self._texts: Counter[tuple[str, str]] = Counter()

    def choose(self, candidates: Iterable[Asked]) -> Asked | None:
        """The candidate whose form, and then text with its answer, is rarest; None if all would tip the balance."""
        best: Asked | None = None
        best_rank = (0, 0, 0.0)
        for asked in candidates:
            given = self._answers[asked.form, asked.answer]
            if given >= self.AHEAD and given >= self.AHEAD + min(self._answers[asked.form, it] for it in asked.choices):
                continue
            rank = self._forms[asked.form], self._texts[asked.text, asked.answer], self._random.random()
            if best is None or rank < best_rank:
                best, best_rank = asked, rank
        if best is not None:
            self._forms[best.form] += 1
            self._answers[best.form, best.answer] += 1
            self._texts[best.text, best.answer] += 1
        return best
