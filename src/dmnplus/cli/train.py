"""`dmnplus train`."""

from __future__ import annotations

import ast
import inspect
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import tomli_w
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dmnplus.cli.own_data import divided, own_config, read_files, remarks
from dmnplus.cli.picture_data import (
    DATASETS,
    picture_remarks,
    picture_splits,
    require_photos,
    splits_without_pictures,
)
from dmnplus.cli.results import best_epoch
from dmnplus.cli.sources import babi_splits, joint_splits, paper_splits, parse_tasks
from dmnplus.data.example import DataError, Splits, iter_pictures
from dmnplus.data.own import KINDS_OF_FILE, iter_contradictions, own_splits, require, shared_stories

if TYPE_CHECKING:
    from dmnplus.config import Config
    from dmnplus.data.pictures import Pictures
    from dmnplus.training.run import Job
    from dmnplus.training.transfer import Origin

app = typer.Typer(help="Train a network.", no_args_is_help=True)

Features = Annotated[
    Path | None, typer.Option(help="Regions made by `dmnplus features`. Without: pixels, read by convolutions.")
]
Variant = Annotated[
    str,
    typer.Option(help="The network: odmn, dmn2, dmn3, dmn+, dmn-max (the paper's ablation, and what goes past it)."),
]
Recipe = Annotated[
    Path | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Settings that differ from the defaults: a recipe of the package (joint, scenes, ...) or a TOML file.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting; may be repeated. See `dmnplus settings`."),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="MODEL",
        help="Begin with the weights of this model, and not at random: a run's folder or a name, as for `ask`.",
    ),
]
Starts = Annotated[int, typer.Option(min=1, help="Random starts; the best by validation loss is kept.")]
Ensemble = Annotated[
    bool, typer.Option("--ensemble", help="Answer with the mean of all starts, and not with the best one alone.")
]
Seed = Annotated[int, typer.Option(help="Seed of the first start; the next ones count up.")]
Jobs = Annotated[int, typer.Option(min=1, help="Starts trained at the same time, each in its own process.")]
Threads = Annotated[
    int,
    typer.Option(
        min=0, help="Threads of each process; 0 shares the cores out, or goes on with as many as the run began with."
    ),
]
Device = Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1, ..., or auto for a GPU if there is one.")]
Together = Annotated[
    bool, typer.Option("--together", help="Train all starts at once as one batched model: meant for GPUs.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what is in the folder.")]


@app.callback()
def root() -> None:
    pass


@app.command("babi")
def train_babi(
    task: Annotated[str, typer.Option(help="The task or tasks: 2, or 1,4,6, or 1-20, or all.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="The official archive, its folder, or, with --test, one file. Default: where `data get` put it."
        ),
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
    joint: Annotated[bool, typer.Option("--joint", help="One model for all the tasks, and not one for each.")] = False,
    variant: Variant = "dmn+",
    recipe: Recipe = None,
    settings: Settings = None,
    begin: From = None,
    starts: Starts = 1,
    ensemble: Ensemble = False,
    seed: Seed = 0,
    jobs: Jobs = 1,
    threads: Threads = 0,
    device: Device = "cpu",
    together: Together = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run's folder; of several tasks, OUT/babi-TASK for each. Default: runs/babi-TASK-VARIANT."
        ),
    ] = None,
    resume: Resume = False,
) -> None:
    """Train on bAbI tasks by the paper's protocol; one model a task, or one for all of them with --joint.

    Where the archive lacks task 3's training file (en-10k), one is made up of generated stories; a line says so.

    Ctrl-C leaves the best model so far in the run's folder; --resume goes on from the last finished epoch.
    """
    # Here and not above: PyTorch takes seconds to import, and help should not wait for it.
    from dmnplus.config import resolve
    from dmnplus.training.run import Job

    tasks = parse_tasks(task)
    origin = _origin(begin)

    def questions(number: int, share: float) -> Splits:
        if language != "en-10k" or train or valid or test:
            return babi_splits(number, data, language, share, train, valid, test)
        splits = paper_splits(number, data, share)
        for role, named in splits.sources.items():
            typer.echo(f"task {number}: no training file; for {role}: {', '.join(named)}")
        return splits

    if joint:
        config = resolve(variant=variant, recipe=recipe, settings=settings or ())
        parts = {number: questions(number, config.data.validation_share) for number in tasks}
        folder = out or Path("runs") / f"babi-joint-{variant}"
        job = Job(folder, config, joint_splits(parts, task), seed, starts, ensemble=ensemble, origin=origin)
        _train({f"tasks {task}": job}, jobs, threads, resume, device, together)
        return
    planned = {}
    for number in tasks:
        config = resolve(variant=variant, task=number, recipe=recipe, settings=settings or ())
        splits = questions(number, config.data.validation_share)
        folder = out or Path("runs") / f"babi-{number}-{variant}"
        folder = folder / f"babi-{number}" if out and len(tasks) > 1 else folder
        planned[f"task {number}"] = Job(folder, config, splits, seed, starts, ensemble=ensemble, origin=origin)
    _train(planned, jobs, threads, resume, device, together)


