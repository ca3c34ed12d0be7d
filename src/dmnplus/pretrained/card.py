"""What a model says about itself: figures from its record, `run.json`, and questions to try it with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dmnplus.data.example import DataError, Example
from dmnplus.data.scenes.files import QUESTIONS_FILE, read_scenes
from dmnplus.training.files import RUN, WEIGHTS, read_json

README = "README.md"
CARD_FILES = (RUN, README, QUESTIONS_FILE, "example-*")


@dataclass(frozen=True, kw_only=True)
class Card:
    """A trained model in figures."""

    name: str
    title: str
    """What it answers, in words."""
    data: str
    """What it was trained on: `babi/2 (en-10k)`."""
    tested_on: str
    error: float
    """Share of the test questions that it answers wrong, measured with the weights as they are stored."""
    questions: int
    """How many test questions those are."""
    seed: int
    date: str
    """When the card was made, as 2026-01-31."""
    command: str
    """Trains it again."""
    weights: int
    """How many numbers the model has learnt."""
    reads_pictures: bool
    versions: dict[str, str]
    """What trained it."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_card(folder: Path) -> Card:
    """The card of the model in `folder`. Raises `DataError` for one that has none, as a run that is not shipped."""
    content = read_json(folder / RUN).get("card")
    names = {field.name for field in fields(Card)}
    if not isinstance(content, dict) or content.keys() != names:
        raise DataError(f"{folder / RUN}: has no card; `dmnplus models add` makes one")
    return Card(**content)


def read_examples(folder: Path) -> list[Example]:
    """Questions of its test set that the model in `folder` answers right, to try it with; none of a plain run."""
    return read_scenes(folder) if (folder / QUESTIONS_FILE).is_file() else []


def iter_card_files(folder: Path) -> Iterator[Path]:
    """What a model's folder holds besides the model: its record, its card and the questions to try it with."""
    yield from (path for pattern in CARD_FILES for path in folder.glob(pattern))


def size(folder: Path) -> int:
    """Bytes of a model's weights."""
    return (folder / WEIGHTS).stat().st_size
