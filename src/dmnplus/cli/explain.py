"""`dmnplus explain`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from dmnplus.cli.model_names import Model, Run, find_model
from dmnplus.cli.story import read_lines, warn_of_unknown_words
from dmnplus.data.example import DataError, Fact, Picture

if TYPE_CHECKING:
    from dmnplus.explain import Explanation


def explain_answer(
    run: Run = None,
    model: Model = None,
    story: Annotated[Path | None, typer.Option(help="Read the story from this file; - is what is piped in.")] = None,
    question: Annotated[
        str | None, typer.Option(help="The question; without it, the last line of the story that ends in ?.")
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="A picture that stands before the story; several are a series, and need no story."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="N[,N...]", help="Leave out this fact, or these together; may be repeated."),
    ] = None,
    swap: Annotated[
        tuple[int, int] | None, typer.Option(metavar="N N", help="Let these two facts change places.")
    ] = None,
    regions: Annotated[
        bool, typer.Option("--regions", help="Leave out each region of each picture, too, for figure and page.")
    ] = False,
    figure: Annotated[Path | None, typer.Option(help="Draw it to this file (.png, .pdf, .svg).")] = None,
    html: Annotated[Path | None, typer.Option(help="Write it as a page that needs no other file.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="The backbone's weights, for a model that reads its regions.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many answers to rank.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what an answer rests on: where each pass looked, and what is answered without each fact.

    Facts are numbered from 1, as printed. With --without or --swap only those changes are tried.
    """
    # Here and not above: PyTorch takes seconds to import, and help should not wait for it.
    from dmnplus.answering import load
    from dmnplus.explain import explain

    console, warnings = Console(), Console(stderr=True)
    left_out = [_places(text) for text in without or ()]
    swaps = [(swap[0] - 1, swap[1] - 1)] if swap else []
    answerer = load(find_model(run, model), weights=weights)
    facts, asked, count = _read(story, question, image or (), console)
    if count > 1:
        warnings.print(f"{count} questions were asked; this is the last. --question chooses another", highlight=False)
    read = len(answerer.example(facts, asked).facts)
    if read < len(facts):
        warnings.print(f"of {len(facts)} facts the last {read} are read, numbered from 1", highlight=False)
    for places in (*left_out, *swaps):
        for place in places:
            if not 0 <= place < read:
                raise ValueError(f"there is no fact {place + 1}; the story has {read}, numbered from 1")
    if swap and swap[0] == swap[1]:
        raise ValueError(f"--swap is {swap[0]} {swap[1]}; it takes two different facts")
    if any(len(set(places)) == read for places in left_out):
        raise ValueError(f"--without leaves no fact; the story has {read}")
    explanation = explain(
        answerer,
        facts,
        asked,
        top=top,
        without=left_out if left_out or swaps else None,
        swaps=swaps,
        regions=regions,
    )
    warn_of_unknown_words(explanation.answer.unknown_words, warnings)
    if as_json:
        typer.echo(json.dumps(explanation.plain(), indent=2))
    else:
        _print(console, explanation, every=bool(left_out or swaps))
    if figure:
        from dmnplus.explain.figure import draw

        draw(explanation, figure)
        warnings.print(f"figure in {figure}", highlight=False, markup=False, soft_wrap=True)
    if html:
        from dmnplus.explain.page import write_page

        write_page(explanation, html)
        warnings.print(f"page in {html}", highlight=False, markup=False, soft_wrap=True)


def _read(
    story: Path | None, question: str | None, images: Iterable[Path], console: Console
) -> tuple[list[Fact], str, int]:
    """The facts, the question about them, and how many questions were asked."""
    from dmnplus.data.words import split_sentences

    pictures: list[Fact] = [Picture(str(path)) for path in images]
    facts, asked, about, count = [*pictures], question or "", [*pictures], 0
    # Pictures and a question are whole; nobody should have to end an empty story.
    lines = () if pictures and question and story is None else read_lines(story, console)
    for line in lines:
        if not line:
            # One story in paragraphs, where the question stands apart.
            facts = facts if question else [*pictures]
            continue
        for sentence in split_sentences(line):
            if not sentence.endswith("?"):
                facts.append(sentence)
            elif not question:
                asked, about, count = sentence, [*facts], count + 1
    if question:
        about = facts
    if not asked:
        raise DataError("no question was asked; a question is a line that ends in a question mark, or --question")
    if not about:
        raise DataError("there is no story before the question; give its sentences, or pictures by --image")
    return about, asked, count


def _places(text: str) -> tuple[int, ...]:
    """Places from 0 of facts that are numbered from 1."""
    numbers = [number.strip() for number in text.split(",")]
    if not all(number.isdecimal() for number in numbers):
        raise ValueError(f"--without is {text!r}; it takes numbers of facts, as 3 or 3,4")
    return tuple(int(number) - 1 for number in numbers)


def _print(console: Console, explanation: Explanation, *, every: bool) -> None:
    from dmnplus.explain.trace import answer_line, attention_table, changes_table, printable

    console.print(Text(printable(explanation.question), style="dim"), soft_wrap=True)
    console.print(answer_line(explanation.answer), soft_wrap=True)
    console.print()
    console.print(attention_table(explanation.answer, width=console.width))
    if explanation.changes:
        console.print()
        console.print(changes_table(explanation, width=console.width, every=every))
