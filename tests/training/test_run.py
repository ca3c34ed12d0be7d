import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import dmnplus
from dmnplus.config import Config, resolve
from dmnplus.data.babi import write_babi
from dmnplus.data.batching import encode
from dmnplus.data.example import DataError, Example, Splits
from dmnplus.model import DMN, VARIANTS
from dmnplus.training import checkpoint
from dmnplus.training import run as training_run
from dmnplus.training.checkpoint import CHECKPOINT, CONFIG, METRICS, RUN, VOCABULARY, WEIGHTS
from dmnplus.training.run import Job, Progress, build_vocabulary, load_model, measure, train_runs
from tests.model.examples import moves

SPLITS = Splits("moves", moves(60), moves(30, seed=1), moves(30, seed=2))
SMALL = resolve(settings=["model.hidden=8", "training.epochs=2", "training.batch=16", "training.rate=0.01"])


def run(folder: Path, config: Config = SMALL, **options) -> dict:
    job = Job(folder, config, SPLITS, 0, options.pop("starts", 1), ensemble=options.pop("ensemble", False))
    return train_runs([job], **options)[0]


@pytest.mark.parametrize("variant", [*VARIANTS, "words"])
def test_every_variant_comes_back_from_its_folder(tmp_path: Path, variant: str):
    network = VARIANTS.get(variant, replace(VARIANTS["dmn+"], answer="words"))
    run(tmp_path, replace(SMALL, model=replace(network, hidden=8)))
    config, vocabulary, model = load_model(tmp_path)
    assert config.model.episode == network.episode
    saved, _ = checkpoint.read_tensors(tmp_path / WEIGHTS)
    assert all(torch.equal(saved[name], tensor) for name, tensor in model.state_dict().items())
    answer = dmnplus.load(tmp_path).answer("Mary went to the office. John went to the garden.", "Where is Mary?")
    # The decoder knows no whole answers: barely trained, it may say none or several words.
    assert variant == "words" or answer.answer in vocabulary.answers
    assert len(answer.attention) == network.passes
    assert all(sum(gates) == pytest.approx(1, abs=1e-5) for gates in answer.attention)
    assert answer.probability == answer.ranked[0][1] >= answer.ranked[-1][1]


def test_a_run_leaves_all_it_needs(tmp_path: Path):
    record = run(tmp_path)
    assert {WEIGHTS, VOCABULARY, CONFIG, METRICS, RUN, CHECKPOINT} == {path.name for path in tmp_path.iterdir()}
    assert record == json.loads((tmp_path / RUN).read_text())
    assert record["seed"] == 0
    assert record["finished"]
    assert record["questions"] == {"training": 60, "validation": 30, "test": 30}
    assert record["versions"]["torch"] == torch.__version__
    assert len((tmp_path / METRICS).read_text().splitlines()) == record["fit"]["epochs"] == 2


def test_the_start_with_the_least_validation_loss_is_selected(tmp_path: Path):
    record = run(tmp_path, starts=3)
    starts = record["starts"]
    assert [starts[f"start-{i}"]["seed"] for i in (1, 2, 3)] == [0, 1, 2]
    best = min(starts, key=lambda name: starts[name]["fit"]["validation_loss"])
    assert record["selected"] == best
    assert (tmp_path / WEIGHTS).read_bytes() == (tmp_path / best / WEIGHTS).read_bytes()
    assert all("test_error" in start for start in starts.values())


def test_what_a_kill_left_half_written_goes_when_the_run_goes_on(tmp_path: Path):
    record = run(tmp_path, starts=2)
    halves = [folder / ".weights.safetensors.1234.part" for folder in (tmp_path, tmp_path / "start-1")]
    for half in halves:
        half.write_bytes(b"half")
    # Killed before the first start was noted as finished.
    unfinished = {**json.loads((tmp_path / "start-1" / RUN).read_text()), "finished": False}
    (tmp_path / "start-1" / RUN).write_text(json.dumps(unfinished))
    assert run(tmp_path, starts=2, resume=True)["selected"] == record["selected"]
    assert not [half for half in halves if half.exists()]


