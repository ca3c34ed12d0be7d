"""Words and answers as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

PADDING, UNKNOWN = 0, 1
_SPECIAL = ("<pad>", "<unk>")
_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")


def tokenize(text: str) -> list[str]:
    """Lower-case words of `text`, punctuation dropped; inner apostrophes and hyphens stay ("don't" is one word)."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class Vocabulary:
    """Words of facts and questions, and the answers seen in training.

    `words` starts with padding (0) and unknown (1). `answers` are whole answers ("milk,football" is one class),
    `answer_words` the words they consist of, after the end of an answer (0).
    """

    words: tuple[str, ...]
    answers: tuple[str, ...]
    answer_words: tuple[str, ...] = field(default=())

    @classmethod
    def build(cls, sentences: Iterable[str], answers: Iterable[Sequence[str]]) -> Vocabulary:
        """All words of `sentences` and all of `answers`, sorted, so that the order of the data does not matter."""
        words = sorted({word for sentence in set(sentences) for word in tokenize(sentence)})
        distinct = {tuple(answer) for answer in answers}
        return cls(
            words=(*_SPECIAL, *words),
            answers=tuple(sorted(",".join(answer) for answer in distinct)),
            answer_words=("<end>", *sorted({word for answer in distinct for word in answer})),
        )

    @cached_property
    def _word_ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def answer_ids(self) -> dict[str, int]:
        return {answer: i for i, answer in enumerate(self.answers)}

    @cached_property
    def answer_word_ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.answer_words)}

    def encode(self, sentence: str) -> list[int]:
        """Word ids of `sentence`, never empty: a sentence without a word reads as one unknown word."""
        return [self._word_ids.get(word, UNKNOWN) for word in tokenize(sentence)] or [UNKNOWN]

    def answer_of(self, ids: Sequence[int], *, by_word: bool) -> tuple[str, ...]:
        """The words of an answer: `ids` are its words, or the one class that it is."""
        return tuple(self.answer_words[i] for i in ids) if by_word else tuple(self.answers[ids[0]].split(","))

    def unknown_words(self, sentences: Iterable[str]) -> list[str]:
        """Words of `sentences` never seen in training, each once, in order of appearance."""
        words = (word for sentence in sentences for word in tokenize(sentence))
        return list(dict.fromkeys(word for word in words if word not in self._word_ids))
