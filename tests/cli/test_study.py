from pathlib import Path


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
