"""`dmnplus ask`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from dmnplus.cli.model_names import Model, Run, find_model
from dmnplus.cli.story import read_lines, warn_of_unknown_words
from dmnplus.data.example import DataError, Fact, Picture

if TYPE_CHECKING:
    from dmnplus.answering import Answer, QuestionAnswerer


def ask(
    run: Run = None,
    model: Model = None,
    story: Annotated[
        Path | None, typer.Option(help="Read story and questions from this file; - is what is piped in.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Draw the attention of each pass.")] = False,
    image: Annotated[
        list[Path] | None, typer.Option(help="A picture that stands before the story; several are a series.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the passes of the last answer to this file (.png, .pdf, .svg).")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="The backbone's weights, for a model that reads its regions.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to run the network: cpu, cuda, cuda:1, ..., or auto.")] = "cpu",
    top: Annotated[int, typer.Option(min=1, help="How many answers to rank.")] = 3,
) -> None:
    """Read a story and questions, typed or piped in, and answer.

    Pictures given by --image come before every story, and alone are a story, too.

    A line that ends in a question mark is a question about the sentences before it; an empty line begins a new story.
    """
    # Here and not above: PyTorch takes seconds to import, and help should not wait for it.
    from dmnplus.answering import load
    from dmnplus.data.words import split_sentences

    answerer = load(find_model(run, model), weights=weights, device=device)
    pictures = [Picture(str(path)) for path in image or ()]
    console, warnings = Console(), Console(stderr=True)
    facts: list[Fact] = [*pictures]
    asked, answer = "", None
    for line in read_lines(story, console):
        if not line:
            facts = [*pictures]
            continue
        for sentence in split_sentences(line):
            if not sentence.endswith("?"):
                facts.append(sentence)
                continue
            asked = sentence
            if not facts:
                warnings.print("[yellow]warning:[/] no story yet: write some sentences before the question")
                continue
            answer = _answer(answerer, facts, sentence, top, explain, console, warnings)
    if not asked:
        raise DataError("no question was asked; a question is a line that ends in a question mark")
    if answer is None:
        raise typer.Exit(1)
    if figure and answer:
        from dmnplus.explain import Explanation
        from dmnplus.explain.figure import draw

        draw(Explanation(asked, answer), figure)
        console.print(f"figure in {figure}", highlight=False, soft_wrap=True, markup=False)


def _answer(
    answerer: QuestionAnswerer,
    facts: list[Fact],
    question: str,
    top: int,
    explain: bool,
    console: Console,
    warnings: Console,
) -> Answer:
    from dmnplus.explain.trace import answer_line, attention_table, printable

    answer = answerer.answer(facts, question, top=top)
    if left_out := len(facts) - len(answer.facts):
        warnings.print(
            f"[yellow]warning:[/] the first {left_out} of {len(facts)} facts were not read: the model reads the last "
            f"{len(answer.facts)} (data.last_facts)",
            highlight=False,
            soft_wrap=True,
        )
    warn_of_unknown_words(answer.unknown_words, warnings)
    console.print(Text(printable(question), style="dim"), soft_wrap=True)
    console.print(answer_line(answer), soft_wrap=True)
    if explain:
        console.print(attention_table(answer, width=console.width))
    return answer
