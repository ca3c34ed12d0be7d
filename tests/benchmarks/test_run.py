"""The benchmark's plumbing, on the smallest sizes: what it prints and writes, not the figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import goals, run
from benchmarks.arithmetic import forward_operations, training_operations
from benchmarks.workload import Shape


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks.run", *arguments])
    run.main()


def test_tables_json_and_goals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "bench.json"
    sections = ("speed", "limit", "scaling", "latency", "algebra", "input", "restarts")
    threads = str(torch.get_num_threads())
    call(monkeypatch, "--tiny", "--threads", threads, "--out", str(out), *(f"--only={name}" for name in sections))
    report = json.loads(out.read_text())
    assert tuple(report["sections"]) == sections
    assert all(report["sections"].values())
    assert report["options"]["tiny"] is True
    assert {row["goal"] for row in report["goals"]} == {goal.name for goal in goals.GOALS if not goal.gpu}
    printed = capsys.readouterr().out
    for title in (
        "training, ours beside the baseline",
        "share of the arithmetic limit",
        "goals, beside what was reached",
    ):
        assert title in printed
    # Of the goals, only the latency has a size that this run has.
    assert printed.count("not measured") == len(report["goals"]) - 1


def test_goals_read_the_figures_of_their_sizes():
    spread = {"median": 4.2, "low": 4.0, "high": 4.4, "count": 3}
    found = {
        "speed": [
            {"run": "training", "facts": 40, "batch": 128, "hidden": 512, "ratio": {**spread, "median": 9.0}},
            {"run": "training", "facts": 40, "batch": 128, "hidden": 80, "ratio": spread},
            {"run": "training", "facts": 130, "batch": 128, "hidden": 80, "skipped": "no room"},
        ],
        "memory": [{"facts": 130, "batch": 128, "hidden": 80, "ours": {"bytes": 2}, "baseline": {"bytes": 5}}],
        "long": [{"facts": 100_000, "error": "killed"}],
    }
    rows = {row["goal"]: row for row in goals.reached(found, torch.device("cpu"))}
    step = rows["training step over the baseline, 40 facts"]
    assert (step["reached"], step["held"]) == (4.2, False)
    assert rows["training step over the baseline, 130 facts"]["reached"] is None
    memory = rows["memory of a training step, 130 facts, of the baseline's"]
    assert (memory["reached"], memory["held"]) == (40, True)
    assert rows["100,000 facts, one question"]["reached"] is None


def test_unknown_device_and_section_end_with_a_line(monkeypatch: pytest.MonkeyPatch):
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="PyTorch finds no GPU here"):
            call(monkeypatch, "--tiny", "--device", "cuda")
    with pytest.raises(SystemExit):
        call(monkeypatch, "--only", "nothing")
    with pytest.raises(SystemExit, match="give --threads 1 with it"):
        call(monkeypatch, "--tiny", "--clock", "cpu", "--threads", "2")


def test_operations_by_hand():
    shape = Shape(facts=3, batch=2, hidden=4, passes=1)
    # 16 = H squared; the terms stand in arithmetic.py: 32 + 8 a fact, 12 a question word, 6 a pass.
    by_hand = 2 * (3 * (32 * 16 + 8 * 16 + 2 * 4) + 4 * 12 * 16 + 6 * 16 + 4 * 4 * 6)
    assert forward_operations(shape) == by_hand
    assert training_operations(shape) == 3 * by_hand
