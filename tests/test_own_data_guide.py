"""The commands of docs/own_data.md do what it says."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from os import environ, pathsep
from pathlib import Path

import pytest

from dmnplus.data.own import read_own, require

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "own_data.md").read_text()
HOUSEHOLD = ROOT / "examples" / "household.jsonl"


# The command that belongs to this interpreter comes first.
ENVIRONMENT = {**environ, "PATH": f"{Path(sys.executable).parent}{pathsep}{environ['PATH']}", "OMP_NUM_THREADS": "1"}


def commands(how: str) -> list[str]:
    """The blocks of the guide that this file runs in this way."""
    return re.findall(rf"<!-- {how} by tests/test_own_data_guide.py -->\n```\n(.*?)```", GUIDE, flags=re.DOTALL)


# Four processes that each import PyTorch, and a training: half a minute alone, many times that on a busy machine.
@pytest.mark.timeout(1200)
def test_the_commands_run_in_an_empty_folder(tmp_path: Path):
    shutil.copy(HOUSEHOLD, tmp_path)
    blocks = commands("run")
    assert len(blocks) == 2
    printed = ""
    for block in blocks:
        result = subprocess.run(
            # Half as long as patience would let it: what is learnt by then is enough for what is asked.
            ["bash", "-euo", "pipefail", "-c", block.replace("--out", "--set training.epochs=40 --out")],
            cwd=tmp_path,
            env=ENVIRONMENT,
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
    _ask_the_server(tmp_path)


def _ask_the_server(folder: Path) -> None:
    """The third command answers, on a page and over HTTP."""
    httpx = pytest.importorskip("httpx", reason="needs httpx")
    pytest.importorskip("uvicorn", reason='needs pip install "dmnplus[serve]"')
    (serve,), (curl,) = commands("started"), commands("asked")
    command = [*shlex.split(serve), "--port", "0"]
    with subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            address = re.search(r"http://[\w.:]+", process.stderr.readline())
            assert address is not None
            page = httpx.get(address[0], timeout=60)
            assert page.headers["content-type"].startswith("text/html")
            _, url, *_, body = shlex.split(curl)
            asked = httpx.post(f"{address[0]}{httpx.URL(url).path}", json=json.loads(body), timeout=60)
            assert asked.status_code == 200
            # The same as in the terminal.
            assert asked.json()["answer"] == "kitchen"
        finally:
            process.terminate()
    assert process.returncode == 0


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
