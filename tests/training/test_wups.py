"""Accuracy and WUPS of DAQUAR: sets of words by hand, and the similarity of words in WordNet."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dmnplus.data.example import DataError
from dmnplus.training.wups import (
    DEBIAN_FOLDER,
    Similarity,
    daquar_scores,
    set_score,
    thresholded,
    wordnet_similarity,
)

TABLE = {("chair", "stool"): 0.95, ("chair", "table"): 0.8, ("stool", "table"): 0.7}


def similarity(a: str, t: str) -> float:
    return 1.0 if a == t else TABLE.get((a, t), TABLE.get((t, a), 0.0))


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        (["chair"], ["chair"], 1.0),
        (["chair"], ["stool"], 0.95),
        (["lamp"], ["stool"], 0.0),
        # chair takes the nearer of two true words; of these, table is left with chair.
        (["chair"], ["stool", "table"], 0.95 * 0.8),
        (["stool", "table"], ["chair"], 0.95 * 0.8),
        # One wrong word more spoils the answer, and so does one too few.
        (["chair", "lamp"], ["chair"], 0.0),
        (["chair"], ["chair", "lamp"], 0.0),
        # Order and repeats do not matter.
        (["table", "chair"], ["chair", "table"], 1.0),
        (["stool", "stool"], ["chair"], 0.95),
        ([], ["chair"], 0.0),
        (["chair"], [], 0.0),
        ([], [], 1.0),
    ],
)
def test_two_sets_of_words(predicted: list[str], truth: list[str], expected: float) -> None:
    assert set_score(predicted, truth, similarity) == pytest.approx(expected)


def test_below_the_threshold_a_tenth_is_left() -> None:
    assert thresholded(0.89, 0.9) == pytest.approx(0.089)
    assert thresholded(0.9, 0.9) == 0.9
    assert thresholded(0.1, 0.0) == 0.1


def test_scores_over_questions() -> None:
    predicted = [("chair",), ("table", "chair"), ("stool",), ("table",)]
    truth = [("chair",), ("chair", "table"), ("chair",), ("chair",)]
    scores = daquar_scores(predicted, truth, similarity)
    assert scores.questions == 4
    assert scores.accuracy == 0.5
    assert scores.wups_00 == pytest.approx((1 + 1 + 0.95 + 0.8) / 4)
    assert scores.wups_09 == pytest.approx((1 + 1 + 0.95 + 0.08) / 4)
    for found in (truth[:3], []):
        with pytest.raises(DataError, match="answers for"):
            daquar_scores(found, truth[: len(found) and 4], similarity)


@pytest.fixture(scope="module")
def wordnet() -> Similarity:
    pytest.importorskip("nltk", reason="WUPS needs NLTK: pip install 'dmnplus[wups]'")
    try:
        return wordnet_similarity()
    except DataError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # The three pairs that Malinowski and Fritz give in section 4, rounded as there.
        ("curtain", "blinds", 0.94),
        ("carton", "box", 0.94),
        ("stove", "fire_extinguisher", 0.82),
        # Plural and singular share a meaning; so do synonyms.
        ("tables", "table", 1.0),
        ("couch", "sofa", 1.0),
        ("red", "blue", 0.875),
        ("2", "3", 0.875),
        # Equal words need not be known.
        ("blorp", "blorp", 1.0),
        ("blorp", "table", 0.0),
        # Known, but not as a noun.
        ("quickly", "table", 0.0),
        ("", "table", 0.0),
    ],
)
def test_wu_palmer(wordnet: Similarity, one: str, other: str, expected: float) -> None:
    assert wordnet(one, other) == pytest.approx(expected, abs=0.005)
    assert wordnet(other, one) == pytest.approx(expected, abs=0.005)


def test_scores_with_wordnet(wordnet: Similarity) -> None:
    scores = daquar_scores([("curtain",), ("stove",)], [("blinds",), ("fire_extinguisher",)], wordnet)
    curtain, stove = wordnet("curtain", "blinds"), wordnet("stove", "fire_extinguisher")
    assert scores.accuracy == 0
    assert scores.wups_00 == pytest.approx((curtain + stove) / 2)
    assert scores.wups_09 == pytest.approx((curtain + 0.1 * stove) / 2)


def test_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nltk", reason="WUPS needs NLTK: pip install 'dmnplus[wups]'")
    with pytest.raises(DataError, match=r"none: is no WordNet database .*apt-get install wordnet-base"):
        wordnet_similarity(tmp_path / "none")

    def absent() -> None:
        raise LookupError

    monkeypatch.setattr("dmnplus.training.wups.DEBIAN_FOLDER", tmp_path / "none")
    monkeypatch.setattr("nltk.corpus.wordnet", SimpleNamespace(ensure_loaded=absent))
    with pytest.raises(DataError, match=r"no WordNet is there, nor NLTK's own; .*apt-get install wordnet-base"):
        wordnet_similarity()


def test_no_nltk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(DataError, match=r"WUPS needs NLTK; run `pip install 'dmnplus\[wups\]'`"):
        wordnet_similarity()


def test_a_folder_by_name(wordnet: Similarity) -> None:
    if not DEBIAN_FOLDER.is_dir():
        pytest.skip("Debian's package wordnet-base is not installed")
    assert wordnet_similarity(DEBIAN_FOLDER)("couch", "sofa") == wordnet("couch", "sofa")
