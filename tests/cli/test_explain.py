"""`dmnplus explain`."""

import io
import json
from pathlib import Path

import pytest

STORY = "1 Mary went to the office.\n2 John went to the garden.\n3 Mary went to the kitchen.\n"


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "story.txt"
    path.write_text(STORY + "4 Where is Mary?\tkitchen\t3\n")
    return path


def test_the_table_shows_passes_and_changes(dmnplus, trained: Path, story: Path):
    result = dmnplus("explain", trained, "--story", story)
    assert result.status == 0, result.err
    assert result.out.startswith("Where is Mary?\nkitchen")
    assert [f"pass {t}" in result.out for t in (1, 2, 3)] == [True] * 3
    assert "without 3" in result.out
    assert "p(kitchen)" in result.out


def test_chosen_changes_in_json(dmnplus, trained: Path, story: Path):
    result = dmnplus("explain", trained, "--story", story, "--without", "1,3", "--without", 2, "--swap", 1, 3, "--json")
    assert result.status == 0, result.err
    explained = json.loads(result.out)
    assert explained["question"] == "Where is Mary?"
    changes = [(change["kind"], change["facts"]) for change in explained["changes"]]
    assert changes == [("without", [0, 2]), ("without", [1]), ("swap", [0, 2])]
    assert explained["changes"][2]["answer"] == "office"


def test_a_question_given_apart_and_stories_piped_in(dmnplus, trained: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(STORY))
    result = dmnplus("explain", trained, "--story", "-", "--question", "Where is John?")
    assert result.out.startswith("Where is John?\ngarden")
    # Paragraphs are one story, where the question stands apart.
    monkeypatch.setattr("sys.stdin", io.StringIO(STORY.replace("\n", "\n\n")))
    assert dmnplus("explain", trained, "--question", "Where is John?").out == result.out
    monkeypatch.setattr("sys.stdin", io.StringIO(STORY + "Where is John?\nMary went to the garden.\nWhere is Mary?\n"))
    result = dmnplus("explain", trained)
    assert result.out.startswith("Where is Mary?\ngarden")
    assert "2 questions were asked; this is the last" in result.err


def test_figure_and_page_are_written(dmnplus, trained: Path, story: Path, tmp_path: Path):
    pytest.importorskip("matplotlib", reason='needs pip install "dmnplus[vision]"')
    figure, html = tmp_path / "a.png", tmp_path / "a.html"
    result = dmnplus("explain", trained, "--story", story, "--figure", figure, "--html", html, "--json")
    assert result.status == 0, result.err
    json.loads(result.out)
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert html.read_text().startswith("<!doctype html>")
    assert f"page in {html}" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--without", "x"), "--without is 'x'; it takes numbers of facts, as 3 or 3,4"),
        (("--without", "4"), "there is no fact 4; the story has 3, numbered from 1"),
        (("--without", "0"), "there is no fact 0"),
        (("--without", "1,2,3"), "--without leaves no fact; the story has 3"),
        (("--swap", "1", "7"), "there is no fact 7"),
        (("--swap", "2", "2"), "--swap is 2 2; it takes two different facts"),
        (("--figure", "a.gif"), "a figure is written as .png, .pdf, .svg"),
        (("--image", "none.png"), "is a picture, and this model reads text only"),
    ],
)
def test_a_wrong_argument_says_what_is_accepted(dmnplus, trained: Path, story: Path, arguments, message: str):
    result = dmnplus("explain", trained, "--story", story, *arguments)
    assert result.status == 2
    assert message in result.err


def test_without_question_or_story_it_says_so(dmnplus, trained: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(STORY))
    assert "no question was asked" in dmnplus("explain", trained).err
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "there is no story before the question" in dmnplus("explain", trained, "--question", "Where?").err


def test_ask_obeys_nothing_in_a_story(dmnplus, trained: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "sys.stdin", io.StringIO("Mary went [/] to \x1b[31m the office.\nWhere [/] is \x1b[31m Mary?\n")
    )
    result = dmnplus("ask", trained, "--explain")
    assert result.status == 0, result.err
    assert "Where [/] is" in result.out
    assert "\x1b" not in result.out
