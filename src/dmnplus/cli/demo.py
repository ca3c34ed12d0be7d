"""`dmnplus demo`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from dmnplus.cli.picture_data import split_between_pictures
from dmnplus.data.example import DataError, Splits, iter_pictures, split_validation
from dmnplus.data.generate import generate

if TYPE_CHECKING:
    from dmnplus.answering import QuestionAnswerer

TASK = 2
_TEST_QUESTIONS = 1000
# The file by which a folder is known as the demo's own, and what it puts there.
_MARK = ".dmnplus-demo-images"
_FOLDERS, _FIGURE = ("train", "test", "model"), "attention.png"


def demo(
    out: Annotated[Path | None, typer.Option(help="Keep the trained model in this folder.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the stories and of the training start.")] = 0,
    questions: Annotated[int, typer.Option(min=100, help="How many questions to train on.")] = 10_000,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting, as for `train`.")
    ] = None,
) -> None:
    """Make stories, train a DMN+ on questions that need two facts, and show how it answers a new one."""
    # Here and not above: PyTorch takes seconds to import, and help should not wait for it.
    from dmnplus.explain.trace import answer_line, attention_table

    console = Console()
    console.print(f"Writing {questions + _TEST_QUESTIONS} questions that need two facts (bAbI task {TASK}).")
    training, validation = split_validation(generate(TASK, questions=questions, seed=seed))
    test = generate(TASK, questions=_TEST_QUESTIONS, seed=seed, split="test")
    splits = Splits(f"babi/{TASK} (generated:{questions}:{seed})", training, validation, test)
    with _folder(out) as folder:
        answerer = _learn(console, folder, splits, [*_SETTINGS, *(settings or ())], seed)
    # A story short enough for the screen, with its two facts apart.
    example = next(e for e in test if 8 <= len(e.facts) <= 14 and len(set(e.supporting)) == 2)
    answer = answerer.answer(example.facts, example.question)
    console.print(attention_table(answer, width=console.width, supporting=frozenset(example.supporting)))
    console.print(f"\n[bold]{example.question}[/] ", end="", highlight=False)
    console.print(answer_line(answer))
    console.print(f"(true answer: {example.answer_text}; facts marked * are the ones it takes)", highlight=False)
    if out:
        line = f"Model in {out}: try `dmnplus ask {out} --explain`"
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def demo_images(
    out: Annotated[Path, typer.Option(help="Folder for the pictures, the trained model and the figure.")] = Path(
        "runs/demo-images"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the pictures and of the training start.")] = 0,
    questions: Annotated[int, typer.Option(min=100, help="How many questions to train on.")] = 12_000,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting, as for `train`.")
    ] = None,
) -> None:
    """Draw scenes, train a DMN+ from their pixels, and draw where each pass looked to answer a new question."""
    from dmnplus.data.scenes import generate_scenes, write_scenes
    from dmnplus.explain import Explanation
    from dmnplus.explain.figure import draw
    from dmnplus.explain.trace import answer_line

    console = Console()
    _clear(out)
    console.print(f"Drawing scenes for {questions + _TEST_QUESTIONS} questions ({', '.join(_KINDS)}).")
    parts = {}
    for split, count in (("train", questions), ("test", _TEST_QUESTIONS)):
        parts[split] = generate_scenes(out / split, questions=count, seed=seed, kinds=_KINDS, split=split)
        write_scenes(parts[split], out / split)
    training, validation = split_between_pictures(parts["train"], 0.1)
    splits = Splits("scenes", training, validation, parts["test"])
    answerer = _learn(console, out / "model", splits, [*_PICTURE_SETTINGS, *(settings or ())], seed)
    # A spatial question takes two looks.
    example = next(e for e in parts["test"] if e.source.kind == "scenes/spatial" and e.answer_text not in ("yes", "no"))
    answer = answerer.answer(example.facts, example.question)
    console.print(f"[bold]{example.question}[/] ", end="", highlight=False)
    console.print(answer_line(answer))
    console.print(f"(true answer: {example.answer_text})", highlight=False)
    draw(Explanation(example.question, answer), out / _FIGURE)
    for line in (
        f"Where each pass looked: {out / _FIGURE}",
        f"Try `dmnplus ask {out / 'model'} --image {example.facts[0]} --figure again.png`",
    ):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _clear(out: Path) -> None:
    """Make `out` for a demo, and remove what an earlier one left there. Raises DataError for anyone else's folder."""
    try:
        if (out / _MARK).is_file():
            for folder in (out / name for name in _FOLDERS):
                if folder.exists():
                    shutil.rmtree(folder)
            (out / _FIGURE).unlink(missing_ok=True)
        elif out.exists() and any(out.iterdir()):
            raise DataError(f"{out}: holds other files than a demo's; remove it, or give another --out")
        out.mkdir(parents=True, exist_ok=True)
        (out / _MARK).touch()
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error}); give another --out") from error


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out:
        yield out
        return
    with TemporaryDirectory(prefix="dmnplus-demo-") as scratch:
        yield Path(scratch)


def _learn(console: Console, folder: Path, splits: Splits, settings: Sequence[str], seed: int) -> QuestionAnswerer:
    """Train on `splits`, say what came of it, and give the trained network."""
    from dmnplus.answering import load
    from dmnplus.cli.progress import watching
    from dmnplus.config import resolve
    from dmnplus.training.run import Job, train_runs
    from dmnplus.vision.opening import open_pictures

    started = time.perf_counter()
    config = resolve(settings=settings)
    shown = iter_pictures([*splits.training, *splits.validation, *splits.test])
    pictures = open_pictures(shown, size=config.data.image_size, grid=config.data.image_grid)
    job = Job(folder, config, splits, seed, 1, pictures)
    with watching(console, lambda folder: splits.name.partition(" ")[0], config.training) as watch:
        record = train_runs([job], watch=watch)[0]
    console.print(
        f"Test accuracy {record['test']['accuracy']:.1%} on {len(splits.test)} new questions, "
        f"{record['fit']['seconds']:.0f} s of training, {time.perf_counter() - started:.0f} s in all.\n",
        highlight=False,
    )
    return load(folder)


# The stories label the facts that each answer takes. Shown them, the gate learns in a few epochs what it finds by
# itself, with the paper's settings, in dozens; the demo is to end in two minutes.
_SETTINGS = ("training.attention_weight=1", "training.epochs=15", "training.patience=3")
_KINDS = ("existence", "attribute", "spatial")
_PICTURE_SETTINGS = (
    "data.image_grid=4",
    "model.image_dropout=0",
    "model.region_places=true",
    "training.by_picture=true",
    "training.attention_weight=1",
    "training.l2=1e-5",
    "training.rate=0.002",
    "training.epochs=15",
    "training.patience=4",
)
