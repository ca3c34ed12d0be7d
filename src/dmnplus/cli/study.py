"""`dmnplus study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def study(
    name: Annotated[str | None, typer.Argument(help="The study, or all. Without: list them.")] = None,
    page: Annotated[bool, typer.Option("--page", help="Write the page from the records; train nothing.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Starts trained at the same time, each in its own process.")] = 1,
    out: Annotated[Path, typer.Option(help="Where the trained networks are kept.")] = Path("runs/studies"),
    records: Annotated[Path, typer.Option(help="Where the numbers are kept, as JSON.")] = Path("results/studies"),
    pages: Annotated[Path, typer.Option(help="Where the pages and figures go.")] = Path("docs/studies"),
) -> None:
    """Answer a question about Dynamic Memory Networks by an experiment, and write its page.

    What is trained is kept: after Ctrl-C the same command goes on, and studies share networks.
    """
    # Here and not above: PyTorch takes seconds to import, and help should not wait for it.
    from dmnplus.cli.progress import watching
    from dmnplus.studies import STUDIES
    from dmnplus.studies.page import require_matplotlib, write_index, write_page, write_record
    from dmnplus.studies.running import label, run_study

    if name is None:
        for number, (known, described) in enumerate(STUDIES.items(), 1):
            typer.echo(f"{number:2}  {known:20}  {described.question}")
        return
    if name != "all" and name not in STUDIES:
        raise ValueError(f"unknown study {name!r}; there are {', '.join(STUDIES)}, and all")
    # Not after minutes of training.
    require_matplotlib()
    console = Console()
    for chosen in STUDIES.values() if name == "all" else [STUDIES[name]]:
        if not page:
            try:
                with watching(console, label(chosen, out), chosen.arms[0].config.training) as watch:
                    record = run_study(chosen, out, processes=jobs, watch=watch)
            except KeyboardInterrupt:
                Console(stderr=True).print(
                    f"stopped; {out} keeps what is trained, and the same command goes on from there",
                    highlight=False,
                    soft_wrap=True,
                    markup=False,
                )
                raise typer.Exit(130) from None
            write_record(records, chosen, record)
        console.print(f"page in {write_page(chosen, records, pages)}", highlight=False, soft_wrap=True, markup=False)
    write_index(STUDIES, records, pages)
