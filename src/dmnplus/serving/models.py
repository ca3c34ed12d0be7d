"""The models that a server answers with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from dmnplus.answering import QuestionAnswerer, load
from dmnplus.data.example import DataError, Example, Fact
from dmnplus.data.words import tokenize
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

    def extent(self, facts: Sequence[Fact | int]) -> tuple[int, int]:
        """How many facts the network reads, and the words of the longest.

        A picture, or the number of an image, is as many facts as its regions, and a word long.
        """
        pictures = self.answerer.model.pictures
        regions = pictures.rows * pictures.columns if pictures else 1
        size = sum(1 if isinstance(fact, str) else regions for fact in facts)
        return size, max((len(tokenize(fact)) if isinstance(fact, str) else 1 for fact in facts), default=0)


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
    record = _read_record(folder / RUN)
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
        data=record.data,
        test_error=record.test.error if record.card.error is None else record.card.error,
        examples=read_examples(folder),
    )


class _Measured(BaseModel):
    error: float | None = None


class _Record(BaseModel):
    """What a run's record says to those who ask the model; the rest of it is not read."""

    data: str = ""
    card: _Measured = _Measured()
    test: _Measured = _Measured()


def _read_record(path: Path) -> _Record:
    try:
        return _Record.model_validate(read_json(path) if path.exists() else {})
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "all of it"
        raise DataError(
            f"{path}: damaged: {where} is not what a run writes; copy the file again, or remove it"
        ) from None
