"""`dmnplus train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tomli_w
import typer
from rich.console import Console
from rich.table import Table

from dmnplus.cli.sources import babi_splits, parse_tasks

app = typer.Typer(help="Train a network.", no_args_is_help=True)

Variant = Annotated[str, typer.Option(help="The network: odmn, dmn2, dmn3, dmn+ (the paper's ablation).")]
Recipe = Annotated[Path | None, typer.Option(help="A TOML file of settings that differ from the defaults.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting; may be repeated. See `dmnplus settings`."),
]


@app.callback()
def root() -> None:
    pass


@app.command("babi")
def train_babi(
    task: Annotated[str, typer.Option(help="The task or tasks: 2, or 1,4,6, or 1-20.")],
    data: Annotated[
        Path | None,
        typer.Option(help="The official archive, its unpacked folder, or one file. Default: where `data get` put it."),
    ] = None,
    language: Annotated[str, typer.Option(help="Folder of the archive: en, en-10k, hn, shuffled, ...")] = "en-10k",
    train: Annotated[
        list[str] | None,
        typer.Option(
            help="Train on this instead: a file, generated:QUESTIONS[:SEED], or official:LANGUAGE:SPLIT. Several add."
        ),
    ] = None,
    valid: Annotated[
        list[str] | None, typer.Option(help="Validate on this instead of the end of the training file.")
    ] = None,
    test: Annotated[list[str] | None, typer.Option(help="Test on this instead of the official test file.")] = None,
    variant: Variant = "dmn+",
    recipe: Recipe = None,
    settings: Settings = None,
    starts: Annotated[int, typer.Option(min=1, help="Random starts; the best by validation loss is kept.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the first start; the next ones count up.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Starts trained at the same time, each in its own process.")] = 1,
    threads: Annotated[int, typer.Option(min=0, help="Threads of each process; 0 shares the cores out.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The run's folder. Default: runs/babi-TASK-VARIANT.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is in the folder.")] = False,
) -> None:
    """Train on bAbI tasks by the paper's protocol; one model a task.

    Ctrl-C leaves the best model so far in the run's folder; --resume goes on from the last finished epoch.
    """
    # Here and not above: PyTorch takes seconds to import, and help should not wait for it.
    from dmnplus.cli.progress import watching
    from dmnplus.config import resolve
    from dmnplus.training.run import Job, train_runs

    console = Console()
    tasks = parse_tasks(task)
    planned = []
    for number in tasks:
        config = resolve(variant=variant, task=number, recipe=recipe, settings=settings or ())
        splits = babi_splits(number, data, language, config.data.validation_share, train, valid, test)
        folder = out or Path("runs") / f"babi-{number}-{variant}"
        planned.append(
            Job(folder / f"babi-{number}" if out and len(tasks) > 1 else folder, config, splits, seed, starts)
        )
    names = {job.folder: f"task {number}" for number, job in zip(tasks, planned, strict=True)}

    def label(folder: Path) -> str:
        return names.get(folder) or f"{names[folder.parent]} {folder.name.replace('-', ' ')}"

    try:
        with watching(console, label, planned[0].config.training) as watch:
            records = train_runs(planned, processes=jobs, threads=threads, resume=resume, watch=watch)
    except KeyboardInterrupt:
        folders = ", ".join(str(job.folder) for job in planned)
        Console(stderr=True).print(
            f"stopped; {folders} holds the best model of the finished epochs, and --resume goes on from there",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    console.print(results_table(tasks, records))
    for job in planned:
        console.print(f"model in {job.folder}", highlight=False, soft_wrap=True)


def settings(
    variant: Variant = "dmn+",
    task: Annotated[int | None, typer.Option(help="With the paper's exceptions for this bAbI task.")] = None,
    recipe: Recipe = None,
    settings: Settings = None,
) -> None:
    """Print every setting as `train` would use it, as TOML; the output is a valid recipe."""
    from dmnplus.config import plain, resolve

    typer.echo(tomli_w.dumps(plain(resolve(variant=variant, task=task, recipe=recipe, settings=settings or ()))))


def results_table(tasks: list[int], records: list[dict[str, Any]]) -> Table:
    """The selected start of each task, and the spread over its starts."""
    table = Table(box=None, header_style="bold")
    for name in ("task", "seed", "epochs", "time", "validation loss", "validation error", "test error", "over starts"):
        table.add_column(name, justify="right")
    for task, record in zip(tasks, records, strict=True):
        fit, test = record["fit"], record.get("test")
        errors = [start["test_error"] for start in record.get("starts", {}).values() if "test_error" in start]
        spread = f"{min(errors):.1%} to {max(errors):.1%}" if len(errors) > 1 else ""
        table.add_row(
            str(task),
            str(record["seed"]),
            f"{fit['epochs']} (best {fit['best_epoch']})",
            f"{fit['seconds']:.0f} s",
            f"{fit['validation_loss']:.4f}",
            f"{fit['validation_error']:.1%}",
            f"{test['error']:.1%}" if test else "no test",
            spread,
        )
    return table
