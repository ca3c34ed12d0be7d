"""`dmnplus data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from dmnplus.cli.sources import babi_examples, parse_tasks
from dmnplus.cli.train import Recipe, Settings, Variant
from dmnplus.data.compare import compare, render
from dmnplus.data.download import get_babi
from dmnplus.data.generate import generate, write_dataset
from dmnplus.data.location import default_data_root
from dmnplus.data.own import KINDS_OF_FILE
from dmnplus.data.scenes import KINDS, generate_scenes, write_scenes
from dmnplus.data.statements import generate_statements

app = typer.Typer(help="Fetch, make and compare data.", no_args_is_help=True)
get = typer.Typer(help="Download data from its official source.", no_args_is_help=True)
app.add_typer(get, name="get")

PictureFolder = Annotated[
    Path, typer.Argument(help="Folder for train/ and test/, each with questions.jsonl and pictures.")
]
Tasks = Annotated[str, typer.Option(help="The task or tasks: 2, or 1,4,6, or 1-20, or all.")]


@get.callback()
def root() -> None:
    pass


@get.command("babi")
def get_babi_archive(
    out: Annotated[
        Path | None, typer.Option(help="Folder to put it in. Default: DMNPLUS_DATA, or this user's cache.")
    ] = None,
) -> None:
    """Download the official bAbI archive and check it; a broken download goes on where it stopped."""
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    # What is printed is the path alone.
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("bAbI")
        path = get_babi(out or default_data_root(), lambda done, size: progress.update(bar, completed=done, total=size))
    typer.echo(path)


@app.command("generate")
def generate_files(
    out: Annotated[Path, typer.Argument(help="Folder for qaN_..._train.txt and qaN_..._test.txt.")],
    task: Tasks = "1-20",
    questions: Annotated[int, typer.Option(min=1, help="Questions in each training file.")] = 10_000,
    test: Annotated[int, typer.Option(min=1, help="Questions in each test file.")] = 1_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same files.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
) -> None:
    """Write simulated bAbI tasks in the official format."""
    for path in write_dataset(out, parse_tasks(task), {"train": questions, "test": test}, seed, force=force):
        typer.echo(path)


@app.command("scenes")
def draw_scenes(
    out: PictureFolder,
    questions: Annotated[int, typer.Option(min=1, help="Questions to train on.")] = 10_000,
    test: Annotated[int, typer.Option(min=1, help="Questions to test on.")] = 1_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same scenes.")] = 0,
    kinds: Annotated[
        str, typer.Option(help="Kinds of questions, with commas; one named twice is trained on twice as much.")
    ] = ",".join(KINDS),
) -> None:
    """Draw simple scenes and write questions about them: on one picture, on series, and on pictures with sentences."""
    chosen = [kind.strip() for kind in kinds.split(",")]
    for split, count in (("train", questions), ("test", test)):
        folder = out / split
        # Tests stay comparable, whatever is trained on.
        asked = chosen if split == "train" else list(dict.fromkeys(chosen))
        examples = generate_scenes(folder, questions=count, seed=seed, kinds=asked, split=split)
        typer.echo(write_scenes(examples, folder))


@app.command("statements")
def draw_statements(
    out: PictureFolder,
    statements: Annotated[int, typer.Option(min=1, help="Statements to train on.")] = 10_000,
    test: Annotated[int, typer.Option(min=1, help="Statements to test on.")] = 1_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same statements.")] = 0,
) -> None:
    """Draw boxes as NLVR's and write statements about them, true or false; `train pictures scenes` reads them."""
    for split, count in (("train", statements), ("test", test)):
        folder = out / split
        typer.echo(write_scenes(generate_statements(folder, statements=count, seed=seed, split=split), folder))


@app.command("check")
def check_own(
    data: Annotated[Path, typer.Argument(help=f"Your questions: {KINDS_OF_FILE}.")],
    valid: Annotated[Path | None, typer.Option(help="The file to validate on, if it is another.")] = None,
    test: Annotated[Path | None, typer.Option(help="The file to test on, if it is another.")] = None,
    variant: Variant = "dmn+",
    recipe: Recipe = None,
    settings: Settings = None,
) -> None:
    """Say what is wrong with your own data, line by line, and what a model would see of it.

    Exit status 2 if anything is wrong.
    """
    from dmnplus.cli.own_data import check

    if not check(Console(), data, valid, test, variant=variant, recipe=recipe, settings=settings or ()):
        raise typer.Exit(2)


@app.command("compare")
def compare_tasks(
    data: Annotated[Path | None, typer.Option(help="The official archive or its unpacked folder.")] = None,
    task: Tasks = "1-20",
    language: Annotated[str, typer.Option(help="en or en-10k.")] = "en-10k",
    questions: Annotated[int, typer.Option(min=1, help="Generated questions a task.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the generated stories.")] = 0,
) -> None:
    """Print statistics of generated stories beside those of the real files."""
    if not language.startswith("en"):
        raise ValueError(f"--language is {language!r}; generated stories are in English: it takes en or en-10k")
    console = Console()
    for number in parse_tasks(task):
        real, described = babi_examples(data, number, language)
        comparison = compare(generate(number, questions=questions, seed=seed), real)
        console.print(render({f"task {number}, {described}": comparison}))
