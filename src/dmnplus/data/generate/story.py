"""The pieces every simulated task is made of: statements, questions about them, and the story that holds both."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Statement:
    """A fact, as the official files write it: first letter upper case, full stop at the end."""

    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question; `supporting` are 0-based positions in the story (lines, questions counted), in the files' order."""

    text: str
    answer: tuple[str, ...]
    supporting: tuple[int, ...]


Story: TypeAlias = list[Statement | Question]


@dataclass(frozen=True, slots=True)
class Task:
    """One of the twenty tasks: its number, the stem of its official file names, and how to make one story of it."""

    number: int
    stem: str
    story: Callable[[random.Random], Story]
