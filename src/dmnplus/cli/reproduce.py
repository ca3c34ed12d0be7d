"""`dmnplus reproduce`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from dmnplus.cli.picture_data import picture_splits, splits_without_pictures
from dmnplus.cli.sources import paper_splits, parse_tasks
from dmnplus.cli.train import Recipe, Seed, Settings
from dmnplus.data.example import Splits, iter_pictures

if TYPE_CHECKING:
    from dmnplus.data.pictures import Pictures
    from dmnplus.training.sweep import Planned

app = typer.Typer(help="Make the paper's tables anew.", no_args_is_help=True)

Variants = Annotated[str, typer.Option(help="Networks of the paper's ablation.")]
Jobs = Annotated[int, typer.Option(min=1, help="Starts trained at the same time, each in its own process.")]
Threads = Annotated[
    int, typer.Option(min=1, help="Threads of each process. Another number of threads rounds differently.")
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Train on a Ray cluster: HOST:PORT; auto, the one this machine belongs to; or local, one of --jobs "
        "cores here.",
    ),
]
Out = Annotated[Path, typer.Option(help="Folder of the records, a small file a start.")]
Work = Annotated[
    Path | None, typer.Option(help="Folder of models and checkpoints. Default: runs/ and the name of --out.")
]


@app.callback()
def root() -> None:
    pass


@app.command("babi")
def reproduce_babi(
    variants: Variants = "odmn,dmn2,dmn3,dmn+",
    tasks: Annotated[str, typer.Option(help="As in 2, or 1,4,6, or 1-20, or all; begun in this order.")] = "1-20",
    runs: Annotated[int, typer.Option(min=1, help="Random starts of each task and variant.")] = 10,
    jobs: Jobs = 1,
    threads: Threads = 1,
    cluster: Cluster = None,
    data: Annotated[
        Path | None, typer.Option(help="The official archive or its unpacked folder. Default: where `data get` put it.")
    ] = None,
    out: Out = Path("results/reproduce"),
    work: Work = None,
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
    from dmnplus.config import resolve
    from dmnplus.training.sweep import plan_sweep

    plan = plan_sweep(
        parse_tasks(tasks, "--tasks"),
        _names(variants),
        range(seed, seed + runs),
        lambda task, variant: resolve(variant=variant, task=task, recipe=recipe, settings=settings or ()),
        out,
        work := work or Path("runs") / out.name,
    )

    def questions_of(left: Sequence[Planned]) -> tuple[Mapping[int, Splits], None]:
        shares = {planned.task: planned.config.data.validation_share for planned in left}
        return {task: paper_splits(task, data, share) for task, share in shares.items()}, None

    _sweep(plan, questions_of, jobs, threads, cluster, f"records in {out}, models in {work}", fresh=fresh)


@app.command("daquar")
def reproduce_daquar(
    data: Annotated[Path, typer.Option(help="Folder of DAQUAR's text file and its photos.")],
    features: Annotated[
        Path | None, typer.Option(help="Regions of the photos, made by `dmnplus features`. Needless with --blind.")
    ] = None,
    variants: Variants = "odmn,dmn2,dmn3,dmn+",
    divisions: Annotated[int, typer.Option(min=1, help="Ways to divide the photos, by `data.split_seed` from 0.")] = 3,
    hold_out: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of the photos that is kept back to measure on.")
    ] = 0.2,
    blind: Annotated[
        bool, typer.Option("--blind", help="Hide the photos: the baseline of the question alone.")
    ] = False,
    runs: Annotated[int, typer.Option(min=1, help="Random starts of each division and variant.")] = 1,
    jobs: Jobs = 1,
    threads: Threads = 1,
    cluster: Cluster = None,
    out: Out = Path("results/daquar"),
    work: Work = None,
    seed: Seed = 0,
    recipe: Recipe = None,
    settings: Settings = None,
) -> None:
    """Train every variant on DAQUAR, measured on training photos that are kept back.

    Its test questions are a file of their own, for `dmnplus eval`. As with `reproduce babi`, the same command goes on
    wherever it was stopped, and `dmnplus report` makes the table.
    """
    from dmnplus.config import resolve
    from dmnplus.training.sweep import plan_sweep
    from dmnplus.vision.opening import open_pictures

    if features is None and not blind:
        raise ValueError("give --features STORE (made by `dmnplus features`), or --blind to hide the photos")
    config = resolve(recipe=recipe, settings=settings or ()).data

    def config_of(division: int, variant: str):
        config = resolve(variant=variant, recipe=recipe, settings=settings or ())
        return replace(config, data=replace(config.data, split_seed=division))

    plan = plan_sweep(
        range(divisions),
        _names(variants),
        range(seed, seed + runs),
        config_of,
        out,
        work := work or Path("runs") / out.name,
        data="daquar-blind" if blind else "daquar",
        part="division",
    )

    def questions_of(left: Sequence[Planned]) -> tuple[Mapping[int, Splits], Pictures | None]:
        splits = {
            planned.task: picture_splits(
                "daquar", data, validation_share=config.validation_share, hold_out=hold_out, seed=planned.task
            )
            for planned in plan
        }
        if blind:
            return {division: splits_without_pictures(one) for division, one in splits.items()}, None
        # Every division has all photos, in other parts.
        shown = iter_pictures(
            [
                example
                for one in splits.values()
                for part in (one.training, one.validation, one.test)
                for example in part
            ]
        )
        return splits, open_pictures(shown, size=config.image_size, grid=config.image_grid, store=features)

    _sweep(plan, questions_of, jobs, threads, cluster, f"records in {out}, models in {work}")


def _names(variants: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in variants.split(",")))


def _sweep(
    plan: Sequence[Planned],
    questions_of: Callable[[Sequence[Planned]], tuple[Mapping[int, Splits], Pictures | None]],
    jobs: int,
    threads: int,
    cluster: str | None,
    places: str,
    *,
    fresh: int = 0,
) -> None:
    """Train what of `plan` has no record, with its progress on the terminal.

    `questions_of` reads the questions by task, and says where their pictures are read from.
    """
    from dmnplus.cli.sweep_table import watching
    from dmnplus.training.resuming import check_data
    from dmnplus.training.sweep import measure_fresh, recorded, run_sweep

    records = {planned: recorded(planned) for planned in plan}
    left = [planned for planned, record in records.items() if record is None]
    console = Console()
    failed = 0
    try:
        with watching(console, plan) as table:
            for planned, record in records.items():
                if record is not None:
                    table.known(planned, measure_fresh(planned, record, fresh))
            splits, pictures = questions_of(left)
            for planned, record in records.items():
                if record is not None and planned.task in splits:
                    check_data(record, splits[planned.task].digests, pictures, planned.record)
            outcomes = run_sweep(
                left,
                splits,
                processes=jobs,
                threads=threads,
                cluster=cluster,
                fresh=fresh,
                pictures=pictures,
                watch=table.news,
            )
            with closing(outcomes):
                for outcome in outcomes:
                    failed += outcome.record is None
                    table.ended(outcome)
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; the same command goes on from the last finished epochs", soft_wrap=True)
        raise typer.Exit(130) from None
    console.print(f"{places}; dmnplus report makes the tables", highlight=False, soft_wrap=True, markup=False)
    if failed:
        raise typer.Exit(1)
