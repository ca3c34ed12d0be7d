"""Names and rare words in a story, and the placeholders that stand for them.

A network that reads "<name-3> went to the garden" instead of "Anna went to the garden", with another placeholder in
every story, learns what a name does and not whose it is, and so reads names it never met. So it is with words.
"""

from __future__ import annotations

import calendar
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from dmnplus.data.example import Example, Fact, iter_sentences
from dmnplus.data.words import find_words, split_sentences, tokenize

_PLACEHOLDER = "<name-"
# Capitalised in English, and no names of anybody.
_CALENDAR = {word.lower() for word in (*calendar.day_name, *calendar.month_name)}


class Cast(NamedTuple):
    """The names of one story: each one's placeholder (from 0) by its lower-case form, and how it is written."""

    places: dict[str, int]
    written: dict[int, str]

    def restore(self, words: Iterable[str]) -> tuple[str, ...]:
        """`words` with the names in the place of their placeholders."""
        if not self.written:
            return tuple(words)
        names = {placeholder(place): name for place, name in self.written.items()}
        return tuple(names.get(word, word) for word in words)

    def within(self, texts: Iterable[str]) -> Cast:
        """Those of the names that `texts` hold, with the placeholders that they have here."""
        there = {word.lower() for text in texts for word, _ in iter_words(text)}
        places = {name: place for name, place in self.places.items() if name in there}
        return Cast(places, {place: self.written[place] for place in places.values()})


def placeholder(place: int) -> str:
    """The word that stands for a name; no text holds it, as it is not what `tokenize` takes for a word."""
    return f"{_PLACEHOLDER}{place + 1}>"


def is_placeholder(word: str) -> bool:
    return word.startswith(_PLACEHOLDER)


def iter_words(text: str) -> Iterable[tuple[str, bool]]:
    """Words as written, a possessive 's taken off, each with whether a sentence begins with it."""
    for sentence in split_sentences(text):
        for place, word in enumerate(find_words(sentence)):
            yield _without_possessive(word)[0], place == 0


def looks_like_name(word: str) -> bool:
    """Whether `word` is written like a name: Anna and McDonald, but not I, I'm, TV or Monday."""
    return (
        len(word) > 1
        and word[0].isupper()
        and not word.isupper()
        and not word.startswith(("I'", "I\u2019"))
        and word.lower() not in _CALENDAR
    )


def find_names(sentences: Iterable[str], answers: Iterable[Sequence[str]]) -> frozenset[str]:
    """The words of a data set that are names, in lower case.

    A name is written like one wherever it occurs, and somewhere it is an answer or not the beginning of a sentence,
    where every word has a capital.
    """
    common: set[str] = set()
    inside: set[str] = set()
    first: set[str] = set()
    for sentence in set(sentences):
        for word, begins in iter_words(sentence):
            (common if not looks_like_name(word) else first if begins else inside).add(word.lower())
    answered = {word.lower() for answer in answers for word in answer if looks_like_name(word)}
    return frozenset((inside | first & answered) - common)


def find_rare(examples: Sequence[Example], most: int) -> frozenset[str]:
    """The words, in lower case, that are in at most `most` of the stories with their questions.

    A word of an answer is none of them if its story lacks it, as nothing could stand for it, or if it is not the whole
    answer.
    """
    stories: dict[tuple[Fact, ...], set[str]] = defaultdict(set)
    kept: set[str] = set()
    for example in examples:
        there = {word.lower() for text in iter_sentences([example]) for word, _ in iter_words(text)}
        stories[example.facts] |= there
        kept |= {word.lower() for word in example.answer} - (there if len(example.answer) == 1 else set())
    counts = Counter(word for words in stories.values() for word in words)
    return frozenset(word for word, count in counts.items() if count <= most) - kept


def spell(text: str, places: Mapping[str, int]) -> list[str]:
    """The words of `text` in lower case, names by their placeholders; the 's of a name is a word of its own."""
    if not places:
        return tokenize(text)
    words: list[str] = []
    for word in find_words(text):
        name, possessive = _without_possessive(word)
        place = places.get(name.lower())
        words += [word.lower()] if place is None else [placeholder(place), *possessive]
    return words


def _without_possessive(word: str) -> tuple[str, list[str]]:
    return (word[:-2], ["'s"]) if word.endswith(("'s", "\u2019s")) else (word, [])
