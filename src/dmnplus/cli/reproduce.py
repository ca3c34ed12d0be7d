"""`dmnplus reproduce`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dmnplus.cli.sources import paper_splits, parse_tasks
from dmnplus.cli.train import Recipe, Seed, Settings

app = typer.Typer(help="Make the paper's tables anew.", no_args_is_help=True)


@app.callback()
def root() -> None:
    pass


@app.command("babi")
def reproduce_babi(
    variants: Annotated[str, typer.Option(help="Networks of the paper's ablation.")] = "odmn,dmn2,dmn3,dmn+",
    tasks: Annotated[str, typer.Option(help="As in 2, or 1,4,6, or 1-20; begun in this order.")] = "1-20",
    runs: Annotated[int, typer.Option(min=1, help="Random starts of each task and variant.")] = 10,
    jobs: Annotated[int, typer.Option(min=1, help="Starts trained at the same time, each in its own process.")] = 1,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of each process. Another number of threads rounds differently.")
    ] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Train on a Ray cluster: HOST:PORT; auto, the one this machine belongs to; or local, one of --jobs "
            "cores here.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The official archive or its unpacked folder. Default: where `data get` put it.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the records, a small file a start.")] = Path("results/reproduce"),
    work: Annotated[
        Path | None, typer.Option(help="Folder of models and checkpoints. Default: runs/ and the name of --out.")
    ] = None,
    fresh: Annotated[
        int, typer.Option(min=0, metavar="QUESTIONS", help="Measure on so many generated test questions, too.")
    ] = 0,
    seed: Seed = 0,
    recipe: Recipe = None,
    settings: Settings = None,
) -> None:
    """Train every variant on every bAbI task by the paper's protocol, from several random starts.

    The same command goes on wherever it was stopped: what has a record is skipped, what was begun continues. The first
    start of every task and variant comes before any second one. `dmnplus report` makes tables of the records.
    """
    # Here and not above: PyTorch takes seconds to import, and help should not wait for it.
    from dmnplus.cli.sweep_table import watching
    from dmnplus.config import resolve
    from dmnplus.training.sweep import measure_fresh, plan_sweep, recorded, run_sweep

    work = work or Path("runs") / out.name
    plan = plan_sweep(
        parse_tasks(tasks, "--tasks"),
        list(dict.fromkeys(name.strip() for name in variants.split(","))),
        range(seed, seed + runs),
        lambda task, variant: resolve(variant=variant, task=task, recipe=recipe, settings=settings or ()),
        out,
        work,
    )
    records = {planned: recorded(planned) for planned in plan}
    left = [planned for planned, record in records.items() if record is None]
    console = Console()
    failed = 0
    try:
        with watching(console, plan) as table:
            for planned, record in records.items():
                if record is not None:
                    table.known(planned, measure_fresh(planned, record, fresh))
            shares = {planned.task: planned.config.data.validation_share for planned in left}
            splits = {task: paper_splits(task, data, share) for task, share in shares.items()}
            outcomes = run_sweep(
                left, splits, processes=jobs, threads=threads, cluster=cluster, fresh=fresh, watch=table.news
            )
            with closing(outcomes):
                for outcome in outcomes:
                    failed += outcome.record is None
                    table.ended(outcome)
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; the same command goes on from the last finished epochs", soft_wrap=True)
        raise typer.Exit(130) from None
    console.print(
        f"records in {out}, models in {work}; dmnplus report makes the tables", highlight=False, soft_wrap=True
    )
    if failed:
        raise typer.Exit(1)
