import json
from pathlib import Path

from dmnplus.config import plain, resolve


def record(task: int, error: float, **changes) -> dict:
    return {
        "data": f"babi/{task} (en-10k)",
        "config": plain(resolve(variant="dmn3", settings=["training.l2=0.0"])),
        "seed": 4,
        "threads": 1,
        "finished": True,
        "fit": {"best_epoch": 7, "epochs": 27, "seconds": 61.4},
        "test": {"error": error},
        **changes,
    }


def test_results_are_a_row_a_run_in_the_order_of_tasks(dmnplus, tmp_path: Path):
    starts = {"start-1": {"test_error": 0.01}, "start-2": {"test_error": 0.25}}
    (tmp_path / "a.json").write_text(json.dumps(record(10, 0.01, starts=starts)))
    (tmp_path / "b.json").write_text(json.dumps(record(2, 0.123)))
    result = dmnplus("results", tmp_path)
    assert result.status == 0, result.err
    assert result.out.splitlines()[2:] == [
        "| babi/2 (en-10k) | dmn3 | training.l2=0.0 | 12.3% |  | 4 | 7 of 27 | 61 s, 1 thread |",
        "| babi/10 (en-10k) | dmn3 | training.l2=0.0 | 1.0% | 1.0% to 25.0% (2) | 4 | 7 of 27 | 61 s, 1 thread |",
    ]


def test_results_by_type_of_question_leave_out_its_first_word(dmnplus, tmp_path: Path):
    kinds = {
        "scenes/change what": {"questions": 30, "error": 0.1},
        "scenes/change did": {"questions": 10, "error": 0.5},
    }
    (tmp_path / "a.json").write_text(json.dumps(record(1, 0.2, test={"error": 0.2, "by_kind": kinds})))
    result = dmnplus("results", tmp_path, "--by-type")
    assert result.out.splitlines()[2:] == ["| babi/1 (en-10k) | dmn3 | scenes/change | 40 | 80.0% |"]


def test_results_on_pictures_name_what_read_them(dmnplus, tmp_path: Path):
    regions = {"kind": "regions", "size": 448, "rows": 1, "columns": 1, "channels": 8, "weights": "0"}
    for name, backbone in (("a", "timm/a"), ("b", "timm/b")):
        kept = record(1, 0.2, data="daquar", pictures={**regions, "backbone": backbone})
        (tmp_path / f"{name}.json").write_text(json.dumps(kept))
    pixels = {"kind": "pixels", "size": 64, "rows": 2, "columns": 2, "channels": 3, "backbone": "", "weights": ""}
    (tmp_path / "c.json").write_text(json.dumps(record(1, 0.2, data="nlvr", pictures=pixels)))
    rows = [line.split(" | ")[0] for line in dmnplus("results", tmp_path).out.splitlines()[2:]]
    assert rows == ["| daquar (timm/a at 448, 1 x 1)", "| daquar (timm/b at 448, 1 x 1)", "| nlvr"]


def test_results_of_a_run_folder(dmnplus, trained: Path):
    assert "babi/1 (moves)" in dmnplus("results", trained).out


def test_a_run_without_test_questions_is_finished(dmnplus, tmp_path: Path):
    untested = record(2, 0.1, starts={"start-1": {}, "start-2": {}})
    del untested["test"]
    (tmp_path / "run.json").write_text(json.dumps(untested))
    assert "| dmn3 | training.l2=0.0 | no questions |  | 4 |" in dmnplus("results", tmp_path).out
    assert dmnplus("results", tmp_path, "--by-type").out.count("\n") == 2


def test_results_of_a_sweep_are_in_a_folder_a_variant(dmnplus, tmp_path: Path):
    for variant, name in (("dmn3", "babi-2-0"), ("dmn3", "babi-10-0"), ("dmn+", "babi-10-0")):
        (tmp_path / variant).mkdir(exist_ok=True)
        (tmp_path / variant / f"{name}.json").write_text(json.dumps(record(int(name.split("-")[1]), 0.5)))
    rows = [line.split(" | ")[0] for line in dmnplus("results", tmp_path).out.splitlines()[2:]]
    assert rows == ["| babi/2 (en-10k)", "| babi/10 (en-10k)", "| babi/10 (en-10k)"]


def test_unfinished_or_missing_runs_are_named(dmnplus, tmp_path: Path):
    assert "no records of runs" in dmnplus("results", tmp_path).err
    (tmp_path / "run.json").write_text(json.dumps(record(2, 0.1, finished=False)))
    assert "--resume" in dmnplus("results", tmp_path).err
    (tmp_path / "run.json").write_text("{")
    assert "not readable" in dmnplus("results", tmp_path).err
