"""What the terminal shows of attention and changes."""

import io
from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from dmnplus.answering import Answer
from dmnplus.explain.trace import attention_table, changes_table
from dmnplus.explain.what_if import Change, Explanation

ANSWER = Answer("yes", 0.9, [("yes", 0.9)], ["A.", "B.", "C."], [[0.5, 0.25, 0.25], [0, 1, 0]], {}, [])


def printed(table: Table, width: int) -> str:
    file = io.StringIO()
    Console(width=width, file=file).print(table)
    return file.getvalue()


def test_labelled_facts_are_marked_beside_their_attention():
    numbers, _, *passes = attention_table(ANSWER, supporting=frozenset({1})).columns
    assert [*numbers.cells] == [" 1", "*2", " 3"]
    assert [str(cell).split()[-1] for cell in passes[0].cells] == ["50%", "25%", "25%"]
    assert [str(cell) for cell in passes[1].cells] == ["           0%", "████████ 100%", "           0%"]


def test_changes_that_hardly_move_the_answer_share_a_row_and_no_others_do():
    changes = [
        Change("without", (0,), ANSWER, 0.5, -0.4),
        Change("without", (1,), ANSWER, 0.899, -0.001),
        Change("without", (2,), replace(ANSWER, answer="no"), 0.899, -0.001),
    ]
    explanation = Explanation("Well?", ANSWER, changes)
    what, _, answers, _, points = changes_table(explanation).columns
    assert [*what.cells] == ["without 1", "without 3", "without"]
    assert [str(answer) for answer in answers.cells] == ["yes", "no", "yes"]
    assert [*points.cells] == ["-40.0", "-0.1", "-0.1"]
    assert [*changes_table(explanation, every=True).columns[0].cells] == ["without 1", "without 2", "without 3"]


@pytest.mark.parametrize(("passes", "width"), [(3, 40), (3, 50), (4, 60), (7, 60), (3, 80)])
def test_a_narrow_terminal_keeps_the_story_and_the_percentages(passes: int, width: int):
    answer = replace(ANSWER, facts=["Mary went to the office.", "John left."], attention=[[1, 0]] * passes)
    shown = printed(attention_table(answer, width=width), width)
    assert max(map(len, shown.splitlines())) <= width
    assert "Mary went to the" in shown
    assert "2 John left." in shown.replace("2  ", "2 ")
    assert shown.count("100%") == passes
    assert ("█" in shown) == (width == 80)


def test_a_narrow_terminal_keeps_the_changes():
    explanation = Explanation("Well?", ANSWER, [Change("without", (0,), replace(ANSWER, answer="no"), 0.5, -0.4)])
    shown = printed(changes_table(explanation, width=40), 40)
    for cell in ("A.", "no", "50%", "-40.0"):
        assert cell in shown
