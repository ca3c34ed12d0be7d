"""`dmnplus export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dmnplus.data.example import DataError


def export(
    run: Annotated[str, typer.Argument(help="Folder of a run, or the name of a model.", metavar="RUN")],
    out: Annotated[Path, typer.Argument(help="The file to write, as model.onnx.")],
) -> None:
    """Write a trained network with its vocabulary as one ONNX file, which runs without PyTorch (docs/models.md)."""
    if out.suffix != ".onnx":
        raise DataError(f"{out}: ONNX is written to a file whose name ends in .onnx")
    # Here and not above: PyTorch takes seconds to import, and help should not wait for it.
    from dmnplus.export import export_onnx

    export_onnx(run, out)
    typer.echo(f"{out}: {out.stat().st_size:,} bytes")
