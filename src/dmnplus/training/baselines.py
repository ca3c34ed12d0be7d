"""What an answerer that never looks would reach: the floor that every model is measured against."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from dmnplus.data.example import DataError, Example, Splits
from dmnplus.data.vocabulary import tokenize


def most_frequent_answer(training: Sequence[Example]) -> tuple[str, ...]:
    """The answer that most of `training` has; of equals, the first in alphabetical order. Raises DataError."""
    counts = Counter(example.answer for example in training if example.answer)
    if not counts:
        raise DataError("no question has an answer; the most frequent one needs training questions")
    return min(counts, key=lambda answer: (-counts[answer], answer))


def most_frequent_by(
    training: Sequence[Example], key: Callable[[Example], str]
) -> Callable[[Example], tuple[str, ...]]:
    """Answers a question with the most frequent answer of the training questions that have its `key`.

    A key that training never saw gets the most frequent answer of all. Raises DataError for a training set without
    answers.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in training:
        if example.answer:
            groups[key(example)].append(example)
    overall = most_frequent_answer(training)
    answers = {name: most_frequent_answer(group) for name, group in groups.items()}
    return lambda example: answers.get(key(example), overall)


def first_words(count: int) -> Callable[[Example], str]:
    """A key for `most_frequent_by`: the question's first `count` words ("how many")."""
    return lambda example: " ".join(tokenize(example.question)[:count])


def baselines(splits: Splits) -> Iterator[str]:
    """What the most frequent answers would reach on the test questions, or else those that validate; a line each."""
    measured = splits.test or splits.validation
    for words in (0, 2):
        guess = most_frequent_by(splits.training, first_words(words))
        right = sum(guess(example) == example.answer for example in measured) / len(measured)
        after = f" after the question's first {words} words" if words else ""
        yield f"most frequent answer{after}: accuracy {right:.1%}"
