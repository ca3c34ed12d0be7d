"""The consensus accuracy, worked by hand, and the official rules for comparing answers, quirks included."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmnplus.data.example import DataError
from dmnplus.data.vqa import Annotation, read_annotations
from dmnplus.training.vqa_accuracy import CONTRACTIONS, normalise, question_accuracy, vqa_accuracy


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes", "yes"),
        ("the Dog.", "dog"),
        ("A  red   ball", "red ball"),
        # Articles go even if nothing is left.
        ("a", ""),
        ("The", ""),
        ("none", "0"),
        ("Two dogs and ten cats", "2 dogs and 10 cats"),
        ("eleven", "eleven"),
        ("dont know", "don't know"),
        ("Dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        # Both apostrophes are missing: not in the official table.
        ("couldntve", "couldntve"),
        ("yall'd've", "y'all'd've"),
        ("ow's'at", "'ow's'at"),
        ("somebody'd", "somebodyd"),
        # These are in the official table with a capital, and so are never found.
        ("im", "im"),
        ("girl's", "girl's"),
        ("2:50 pm", "2:50 pm"),
        ("red/blue", "red blue"),
        ("red, blue", "red blue"),
        ("red,blue", "red blue"),
        ("t-shirt", "t shirt"),
        # A blank beside one hyphen takes the blank from all.
        ("t-shirt - red", "tshirt red"),
        ("(yes)", "yes"),
        ("what?!", "what"),
        ("100,978", "100978"),
        # A comma between digits takes the blank from every mark.
        ("1,000/2", "10002"),
        ("3.5", "3.5"),
        (".5", ".5"),
        ("3.", "3"),
        ("8 p.m.", "8 pm"),
        ("st. john", "st john"),
        ("." * 33 + "x", ".x"),
        ("", ""),
        ("?", ""),
        # Articles are looked for before apostrophes are put in, number words before articles.
        ("the one", "1"),
        ("a.", ""),
    ],
)
def test_official_normalisation(answer: str, expected: str) -> None:
    assert normalise(answer) == expected


def test_the_official_table_of_contractions() -> None:
    # 120 in the official code, less four with a capital and two that change nothing.
    assert len(CONTRACTIONS) == 114
    assert [CONTRACTIONS[word] for word in ("maam", "oclock", "twas")] == ["ma'am", "o'clock", "'twas"]
    assert not {"wed", "were", "well", "ill", "id", "hell", "shes", "lets"} & CONTRACTIONS.keys()


@pytest.mark.parametrize(
    ("matches", "expected"),
    # One match: 9 of the 10 sets hold it, 9/10 * 1/3. Three: 7 sets hold all, 3 hold two: 7/10 + 3/10 * 2/3.
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)],
)
def test_the_mean_over_the_sets_of_nine(matches: int, expected: float) -> None:
    people = ["cat"] * matches + [f"animal {i}" for i in range(10 - matches)]
    assert question_accuracy("cat", people) == pytest.approx(expected)
    assert question_accuracy(" The cat.\n", people) == pytest.approx(expected if matches < 10 else 0.0)


def test_people_are_normalised_too() -> None:
    assert question_accuracy("2", ["two", "Two.", "2", "the two"] + ["3"] * 6) == 1.0
    assert question_accuracy("3", ["two", "Two.", "2", "the two"] + ["3"] * 6) == 1.0


def test_where_all_agree_nothing_is_normalised() -> None:
    assert question_accuracy("Stop.", ["Stop."] * 10) == 1.0
    assert question_accuracy("stop", ["Stop."] * 10) == 0.0
    assert question_accuracy("stop", ["Stop."] * 9 + ["go"]) == 1.0
    # Outer blanks never matter.
    assert question_accuracy("\tstop ", ["stop\n"] * 10) == 1.0


def annotation(answers: list[str], kind: str, first: str) -> Annotation:
    return Annotation(answers[0], tuple(answers), first, kind)


def test_means_by_answer_type_and_question_type() -> None:
    annotations = {
        1: annotation(["yes"] * 10, "yes/no", "is the"),
        2: annotation(["no"] * 8 + ["yes"] * 2, "yes/no", "is this"),
        3: annotation(["red"] * 9 + ["blue"], "other", "is the"),
    }
    scores = vqa_accuracy({1: "yes", 2: "yes", 3: "blue"}, annotations)
    assert scores.questions == 3
    assert scores.overall == pytest.approx((1.0 + 0.6 + 0.3) / 3)
    assert scores.by_answer_type == pytest.approx({"yes/no": 0.8, "other": 0.3})
    assert scores.by_question_type == pytest.approx({"is the": 0.65, "is this": 0.6})


def test_answers_and_questions_that_do_not_belong_together() -> None:
    annotations = {number: annotation(["yes"] * 10, "yes/no", "is") for number in (1, 2, 3)}
    with pytest.raises(DataError, match=r"question 2 \(and 1 more\) has no answer"):
        vqa_accuracy({1: "yes"}, annotations)
    with pytest.raises(DataError, match="question 9 is not annotated"):
        vqa_accuracy({1: "a", 2: "a", 3: "a", 9: "a"}, annotations)
    with pytest.raises(DataError, match="there is no question"):
        vqa_accuracy({}, {})


def test_the_real_validation_file(data_root: Path) -> None:
    file = data_root / "vqa" / "vqa_annotations_valid.json.gz"
    if not file.is_file():
        pytest.skip(f"VQA is not in {data_root}; set DMNPLUS_DATA to its folder")
    annotations = read_annotations(file)
    best = vqa_accuracy({number: one.answer for number, one in annotations.items()}, annotations)
    always_yes = vqa_accuracy(dict.fromkeys(annotations, "yes"), annotations)
    # Even the answer that most people gave is not what three of nine say everywhere.
    assert best.overall == pytest.approx(0.9661, abs=1e-4)
    assert always_yes.overall == pytest.approx(0.2085, abs=1e-4)
    assert always_yes.by_answer_type["yes/no"] == pytest.approx(0.6219, abs=1e-4)
    assert len(best.by_question_type) == 65
