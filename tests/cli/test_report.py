from pathlib import Path

import pytest

from dmnplus.report.document import FIGURES

RECORDS = Path(__file__).parents[2] / "results"


def test_the_command_writes_the_same_files_again(dmnplus, tmp_path: Path):
    pytest.importorskip("matplotlib")
    pages = []
    for name in ("first", "second"):
        result = dmnplus("report", RECORDS, "--out", tmp_path / name / "results.md")
        assert result.status == 0, result.err
        pages.append([(tmp_path / name / file).read_bytes() for file in ("results.md", *FIGURES)])
    assert pages[0] == pages[1]
    assert dmnplus("report", RECORDS, "--summary").out.startswith("| task |")


def test_a_folder_without_records_is_one_clear_error(dmnplus, tmp_path: Path):
    result = dmnplus("report", tmp_path)
    assert result.status == 2
    assert "dmnplus reproduce babi" in result.err
