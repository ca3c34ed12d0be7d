"""The most frequent answer, over all questions and by kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dmnplus.data.example import DataError, Example, Source, Splits
from dmnplus.training.baselines import baselines, first_words, most_frequent_answer, most_frequent_by


def question(text: str, *answer: str, kind: str = "") -> Example:
    return Example(facts=(), question=text, answer=answer, source=Source(kind=kind))


TRAINING = [
    question("How many cats?", "2", kind="count"),
    question("How many dogs?", "2", kind="count"),
    question("What is it?", "cat", "dog"),
    question("What is there?", "cat", "dog"),
    question("What color?", "red"),
    question("Unanswered?"),
]


def test_equals_are_told_apart_by_the_alphabet() -> None:
    assert most_frequent_answer(TRAINING) == most_frequent_answer(TRAINING[::-1]) == ("2",)


def test_by_first_words_and_by_kind() -> None:
    by_words = most_frequent_by(TRAINING, first_words(2))
    assert by_words(question("WHAT is on the desk?")) == ("cat", "dog")
    assert by_words(question("How many?")) == ("2",)
    # Never seen: the most frequent of all.
    assert by_words(question("Who is it?")) == ("2",)
    assert by_words(question("Unanswered?")) == ("2",)
    by_kind = most_frequent_by(TRAINING, lambda example: example.source.kind)
    assert by_kind(question("?")) == ("cat", "dog")
    assert by_kind(question("?", kind="count")) == ("2",)


def test_no_answers() -> None:
    for training in ([], [question("?")]):
        with pytest.raises(DataError, match="no question has an answer"):
            most_frequent_by(training, first_words(1))


def test_baselines_are_measured_on_the_test_questions_or_else_on_those_that_validate() -> None:
    two = question("How many?", "2")
    splits = Splits("x", TRAINING, [two], [two, question("What is it?", "cat", "dog"), question("Who?", "me")])
    line = "most frequent answer{}: accuracy {}%".format
    after = " after the question's first 2 words"
    assert [*baselines(splits)] == [line("", 33.3), line(after, 66.7)]
    assert [*baselines(replace(splits, test=[]))] == [line("", 100.0), line(after, 100.0)]
