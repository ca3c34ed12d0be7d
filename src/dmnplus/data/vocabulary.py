"""Words and answers as numbers."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from dmnplus.data.example import Fact
from dmnplus.data.names import Cast, is_placeholder, iter_words, looks_like_name, placeholder, spell
from dmnplus.data.words import tokenize as tokenize

PADDING, UNKNOWN = 0, 1
_SPECIAL = ("<pad>", "<unk>")
_USUAL = {"separator": ",", "unseen": False}
_NO_NAMES: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Vocabulary:
    """Words of facts and questions, and the answers seen in training.

    `words` starts with padding (0) and unknown (1). `answers` are whole answers ("milk,football" is one class),
    `answer_words` the words they consist of, after the end of an answer (0). The placeholders of names, if there are
    any, come first in `answers` and directly after what is said here in the others. `separator` is what joins the words
    of an answer.
    """

    words: tuple[str, ...]
    answers: tuple[str, ...]
    answer_words: tuple[str, ...] = field(default=())
    separator: str = ","
    unseen: bool = False
    """Whether any word that training did not see is read as a placeholder, and not names alone."""

    @classmethod
    def build(
        cls,
        sentences: Iterable[str],
        answers: Iterable[Sequence[str]],
        *,
        names: Collection[str] = (),
        placeholders: int = 0,
        separator: str = ",",
        unseen: bool = False,
    ) -> Vocabulary:
        """All words of `sentences` and all of `answers`, sorted, so that the order of the data does not matter.

        `names`, in lower case, are left out: any of the `placeholders` stands for each of them.
        """
        places = dict.fromkeys(names, 0)
        words = {word for sentence in set(sentences) for word in spell(sentence, places) if not is_placeholder(word)}
        distinct = {tuple(answer) for answer in answers}
        plain = {answer for answer in distinct if not any(word.lower() in places for word in answer)}
        answer_words = {word for answer in distinct for word in answer if word.lower() not in places}
        standing = [placeholder(place) for place in range(placeholders)]
        return cls(
            words=(*_SPECIAL, *standing, *sorted(words)),
            answers=(*standing, *sorted(separator.join(answer) for answer in plain)),
            answer_words=("<end>", *standing, *sorted(answer_words)),
            separator=separator,
            unseen=unseen,
        )

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Vocabulary:
        """A vocabulary from its plain form. Raises `TypeError` or `AttributeError` for what is none."""
        words = {key: tuple(value) for key, value in content.items() if key not in _USUAL}
        said = {**_USUAL, **content}
        return cls(**words, separator=str(said["separator"]), unseen=bool(said["unseen"]))

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; what is as usual is left out, as in files older than it."""
        return {key: value for key, value in asdict(self).items() if key not in _USUAL or value != _USUAL[key]}

    @cached_property
    def names(self) -> int:
        """How many placeholders of names there are."""
        return sum(map(is_placeholder, self.words))

    @cached_property
    def _word_ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def answer_ids(self) -> dict[str, int]:
        return {answer: i for i, answer in enumerate(self.answers)}

    @cached_property
    def answer_word_ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.answer_words)}

    def cast(self, facts: Iterable[Fact], question: str) -> Cast:
        """The names of a story and its question, each with a placeholder that depends on the story alone.

        A name is a word written like one that training did not see as anything else; with `unseen`, so is every other
        word that it did not see. Names beyond the number of placeholders stay unknown words.
        """
        if not self.names:
            return Cast({}, {})
        told = [fact for fact in facts if isinstance(fact, str)]
        names: dict[str, str] = {}
        for text in (*told, question):
            for word, begins in iter_words(text):
                if (self.unseen or looks_like_name(word)) and word.lower() not in self._word_ids:
                    # At the beginning of a sentence every word has a capital.
                    names[word.lower()] = names.get(word.lower(), word) if begins else word
        order = random.Random("\n".join(told)).sample(range(self.names), self.names)
        places = dict(zip(names, order, strict=False))
        return Cast(places, {place: names[name] for name, place in places.items()})

    def encode(self, sentence: str, places: Mapping[str, int] = _NO_NAMES) -> list[int]:
        """Word ids of `sentence`, never empty: a sentence without a word reads as one unknown word.

        `places` are the placeholders of names (see `Cast`).
        """
        return [self._word_ids.get(word, UNKNOWN) for word in spell(sentence, places)] or [UNKNOWN]

    def join(self, answer: Iterable[str]) -> str:
        """The words of an answer as one text."""
        return self.separator.join(answer)

    def answer_of(self, ids: Sequence[int], *, by_word: bool) -> tuple[str, ...]:
        """The words of an answer: `ids` are its words, or the one class that it is."""
        return (
            tuple(self.answer_words[i] for i in ids) if by_word else tuple(self.answers[ids[0]].split(self.separator))
        )

    def unknown_words(self, sentences: Iterable[str], places: Mapping[str, int] = _NO_NAMES) -> list[str]:
        """Words of `sentences` never seen in training, each once, in order of appearance."""
        known = self._word_ids
        return list(dict.fromkeys(word for word in spell("\n".join(sentences), places) if word not in known))
