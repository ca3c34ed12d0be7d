"""Parts of a data set x variants x starts, each start with a record of its own; goes on from wherever it was left.

The parts are bAbI's tasks, or DAQUAR's divisions of the photos.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from dmnplus.config import Config
from dmnplus.data.example import DataError, Splits
from dmnplus.data.generate import generate
from dmnplus.data.pictures import Pictures
from dmnplus.training.checkpoint import CHECKPOINT, RUN, WEIGHTS, read_json, write_json
from dmnplus.training.resuming import check_settings
from dmnplus.training.run import Job, Progress, Start, check_resumed, finish, measure, starts_of, train_start
from dmnplus.training.spread import spread
from dmnplus.training.trainer import Step


class Planned(NamedTuple):
    """One start: `folder` is for its model, `record` the file of its results; `part` says what `task` numbers."""

    task: int
    variant: str
    seed: int
    config: Config
    folder: Path
    record: Path
    part: str = "task"

    def __str__(self) -> str:
        return f"{self.part} {self.task} {self.variant} seed {self.seed}"


class Outcome(NamedTuple):
    """A start that has ended: its record, or the error that ended it."""

    planned: Planned
    record: dict[str, Any] | None
    error: str = ""


def plan_sweep(
    tasks: Sequence[int],
    variants: Sequence[str],
    seeds: Iterable[int],
    config_of: Callable[[int, str], Config],
    out: Path,
    work: Path,
    *,
    data: str = "babi",
    part: str = "task",
) -> list[Planned]:
    """All starts, the first of every task and variant before any second one, so that the table fills early.

    Records go below `out`, models below `work`, both named by `data`, task and seed.
    """
    return [
        Planned(
            task,
            variant,
            seed,
            config_of(task, variant),
            work / variant / f"{data}-{task}-{seed}",
            out / variant / f"{data}-{task}-{seed}.json",
            part,
        )
        for seed in seeds
        for task in tasks
        for variant in variants
    ]


def recorded(planned: Planned) -> dict[str, Any] | None:
    """The record of a start that is done. Raises `DataError` for one of other settings in its place."""
    if not planned.record.exists():
        return None
    record = read_json(planned.record)
    check_settings(record, planned.config, planned.seed, planned.record)
    return record


def run_sweep(
    left: Sequence[Planned],
    splits: Mapping[int, Splits],
    *,
    processes: int = 1,
    threads: int = 1,
    cluster: str | None = None,
    fresh: int = 0,
    pictures: Pictures | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Generator[Outcome, None, None]:
    """Train the starts that are `left`, measure each on the test questions once its model is chosen, and record it.

    `splits` has the questions of every task; where the training happens is as in `spread`; `fresh` is as in
    `measure_fresh`; `pictures` is where the questions' pictures are read from. Starts that were begun go on
    from their last finished epoch. Raises `DataError` before any training for a folder with a start of other settings
    or data.
    """
    jobs = {
        planned.folder: Job(planned.folder, planned.config, splits[planned.task], planned.seed, 1, pictures)
        for planned in left
    }
    for job in jobs.values():
        check_resumed(job)
    by_folder = {planned.folder: planned for planned in left}
    # Trained to the end, but the sweep was stopped before its record was written.
    for planned in left:
        if (planned.folder / RUN).exists() and read_json(planned.folder / RUN).get("finished"):
            yield Outcome(by_folder.pop(planned.folder), _record(planned, jobs[planned.folder], fresh))

    def starts() -> Iterator[Start]:
        for folder in list(by_folder):
            yield from starts_of(jobs[folder], threads, resume=True)

    with closing(spread(_train, starts(), processes=processes, cluster=cluster, watch=watch)) as ended:
        for done in ended:
            planned = by_folder[done.folder]
            if done.error is None:
                yield Outcome(planned, _record(planned, jobs[done.folder], fresh))
            else:
                yield Outcome(planned, None, done.error)


def _train(start: Start, report: Callable[[Progress], None]) -> None:
    # Of the steps, only the first of an epoch is news to a table: each costs a message between processes.
    def sparsely(news: Progress) -> None:
        if not isinstance(news.event, Step) or news.event.step == 0:
            report(news)

    train_start(start, sparsely)


FRESH_SEED = 1
"""Of the generated questions that trained models are measured on; training files that are made up have seed 0."""


def measure_fresh(planned: Planned, record: dict[str, Any], questions: int) -> dict[str, Any]:
    """The record with the model's error on so many generated test questions, written where it is new; 0 measures none.

    They are of the task's rules and statistics, and more than the official 1,000. Raises `DataError` if the start's
    model is no longer there.
    """
    if not questions or record.get("fresh", {}).get("questions") == questions:
        return record
    if not (planned.folder / WEIGHTS).exists():
        raise DataError(
            f"{planned.folder}: the model of {planned} is no longer there to be measured on generated questions; leave "
            f"--fresh out, or delete {planned.record} to train it again"
        )
    result = measure(planned.folder, generate(planned.task, questions, seed=FRESH_SEED, split="test"))
    record = {
        **record,
        "fresh": {
            "questions": questions,
            "seed": FRESH_SEED,
            "error": result.error,
            "unanswerable": result.unanswerable,
        },
    }
    write_json(planned.record, record)
    return record


def _record(planned: Planned, job: Job, fresh: int) -> dict[str, Any]:
    """Measure a trained start and write its record; its checkpoint has served."""
    record = finish(job)
    planned.record.parent.mkdir(parents=True, exist_ok=True)
    write_json(planned.record, record)
    (planned.folder / CHECKPOINT).unlink(missing_ok=True)
    return measure_fresh(planned, record, fresh)