def test_an_ensemble_is_the_mean_of_its_starts(tmp_path: Path):
    record = run(tmp_path, starts=3, ensemble=True)
    assert record["ensemble"] == 3
    _, vocabulary, model = load_model(tmp_path)
    starts = [load_model(tmp_path / f"start-{i}")[2] for i in (1, 2, 3)]
    questions = encode(SPLITS.test, vocabulary)
    batch = questions.batch(torch.arange(len(questions)))
    output, single = model(batch), [start(batch) for start in starts]
    torch.testing.assert_close(output.logits, torch.stack([one.logits for one in single]).mean(dim=0))
    torch.testing.assert_close(output.attention_PBF, torch.stack([one.attention_PBF for one in single]).mean(dim=0))
    assert record["test"] == measure(tmp_path, SPLITS.test).to_json()
    assert record["fit"]["validation_loss"] == pytest.approx(measure(tmp_path, SPLITS.validation).loss)
    assert record["fit"]["epochs"] == 6
    answer = dmnplus.load(tmp_path).answer("Mary went to the office.", "Where is Mary?")
    assert answer.answer in vocabulary.answers
    assert sum(answer.attention[0]) == pytest.approx(1, abs=1e-5)
    # Finished starts are left alone, and joined again to the same.
    weights = (tmp_path / WEIGHTS).read_bytes()
    assert run(tmp_path, starts=3, ensemble=True, resume=True) == record
    assert (tmp_path / WEIGHTS).read_bytes() == weights
    with pytest.raises(DataError, match="an ensemble of 3 starts, and one network is asked for; name a start"):
        load_model(tmp_path, kind=type("Other", (DMN,), {}))


def test_an_ensemble_of_one_start_or_of_decoders_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="an ensemble of one start is none"):
        run(tmp_path, ensemble=True)
    with pytest.raises(ValueError, match="answers that are classes"):
        run(tmp_path, replace(SMALL, model=replace(SMALL.model, answer="words")), starts=2, ensemble=True)
    assert not any(tmp_path.iterdir())


def test_starts_trained_together_equal_starts_in_a_row(tmp_path: Path):
    row = run(tmp_path / "row", starts=2)
    seen = []
    at_once = run(tmp_path / "once", starts=2, together=True, watch=seen.append)
    for name in ("start-1", "start-2"):
        one, other = row["starts"][name], at_once["starts"][name]
        assert one["fit"]["validation_loss"] == pytest.approx(other["fit"]["validation_loss"], rel=1e-4)
        assert other["finished"]
    assert at_once["selected"] == row["selected"]
    assert {news.folder.name for news in seen} == {"start-1", "start-2"}
    # Finished starts are left alone; none is left to train.
    again = run(tmp_path / "once", starts=2, together=True, resume=True)
    assert again["starts"] == at_once["starts"]
    with pytest.raises(ValueError, match="share one process, and 2 are asked for"):
        run(tmp_path / "both", starts=2, together=True, processes=2)


def test_a_device_that_is_not_there(tmp_path: Path):
    for name in ("gpu", "meta", "cuda:99"):
        with pytest.raises(ValueError, match=f"device is '{name}'; it takes auto, cpu, cuda or cuda:N"):
            run(tmp_path, device=name)
    assert not any(tmp_path.iterdir())


def test_resuming_on_another_device_is_refused(tmp_path: Path):
    record = run(tmp_path)
    assert record["device"] == "cpu"
    (tmp_path / RUN).write_text(json.dumps({**record, "finished": False}))
    tensors, state = checkpoint.read_tensors(tmp_path / CHECKPOINT)
    assert state["device"] == "cpu"
    checkpoint.write_tensors(tmp_path / CHECKPOINT, tensors, {**state, "device": "cuda"})
    with pytest.raises(DataError, match="was trained on cuda; resume there"):
        run(tmp_path, resume=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_on_a_gpu(tmp_path: Path):
    record = run(tmp_path, starts=2, together=True, device="cuda")
    assert record["device"] == "cuda"
    answer = dmnplus.load(tmp_path, device="cuda").answer("Mary went to the office.", "Where is Mary?")
    assert answer.answer == dmnplus.load(tmp_path).answer("Mary went to the office.", "Where is Mary?").answer


def test_starts_in_processes_equal_starts_in_a_row(tmp_path: Path):
    row = run(tmp_path / "row", starts=2, threads=1)
    seen = []
    side_by_side = run(tmp_path / "side", starts=2, processes=2, threads=1, watch=seen.append)
    for name in ("start-1", "start-2"):
        assert (tmp_path / "row" / name / WEIGHTS).read_bytes() == (tmp_path / "side" / name / WEIGHTS).read_bytes()
    assert row["selected"] == side_by_side["selected"]
    assert {news.folder.name for news in seen} == {"start-1", "start-2"}


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path):
    run(tmp_path)
    before = (tmp_path / WEIGHTS).read_bytes()
    with pytest.raises(DataError, match="--resume"):
        run(tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == before


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path):
    record = run(tmp_path, starts=2)
    assert run(tmp_path, starts=2, resume=True) == record