@app.command("pictures")
def train_pictures(
    dataset: Annotated[str, typer.Argument(help=f"{', '.join(DATASETS)}.")],
    data: Annotated[Path, typer.Option(help="The data set's folder or official archive.")],
    features: Features = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Hide the pictures: the baseline of the question alone.")
    ] = False,
    hold_out: Annotated[
        float, typer.Option(min=0, max=0.9, help="DAQUAR: share of the training photos to measure on.")
    ] = 0.0,
    several_words: Annotated[
        bool, typer.Option("--several-words", help="DAQUAR: take in questions with answers of several words.")
    ] = False,
    variant: Variant = "dmn+",
    recipe: Recipe = None,
    settings: Settings = None,
    begin: From = None,
    starts: Starts = 1,
    ensemble: Ensemble = False,
    seed: Seed = 0,
    jobs: Jobs = 1,
    threads: Threads = 0,
    device: Device = "cpu",
    together: Together = False,
    out: Annotated[Path | None, typer.Option(help="The run's folder. Default: runs/DATASET-VARIANT.")] = None,
    resume: Resume = False,
) -> None:
    """Train on questions about pictures: regions of a backbone, or pixels read by convolutions trained along.

    Ctrl-C leaves the best model so far in the run's folder; --resume goes on from the last finished epoch.
    """
    from dmnplus.config import resolve
    from dmnplus.training.baselines import baselines
    from dmnplus.training.run import Job

    of_daquar = {"--hold-out": hold_out > 0, "--several-words": several_words}
    if dataset != "daquar" and (options := [option for option, given in of_daquar.items() if given]):
        raise DataError(f"{', '.join(options)}: without effect on {dataset}; leave it out")
    config = resolve(variant=variant, recipe=recipe, settings=settings or ())
    if dataset == "vqa" and not blind and features is None:
        require_photos(data)
    splits = picture_splits(
        dataset,
        data,
        validation_share=config.data.validation_share,
        hold_out=hold_out,
        seed=config.data.split_seed,
        several_words=several_words,
    )
    if blind:
        splits = splits_without_pictures(splits)
    pictures = _open(splits, config, features)
    folder = out or Path("runs") / f"{dataset}-{variant}{'-blind' if blind else ''}"
    for line in (*picture_remarks(dataset, data, splits, several_words=several_words), *baselines(splits)):
        typer.echo(line)
    job = Job(folder, config, splits, seed, starts, pictures, ensemble, _origin(begin))
    _train({dataset: job}, jobs, threads, resume, device, together)


@app.command("own")
def train_own(
    data: Annotated[Path, typer.Argument(help=f"The questions: {KINDS_OF_FILE}. See docs/own_data.md.")],
    valid: Annotated[Path | None, typer.Option(help="Validate on this file instead of a part of the data.")] = None,
    test: Annotated[Path | None, typer.Option(help="Test on this file instead of a part of the data.")] = None,
    allow_shared: Annotated[
        bool, typer.Option("--shared-stories", help="Allow one story in training and in test, where the files say so.")
    ] = False,
    features: Features = None,
    variant: Variant = "dmn+",
    recipe: Recipe = None,
    settings: Settings = None,
    begin: From = None,
    starts: Starts = 1,
    ensemble: Ensemble = False,
    seed: Seed = 0,
    jobs: Jobs = 1,
    threads: Threads = 0,
    device: Device = "cpu",
    together: Together = False,
    out: Annotated[Path | None, typer.Option(help="The run's folder. Default: runs/NAME-VARIANT.")] = None,
    resume: Resume = False,
) -> None:
    """Train on your own questions: a file, checked as by `dmnplus data check` and split by story.

    Ctrl-C leaves the best model so far in the run's folder; --resume goes on from the last finished epoch.
    """
    from dmnplus.training.baselines import baselines
    from dmnplus.training.run import Job, vocabulary_of

    files = {role: require(file) for role, file in read_files(data, valid, test).items()}
    config = own_config(files, variant=variant, recipe=recipe, settings=settings or ())
    parts = divided(files, config.data)
    if not allow_shared and (shared := shared_stories(parts)):
        raise DataError(f"{shared[0]} ({len(shared)} such stories); divide them, or allow it with --shared-stories")
    splits = own_splits(parts, files)
    vocabulary = vocabulary_of(splits, config.data)
    contradictions = (line for file in files.values() for line in iter_contradictions(file.rows))
    for line in (*contradictions, *remarks(files, parts, config, vocabulary), *baselines(splits)):
        typer.echo(line)
    pictures = _open(splits, config, features)
    name = data.name.partition(".")[0]
    folder = out or Path("runs") / f"{name}-{variant}"
    job = Job(folder, config, splits, seed, starts, pictures, ensemble, _origin(begin))
    _train({name: job}, jobs, threads, resume, device, together)


