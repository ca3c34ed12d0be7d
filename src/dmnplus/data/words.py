"""Sentences and words of a text."""

from __future__ import annotations

import re

WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text: one a line, or ended by `.`, `!` or `?` and white space."""
    return [sentence.strip() for sentence in _SENTENCE_END.split(text) if sentence.strip()]


def tokenize(text: str) -> list[str]:
    """Lower-case words of `text`, punctuation dropped; inner apostrophes and hyphens stay ("don't" is one word)."""
    return WORD.findall(text.lower())