def test_resuming_with_more_starts_trains_only_the_new_ones(tmp_path: Path):
    run(tmp_path, starts=2)
    seen = []
    record = run(tmp_path, starts=3, resume=True, watch=seen.append)
    assert {news.folder.name for news in seen} == {"start-3"}
    assert set(record["starts"]) == {"start-1", "start-2", "start-3"}


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _interrupt(folder: Path, **options) -> None:
    """A run whose last start is stopped in its second epoch."""

    def stop(news: Progress) -> None:
        if news.event.epoch == 2 and news.folder.name in (folder.name, f"start-{options.get('starts')}"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, watch=stop, **options)


OTHER_QUESTIONS = replace(SPLITS, training=moves(60, seed=3))


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"config": replace(SMALL, model=replace(SMALL.model, hidden=9))}, r"model\.hidden=8 \(now 9\)"),
        (
            {"config": replace(SMALL, model=replace(SMALL.model, episode="soft_attention", fact_dropout=0.5))},
            r"model\.episode=attention_gru \(now soft_attention\), model\.fact_dropout=0\.1 \(now 0\.5\)",
        ),
        ({"config": replace(SMALL, training=replace(SMALL.training, rate=0.5))}, r"training\.rate=0\.01 \(now 0\.5\)"),
        ({"seed": 7}, r"seed=0 \(now 7\)"),
        ({"splits": OTHER_QUESTIONS}, "other questions; give the same data, or another --out"),
        ({"splits": replace(SPLITS, test=moves(30, seed=3))}, "other questions"),
        ({"starts": 2}, "holds a run of one start; resume it without --starts"),
    ],
)
def test_resuming_another_run_is_refused_and_changes_nothing(tmp_path: Path, finished: bool, other: dict, message: str):
    (run if finished else _interrupt)(tmp_path)
    before = _contents(tmp_path)
    job = Job(tmp_path, SMALL, SPLITS, 0, 1)._replace(**other)
    with pytest.raises(DataError, match=message):
        train_runs([job], resume=True)
    assert _contents(tmp_path) == before
    dmnplus.load(tmp_path)


@pytest.mark.parametrize("starts", [1, 2])
def test_resuming_with_fewer_starts_is_refused_and_changes_nothing(tmp_path: Path, starts: int):
    _interrupt(tmp_path, starts=3)
    # Killed, it would not have published the finished starts.
    (tmp_path / RUN).unlink()
    before = _contents(tmp_path)
    with pytest.raises(DataError, match="holds a run of several starts, 3 so far; give --starts 3 or more"):
        run(tmp_path, starts=starts, resume=True)
    with pytest.raises(DataError, match="holds a run already; give --resume"):
        run(tmp_path, starts=starts)
    assert _contents(tmp_path) == before
    assert set(run(tmp_path, starts=3, resume=True)["starts"]) == {"start-1", "start-2", "start-3"}


