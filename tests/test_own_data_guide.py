"""The commands of docs/own_data.md do what it says."""

import re
import shutil
import subprocess
import sys
from os import environ, pathsep
from pathlib import Path

from dmnplus.data.own import read_own, require

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "own_data.md").read_text()
HOUSEHOLD = ROOT / "examples" / "household.jsonl"


def test_the_commands_run_in_an_empty_folder(tmp_path: Path):
    shutil.copy(HOUSEHOLD, tmp_path)
    blocks = re.findall(r"<!-- run by tests/test_own_data_guide.py -->\n```\n(.*?)```", GUIDE, flags=re.DOTALL)
    assert len(blocks) == 2
    # The command that belongs to this interpreter comes first.
    environment = {
        **environ,
        "PATH": f"{Path(sys.executable).parent}{pathsep}{environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    printed = ""
    for block in blocks:
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        printed += result.stdout
    assert "250 questions can be read: nothing is wrong" in printed
    assert re.search(r"^kitchen +\d", printed, flags=re.MULTILINE)
    # Far above the 4% of the most frequent answer.
    (accuracy,) = re.findall(r"25 questions.*accuracy (\d+\.\d+)%", printed)
    assert float(accuracy) > 30


def test_the_line_in_the_guide_is_one_that_can_be_read(tmp_path: Path):
    (line,) = re.findall(r"```json\n(.*?)\n```", GUIDE)
    path = tmp_path / "line.jsonl"
    path.write_text(line)
    (row,) = require(read_own(path)).rows
    assert row.example.answer == ("kitchen",)


def test_the_household_is_what_the_guide_says():
    rows = require(read_own(HOUSEHOLD)).rows
    events = {fact for row in rows for fact in row.example.facts}
    assert (len(rows), len({row.group for row in rows}), len(events)) == (250, 50, 200)
