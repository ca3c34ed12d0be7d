"""`dmnplus models`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from dmnplus.cli.evaluate import read_data, trained_language, trained_on
from dmnplus.cli.picture_data import DATASETS, without_pictures
from dmnplus.cli.sources import parse_tasks, read_source
from dmnplus.data.babi import find_babi, read_babi
from dmnplus.data.example import DataError, Example, iter_pictures
from dmnplus.pretrained import SHIPPED, locate, read_card, shipped, size
from dmnplus.pretrained.card import README

if TYPE_CHECKING:
    from dmnplus.data.pictures import Pictures

app = typer.Typer(help="Models that ship with the package: list them, read a card, add one.")


@app.callback(invoke_without_command=True)
def list_models(context: typer.Context) -> None:
    """List the trained models that ship with the package; each answers at once: `dmnplus ask --model babi/2`."""
    if context.invoked_subcommand:
        return
    table = Table(box=None, header_style="bold")
    table.add_column("name", no_wrap=True)
    for heading in ("what it answers", "trained on", "test error", "size", "date"):
        table.add_column(heading, overflow="fold")
    for name in shipped():
        card = read_card(SHIPPED / name)
        kilobytes = f"{size(SHIPPED / name) / 1000:.0f} kB"
        table.add_row(name, card.title, card.data, f"{card.error:.1%}", kilobytes, card.date)
    Console().print(table)


@app.command("card")
def print_card(name: Annotated[str, typer.Argument(help="Name of a model, or folder.")]) -> None:
    """Print a model's card: what it was trained on, how good it is, how to train it again."""
    path = locate(name) / README
    if not path.is_file():
        raise DataError(f"{path.parent}: has no card; `dmnplus models add` makes one")
    typer.echo(path.read_text(encoding="utf-8"))


@app.command("add")
def add(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    name: Annotated[str | None, typer.Option(help="The model's name. Default: its data, as babi/2 or scenes.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="The test questions' data: the official archive or the data set's folder.")
    ] = None,
    into: Annotated[
        Path, typer.Option(help="The folder of models.", show_default="those that ship with the package")
    ] = SHIPPED,
) -> None:
    """Make shipped models of runs: weights in half precision, measured as stored on the test questions, and a card."""
    from dmnplus.pretrained.ship import ship

    if name and len(runs) > 1:
        raise DataError(f"--name {name} names one model, and {len(runs)} runs were given")
    for run in runs:
        wanted = name or trained_on(run)
        if not wanted or Path(wanted).is_absolute() or ".." in Path(wanted).parts:
            raise DataError(f"{run}: {wanted!r} is no name for a model; give --name, as in babi/2")
        card = ship(run, wanted, *_test_questions(run, data), into)
        typer.echo(f"{card.name}: test error {card.error:.1%} in half precision, {size(into / wanted):,} bytes")


@app.command("push")
def push(
    name: Annotated[str, typer.Argument(help="Folder of a run, or the name of a model.")],
    repository: Annotated[str, typer.Argument(help="Name on the Hugging Face Hub, as owner/name.")],
    private: Annotated[bool, typer.Option("--private", help="A new repository is not public.")] = False,
) -> None:
    """Push a model to the Hugging Face Hub, with the token of `hf auth login`; OWNER/NAME is then a name to ask by."""
    from dmnplus.pretrained.hub import DMN

    model = DMN.from_pretrained(name)
    try:
        url = model.push_to_hub(repository, private=private)
    # huggingface_hub's errors are of HTTP, of names and of tokens, and have no base in common.
    except Exception as error:
        raise DataError(f"{repository}: cannot be pushed: {str(error).strip() or repr(error)}") from error
    typer.echo(url)


def _test_questions(run: Path, data: Path | None) -> tuple[list[Example], str, Pictures | None]:
    """The questions that a run was tested on, what they are, and where their pictures are read from."""
    from dmnplus.training.files import RUN, read_json
    from dmnplus.training.run import load_model
    from dmnplus.vision.opening import open_pictures

    config, _, model = load_model(run)
    dataset = trained_on(run)
    if dataset in (*DATASETS, "own"):
        examples, described = read_data(run, config.data, data)
        if model.pictures is None and dataset != "own":
            examples = without_pictures(examples)
        pictures = open_pictures(
            iter_pictures(examples), size=config.data.image_size, grid=config.data.image_grid, wanted=model.pictures
        )
        return examples, described, pictures
    record = read_json(run / RUN)
    match = re.fullmatch(r"babi/([\d,-]+)(, one model)? \(.*\)", record.get("data", ""))
    if not match:
        raise DataError(f"{run / RUN}: does not say what the run was trained on")
    tasks = parse_tasks(match[1])
    if named := record.get("sources", {}).get("test"):
        read = [e for task in tasks for source in named for e in read_source(source, task, data, split="test")]
        return read, ", ".join(named), None
    language, archive = trained_language(run), find_babi(data)
    described = f"bAbI task{'s' * (len(tasks) > 1)} {match[1]}, {language}, test file{'s' * (len(tasks) > 1)}"
    return [e for task in tasks for e in read_babi(archive, task, "test", language)], described, None
