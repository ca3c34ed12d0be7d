"""`dmnplus demo`."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from dmnplus.data.example import Splits, split_validation
from dmnplus.data.generate import generate

TASK = 2
_TEST_QUESTIONS = 1000


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
    from dmnplus.answering import load
    from dmnplus.cli.progress import watching
    from dmnplus.config import resolve
    from dmnplus.explain.trace import answer_line, attention_table
    from dmnplus.training.run import Job, train_runs

    console = Console()
    started = time.perf_counter()
    console.print(f"Writing {questions + _TEST_QUESTIONS} questions that need two facts (bAbI task {TASK}).")
    training, validation = split_validation(generate(TASK, questions=questions, seed=seed))
    test = generate(TASK, questions=_TEST_QUESTIONS, seed=seed, split="test")
    config = resolve(task=TASK, settings=[*_SETTINGS, *(settings or ())])
    splits = Splits(f"babi/{TASK} (generated:{questions}:{seed})", training, validation, test)
    with TemporaryDirectory(prefix="dmnplus-demo-") as scratch:
        folder = out or Path(scratch)
        with watching(console, lambda folder: f"task {TASK}", config.training) as watch:
            record = train_runs([Job(folder, config, splits, seed, 1)], watch=watch)[0]
        console.print(
            f"Test accuracy {record['test']['accuracy']:.1%} on {_TEST_QUESTIONS} new questions, "
            f"{record['fit']['seconds']:.0f} s of training, {time.perf_counter() - started:.0f} s in all.\n",
            highlight=False,
        )
        answerer = load(folder)
    # A story short enough for the screen, with its two facts apart.
    example = next(e for e in test if 8 <= len(e.facts) <= 14 and len(set(e.supporting)) == 2)
    answer = answerer.answer(example.facts, example.question)
    console.print(attention_table(answer, supporting=frozenset(example.supporting)))
    console.print(f"\n[bold]{example.question}[/] ", end="", highlight=False)
    console.print(answer_line(answer))
    console.print(f"(true answer: {example.answer_text}; facts marked * are the ones it takes)", highlight=False)
    if out:
        console.print(f"Model in {out}: try `dmnplus ask {out} --explain`", highlight=False, soft_wrap=True)


# The stories label the facts that each answer takes. Shown them, the gate learns in a few epochs what it finds by
# itself, with the paper's settings, in dozens; the demo is to end in two minutes.
_SETTINGS = ("training.attention_weight=1", "training.epochs=15", "training.patience=3")
