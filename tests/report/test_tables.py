import json
import sys
from pathlib import Path
from random import Random

import pytest

from dmnplus.config import plain, resolve
from dmnplus.data.example import DataError
from dmnplus.report.document import FIGURES, document, svg, write_report
from dmnplus.report.figures import ablation_figure
from dmnplus.report.published import published
from dmnplus.report.records import Start, best_cell, cells, paper_cells, read_daquar_starts, read_joint, read_starts
from dmnplus.report.tables import (
    ABLATION,
    ablation_table,
    daquar_table,
    fresh_table,
    joint_table,
    max_cells,
    missing,
    order,
    other_table,
    paper_table,
    summary_table,
    sweep_table,
    unstated_cells,
)

PROJECT = Path(__file__).parents[2]
WANTED = {"training": 9000, "validation": 1000, "test": 1000}


def write(folder: Path, task: int, seed: int = 0, variant: str = "dmn+", loss=0.1, error=0.1, **changes) -> Path:
    """A record as `dmnplus reproduce` leaves it."""
    settings, recipe = changes.pop("settings", []), changes.pop("recipe", None)
    record = {
        "data": f"babi/{task} (en-10k)",
        "files": {"training": f"hash of {task}"},
        "config": plain(resolve(variant=variant, task=task, recipe=recipe, settings=settings)),
        "questions": WANTED,
        "seed": seed,
        "threads": 1,
        "versions": {},
        "finished": True,
        "fit": {"best_epoch": 3, "validation_loss": loss, "validation_error": 0.2, "epochs": 9, "seconds": 5.0},
        "test": {"error": error},
        **changes,
    }
    path = folder / "reproduce" / variant / f"babi-{task}-{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def row(table: str, task: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {task} |"))
    return [cell.strip() for cell in line.strip("| ").split(" | ")]


def test_the_committed_report_is_what_the_committed_records_say():
    results = PROJECT / "results"
    written = document(read_starts(results), read_joint(results), read_daquar_starts(results))
    assert (PROJECT / "docs" / "results.md").read_text() == written


@pytest.mark.parametrize("name", FIGURES)
def test_the_committed_figures_are_what_the_committed_records_say(name: str):
    matplotlib = pytest.importorskip("matplotlib")
    committed = (PROJECT / "docs" / name).read_bytes()
    if f"Matplotlib v{matplotlib.__version__}," not in committed.decode():
        pytest.skip("drawn by another version of matplotlib, which lays out otherwise")
    assert svg(FIGURES[name], read_starts(PROJECT / "results")) == committed


def test_the_summary_in_the_readme_is_what_the_command_prints():
    mark = "<!-- printed by: dmnplus report --summary -->\n"
    readme = (PROJECT / "README.md").read_text()
    if mark not in readme:
        pytest.skip("the README has no summary")
    assert readme.partition(mark)[2].partition("\n\n")[0] == summary_table(read_starts(PROJECT / "results"))


def test_the_published_means_are_those_of_the_published_tasks():
    paper = published()[0]["dmn+"]
    assert len(paper.errors) == 20
    assert sum(paper.errors.values()) / 20 == pytest.approx(paper.mean, abs=0.0005)


def test_the_least_validation_loss_is_chosen_whatever_the_test_says(tmp_path: Path):
    losses = [0.3, 0.1, 0.2]
    for order_of_errors in ([0.01, 0.02, 0.03], [0.03, 0.02, 0.01], [0.5, 0.9, 0.1]):
        for seed, (loss, error) in enumerate(zip(losses, order_of_errors, strict=True)):
            write(tmp_path, 7, seed, loss=loss, error=error)
        starts = read_starts(tmp_path)
        Random(0).shuffle(starts)
        assert paper_cells(starts)[7, "dmn+"].best.seed == 1
        best = best_cell(starts, 7)
        assert best
        assert best.best.seed == 1
        assert row(paper_table(starts), "7")[3] == f"{100 * order_of_errors[1]:.1f}"


