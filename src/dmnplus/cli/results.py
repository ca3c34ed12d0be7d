"""`dmnplus results`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dmnplus.data.example import DataError

RECORD = "run.json"


def results(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of runs, or their run.json files, or folders of these, as of `reproduce`."),
    ],
    by_type: Annotated[bool, typer.Option("--by-type", help="A row for each type of question.")] = False,
) -> None:
    """Print the results of runs as a Markdown table, read from their records.

    Every row is the start with the least validation loss, or an ensemble; "over starts" is the spread of test errors.
    """
    records = [record for path in runs for record in read_records(path)]
    typer.echo(types_table(records) if by_type else table(records))


def table(records: list[dict[str, Any]]) -> str:
    """Markdown, a row a run, in the order of task and variant."""
    rows = sorted((_row(record) for record in records), key=lambda row: row[0])
    lines = [
        "| trained on | network | settings that differ | test error | over starts | seed | best epoch | time |",
        "|---|---|---|---|---|---|---|---|",
        *("| " + " | ".join(cells) + " |" for _, cells in rows),
    ]
    return "\n".join(lines)


def types_table(records: list[dict[str, Any]]) -> str:
    """Markdown, a row a type of question (`scenes/counting`) of each run."""
    from dmnplus.config import differences
    from dmnplus.report.records import errors_by_type

    lines = ["| trained on | network | type of question | questions | test accuracy |", "|---|---|---|---|---|"]
    for record in records:
        if "test" not in record:
            continue
        variant, _ = differences(record["config"])
        lines += [
            f"| {_trained_on(record)} | {variant} | {name} | {count} | {1 - error:.1%} |"
            for name, (count, error) in errors_by_type(record).items()
        ]
    return "\n".join(lines)


def read_records(path: Path) -> list[dict[str, Any]]:
    # A run's folder holds its starts' folders too; a folder of runs or of collected records does not hold a record.
    if path.is_file():
        files = [path]
    elif (path / RECORD).is_file():
        files = [path / RECORD]
    else:
        files = sorted(path.glob("*.json")) or sorted(path.glob(f"*/{RECORD}"))
        # `reproduce` has a folder a variant, and a record a start: babi-TASK-SEED.json.
        files = files or sorted(path.glob("*/*-*-*.json"))
    records = []
    for file in files:
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{file}: not readable as a record of a run: {error}") from None
        if not isinstance(record, dict) or not record.get("finished"):
            raise DataError(f"{file}: not the record of a finished run; finish it with `dmnplus train ... --resume`")
        records.append(record)
    if not records:
        raise DataError(f"{path}: no records of runs are there; `dmnplus train` writes them")
    return records


def _trained_on(record: dict[str, Any]) -> str:
    """The data, and what read the pictures where that is not the network itself."""
    pictures = record.get("pictures", {})
    if not pictures.get("backbone"):
        return record["data"]
    grid = f"{pictures['rows']} x {pictures['columns']}"
    return f"{record['data']} ({pictures['backbone']} at {pictures['size']}, {grid})"


def best_epoch(record: dict[str, Any]) -> str:
    """The best epoch of a run, of how many; an ensemble's are those of its starts, added up, as its seconds are."""
    fit = record["fit"]
    return f"{fit['best_epoch']} of {fit['epochs']}{' in all' if 'ensemble' in record else ''}"


def _row(record: dict[str, Any]) -> tuple[tuple[Any, ...], list[str]]:
    from dmnplus.config import differences
    from dmnplus.training.transfer import begun_with

    variant, settings = differences(record["config"])
    fit, starts = record["fit"], record.get("starts", {})
    errors = [start["test_error"] for start in starts.values() if "test_error" in start]
    cells = [
        _trained_on(record),
        f"{variant}, {record['ensemble']} as an ensemble" if "ensemble" in record else variant,
        ", ".join([*settings, *begun_with(record)]),
        f"{record['test']['error']:.1%}" if "test" in record else "no questions",
        f"{min(errors):.1%} to {max(errors):.1%} ({len(errors)})" if errors else "",
        str(record["seed"]) if "ensemble" not in record else "all",
        best_epoch(record),
        f"{fit['seconds']:.0f} s, {record['threads']} thread{'s' * (record['threads'] != 1)}",
    ]
    number = record["data"].removeprefix("babi/").partition(" ")[0]
    return (int(number) if number.isdigit() else 0, cells[0], variant, settings), cells
