"""The models that a server answers with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dmnplus.answering import QuestionAnswerer, load
from dmnplus.data.example import DataError
from dmnplus.training.checkpoint import RUN, WEIGHTS, read_json


@dataclass(frozen=True)
class ServedModel:
    """A model under the name that requests call it by."""

    name: str
    answerer: QuestionAnswerer
    version: str = ""
    """The beginning of the SHA-256 of its weights."""
    data: str = ""
    """What it was trained on."""
    test_error: float | None = None
    """Share of the test questions answered wrongly; None where it was not measured."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    """Stories to try, each `facts` and a `question`."""

    @property
    def reads_pictures(self) -> bool:
        return self.answerer.model.pictures is not None


def load_models(names: Sequence[str], *, weights: Path | None = None) -> dict[str, ServedModel]:
    """Models by name, in order: each of `names` is a run's folder, or NAME=FOLDER.

    Raises `DataError` for a folder without a model, and for two models of one name.
    """
    models: dict[str, ServedModel] = {}
    for text in names:
        name, equals, path = text.rpartition("=")
        folder = Path(path)
        name = name if equals else folder.resolve().name
        if name in models:
            raise DataError(f"two models are called {name!r}; tell them apart by NAME={path}")
        models[name] = _load(name, folder, weights)
    return models


def _load(name: str, folder: Path, weights: Path | None) -> ServedModel:
    answerer = load(folder, weights=weights)
    record = read_json(folder / RUN) if (folder / RUN).exists() else {}
    return ServedModel(
        name,
        answerer,
        version=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:12],
        data=record.get("data", ""),
        test_error=record.get("test", {}).get("error"),
    )
