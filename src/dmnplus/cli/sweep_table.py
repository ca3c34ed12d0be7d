"""Progress of a sweep: a live table of tasks and variants on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from dmnplus.training.run import Progress
from dmnplus.training.sweep import Outcome, Planned
from dmnplus.training.trainer import Epoch

_SECONDS_BETWEEN_LINES = 60.0


@contextmanager
def watching(console: Console, plan: Sequence[Planned]) -> Iterator[SweepTable]:
    """What shows how far `plan` is. Only validation figures: nobody should choose by the test's."""
    if not console.is_terminal:
        yield _Lines(console, plan)
        return
    table = SweepTable(console, plan)
    with Live(console=console, get_renderable=table.render, refresh_per_second=2):
        yield table


class SweepTable:
    """A row a task, a column a variant: starts done, the best by validation loss so far, and what is running."""

    def __init__(self, console: Console, plan: Sequence[Planned]) -> None:
        self.console, self.plan = console, plan
        self.by_folder = {planned.folder: planned for planned in plan}
        self.fits: dict[Path, dict[str, Any]] = {}
        self.running: dict[Path, int] = {}
        self.errors: dict[Path, str] = {}
        self.begun = time.monotonic()

    def known(self, planned: Planned, record: dict[str, Any]) -> None:
        """A start that had its record already."""
        self.fits[planned.folder] = record["fit"]

    def ended(self, outcome: Outcome) -> None:
        folder = outcome.planned.folder
        self.running.pop(folder, None)
        if outcome.record is None:
            self.errors[folder] = outcome.error
            self.console.print(f"{outcome.planned} failed: {outcome.error}", style="red", markup=False, soft_wrap=True)
        else:
            self.fits[folder] = outcome.record["fit"]

    def news(self, news: Progress) -> None:
        self.running[news.folder] = news.event.epoch

    @property
    def progress(self) -> str:
        return f"{len(self.fits)} of {len(self.plan)}"

    def render(self) -> Group:
        table = Table(box=None, header_style="bold")
        variants = list(dict.fromkeys(planned.variant for planned in self.plan))
        table.add_column(self.plan[0].part, justify="right")
        for name in variants:
            table.add_column(name)
        for task in sorted({planned.task for planned in self.plan}):
            table.add_row(str(task), *(self._cell(task, variant) for variant in variants))
        minutes = (time.monotonic() - self.begun) / 60
        note = f"{self.progress} starts done, {len(self.running)} running, {minutes:.0f} min"
        return Group("starts done, best validation error, epochs running", table, note)

    def _cell(self, task: int, variant: str) -> str:
        folders = [p.folder for p in self.plan if (p.task, p.variant) == (task, variant)]
        fits = [self.fits[folder] for folder in folders if folder in self.fits]
        parts = [f"{len(fits)}/{len(folders)}"]
        if fits:
            parts.append(f"{min(fits, key=lambda fit: fit['validation_loss'])['validation_error']:.1%}")
        # A copy: news comes from another thread.
        running = self.running.copy()
        parts += [f"[cyan]epoch {running[folder]}[/]" for folder in folders if folder in running]
        if failed := sum(folder in self.errors for folder in folders):
            parts.append(f"[red]{failed} failed[/]")
        return "  ".join(parts)


class _Lines(SweepTable):
    """A line for every start that begins or ends, and one a minute in between."""

    last = 0.0

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        if outcome.record is not None:
            fit = outcome.record["fit"]
            self._print(
                f"{outcome.planned}  done, {self.progress}  best epoch {fit['best_epoch']} of {fit['epochs']}  "
                f"validation {fit['validation_loss']:.4f}  error {fit['validation_error']:.1%}  {fit['seconds']:.0f} s"
            )

    def news(self, news: Progress) -> None:
        planned, event = self.by_folder[news.folder], news.event
        if news.folder not in self.running:
            self._print(f"{planned}  epoch {event.epoch} begins")
        elif isinstance(event, Epoch) and time.monotonic() - self.last > _SECONDS_BETWEEN_LINES:
            error = f"validation {event.validation_loss:.4f}  error {event.validation_error:.1%}"
            self._print(f"{planned}  epoch {event.epoch}  {error}")
        super().news(news)

    def _print(self, text: str) -> None:
        self.last = time.monotonic()
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)
