"""Trains the starts of a study, measures them, and keeps the numbers as data."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dmnplus.config import Config, plain
from dmnplus.data.example import DataError
from dmnplus.studies.study import Arm, Results, Spread, Study, Trained
from dmnplus.training.checkpoint import METRICS, RUN, read_json, versions, write_json
from dmnplus.training.run import Job, Progress, load_model, train_runs

_SPENT = "spent.json"


def run_study(
    study: Study, folder: Path, *, processes: int = 1, watch: Callable[[Progress], None] = lambda progress: None
) -> dict[str, Any]:
    """The record of `study`, every start of it trained in a folder of its own under `folder`, one thread each.

    Starts that are trained already, by this study or another, are not trained again; interrupted ones go on.
    """
    jobs = {(arm.name, seed): _job(arm, seed, folder) for arm in study.arms for seed in range(study.starts)}
    if processes > 1:
        train_runs([*jobs.values()], processes=processes, threads=1, resume=True, watch=watch)
    arms = {}
    for arm in study.arms:
        starts = []
        for seed in range(study.starts):
            job = jobs[arm.name, seed]
            with _counting(job.folder):
                train_runs([job], threads=1, resume=True, watch=watch)
            starts.append(_measured(study, job))
        arms[arm.name] = {**recipe(arm), "starts": starts}
    return {
        "study": study.name,
        "arms": arms,
        "processes": processes,
        "cores": os.cpu_count(),
        "versions": versions(),
    }


def label(study: Study, folder: Path) -> Callable[[Path], str]:
    """Names the start in a folder, for whoever watches."""
    names = {
        _job(arm, seed, folder).folder: f"{study.name}: {arm.name}, start {seed + 1}"
        for arm in study.arms
        for seed in range(study.starts)
    }
    return names.__getitem__


def recipe(arm: Arm) -> dict[str, Any]:
    """What an arm's numbers depend on besides the program."""
    return {"data": arm.data.name, "settings": _changed(arm.config)}


def results_of(study: Study, record: dict[str, Any]) -> Results:
    """The numbers in a record. Raises `DataError` for a record of another recipe than the study's present one."""
    if not isinstance(record, dict) or not isinstance(record.get("arms"), dict):
        raise DataError(f"this is no record of {study.name}; run `dmnplus study {study.name}`")
    for arm in study.arms:
        kept = record["arms"].get(arm.name)
        if not kept or {key: kept[key] for key in ("data", "settings")} != recipe(arm):
            raise DataError(
                f"the records of {study.name} were made with another recipe for {arm.name!r}; "
                f"run `dmnplus study {study.name}`"
            )
    return Results(
        {
            name: {
                measure: Spread(tuple(start["measures"][measure] for start in arm["starts"]))
                for measure in arm["starts"][0]["measures"]
            }
            for name, arm in record["arms"].items()
        }
    )


def _job(arm: Arm, seed: int, folder: Path) -> Job:
    key = repr((arm.data.name, sorted(_changed(arm.config)), seed))
    return Job(
        folder / hashlib.sha256(key.encode()).hexdigest()[:16],
        arm.config,
        arm.data.splits(),
        seed,
        1,
        arm.data.pictures(),
    )


def _changed(config: Config) -> list[str]:
    """The settings that are not the defaults; one that is added later changes no recipe."""
    default = plain(Config())
    return [
        f"{section}.{key}={value}"
        for section, values in plain(config).items()
        for key, value in values.items()
        if value != default[section][key]
    ]


def _measured(study: Study, job: Job) -> dict[str, Any]:
    record = read_json(job.folder / RUN)
    config, vocabulary, model = load_model(job.folder)
    lines = (job.folder / METRICS).read_text(encoding="utf-8").splitlines()
    errors = tuple(json.loads(line)["validation_error"] for line in lines)
    with torch.no_grad():
        more = study.measure(Trained(model, vocabulary, config, job.splits, job.pictures, errors))
    return {
        "seed": job.seed,
        "seconds": round(record["fit"]["seconds"], 1),
        "processor_seconds": round(read_json(job.folder / _SPENT), 1) if (job.folder / _SPENT).exists() else None,
        "measures": {
            "error": round(record["test"]["error"], 6),
            "loss": round(record["test"]["loss"], 6),
            "best_epoch": record["fit"]["best_epoch"],
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            **{name: round(value, 6) for name, value in more.items()},
        },
    }


@contextmanager
def _counting(folder: Path) -> Iterator[None]:
    """Adds up the processor's seconds of a start that is trained in this process, also over interruptions."""
    path = folder / _SPENT
    if (folder / RUN).exists() and not path.exists():
        # Trained by another process, whose time is not known.
        yield
        return
    done = read_json(folder / RUN).get("finished") if path.exists() else False
    before, start = read_json(path) if path.exists() else 0.0, time.process_time()
    try:
        yield
    finally:
        if not done and folder.exists():
            write_json(path, before + time.process_time() - start)
