"""Progress of long work: live bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, track

from dmnplus.training.run import Progress as News
from dmnplus.training.trainer import Epoch, Step, TrainingConfig


def reading(files: Sequence[str]) -> Iterable[str]:
    """`files` one by one; a bar shows how many of them have been read, and goes when all have."""
    console = Console(stderr=True)
    return track(files, "reading pictures", console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def watching(
    console: Console, label: Callable[[Path], str], config: TrainingConfig
) -> Iterator[Callable[[News], None]]:
    """A function to hand to `train_runs`; `label` names the start in a folder."""
    if not console.is_terminal:
        lines = _Lines(console, label, config)
        yield lines
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[news]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress, label, config)


class _Lines:
    def __init__(self, console: Console, label: Callable[[Path], str], config: TrainingConfig) -> None:
        self.console, self.label, self.forecast = console, label, _Forecast(config)

    def __call__(self, news: News) -> None:
        if isinstance(news.event, Epoch):
            left = self.forecast.after(news.folder, news.event)
            text = f"{self.label(news.folder)}  epoch {news.event.epoch}  {_figures(news.event)}  {left}"
            self.console.print(text, highlight=False, soft_wrap=True, markup=False)


class _Bars:
    def __init__(self, progress: Progress, label: Callable[[Path], str], config: TrainingConfig) -> None:
        self.progress, self.label, self.forecast = progress, label, _Forecast(config)
        self.bars: dict[Path, TaskID] = {}

    def __call__(self, news: News) -> None:
        folder, event = news
        if folder not in self.bars:
            self.bars[folder] = self.progress.add_task(self.label(folder), news="", left="")
        bar = self.bars[folder]
        if isinstance(event, Step):
            description = f"{self.label(folder)}  epoch {event.epoch}"
            self.progress.update(bar, description=description, completed=event.step, total=event.steps)
        else:
            left = self.forecast.after(folder, event)
            self.progress.update(bar, news=_figures(event), left=left)


class _Forecast:
    """The longest a start can still take: until patience runs out, at the pace of its epochs so far."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.best: dict[Path, int] = {}

    def after(self, folder: Path, event: Epoch) -> str:
        if event.best:
            self.best[folder] = event.epoch
        last = min(self.config.epochs, self.best.get(folder, event.epoch) + self.config.patience)
        return f"at most {_duration((last - event.epoch) * event.seconds)} left if no better comes"


def _figures(epoch: Epoch) -> str:
    star = "*" if epoch.best else " "
    return (
        f"loss {epoch.training_loss:.4f}  validation {epoch.validation_loss:.4f}{star} "
        f"error {epoch.validation_error:.1%}  rate {epoch.rate:g}"
    )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