def test_spread_over_starts(tmp_path: Path):
    for seed, error in enumerate([0.01, 0.02, 0.06]):
        write(tmp_path, 7, seed, loss=seed, error=error)
    # Mean 3, deviations -2, -1, 3: the root of 14 / 2.
    assert row(paper_table(read_starts(tmp_path)), "7")[3:] == [
        "1.0",
        "3.0 ± 2.6 (3)",
        "3 of 9",
        "3 starts instead of 10",
    ]


def test_ten_starts_of_the_papers_settings_deviate_in_nothing(tmp_path: Path):
    for seed in range(10):
        write(tmp_path, 6, seed)
    assert paper_cells(read_starts(tmp_path))[6, "dmn+"].deviations == []


def test_every_deviation_is_named(tmp_path: Path):
    write(
        tmp_path,
        3,
        data="babi/3 (generated:9000:0, official:en:train)",
        sources={"train": ["generated:9000:0", "official:en:train"], "valid": ["official:en-valid-10k:valid"]},
        questions={**WANTED, "training": 10_000},
    )
    assert row(paper_table(read_starts(tmp_path)), "3")[-1] == (
        "trained on generated:9000:0, official:en:train, 10000 training questions, "
        "valid: official:en-valid-10k:valid, 1 start instead of 10"
    )
    write(tmp_path, 17, settings=["training.l2_warmup=40", "model.passes=5"])
    starts = read_starts(tmp_path)
    assert row(paper_table(starts), "17")[-1] == "not trained yet"
    assert row(other_table(starts), "17")[2] == "model.passes=5, training.l2_warmup=40, 1 start instead of 10"


def test_the_papers_exceptions_are_no_deviation(tmp_path: Path):
    for task in (3, 6, 19):
        write(tmp_path, task)
    assert all(start.is_papers for start in read_starts(tmp_path))


def test_generated_questions_do_not_stand_among_official_ones(tmp_path: Path):
    write(tmp_path, 5, loss=0.5, error=0.5)
    write(tmp_path, 5, 1, loss=0.01, error=0.01, data="babi/5 (generated:10000:0)", files={})
    starts = read_starts(tmp_path)
    assert row(paper_table(starts), "5")[3] == "50.0"
    assert row(summary_table(starts), "5")[4] == "50.0"
    assert row(other_table(starts), "5")[2:4] == ["trained on generated:10000:0, 1 start instead of 10", "1.0"]


def test_the_best_settings_are_chosen_by_validation_and_named(tmp_path: Path):
    write(tmp_path, 17, loss=0.5, error=0.4)
    write(tmp_path, 17, 1, loss=0.1, error=0.3, variant="dmn3", settings=["training.l2_warmup=40"])
    write(tmp_path, 17, 2, loss=0.2, error=0.0, settings=["training.l2_warmup=40"])
    assert row(summary_table(read_starts(tmp_path)), "17")[3:] == ["40.0", "30.0", "dmn3, training.l2_warmup=40"]


def test_dmn_max_has_a_column_of_its_own_and_is_not_the_papers(tmp_path: Path):
    write(tmp_path, 16, loss=0.5, error=0.45)
    assert "dmn-max" not in summary_table(read_starts(tmp_path))
    write(tmp_path, 16, loss=0.3, error=0.02, variant="dmn-max")
    write(tmp_path, 16, 1, loss=0.1, error=0.01, variant="dmn-max", settings=["training.epochs=7"])
    starts = read_starts(tmp_path)
    assert "| ours, dmn-max |" in summary_table(starts)
    assert row(summary_table(starts), "16")[3:] == ["45.0", "2.0", "1.0", "dmn-max, training.epochs=7"]
    assert [line for line in other_table(starts).splitlines() if "| 16 | dmn-max |" in line] != []


