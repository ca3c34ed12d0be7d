import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dmnplus.config import Config, resolve
from dmnplus.data.example import DataError, Splits
from dmnplus.training import sweep
from dmnplus.training.checkpoint import CHECKPOINT, RUN, WEIGHTS
from dmnplus.training.run import Progress, measure
from dmnplus.training.sweep import Planned, plan_sweep, recorded, run_sweep
from dmnplus.training.trainer import Epoch, Trainer
from tests.model.examples import moves

QUICK = ["model.hidden=8", "training.epochs=3", "training.batch=16", "training.rate=0.01"]
SPLITS = {
    task: Splits(f"moves {task}", moves(40, seed=task), moves(20, seed=10 + task), moves(20, seed=20 + task))
    for task in (1, 2)
}


def config_of(task: int, variant: str) -> Config:
    return resolve(variant=variant, settings=QUICK)


def plan(folder: Path, starts: int = 2, config_of: Callable[[int, str], Config] = config_of) -> list[Planned]:
    return plan_sweep([1, 2], ["dmn2", "dmn+"], range(starts), config_of, folder / "results", folder / "runs")


def run(planned: list[Planned], **options) -> dict[str, dict]:
    return {str(outcome.planned): outcome.record or {} for outcome in run_sweep(planned, SPLITS, **options)}


def weights(planned: list[Planned]) -> list[bytes]:
    return [(p.folder / WEIGHTS).read_bytes() for p in planned]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Planned]:
    """A sweep done in one go, in one process."""
    planned = plan(tmp_path_factory.mktemp("whole"))
    run(planned)
    return planned


def test_the_first_start_of_every_cell_comes_before_any_second(tmp_path: Path):
    order = [(p.seed, p.task, p.variant) for p in plan(tmp_path)]
    cells = [(1, "dmn2"), (1, "dmn+"), (2, "dmn2"), (2, "dmn+")]
    assert order == [(seed, *cell) for seed in (0, 1) for cell in cells]


def test_every_start_has_a_record_of_its_own(whole: list[Planned]):
    for planned in whole:
        record = recorded(planned)
        assert record
        assert (record["data"], record["seed"]) == (f"moves {planned.task}", planned.seed)
        assert {"config", "questions", "versions", "fit", "test"} <= record.keys()
        assert record["finished"]
        # A finished start needs no checkpoint; its model stays.
        assert not (planned.folder / CHECKPOINT).exists()


def test_starts_differ_by_their_seed_alone(whole: list[Planned]):
    assert len(set(weights(whole))) == len(whole)


def test_processes_make_what_one_process_makes(tmp_path: Path, whole: list[Planned]):
    planned, news = plan(tmp_path), list[Progress]()
    run(planned, processes=2, watch=news.append)
    assert weights(planned) == weights(whole)
    assert {one.folder for one in news} == {p.folder for p in planned}


def test_what_has_a_record_is_not_trained_again(tmp_path: Path):
    first = plan(tmp_path, starts=1)
    run(first[:2])
    left = [p for p in first if recorded(p) is None]
    assert left == first[2:]
    news: list[Progress] = []
    run(left, watch=news.append)
    assert {one.folder for one in news} == {p.folder for p in left}


def test_an_interrupted_sweep_goes_on_bit_for_bit(tmp_path: Path, whole: list[Planned]):
    planned = plan(tmp_path)

    def stop(news: Progress) -> None:
        if news.folder == planned[1].folder and isinstance(news.event, Epoch) and news.event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(planned, watch=stop)
    assert [recorded(p) is not None for p in planned] == [True] + [False] * 7
    epochs: list[int] = []
    run(planned[1:], watch=lambda news: epochs.append(news.event.epoch) if news.folder == planned[1].folder else None)
    # The third epoch, begun and ended.
    assert epochs == [3, 3]
    assert weights(planned) == weights(whole)


def test_a_start_stopped_before_its_record_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (first, *_) = plan(tmp_path)
    run([first])
    before = first.record.read_text()
    first.record.unlink()
    monkeypatch.setattr(Trainer, "fit", None)
    run([first])
    assert first.record.read_text() == before


def test_other_settings_in_the_same_folders_are_an_error(tmp_path: Path):
    (first, *_) = plan(tmp_path)
    run([first])

    def other(task: int, variant: str) -> Config:
        return resolve(variant=variant, settings=[*QUICK, "training.l2=0.5"])

    (changed, *_) = plan(tmp_path, config_of=other)
    with pytest.raises(DataError, match=r"training\.l2=0\.001 \(now 0\.5\); give the same settings"):
        recorded(changed)
    changed.record.unlink()
    with pytest.raises(DataError, match=r"runs/dmn2/babi-1-0: is of training\.l2=0\.001"):
        run([changed])


def test_other_questions_in_the_same_folders_are_an_error(tmp_path: Path):
    (first, *_) = plan(tmp_path)
    run([first])
    first.record.unlink()
    other = {1: replace(SPLITS[1], files={"training": "another"})}
    with pytest.raises(DataError, match="other questions"):
        list(run_sweep([first], other))


def test_a_start_that_fails_does_not_stop_the_others(tmp_path: Path):
    def bad(task: int, variant: str) -> Config:
        return resolve(variant=variant, settings=[*QUICK, f"training.rate={1e30 if task == 1 else 0.01}"])

    outcomes = list(run_sweep(plan(tmp_path, starts=1, config_of=bad), SPLITS))
    assert [outcome.record is None for outcome in outcomes] == [True, True, False, False]
    assert "no longer a number" in outcomes[0].error


def test_test_questions_choose_nothing(tmp_path: Path, whole: list[Planned]):
    """With every answer to the test questions wrong, the same models come out, down to the last bit."""
    planned = plan(tmp_path)
    spoilt = {
        task: replace(splits, test=[replace(example, answer=("nowhere",)) for example in splits.test])
        for task, splits in SPLITS.items()
    }
    outcomes = list(run_sweep(planned, spoilt))
    assert all(outcome.record and outcome.record["test"]["error"] == 1 for outcome in outcomes)
    assert weights(planned) == weights(whole)
    for one, other in zip(planned, whole, strict=True):
        fits = [json.loads((p.folder / RUN).read_text())["fit"] for p in (one, other)]
        for fit in fits:
            del fit["seconds"]
        assert fits[0] == fits[1]


def test_fresh_questions_are_generated_test_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def few(task: int, questions: int, *, seed: int, split: str):
        asked.append((task, questions, seed, split))
        return moves(questions, seed=3)

    monkeypatch.setattr(sweep, "generate", few)
    (first, *_) = plan(tmp_path, starts=1)
    record = run([first], fresh=25)[str(first)]
    assert asked == [(1, 25, 1, "test")]
    found = measure(first.folder, moves(25, seed=3))
    assert record["fresh"] == {"questions": 25, "seed": 1, "error": found.error, "unanswerable": found.unanswerable}
