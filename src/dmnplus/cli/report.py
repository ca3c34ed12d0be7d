"""`dmnplus report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="The folder of records.")] = Path("results"),
    out: Annotated[Path, typer.Option(help="The Markdown file; its figures go to figures/ beside it.")] = Path(
        "docs/results.md"
    ),
    summary: Annotated[
        bool, typer.Option("--summary", help="Print the summary's table alone, and write nothing.")
    ] = False,
) -> None:
    """Write the tables and figures of all records of bAbI and DAQUAR, beside what the paper and others report.

    The same records give the same files, to the last byte.
    """
    # Here and not above: PyTorch takes seconds to import, and help should not wait for it.
    from dmnplus.report.document import write_report
    from dmnplus.report.records import read_daquar_starts, read_joint, read_starts
    from dmnplus.report.tables import summary_table

    starts = read_starts(folder)
    if summary:
        typer.echo(summary_table(starts))
        return
    for path in write_report(starts, out, read_joint(folder), read_daquar_starts(folder)):
        typer.echo(f"wrote {path}")