def _fails(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Starts in folders of these names have a loss that is no number."""
    train = training_run.train_start

    def fail(start, report):
        if start.folder.name in names:
            raise DataError("the loss is no longer a number")
        return train(start, report)

    monkeypatch.setattr(training_run, "train_start", fail)


@pytest.mark.parametrize("ensemble", [True, False])
def test_a_start_that_fails_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ensemble: bool):
    _fails(monkeypatch, "start-2")
    record = run(tmp_path, starts=3, ensemble=ensemble)
    assert record["failed"] == {"start-2": "the loss is no longer a number"}
    assert record["finished"]
    assert set(record["starts"]) == {"start-1", "start-3"}
    assert all("test_error" in start for start in record["starts"].values())
    monkeypatch.undo()
    assert "failed" not in run(tmp_path, starts=3, ensemble=ensemble, resume=True)


def test_others_are_trained_where_all_starts_of_a_run_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _fails(monkeypatch, "a")
    with pytest.raises(DataError, match="a: the loss is no longer a number"):
        train_runs([Job(tmp_path / name, SMALL, SPLITS, 0, 1) for name in ("a", "b")])
    assert json.loads((tmp_path / "b" / RUN).read_text())["test"]


def test_a_run_stopped_between_two_starts_is_not_finished(tmp_path: Path):
    def stop(news: Progress) -> None:
        if news.folder.name == "start-2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, starts=2, watch=stop)
    record = json.loads((tmp_path / RUN).read_text())
    assert [*record["starts"]] == ["start-1"]
    assert not record["finished"]


@pytest.mark.parametrize("ensemble", [True, False])
def test_starts_are_joined_or_not_as_before(tmp_path: Path, ensemble: bool):
    run(tmp_path, starts=2, ensemble=ensemble)
    before = _contents(tmp_path)
    with pytest.raises(DataError, match="resume with --ensemble" if ensemble else "resume without it"):
        run(tmp_path, starts=2, ensemble=not ensemble, resume=True)
    assert _contents(tmp_path) == before
    assert ("ensemble" in run(tmp_path, starts=3, ensemble=ensemble, resume=True)) == ensemble


def test_a_record_of_old_is_resumed_where_its_data_has_the_same_name(tmp_path: Path):
    _interrupt(tmp_path)
    record = json.loads((tmp_path / RUN).read_text())
    # It lacks what was not recorded then, and settings that were not there.
    del record["files"], record["config"]["training"]["focus"]
    (tmp_path / RUN).write_text(json.dumps(record))
    job = Job(tmp_path, SMALL, replace(SPLITS, name="others"), 0, 1)
    with pytest.raises(DataError, match="is of moves; resume with the same data"):
        train_runs([job], resume=True)
    assert run(tmp_path, resume=True)["files"] == SPLITS.digests


@pytest.mark.parametrize(("asked", "used"), [(0, 1), (2, 2)])
def test_a_start_is_resumed_with_its_threads_unless_others_are_asked_for(
    tmp_path: Path, asked: int, used: int, monkeypatch: pytest.MonkeyPatch
):
    _interrupt(tmp_path, threads=1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert run(tmp_path, threads=asked, resume=True)["threads"] == used


def _command(tmp_path: Path, *more: str, epochs: int) -> list[str]:
    file = tmp_path / "qa1_moves_train.txt"
    if not file.exists():
        write_babi(SPLITS.training * 10, file)
    sources = [f"--{split}={file}" for split in ("train", "valid", "test")]
    quick = [
        "--set=model.hidden=8",
        *(f"--set=training.{key}={epochs}" for key in ("epochs", "patience")),
        "--threads=1",
    ]
    return [sys.executable, "-m", "dmnplus", "train", "babi", "--task=1", *sources, *quick, *more]


def _wait_for_epochs(folder: Path, epochs: int, process: subprocess.Popen) -> None:
    for _ in range(1200):
        if (folder / METRICS).exists() and len((folder / METRICS).read_text().splitlines()) >= epochs:
            return
        if process.poll() is not None:
            raise AssertionError(process.communicate())
        time.sleep(0.05)
    raise AssertionError("training did not get going")


def _interrupted(tmp_path: Path, how: signal.Signals, *, epochs: int) -> subprocess.CompletedProcess:
    process = subprocess.Popen(
        _command(tmp_path, f"--out={tmp_path / 'broken'}", epochs=epochs),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background has them ignore SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        _wait_for_epochs(tmp_path / "broken", 2, process)
        os.killpg(process.pid, how)
        out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_a_killed_process_resumes_to_the_same_weights(tmp_path: Path):
    _interrupted(tmp_path, signal.SIGKILL, epochs=30)
    assert not json.loads((tmp_path / "broken" / RUN).read_text())["finished"]
    (tmp_path / "broken" / f".{CHECKPOINT}.0.part").write_bytes(b"killed while it was written")
    for folder, more in (("broken", ["--resume"]), ("whole", [])):
        subprocess.run(
            _command(tmp_path, f"--out={tmp_path / folder}", *more, epochs=30), check=True, capture_output=True
        )
    assert (tmp_path / "broken" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    assert [path.name for path in (tmp_path / "broken").iterdir() if path.name.startswith(".")] == []


def test_ctrl_c_leaves_a_usable_model_and_no_stack_trace(tmp_path: Path):
    result = _interrupted(tmp_path, signal.SIGINT, epochs=100_000)
    assert result.returncode == 130
    assert "Traceback" not in result.stderr
    assert "--resume" in result.stderr
    assert dmnplus.load(tmp_path / "broken").answer("Mary went to the office.", "Where is Mary?").answer


def test_a_full_disk_leaves_the_last_good_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written = Path.write_bytes
    room = iter(range(9))

    def write_bytes(path: Path, data: bytes) -> int:
        if next(room, None) is None:
            written(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(DataError, match="No space left on device"):
        run(tmp_path, replace(SMALL, training=replace(SMALL.training, epochs=20)))
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    dmnplus.load(tmp_path)
    assert run(tmp_path, replace(SMALL, training=replace(SMALL.training, epochs=20)), resume=True)["finished"]


def test_a_vocabulary_of_another_run_is_refused(tmp_path: Path):
    run(tmp_path)
    vocabulary = json.loads((tmp_path / VOCABULARY).read_text())
    vocabulary["words"][2], vocabulary["words"][3] = vocabulary["words"][3], vocabulary["words"][2]
    (tmp_path / VOCABULARY).write_text(json.dumps(vocabulary))
    with pytest.raises(DataError, match="fingerprints differ"):
        dmnplus.load(tmp_path)


def test_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run(tmp_path)
    monkeypatch.setattr("dmnplus.training.run.FORMAT", 99)
    with pytest.raises(DataError, match="have format 1, this version of dmnplus reads 99"):
        dmnplus.load(tmp_path)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, VOCABULARY])
@pytest.mark.parametrize("damage", [b"", b"\x00\xff damaged", None])
def test_a_damaged_or_missing_file_is_named(tmp_path: Path, name: str, damage: bytes | None):
    run(tmp_path)
    if damage is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(damage)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        dmnplus.load(tmp_path)


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(DataError, match="dmnplus train"):
        dmnplus.load(tmp_path / "nowhere")


def test_nothing_in_a_run_is_a_pickle(tmp_path: Path):
    run(tmp_path, starts=2)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert path.suffix in (".safetensors", ".json", ".jsonl", ".toml")


def test_neither_errors_nor_the_test_questions_choose_a_start(tmp_path: Path):
    errors = {name: start["test_error"] for name, start in run(tmp_path, starts=3)["starts"].items()}
    worst = max(errors, key=lambda name: errors[name])
    assert errors[worst] > min(errors.values())
    for name in errors:
        line = json.loads((tmp_path / name / METRICS).read_text().splitlines()[-1])
        # The worst on the test questions has the least validation loss, and the highest validation error.
        loss, error = (0.1, 0.9) if name == worst else (0.2, 0.1)
        line |= {"validation_loss": loss, "validation_error": error}
        (tmp_path / name / METRICS).write_text(json.dumps(line) + "\n")
    job = Job(tmp_path, SMALL, SPLITS, 0, 3)
    training_run.publish(job, {})
    record = training_run.finish(job)
    assert record["selected"] == worst
    assert record["test"]["error"] == errors[worst]


def test_the_last_facts_alone_are_trained_and_measured_on(tmp_path: Path):
    config = replace(SMALL, data=replace(SMALL.data, last_facts=2))

    def cut(part) -> list[Example]:
        return [replace(example, facts=example.facts[-2:], supporting=()) for example in part]

    short = replace(SPLITS, training=cut(SPLITS.training), validation=cut(SPLITS.validation), test=cut(SPLITS.test))
    long, wanted = (
        train_runs([Job(tmp_path / name, config, splits, 0, 1)])[0]
        for name, splits in (("long", SPLITS), ("short", short))
    )
    assert long["fit"]["validation_loss"] == wanted["fit"]["validation_loss"]
    assert long["test"]["loss"] == wanted["test"]["loss"]


def test_words_and_answers_come_from_the_training_questions_alone():
    new = [replace(example, facts=("mary went to the attic.",), answer=("attic",)) for example in SPLITS.test]
    assert build_vocabulary(replace(SPLITS, validation=new, test=new)) == build_vocabulary(SPLITS)
