import sys
from pathlib import Path

import pytest


def test_studies_are_listed_in_the_order_of_the_questions(dmnplus):
    result = dmnplus("study")
    assert result.status == 0
    lines = result.out.splitlines()
    assert len(lines) == 12
    assert lines[0].split()[:2] == ["1", "passes"]
    assert lines[11].split()[:2] == ["12", "one_space"]


def test_an_unknown_study_is_an_error_that_names_those_there_are(dmnplus):
    result = dmnplus("study", "passe")
    assert result.status == 2
    assert "unknown study 'passe'; there are passes, " in result.err


def test_a_page_without_a_record_is_an_error(dmnplus, tmp_path: Path):
    result = dmnplus("study", "passes", "--page", "--records", tmp_path)
    assert result.status == 2
    assert "passes.json: no such record; `dmnplus study passes` makes it" in result.err


def test_ctrl_c_says_that_what_is_trained_is_kept(dmnplus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dmnplus.studies.running.train_runs", interrupted)
    result = dmnplus("study", "shared_words", "--out", tmp_path / "arms", "--records", tmp_path)
    assert result.status == 130
    assert "keeps what is trained, and the same command goes on from there" in result.err
    assert not (tmp_path / "shared_words.json").exists()


def test_without_matplotlib_nothing_is_trained(dmnplus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = dmnplus("study", "shared_words", "--out", tmp_path / "arms", "--records", tmp_path)
    assert result.status == 2
    assert 'pip install "dmnplus[report]"' in result.err
    assert not [*tmp_path.iterdir()]
