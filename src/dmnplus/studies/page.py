"""Writes a study's page, its figure and the index of all pages from the records, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from dmnplus.data.example import DataError
from dmnplus.data.writing import write_whole
from dmnplus.studies.running import results_of
from dmnplus.studies.study import SMALL, Column, Results, Study
from dmnplus.training.checkpoint import read_json, write_json

INDEX = "README.md"
_ERROR = Column("error", "test error")
_HALF_WIDTH, _HEIGHT = 3.6, 3.2


def record_file(folder: Path, study: Study) -> Path:
    return folder / f"{study.name}.json"


def write_record(folder: Path, study: Study, record: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(record_file(folder, study), record)


def write_page(study: Study, records: Path, pages: Path) -> Path:
    """Write the page and the figure of `study` from its record in `records`.

    Raises `DataError` where there is no record, where it was made with another recipe, and where matplotlib is missing.
    """
    if not record_file(records, study).exists():
        raise DataError(f"{record_file(records, study)}: no such record; `dmnplus study {study.name}` makes it")
    record = read_json(record_file(records, study))
    pages.mkdir(parents=True, exist_ok=True)
    draw(study, results_of(study, record), pages / f"{study.name}.svg")
    path = pages / f"{study.name}.md"
    write_whole(path, page(study, record))
    return path


def write_index(studies: Mapping[str, Study], records: Path, pages: Path) -> None:
    write_whole(pages / INDEX, index(studies, records))


def page(study: Study, record: dict[str, Any]) -> str:
    """The page in Markdown."""
    results = results_of(study, record)
    answer = " ".join(study.answer(results))
    return "\n".join(
        [
            f"# {study.question}",
            "",
            answer,
            "",
            *([f"On pictures: {study.on_pictures(results)}", ""] if study.on_pictures else []),
            f"![{study.question}]({study.name}.svg)",
            "",
            *_table(study, results),
            "",
            "Numbers are means over the starts, with the lowest and the highest. One thing is said to be less than",
            "another where every start of the one is below every start of the other; the same networks before and",
            "after something is done to them are compared start by start.",
            *([study.method] if study.method else []),
            "",
            "## What was run",
            "",
            "```",
            f"dmnplus study {study.name}",
            "```",
            "",
            *(f"- {line}" for line in _circumstances(study, record)),
            "",
            f"Printed from `results/studies/{study.name}.json` by `dmnplus study {study.name} --page`.",
            "",
        ]
    )


def index(studies: Mapping[str, Study], records: Path) -> str:
    """The list of all studies, with the first sentence of those that have been run."""
    lines = [
        "# What readers of the paper ask",
        "",
        "Each question has one command, `dmnplus study NAME`, that trains small networks from several starts and",
        "writes its page from what it measured. `dmnplus study all` runs them all, and `--page` writes the pages anew",
        "from the records in `results/studies/`.",
        "",
    ]
    for number, study in enumerate(studies.values(), 1):
        path = record_file(records, study)
        try:
            results = results_of(study, read_json(path)) if path.exists() else None
        except DataError:
            # Its own command says what is wrong; the other studies are none the worse.
            results = None
        if results is None:
            lines.append(f"{number}. {study.question} Not run yet: `dmnplus study {study.name}`.")
        else:
            first, _, _ = study.answer(results)
            lines.append(f"{number}. [{study.question}]({study.name}.md) {first}")
    return "\n".join([*lines, ""])


def require_matplotlib() -> None:
    """Raises `DataError` that says what to install, where figures cannot be drawn."""
    try:
        import_module("matplotlib")
    except ImportError:
        problem = 'the figures of studies are drawn by matplotlib; install it: pip install "dmnplus[report]"'
        raise DataError(problem) from None


def draw(study: Study, results: Results, path: Path) -> None:
    """Write the figure as SVG, the same file for the same numbers and the same matplotlib."""
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "dmnplus", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(2 * _HALF_WIDTH, _HEIGHT), layout="constrained")
        FigureCanvasSVG(figure)
        study.draw(figure, results)
        try:
            figure.savefig(path, metadata={"Date": None})
        except OSError as error:
            raise DataError(f"{path}: the figure cannot be written: {error}") from None


def _table(study: Study, results: Results) -> Iterable[str]:
    columns = (_ERROR, *study.columns)
    yield "| | " + " | ".join(column.heading for column in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for arm, measured in results.measured.items():
        cells = [format(measured[c.measure], c.form) if c.measure in measured else "" for c in columns]
        yield f"| {arm} | " + " | ".join(cells) + " |"


def _circumstances(study: Study, record: dict[str, Any]) -> Iterable[str]:
    arms = record["arms"].values()
    starts = [start for arm in arms for start in arm["starts"]]
    for data in dict.fromkeys(arm.data for arm in study.arms):
        users = [arm.name for arm in study.arms if arm.data == data]
        whose = f" ({'; '.join(users)})" if len(users) < len(study.arms) else ""
        yield f"Data: {data.name}{whose}."
    yield f"Settings: DMN+ with {', '.join(f'`{setting}`' for setting in SMALL)}."
    for arm in study.arms:
        if arm.settings:
            # Of a setting that is given twice the later one holds.
            settings = {setting.partition("=")[0]: setting for setting in arm.settings}
            yield f"{arm.name}: {', '.join(f'`{setting}`' for setting in settings.values())}."
    count = len(starts) // len(record["arms"])
    yield (
        f"{count} starts each, seeds {', '.join(str(start['seed']) for start in starts[:count])}; each keeps its epoch "
        "with the least validation loss, and nothing is chosen on the test questions."
    )
    yield _time(record, starts)
    versions = record["versions"]
    yield f"Versions: {', '.join(f'{name} {number}' for name, number in versions.items())}."


def _time(record: dict[str, Any], starts: list[dict[str, Any]]) -> str:
    clock = sum(start["seconds"] for start in starts)
    spent = [start["processor_seconds"] for start in starts]
    processes, cores = record["processes"], record["cores"]
    side_by_side = f"{processes} at a time" if processes > 1 else "one after another"
    text = f"Time: the {len(starts)} starts, {side_by_side}, one thread each, on {cores} cores, "
    if None in spent:
        return text + f"trained for {clock / 60:.1f} minutes by the clock, added up."
    return text + (
        f"took {sum(spent) / 60:.1f} minutes of a processor and {clock / 60:.1f} by the clock, added up; where the two "
        "differ, other programs ran beside. Starts that another study had trained already are counted."
    )
