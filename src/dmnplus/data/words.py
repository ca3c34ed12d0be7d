"""Sentences and words of a text."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text: one a line, or ended by `.`, `!` or `?` and white space."""
    return [sentence.strip() for sentence in _SENTENCE_END.split(text) if sentence.strip()]


def find_words(text: str) -> list[str]:
    """The words of `text` as written but in Unicode's composed form (NFC), punctuation dropped; inner apostrophes and
    hyphens stay ("don't" is one word), and so do combining marks, as the vowel signs of Hindi."""
    if text.isascii():
        return _WORD.findall(text)
    return _word_with_marks().findall(unicodedata.normalize("NFC", text))


def tokenize(text: str) -> list[str]:
    """`find_words` in lower case."""
    return find_words(text.lower())


@cache
def _word_with_marks() -> re.Pattern[str]:
    # `\w` has no combining marks, and `re` no name for them; the last are those that choose a form of a Chinese sign.
    marks = "".join(chr(c) for c in range(0x20000) if unicodedata.category(chr(c)).startswith("M"))
    letter = rf"\w[\w\u200c\u200d{marks}\U000e0100-\U000e01ef]*"
    return re.compile(rf"{letter}(?:['\u2019-]{letter})*")