def _origin(name: str | None) -> Origin | None:
    """Where the model called `name` is, to begin with its weights."""
    from dmnplus.pretrained import locate
    from dmnplus.training.transfer import Origin

    return None if name is None else Origin(name, locate(name))


def _open(splits: Splits, config: Config, features: Path | None) -> Pictures | None:
    """Where the pictures of all three parts are read from; None if they have none."""
    from dmnplus.cli.progress import reading
    from dmnplus.vision.opening import open_pictures

    return open_pictures(
        iter_pictures([*splits.training, *splits.validation, *splits.test]),
        size=config.data.image_size,
        grid=config.data.image_grid,
        store=features,
        watch=reading,
    )


def _train(planned: dict[str, Job], jobs: int, threads: int, resume: bool, device: str, together: bool) -> None:
    """Train what is planned, by name, with its progress and its results on the terminal."""
    from dmnplus.cli.progress import watching
    from dmnplus.training.files import WEIGHTS
    from dmnplus.training.run import train_runs

    console = Console()
    names = {job.folder: name for name, job in planned.items()}

    def label(folder: Path) -> str:
        return names.get(folder) or f"{names[folder.parent]} {folder.name.replace('-', ' ')}"

    try:
        with watching(console, label, next(iter(planned.values())).config.training) as watch:
            records = train_runs(
                [*planned.values()],
                processes=jobs,
                threads=threads,
                resume=resume,
                device=device,
                together=together,
                watch=watch,
            )
    except KeyboardInterrupt:
        folders = ", ".join(str(folder) for folder in names if (folder / WEIGHTS).exists())
        left = f"{folders} holds the best model of the finished epochs, and --resume goes on from there"
        if not folders:
            left = "no epoch was finished, so there is no model yet, and --resume begins again"
        Console(stderr=True).print(f"stopped; {left}", highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(130) from None
    console.print(results_table([*planned], records))
    for name, record in zip(planned, records, strict=True):
        for start, reason in record.get("failed", {}).items():
            line = f"{name} {start.replace('-', ' ')} failed and is left out: {reason}"
            console.print(line, highlight=False, soft_wrap=True, markup=False, style="yellow")
    for folder in names:
        console.print(f"model in {folder}", highlight=False, soft_wrap=True, markup=False)


def settings(
    variant: Variant = "dmn+",
    task: Annotated[
        int | None, typer.Option(min=1, max=20, help="With the paper's exceptions for this bAbI task.")
    ] = None,
    recipe: Recipe = None,
    settings: Settings = None,
) -> None:
    """Print every setting as `train` would use it, with what it does, as TOML; the output is a valid recipe."""
    from dmnplus.config import plain, resolve

    config = resolve(variant=variant, task=task, recipe=recipe, settings=settings or ())
    for section, values in plain(config).items():
        typer.echo(f"[{section}]")
        described = descriptions(type(getattr(config, section)))
        for key, value in values.items():
            typer.echo("\n".join(f"# {line}" for line in described[key].splitlines()))
            typer.echo(tomli_w.dumps({key: value}), nl=False)
        typer.echo()


def descriptions(kind: type) -> dict[str, str]:
    """The docstrings below the attributes of a class, which Python itself does not keep."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    return {
        named.target.id: inspect.cleandoc(says.value.value)
        for named, says in itertools.pairwise(cast(ast.ClassDef, tree).body)
        if isinstance(named, ast.AnnAssign)
        and isinstance(named.target, ast.Name)
        and isinstance(says, ast.Expr)
        and isinstance(says.value, ast.Constant)
        and isinstance(says.value.value, str)
    }


def results_table(runs: list[str], records: list[dict[str, Any]]) -> Table:
    """The selected start of each run, or its ensemble, and the spread over its starts."""
    # In 80 columns, which is what a log has.
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    validated = ("validation\nloss", "validation\nerror")
    for name in ("", "seed", "best\nepoch", "time", *validated, "test\nerror", "over\nstarts"):
        table.add_column(Text(name, justify="right"), justify="right")
    for run, record in zip(runs, records, strict=True):
        fit, test = record["fit"], record.get("test")
        errors = [start["test_error"] for start in record.get("starts", {}).values() if "test_error" in start]
        spread = f"{min(errors):.1%} to {max(errors):.1%}" if len(errors) > 1 else ""
        table.add_row(
            Text(run),
            str(record["seed"]) if "ensemble" not in record else f"{record['ensemble']} starts",
            best_epoch(record),
            f"{fit['seconds']:.0f} s",
            f"{fit['validation_loss']:.4f}",
            f"{fit['validation_error']:.1%}",
            f"{test['error']:.1%}" if test else "no test",
            spread,
        )
    return table
