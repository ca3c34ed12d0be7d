import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dmnplus.cli import sources
from dmnplus.data.babi import write_babi
from dmnplus.data.example import Example
from dmnplus.data.generate import generate

QUICK = ["--set=model.hidden=8", "--set=training.epochs=2", "--set=training.batch=32"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive's folder of two small tasks, without official counts: the files lie in no language's folder."""
    folder = tmp_path_factory.mktemp("archive")
    for task, stem in ((1, "single"), (15, "deduction")):
        for split, questions in (("train", 60), ("test", 20)):
            write_babi(generate(task, questions, 0, split), folder / f"qa{task}_{stem}_{split}.txt")
    return folder


def test_a_sweep_in_plain_lines_and_again(dmnplus, tmp_path: Path, archive: Path):
    arguments = ["reproduce", "babi", "--tasks=1,15", "--variants=dmn2,dmn+", "--runs=2", "--data", archive, *QUICK]
    places = ["--out", tmp_path / "results", "--work", tmp_path / "runs"]
    result = dmnplus(*arguments, *places)
    assert result.status == 0, result.err
    done = [line for line in result.out.splitlines() if "done" in line]
    assert len(done) == 8
    assert done[0].startswith("task 1 dmn2 seed 0  done, 1 of 8")
    assert "\x1b" not in result.out
    # Nobody should choose by what is not shown.
    assert "test" not in result.out.replace(str(tmp_path), "")
    records = sorted(path.relative_to(tmp_path / "results").as_posix() for path in tmp_path.glob("results/*/*.json"))
    assert records == [f"{v}/babi-{t}-{s}.json" for v in ("dmn+", "dmn2") for t in (1, 15) for s in (0, 1)]
    record = json.loads((tmp_path / "results" / records[0]).read_text())
    assert record["data"] == "babi/1 (en-10k)"
    assert {part: len(digest) for part, digest in record["files"].items()} == dict.fromkeys(
        ("training", "validation", "test"), 64
    )
    # Again, with more starts: only the new ones are trained.
    result = dmnplus(*arguments[:4], "--runs=3", *arguments[5:], *places)
    assert result.status == 0, result.err
    assert len([line for line in result.out.splitlines() if "done" in line]) == 4
    assert "task 15 dmn+ seed 2  done, 12 of 12" in result.out
    # More test questions later need no training.
    result = dmnplus(*arguments[:4], "--runs=3", *arguments[5:], *places, "--fresh=30")
    assert result.status == 0, result.err
    assert "done" not in result.out
    fresh = json.loads((tmp_path / "results" / records[0]).read_text())["fresh"]
    assert fresh["questions"] == 30
    assert 0 <= fresh["error"] <= 1
    # The models are gone by then.
    shutil.rmtree(tmp_path / "runs")
    result = dmnplus(*arguments[:4], "--runs=3", *arguments[5:], *places, "--fresh=40")
    assert result.status == 2
    assert "the model of task 1 dmn2 seed 0 is no longer there" in result.err


def test_records_of_other_questions_are_not_added_to(dmnplus, tmp_path: Path, archive: Path):
    arguments = ["reproduce", "babi", "--tasks=1", "--variants=dmn2", "--data", archive, *QUICK]
    places = ["--out", tmp_path / "results", "--work", tmp_path / "runs"]
    assert dmnplus(*arguments, *places, "--runs=1").status == 0
    other = tmp_path / "other"
    other.mkdir()
    for split, questions in (("train", 60), ("test", 20)):
        write_babi(generate(1, questions, 7, split), other / f"qa1_single_{split}.txt")
    result = dmnplus(*arguments[:5], other, *QUICK, *places, "--runs=2")
    assert result.status == 2
    assert "babi-1-0.json: is of other questions; give the same data, or another --out" in result.err
    assert not (tmp_path / "results" / "dmn2" / "babi-1-1.json").exists()


@pytest.mark.timeout(900)
def test_a_cluster_that_loses_its_workers_makes_what_one_process_makes(dmnplus, tmp_path: Path, archive: Path):
    pytest.importorskip("ray")
    psutil = pytest.importorskip("psutil")
    long = ["--tasks=1,15", "--variants=dmn+", "--runs=1", "--data", archive, "--set=model.hidden=8"]
    long += [f"--set=training.{key}=100" for key in ("epochs", "patience")]
    assert dmnplus("reproduce", "babi", *long, "--out", tmp_path / "one", "--work", tmp_path / "runs-one").status == 0
    places = ["--out", tmp_path / "two", "--work", tmp_path / "runs-two"]
    command = [sys.executable, "-m", "dmnplus", "reproduce", "babi", *long, *places, "--cluster=local", "--jobs=2"]
    # Ray gives its workers a low priority, so that beside anything else this would take for ever.
    environment = {**os.environ, "RAY_worker_niceness": "0", "COLUMNS": "200"}
    log = tmp_path / "log"
    with (
        log.open("w") as out,
        subprocess.Popen([*map(str, command)], stdout=out, stderr=out, env=environment) as process,
    ):
        metrics = [tmp_path / "runs-two" / "dmn+" / f"babi-{task}-0" / "metrics.jsonl" for task in (1, 15)]
        while not any(path.exists() for path in metrics):
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        family = psutil.Process(process.pid).children(recursive=True)
        victims = [child for child in family if child.cmdline()[:1] == ["ray::dmnplus"]]
        assert victims
        for victim in victims:
            victim.kill()
        before = [path.read_text().splitlines() if path.exists() else [] for path in metrics]
        assert process.wait() == 0, log.read_text()
    assert all(len(lines) < 100 for lines in before)
    for lines, path in zip(before, metrics, strict=True):
        # The seconds of these epochs are among them: they were not run again.
        assert path.read_text().splitlines()[: len(lines)] == lines
        name = f"dmn+/{path.parent.name}"
        weights = [(tmp_path / runs / name / "weights.safetensors").read_bytes() for runs in ("runs-one", "runs-two")]
        assert weights[0] == weights[1]
        tested = [json.loads((tmp_path / out / f"{name}.json").read_text())["test"] for out in ("one", "two")]
        assert tested[0] == tested[1]


def test_a_cluster_needs_ray(dmnplus, tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    places = ["--out", tmp_path / "results", "--work", tmp_path / "runs"]
    result = dmnplus("reproduce", "babi", "--tasks=1", "--data", archive, "--cluster=local", *places)
    assert result.status == 2
    assert "pip install 'dmnplus[cluster]'" in result.err


def test_a_cluster_that_is_not_there_is_one_clear_error(dmnplus, tmp_path: Path, archive: Path):
    pytest.importorskip("ray")
    places = ["--out", tmp_path / "results", "--work", tmp_path / "runs"]
    # Port 1 is nobody's.
    result = dmnplus("reproduce", "babi", "--tasks=1", "--data", archive, "--cluster=127.0.0.1:1", *places)
    assert result.status == 2
    assert "no Ray cluster at 127.0.0.1:1" in result.err


def test_task_3_is_made_up_where_its_file_is_missing(babi_archive: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[int, int, int, str]] = []

    def few(task: int, questions: int, seed: int, split: str) -> list[Example]:
        asked.append((task, questions, seed, split))
        return generate(task, 50, seed, split)

    monkeypatch.setattr(sources, "generate", few)
    splits = sources.paper_splits(3, babi_archive, 0.1)
    assert asked == [(3, 9000, 0, "train")]
    assert splits.name == "babi/3 (generated:9000:0, official:en:train)"
    assert splits.sources["valid"] == ["official:en-valid-10k:valid"]
    assert (len(splits.training), len(splits.validation), len(splits.test)) == (50 + 1_000, 1_000, 1_000)


def test_no_other_task_is_made_up(dmnplus, tmp_path: Path, archive: Path):
    result = dmnplus("reproduce", "babi", "--tasks=2", "--data", archive, "--out", tmp_path / "results")
    assert result.status == 2
    assert "qa2_" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "0"], "--tasks is '0'; it takes numbers from 1 to 20"),
        (["--variants", "dmn2,dmn4"], "unknown variant 'dmn4'; there are odmn, dmn2, dmn3, dmn+"),
        (["--set", "training.epoch=1"], "did you mean training.epochs?"),
        (["--runs", "0"], "--runs"),
        (["--data", "nowhere"], "nowhere: no such file"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(
    dmnplus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    monkeypatch.chdir(tmp_path)
    result = dmnplus("reproduce", "babi", *arguments)
    assert result.status == 2
    assert message in result.err
    assert list(tmp_path.iterdir()) == []