def test_the_recipe_unstated_has_a_column_of_its_own(tmp_path: Path):
    # The paper trains task 6 without L2, the recipe with the same for all.
    for task in (2, 6):
        write(tmp_path, task, loss=0.5, error=0.1)
        write(tmp_path, task, 1, loss=0.4, error=0.04, recipe=Path("unstated"))
        write(tmp_path, task, 2, loss=0.3, error=0.08, recipe=Path("unstated"))
        write(tmp_path, task, 3, loss=0.1, error=0.02, recipe=Path("unstated"), settings=["model.passes=5"])
    starts = read_starts(tmp_path)
    assert "| ours, DMN+, unstated |" in summary_table(starts)
    # A task without any start has no settings, either.
    assert row(summary_table(starts), "3")[3:] == ["-", "-", "-"]
    for task in ("2", "6"):
        assert row(summary_table(starts), task)[3:6] == ["10.0", "8.0", "2.0"]
        assert row(sweep_table(unstated_cells(starts)), task)[1:4] == ["8.0", "6.0 ± 2.8 (2)", "8.0"]


def test_dmn_max_over_its_starts(tmp_path: Path):
    assert sweep_table(max_cells(read_starts(write(tmp_path, 1).parents[2]))) == ""
    for task, errors in ((1, (0.0,)), (16, (0.01, 0.05))):
        for seed, error in enumerate(errors):
            write(tmp_path, task, seed, variant="dmn-max", error=error, loss=0.1 + seed)
    table = sweep_table(max_cells(read_starts(tmp_path)))
    assert row(table, "1")[1:] == ["0.0", "", "0.0", "3 of 9", "1"]
    assert row(table, "16")[1:] == ["1.0", "3.0 ± 2.8 (2)", "5.0", "3 of 9", "2"]
    assert row(table, "mean of 2")[1:3] == ["0.50", "1.50"]


def test_what_reproduce_wrote_is_found_whatever_its_folder_is_called(tmp_path: Path):
    write(tmp_path / "results", 1)
    (tmp_path / "results" / "reproduce").rename(tmp_path / "results" / "short")
    for folder in (tmp_path / "results", tmp_path / "results" / "short"):
        assert [start.task for start in read_starts(folder)] == [1]


def test_means_are_over_what_is_there_and_say_so(tmp_path: Path):
    for variant, error in (("odmn", 0.36), ("dmn2", 0.004), ("dmn3", 0.01), ("dmn+", 0.004)):
        for task in (2, 6):
            write(tmp_path, task, variant=variant, error=error)
    write(tmp_path, 17, error=0.5)
    starts = read_starts(tmp_path)
    assert row(ablation_table(starts), "mean of tasks 2, 6")[1::2] == ["35.9", "0.1", "0.7", "0.1"]
    assert row(ablation_table(starts), "mean of tasks 2, 6")[2::2] == ["36.0", "0.4", "1.0", "0.4"]
    assert row(ablation_table(starts), "mean of 20")[2::2] == ["-", "-", "-", "-"]
    write(tmp_path, 2, 1, variant="odmn", error=0.02, loss=0.2)
    again = ablation_table(read_starts(tmp_path))
    assert row(again, "2")[2] == "36.0; 19.0 ± 24.0 (2)"
    assert row(again, "mean of tasks 2, 6")[2] == "36.0"
    assert row(again, "the same over starts")[2] == "27.5"
    assert order(starts).endswith(
        "odmn > dmn3 > dmn2 = dmn+ (the paper's order on these); over starts: odmn > dmn3 > dmn2 = dmn+."
    )
    assert "- dmn+: 1, 3, 4, 5, 7," in missing(starts)
    write(tmp_path, 6, variant="dmn+", error=0.9)
    assert "dmn+ > odmn > dmn3 > dmn2 (the paper's order on these is odmn > dmn3 > dmn2 = dmn+)" in order(
        read_starts(tmp_path)
    )


