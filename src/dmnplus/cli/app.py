"""The commands, their help, and what a wrong argument says."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from dmnplus.cli import (
    ask,
    data,
    demo,
    evaluate,
    explain,
    export,
    features,
    models,
    report,
    reproduce,
    results,
    serve,
    study,
    train,
)

app = typer.Typer(
    help="Dynamic Memory Networks (DMN+) that read stories, answer questions and show which facts they used.",
    epilog="In the environment: DMNPLUS_DATA, the folder of data sets; DMNPLUS_CACHE, of what is kept; "
    "DMNPLUS_BACKEND=reference, no compiled kernels; DMNPLUS_MATRIX_UNIT=1, products on Intel's AMX, faster and "
    "of fewer bits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(train.app, name="train")
app.add_typer(reproduce.app, name="reproduce")
app.command("eval")(evaluate.evaluate_run)
app.command("ask")(ask.ask)
app.command("explain")(explain.explain_answer)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("demo-images")(demo.demo_images)
app.command("results")(results.results)
app.command("study")(study.study)
app.command("report")(report.report)
app.command("features")(features.features)
app.command("settings")(train.settings)
app.command("export")(export.export)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"dmnplus {version('dmnplus')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; what a user can mend ends as one line and exit status 2, never as a stack trace."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal of few characters shows a mark for bars and for a story's letters, rather than nothing at all.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app(prog_name="dmnplus")
    except ValueError as error:
        _end(str(error))
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _end(f"{place}{error.strerror or error}")
    except RuntimeError as error:
        # Not above, since help should not wait for PyTorch.
        from dmnplus.kernels import KernelUnavailableError

        if not isinstance(error, KernelUnavailableError):
            raise
        _end(str(error))


def _end(problem: str) -> None:
    Console(stderr=True).print(f"[bold red]error:[/] {escape(problem)}", highlight=False, soft_wrap=True)
    sys.exit(2)
