"""`dmnplus eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from dmnplus.cli.sources import parse_tasks, read_source
from dmnplus.data.babi import find_babi, read_babi, read_babi_file
from dmnplus.data.example import DataError, Example

if TYPE_CHECKING:
    from dmnplus.training.metrics import Evaluation


def evaluate_run(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    data: Annotated[
        str | None,
        typer.Argument(help="Official archive, its folder, a file in its format, or generated:QUESTIONS[:SEED]."),
    ] = None,
    task: Annotated[int | None, typer.Option(help="bAbI task; default: the one the run was trained on.")] = None,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    language: Annotated[str, typer.Option(help="Folder of the archive: en, en-10k, hn, shuffled, ...")] = "en-10k",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print accuracy, error by type of question, and how the attention agrees with the supporting facts."""
    # Here and not above: PyTorch takes seconds to import, and help should not wait for it.
    from dmnplus.data.batching import encode
    from dmnplus.training.metrics import evaluate
    from dmnplus.training.run import load_model

    config, vocabulary, model = load_model(run)
    examples = _read(run, data, task, split, language)
    result = evaluate(model, encode(examples, vocabulary, last_facts=config.data.last_facts), examples)
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=2))
    else:
        _print(Console(), result)


def _read(run: Path, data: str | None, task: int | None, split: str, language: str) -> list[Example]:
    if task is not None:
        parse_tasks(str(task))
    path = Path(data) if data and not data.startswith(("generated:", "official:")) else None
    if path is not None and path.is_file() and not path.name.endswith((".tar.gz", ".tgz", ".tar")):
        return read_babi_file(path)
    task = task or _trained_task(run)
    return read_source(data, task) if data and path is None else read_babi(find_babi(path), task, split, language)


def _trained_task(run: Path) -> int:
    from dmnplus.training.checkpoint import RUN, read_json

    name = str(read_json(run / RUN).get("data", ""))
    number = name.removeprefix("babi/").partition(" ")[0]
    if not number.isdigit():
        raise DataError(f"{run / RUN} does not say which bAbI task the run was trained on; give --task")
    return int(number)


def _print(console: Console, result: Evaluation) -> None:
    lost = f", {result.unanswerable} of them with answers never seen in training" if result.unanswerable else ""
    console.print(
        f"{result.questions} questions{lost}: accuracy {result.accuracy:.2%}, error {result.error:.2%}, "
        f"loss {result.loss:.4f}",
        highlight=False,
    )
    kinds = Table("type of question", "questions", "error", box=None, header_style="dim")
    for kind, figures in result.by_kind.items():
        kinds.add_row(kind, str(figures["questions"]), f"{figures['error']:.2%}")
    console.print(kinds)
    if result.attention is None:
        console.print("no supporting facts are labelled", highlight=False)
        return
    attention = result.attention
    console.print(
        f"attention beside the supporting facts ({attention.questions} questions): "
        f"precision {attention.precision:.1%}, recall {attention.recall:.1%}",
        highlight=False,
    )
    passes = Table("pass", "top fact is labelled", "attention on labelled facts", box=None, header_style="dim")
    for t, score in enumerate(attention.passes):
        passes.add_row(str(t + 1), f"{score.top_fact:.1%}", f"{score.mass:.1%}")
    console.print(passes)
