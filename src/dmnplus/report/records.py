"""Records of bAbI runs as measured starts, grouped and chosen from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from dmnplus.config import differences
from dmnplus.data.example import DataError
from dmnplus.model import VARIANTS
from dmnplus.report.published import published
from dmnplus.training.checkpoint import read_json
from dmnplus.training.transfer import begun_with

COLLECTED = (".", "variants", "generated")
"""Folders of records of `dmnplus train`."""
JOINT = "joint"
"""Folder of records of `dmnplus train babi --joint`."""
DAQUAR = "daquar"
"""Folder of records of `dmnplus reproduce daquar`."""
_DATA = re.compile(r"babi/(\d+) \((.*)\)")


@dataclass(frozen=True)
class Start:
    """One trained and measured start."""

    folder: str
    """The folder of records it is from."""
    task: int
    variant: str
    changed: tuple[str, ...]
    """Settings that are not the paper's."""
    data: str
    """What it was trained on in place of the paper's training file, else empty."""
    questions: tuple[str, ...]
    """Numbers of questions that are not the paper's."""
    files: tuple[tuple[str, str], ...]
    seed: int
    validation_loss: float
    validation_error: float
    test_error: float
    fresh: tuple[int, float] | None
    """Generated test questions that it was measured on as well, and their error."""
    best_epoch: int
    epochs: int
    seconds: float
    torch: str
    """The version of PyTorch."""

    @property
    def is_papers(self) -> bool:
        """Whether its network is one of the paper's, and its settings are the paper's."""
        return self.variant in published()[0] and not self.changed


@dataclass(frozen=True)
class Joint:
    """One model for several tasks: test error by task of the chosen start, and of every start over all of them."""

    variant: str
    changed: tuple[str, ...]
    errors: dict[int, float]
    starts: tuple[float, ...]
    best_epoch: int
    epochs: int


@dataclass(frozen=True)
class DaquarStart:
    """One start on DAQUAR; `blind` without its photos, `division` says which photos were kept back to measure on."""

    variant: str
    blind: bool
    changed: tuple[str, ...]
    division: int
    questions: int
    validation_accuracy: float
    accuracy: float


@dataclass(frozen=True)
class Cell:
    """The starts of one task, variant, settings and data."""

    starts: tuple[Start, ...]

    @property
    def best(self) -> Start:
        """The start with the least validation loss, as in the paper; the test questions have no say."""
        return min(self.starts, key=lambda start: start.validation_loss)

    @property
    def mean(self) -> float:
        return mean(start.test_error for start in self.starts)

    @property
    def deviation(self) -> float:
        """Standard deviation of the test error over starts; of at least two."""
        return stdev(start.test_error for start in self.starts)

    @property
    def deviations(self) -> list[str]:
        """What is not as in the paper, settings first."""
        first, wanted = self.starts[0], published()[2].starts
        count = len(self.starts)
        few = [f"{count} start{'s' * (count > 1)} instead of {wanted}"] if count < wanted else []
        return [*first.changed, *([f"trained on {first.data}"] if first.data else []), *first.questions, *few]


def read_starts(folder: Path) -> list[Start]:
    """The bAbI starts recorded in `folder` and those of its folders that hold records of runs.

    What `dmnplus reproduce babi` wrote is found whatever `--out` was: `folder` itself, or a folder in it. A start that
    is recorded twice counts once: in a folder of `dmnplus reproduce`, else where it comes first. Raises `DataError` for
    a file that is no record, and where one task's official questions are not the same in all records.
    """
    sweeps = [*sorted(folder.glob("*/*/babi-*-*.json")), *sorted(folder.glob("*/babi-*-*.json"))]
    files = [path for path in sweeps if path.parent.name in VARIANTS]
    files += [path for name in COLLECTED for path in sorted((folder / name).glob("*.json"))]
    starts: dict[tuple[Any, ...], Start] = {}
    for path in files:
        for start in _starts(path, path.relative_to(folder).parts[0] if path.parent != folder else ""):
            key = (start.task, start.variant, start.changed, start.data, start.questions, start.seed)
            starts.setdefault(key, start)
    if not starts:
        raise DataError(f"{folder}: no records of bAbI runs are there; `dmnplus reproduce babi` writes them")
    _check_same_questions(starts.values())
    return [*starts.values()]


def read_joint(folder: Path) -> list[Joint]:
    """The records of models for several tasks in `folder`, the least validation loss first."""
    records = [_finished(path) for path in sorted((folder / JOINT).glob("*.json"))]
    return [_joint(record) for record in sorted(records, key=lambda record: record["fit"]["validation_loss"])]


def read_daquar_starts(folder: Path) -> list[DaquarStart]:
    """The starts of `dmnplus reproduce daquar` in `folder`."""
    return [_daquar(_finished(path)) for path in sorted((folder / DAQUAR).rglob("*.json"))]


def _daquar(record: dict[str, Any]) -> DaquarStart:
    variant, changed = differences(record["config"])
    return DaquarStart(
        variant=variant,
        blind=record["data"] != DAQUAR,
        changed=tuple(setting for setting in changed if not setting.startswith("data.split_seed=")),
        division=record["config"]["data"]["split_seed"],
        questions=record["questions"]["test"],
        validation_accuracy=1 - record["fit"]["validation_error"],
        accuracy=1 - record["test"]["error"],
    )


