"""Statistics of questions, by hand, and what a comparison says."""

from __future__ import annotations

from dataclasses import astuple
from io import StringIO

import pytest
from rich.console import Console

from dmnplus.data.babi import parse_babi
from dmnplus.data.compare import Spread, compare, render, statistics
from dmnplus.data.example import Example

STORIES = """\
1 Mary moved to the hall.
2 John left.
3 Where is Mary?\thall\t1
4 John took it.
5 Where is John?\tout\t4 2
1 Mary moved to the hall.
2 Where is Mary?\thall\t1
1 Mary moved to the hall.
2 Where is Mary?\thall\t1
"""


def questions(text: str = STORIES) -> list[Example]:
    return parse_babi(text.splitlines(), file="hand", kind="babi/1")


def test_figures_by_hand() -> None:
    figures = statistics(questions())
    # The last two stories read the same and are still two: their lines tell.
    assert (figures.questions, figures.stories) == (4, 3)
    assert astuple(figures.questions_per_story) == pytest.approx((4 / 3, 2**0.5 / 3, 1, 1, 2))
    # 2, 3, 1 and 1 facts before a question.
    assert astuple(figures.statements) == pytest.approx((1.75, 0.6875**0.5, 1, 1.5, 3))
    # Facts are counted once: 5, 2, 3, 5 and 5 words.
    assert figures.words_per_statement.mean == 4
    assert figures.words_per_question.mean == 3
    assert figures.vocabulary == {"mary", "moved", "to", "the", "hall", "john", "left", "took", "it", "where", "is"}
    assert figures.answers == {"hall": 0.75, "out": 0.25}
    assert figures.supporting_counts == {1: 0.75, 2: 0.25}
    assert figures.supporting.mean == 1.25
    # Of the facts 1; 4 and 2; 1; 1, so many lie between each and its question.
    assert figures.supporting_age.mean == pytest.approx((1 + 0 + 1 + 0 + 0) / 5)
    assert figures.supporting_ascending == 0.75


def test_stories_without_lines_are_told_apart_by_their_facts() -> None:
    first = Example(facts=("a.",), question="b?", answer=("c",))
    second = Example(facts=("a.", "d."), question="b?", answer=("c",))
    figures = statistics([first, second, first])
    assert (figures.stories, figures.questions_per_story.most) == (2, 2)
    assert figures.supporting == Spread(0, 0, 0, 0, 0)


def test_nothing_sets_questions_apart_from_themselves() -> None:
    comparison = compare(questions(), questions())
    assert set(comparison.differences.values()) == {0}
    assert comparison.words_only_generated == comparison.words_only_real == ()
    assert comparison.answer_distance == comparison.supporting_distance == 0


def test_what_sets_questions_apart() -> None:
    real = questions("1 Mary moved to the garden.\n2 Where is Mary?\tgarden\t1\n")
    comparison = compare(questions(), real)
    assert comparison.differences["questions"] == 3
    assert comparison.differences["statements.mean"] == 0.75
    assert comparison.words_only_generated == ("hall", "it", "john", "left", "took")
    assert comparison.words_only_real == ("garden",)
    assert comparison.answer_distance == 1
    assert comparison.supporting_distance == 0.25

    console = Console(width=120, record=True, file=StringIO())
    console.print(render({"task 1": comparison}))
    text = console.export_text()
    for shown in ("task 1", "1.75 ± 0.83 (1, 1.5, 3)", "1.00 ± 0.00 (1, 1, 1)", "100.0% apart", "garden", "hall, it"):
        assert shown in text


def test_no_questions() -> None:
    with pytest.raises(ValueError, match="no questions"):
        statistics([])
