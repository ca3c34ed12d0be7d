"""What others report on bAbI, from `published.toml`, the one place where their figures stand."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Column:
    """A network's test errors as published, shares of 1 by task; those of tasks not listed are unknown."""

    name: str
    title: str
    source: str
    checked: bool
    """False for figures quoted at second hand."""
    mean: float
    """Over all 20 tasks."""
    errors: dict[int, float]


@dataclass(frozen=True)
class PublicCode:
    """What public implementations of DMN+ reach: the mean errors of the best, and a range for a task."""

    means: tuple[float, ...]
    errors: dict[int, tuple[float, float]]


@dataclass(frozen=True)
class Protocol:
    """The paper's, as far as a record can show it: random starts, folder of the archive, questions of each part."""

    starts: int
    language: str
    training: int
    validation: int
    test: int

    @property
    def questions(self) -> dict[str, int]:
        return {"training": self.training, "validation": self.validation, "test": self.test}


TASKS = range(1, 21)


@cache
def published() -> tuple[dict[str, Column], PublicCode, Protocol]:
    content = _content()
    columns = {entry["name"]: _column(**entry) for entry in content["column"]}
    code = content["public_code"]
    ranges = {int(task): (low / 100, high / 100) for task, (low, high) in code["errors"].items()}
    return columns, PublicCode(tuple(mean / 100 for mean in code["means"]), ranges), Protocol(**content["protocol"])


def published_daquar() -> tuple[dict[str, float], float]:
    """Accuracy on DAQUAR's official test by network, and of the question alone, as shares of 1."""
    content = _content()["daquar"]
    return {name: share / 100 for name, share in content["accuracy"].items()}, content["question_alone"] / 100


@cache
def _content() -> dict[str, Any]:
    return tomllib.loads(files("dmnplus.report").joinpath("published.toml").read_text(encoding="utf-8"))


def _column(
    name: str, title: str, source: str, checked: bool, mean: float, errors: dict[str, float], rest: float | None = None
) -> Column:
    known = {int(task): error / 100 for task, error in errors.items()}
    if rest is not None:
        known = {task: known.get(task, rest / 100) for task in TASKS}
    return Column(name, title, source, checked, mean / 100, known)
