"""The models that a server answers with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dmnplus.answering import QuestionAnswerer, load
from dmnplus.data.example import DataError, Example, Fact, Picture
from dmnplus.pretrained import locate, read_examples
from dmnplus.training.files import RUN, WEIGHTS, read_json


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
    examples: Sequence[Example] = ()
    """Questions to try it with."""

    @property
    def reads_pictures(self) -> bool:
        return self.answerer.model.pictures is not None

    def places(self, fact: Fact) -> int:
        """How many facts the network reads one as: a picture is its regions."""
        pictures = self.answerer.model.pictures
        return pictures.rows * pictures.columns if pictures and isinstance(fact, Picture) else 1


def load_models(names: Sequence[str], *, weights: Path | None = None) -> dict[str, ServedModel]:
    """Models by name, in order: each of `names` is what `dmnplus.load` takes, or NAME=MODEL.

    A model is called what it is called there; one in a folder like the folder. Raises `DataError` for what is no model,
    and for two models of one name.
    """
    models: dict[str, ServedModel] = {}
    for text in names:
        name, equals, place = text.partition("=")
        # The name of a folder may hold the sign, too.
        if not equals or Path(text).is_dir():
            name, place = "", text
        folder = locate(place)
        name = name or (folder.resolve().name if Path(place).is_dir() else place)
        if name in models:
            raise DataError(f"two models are called {name!r}; tell them apart by NAME={place}")
        models[name] = _load(name, folder, weights)
    return models


def _load(name: str, folder: Path, weights: Path | None) -> ServedModel:
    record = read_json(folder / RUN) if (folder / RUN).exists() else {}
    answerer = load(folder, weights=weights)
    if (wanted := answerer.model.pictures) is not None and wanted.kind == "regions":
        # Here and not above: a server of text alone needs no library of pictures. What is wrong with the backbone is
        # said now, and not to those who ask.
        from dmnplus.vision.opening import backbone_of

        backbone_of(wanted, weights)
    return ServedModel(
        name,
        answerer,
        version=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:12],
        data=record.get("data", ""),
        test_error=record.get("card", {}).get("error", record.get("test", {}).get("error")),
        examples=read_examples(folder),
    )