def test_on_tasks_without_a_published_figure_the_papers_order_is_that_of_its_means(tmp_path: Path):
    for variant, error in (("odmn", 0.36), ("dmn2", 0.02), ("dmn3", 0.01), ("dmn+", 0.01)):
        write(tmp_path, 19, variant=variant, error=error)
    assert order(read_starts(tmp_path)).endswith(
        "odmn > dmn2 > dmn3 = dmn+ (the paper's order of means of 20 is odmn > dmn2 > dmn3 > dmn+); over starts: "
        "odmn > dmn2 > dmn3 = dmn+."
    )


def test_all_twenty_tasks_have_a_mean(tmp_path: Path):
    for task in range(1, 21):
        write(tmp_path, task, error=task / 1000)
    # 1.05 on average.
    assert row(paper_table(read_starts(tmp_path)), "mean of 20")[1:4] == ["2.8", "4.2", "1.1"]


def test_a_start_recorded_twice_counts_once(tmp_path: Path):
    copy = json.loads(write(tmp_path, 1, error=0.25).read_text())
    (tmp_path / "babi-1.json").write_text(json.dumps({**copy, "test": {"error": 0.75}}))
    (start,) = read_starts(tmp_path)
    assert (start.folder, start.test_error) == ("reproduce", 0.25)


def test_starts_in_one_record_are_read_apart(tmp_path: Path):
    fit = {"best_epoch": 3, "validation_loss": 0.1, "validation_error": 0.2, "epochs": 9, "seconds": 5.0}
    path = write(tmp_path, 1)
    inside = {f"start-{i}": {"seed": i, "fit": fit, "test_error": i / 10} for i in (1, 2)}
    path.write_text(json.dumps({**json.loads(path.read_text()), "starts": inside}))
    assert [(start.seed, start.test_error) for start in read_starts(tmp_path)] == [(1, 0.1), (2, 0.2)]


def test_what_cannot_stand_in_a_table_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match="no records of bAbI runs"):
        read_starts(tmp_path)
    path = write(tmp_path, 1)
    write(tmp_path, 1, 1, files={"training": "another hash"})
    with pytest.raises(
        DataError, match=r"task 1: .* seed 1 and .* seed 0 were trained or tested on different questions"
    ):
        read_starts(tmp_path)
    path.write_text("{")
    with pytest.raises(DataError, match="damaged"):
        read_starts(tmp_path)
    write(tmp_path, 1, finished=False)
    with pytest.raises(DataError, match="not the record of a finished run"):
        read_starts(tmp_path)
    write(tmp_path, 1, data="scenes")
    with pytest.raises(DataError, match="not of a bAbI task"):
        read_starts(tmp_path)


def test_the_figures_need_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write(tmp_path, 2)
    starts: list[Start] = read_starts(tmp_path)
    with pytest.raises(DataError, match=r"dmnplus\[report\]"):
        write_report(starts, tmp_path / "results.md")


def test_generated_test_questions_beside_the_official_ones(tmp_path: Path):
    write(tmp_path, 7, error=0.02, fresh={"questions": 10_000, "error": 0.025})
    write(tmp_path, 7, 1, loss=0.5, error=0.04, fresh={"questions": 10_000, "error": 0.9})
    write(tmp_path, 8, error=0.03)
    assert fresh_table(read_starts(tmp_path)).splitlines()[2:] == [
        "| 7 | dmn+ | 2.0 | 10,000 | 2.50 | +0.50 |",
        "| mean |  |  |  |  | +0.50 |",
    ]


def test_one_model_for_all_tasks_by_task(tmp_path: Path):
    kinds = {
        "babi/2 where": {"questions": 1000, "error": 0.001},
        "babi/18 is": {"questions": 400, "error": 0.01},
        "babi/18 does": {"questions": 600, "error": 0.0},
    }
    path = write(tmp_path, 2, data="babi/2,18, one model (en-10k)", variant="dmn-max")
    record = json.loads(path.read_text()) | {"test": {"error": 0.0025, "by_kind": kinds}}
    path.unlink()
    (tmp_path / "joint").mkdir()
    (tmp_path / "joint" / "any.json").write_text(json.dumps(record))
    assert joint_table(read_joint(tmp_path)).splitlines()[2:] == [
        "| 2 | 0.1 |",
        "| 18 | 0.4 |",
        "| mean | 0.250 |",
        "| all starts | 0.250 |",
        "| best epoch | 3 of 9 |",
    ]
    begun = {"origin": {"name": "babi/all", "weights": "", "run": {"fit": {"epochs": 30}}}}
    (tmp_path / "joint" / "any.json").write_text(json.dumps(record | begun))
    assert joint_table(read_joint(tmp_path)).splitlines()[0] == "| task | dmn-max, from babi/all after 30 epochs |"


