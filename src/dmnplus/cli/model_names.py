"""How a command is told its model: a run's folder as its first argument, or any model's name as `--model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dmnplus.data.example import DataError

Run = Annotated[str | None, typer.Argument(help="Folder of a run, or the name of a model.", metavar="RUN")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="In place of RUN: a shipped model (see `dmnplus models`), a folder, or one on the Hub."
    ),
]


def find_model(run: str | None, model: str | None) -> Path:
    """The folder of the model that was named in either way. Raises `DataError` if none or both were."""
    from dmnplus.pretrained import locate

    if (run is None) == (model is None):
        problem = "no model was named" if run is None else f"two models were named, {run} and {model}"
        raise DataError(f"{problem}; give the folder of a run, or --model NAME (`dmnplus models` lists names)")
    return locate(run or model or "")