def errors_by_type(record: dict[str, Any]) -> dict[str, tuple[int, float]]:
    """Test questions and error of each type (`babi/2`, `scenes/counting`) in a run's record, by name."""
    # The record tells types apart by the question's first word, too.
    kinds = merged_kinds(record["test"]["by_kind"], lambda kind, _: kind.partition(" ")[0])
    return {name: (count, wrong / count) for name, (count, wrong) in sorted(kinds.items())}


def merged_kinds(
    by_kind: Mapping[str, Mapping[str, float]], name: Callable[[str, float], str]
) -> dict[str, tuple[int, float]]:
    """Questions and wrong answers of an evaluation's types that share a `name`, which depends on type and questions."""
    kinds: dict[str, tuple[int, float]] = {}
    for kind, figures in by_kind.items():
        merged = name(kind, figures["questions"])
        count, wrong = kinds.get(merged, (0, 0.0))
        kinds[merged] = count + round(figures["questions"]), wrong + figures["questions"] * figures["error"]
    return kinds


def _joint(record: dict[str, Any]) -> Joint:
    variant, changed = differences(record["config"])
    errors = {int(name.removeprefix("babi/")): error for name, (_, error) in errors_by_type(record).items()}
    fit, starts = record["fit"], record.get("starts", {})
    return Joint(
        variant=variant,
        changed=(*changed, *begun_with(record)),
        errors=dict(sorted(errors.items())),
        starts=tuple(start["test_error"] for start in starts.values()) or (record["test"]["error"],),
        best_epoch=fit["best_epoch"],
        epochs=fit["epochs"],
    )


def _check_same_questions(starts: Iterable[Start]) -> None:
    seen: dict[tuple[int, str], Start] = {}
    for start in starts:
        if start.files and (first := seen.setdefault((start.task, start.data), start)).files != start.files:
            raise DataError(
                f"task {start.task}: {start.variant} seed {start.seed} and {first.variant} seed {first.seed} were "
                "trained or tested on different questions under one name; they cannot stand in one table"
            )


def cells(starts: Sequence[Start]) -> list[Cell]:
    """The starts that belong together, by task, variant, settings, data, questions."""
    groups: dict[tuple[Any, ...], list[Start]] = {}
    for start in starts:
        key = (start.task, start.variant, start.changed, start.data, start.questions)
        groups.setdefault(key, []).append(start)
    return [Cell(tuple(sorted(groups[key], key=lambda start: start.seed))) for key in sorted(groups)]


def paper_cells(starts: Sequence[Start]) -> dict[tuple[int, str], Cell]:
    """The cells of the paper's settings by task and variant.

    They are of the paper's data; where a task has none, as its training file is missing, of the data most starts have.
    """
    chosen: dict[tuple[int, str], Cell] = {}
    for cell in cells([start for start in starts if start.is_papers]):
        key = (cell.starts[0].task, cell.starts[0].variant)
        if key not in chosen or (chosen[key].starts[0].data and len(cell.starts) > len(chosen[key].starts)):
            chosen[key] = cell
    return chosen


def best_cell(starts: Sequence[Start], task: int) -> Cell | None:
    """Of all settings and variants tried on a task, the cell with the least validation loss.

    Losses compare on the same validation questions only: those of the paper's data, or, where no start has it, of the
    data most starts have.
    """
    tried = [start for start in starts if start.task == task]
    if not tried:
        return None
    named = [start.data for start in tried]
    data = "" if "" in named else max(sorted(set(named)), key=named.count)
    return min(cells([start for start in tried if start.data == data]), key=lambda cell: cell.best.validation_loss)


def _finished(path: Path) -> dict[str, Any]:
    record = read_json(path)
    if not isinstance(record, dict) or not record.get("finished") or "test" not in record:
        raise DataError(f"{path}: not the record of a finished run; finish it with the command that began it")
    return record


def _starts(path: Path, folder: str) -> list[Start]:
    record = _finished(path)
    match = _DATA.fullmatch(record["data"])
    if not match:
        raise DataError(f"{path}: is a record of {record['data']}, not of a bAbI task")
    task, protocol = int(match[1]), published()[2]
    variant, changed = differences(record["config"], task)
    sources = record.get("sources", {})
    data = "" if match[2] == protocol.language else match[2]
    questions = [
        f"{record['questions'][part]} {part} questions"
        for part, wanted in protocol.questions.items()
        if record.get("questions", protocol.questions)[part] != wanted
    ]
    questions += [f"{role}: {', '.join(named)}" for role, named in sources.items() if role != "train"]

    def start(one: dict[str, Any], error: float) -> Start:
        fit = one["fit"]
        return Start(
            folder=folder,
            task=task,
            variant=variant,
            changed=(*changed, *begun_with(record)),
            data=data,
            questions=tuple(questions),
            files=tuple(sorted(record.get("files", {}).items())),
            seed=one["seed"],
            validation_loss=fit["validation_loss"],
            validation_error=fit["validation_error"],
            test_error=error,
            fresh=(record["fresh"]["questions"], record["fresh"]["error"]) if "fresh" in record else None,
            best_epoch=fit["best_epoch"],
            epochs=fit["epochs"],
            seconds=fit["seconds"],
            torch=record["versions"].get("torch", "of a version that is not recorded"),
        )

    if "starts" in record:
        return [start(one, one["test_error"]) for one in record["starts"].values()]
    return [start(record, record["test"]["error"])]