def test_daquar_over_divisions_and_without_photos(tmp_path: Path):
    def start(name: str, data: str, division: int, error: float) -> None:
        path = write(
            tmp_path,
            1,
            data=data,
            settings=[f"data.split_seed={division}", "training.l2=0.0"],
            error=error,
            questions={"training": 4000, "validation": 500, "test": 1200},
        )
        (tmp_path / "daquar").mkdir(exist_ok=True)
        path.rename(tmp_path / "daquar" / f"{name}.json")

    start("a", "daquar", 0, 0.77)
    start("b", "daquar", 1, 0.79)
    start("c", "daquar without pictures", 0, 0.8)
    assert daquar_table(read_daquar_starts(tmp_path)).splitlines()[2:] == [
        "| question alone, dmn+, training.l2=0.0 | 19.1 | 80.0 | 20.0 | 1 of 1 division | 1,200 |",
        "| dmn+, training.l2=0.0 | 28.8 | 80.0 | 22.0 ± 1.4 | 2 of 2 divisions | 1,200 |",
    ]


@pytest.mark.parametrize("common", ["10", "20"])
def test_without_the_papers_data_that_of_most_starts_stands_in_the_table(tmp_path: Path, common: str):
    for seed, questions in enumerate(["10", "20", common]):
        write(tmp_path, 3, seed, data=f"babi/3 (generated:{questions})", files={})
    assert paper_cells(read_starts(tmp_path))[3, "dmn+"].starts[0].data == f"generated:{common}"
    # One start of the paper's data goes before them all.
    write(tmp_path, 3, 3)
    assert [start.seed for start in paper_cells(read_starts(tmp_path))[3, "dmn+"].starts] == [3]


def test_of_models_for_all_tasks_the_least_validation_loss_comes_first(tmp_path: Path):
    for name, loss, error in (("a", 0.3, 0.0), ("b", 0.1, 0.2), ("c", 0.2, 0.1)):
        path = write(tmp_path, 2, data="babi/2,18, one model (en-10k)", loss=loss)
        kinds = {"babi/2 where": {"questions": 1000, "error": error}}
        record = json.loads(path.read_text()) | {"test": {"error": error, "by_kind": kinds}}
        path.unlink()
        (tmp_path / "joint").mkdir(exist_ok=True)
        (tmp_path / "joint" / f"{name}.json").write_text(json.dumps(record))
    assert [run.errors[2] for run in read_joint(tmp_path)] == [0.2, 0.1, 0.0]


def test_records_of_one_network_or_of_a_task_without_published_figures_are_drawn(tmp_path: Path):
    pytest.importorskip("matplotlib")
    write(tmp_path, 2)
    assert b"no task with published figures" in svg(ablation_figure, read_starts(tmp_path))
    for variant in ABLATION:
        write(tmp_path, 1, variant=variant)
    assert b"no task with published figures" in svg(ablation_figure, read_starts(tmp_path))


def test_starts_measured_on_other_questions_are_no_starts_of_the_same_cell(tmp_path: Path):
    write(tmp_path, 2, error=0.1)
    write(tmp_path, 2, seed=1, error=0.5, sources={"test": ["generated:1000"]})
    (official, generated) = cells(read_starts(tmp_path))
    assert (len(official.starts), len(generated.starts)) == (1, 1)
    assert row(paper_table(read_starts(tmp_path)), "2")[3] == "10.0"
