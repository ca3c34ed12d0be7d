"""The Python in docs/explain.md runs."""

import re
from pathlib import Path

import pytest

GUIDE = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()


def test_the_snippets_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    pytest.importorskip("matplotlib", reason='needs pip install "dmnplus[vision]"')
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"<!-- run by tests/explain/test_explain_guide.py -->\n```python\n(.*?)```", GUIDE, flags=re.DOTALL
    )
    exec("\n".join(blocks), {})
    printed = capsys.readouterr().out.splitlines()
    changes = ["without (0,)", "without (1,)", "without (2,)", "without (3,)", "swap (2, 3)"]
    assert [line[: len(change)] for line, change in zip(printed, changes, strict=True)] == changes
    # Without the last move the milk is still where it was before.
    assert "hallway" in printed[3]
    assert (tmp_path / "why.html").stat().st_size > 1000
    assert (tmp_path / "why.png").stat().st_size > 1000
