"""Beginning a training with the weights of a trained model, whatever of its words and answers the new data have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dmnplus.config import Config, plain
from dmnplus.data.example import DataError
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.model import DMN
from dmnplus.model.ensemble import Ensemble
from dmnplus.training.files import RUN, WEIGHTS, read_json


@dataclass(frozen=True)
class Origin:
    """The trained model that a start begins with, as it is called, and its folder."""

    name: str
    folder: Path

    @cached_property
    def record(self) -> dict[str, Any]:
        """What the record of a start says of it: its name, the SHA-256 of its weights, and how it was trained."""
        record = read_json(self.folder / RUN) if (self.folder / RUN).exists() else {}
        kept = ("data", "sources", "origin", "config", "seed", "fit", "versions")
        return {
            "name": self.name,
            "weights": hashlib.sha256((self.folder / WEIGHTS).read_bytes()).hexdigest(),
            "run": {key: record[key] for key in kept if key in record},
        }


def begun_with(record: Mapping[str, Any]) -> list[str]:
    """The origin of a record in words, beside its settings: none if it began at random."""
    if (origin := record.get("origin")) is None:
        return []
    epochs, run = 0, origin["run"]
    # Of a chain of trainings, all that went before.
    while run:
        epochs, run = epochs + run.get("fit", {}).get("epochs", 0), run.get("origin", {}).get("run")
    return [f"from {origin['name']}" + (f" after {epochs} epochs" if epochs else "")]


def transfer(
    origin: Origin, learnt: tuple[Config, Vocabulary, DMN], config: Config, vocabulary: Vocabulary, model: DMN
) -> None:
    """Copy the weights of `learnt`, which is `origin`, into `model` of `config` and `vocabulary`.

    Words and answers that `learnt` does not know keep their random vectors; those that `vocabulary` does not have are
    left. Raises `DataError` with the reason for networks of different settings or pictures, but for dropout, and for
    ensembles.
    """
    was, old, source = learnt
    if isinstance(source, Ensemble):
        raise DataError(f"{origin.name}: is an ensemble, and no network to begin with; name one of its starts")
    theirs, ours = plain(was)["model"], plain(config)["model"]
    if changed := [f"model.{k}={v}" for k, v in theirs.items() if v != ours[k] and not k.endswith("_dropout")]:
        settings = " ".join(f"--set {setting}" for setting in changed)
        raise DataError(f"{origin.name}: is another network; give its --variant, or {settings}")
    if source.pictures != model.pictures:
        reads, here = (network.pictures or "no pictures" for network in (source, model))
        raise DataError(f"{origin.name}: reads {reads}, and here are {here}")
    known, rows = source.state_dict(), _rows(config, old, vocabulary)
    for name, tensor in model.state_dict().items():
        to, of = rows.get(name, (..., ...))
        tensor[to] = known[name][of]


def _rows(config: Config, old: Vocabulary, new: Vocabulary) -> dict[str, tuple[list[int], list[int]]]:
    """Rows of `new` and of `old` that are of one word or answer, for the weights that have such rows."""
    by_word = config.model.answer == "words"
    answers = _shared(old.answer_words, new.answer_words) if by_word else _shared(old.answers, new.answers)
    return {
        "embedding.weight": _shared(old.words, new.words),
        # Of the decoder alone.
        "answer.embedding": answers,
        "answer.weight": answers,
        "answer.bias": answers,
    }


def _shared(old: Sequence[str], new: Sequence[str]) -> tuple[list[int], list[int]]:
    places = {word: place for place, word in enumerate(old)}
    rows = [row for row, word in enumerate(new) if word in places]
    return rows, [places[new[row]] for row in rows]
