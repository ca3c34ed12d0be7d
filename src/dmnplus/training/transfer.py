"""Beginning a training with the weights of a trained model, whatever of its words and answers the new data have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dmnplus.config import Config, plain
from dmnplus.data.example import DataError
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.model import DMN
from dmnplus.model.ensemble import Ensemble
from dmnplus.training.files import RUN, WEIGHTS, read_json


class Origin(NamedTuple):
    """The trained model that a start begins with, as it is called, and its folder."""

    name: str
    folder: Path


def origin_record(origin: Origin) -> dict[str, Any]:
    """What the record of a start says of its origin: its name, the SHA-256 of its weights, and how it was trained."""
    record = read_json(origin.folder / RUN) if (origin.folder / RUN).exists() else {}
    kept = ("data", "sources", "origin", "config", "seed", "fit", "versions")
    return {
        "name": origin.name,
        "weights": hashlib.sha256((origin.folder / WEIGHTS).read_bytes()).hexdigest(),
        "run": {key: record[key] for key in kept if key in record},
    }


def begun_with(record: Mapping[str, Any]) -> list[str]:
    """The origin of a record in words, beside its settings: none if it began at random."""
    if (origin := record.get("origin")) is None:
        return []
    fit = origin["run"].get("fit")
    return [f"from {origin['name']}" + (f" after {fit['epochs']} epochs" if fit else "")]


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
    weights, known = model.state_dict(), source.state_dict()
    rows = _rows(config, old, vocabulary)
    for name, tensor in weights.items():
        _copy(tensor, known[name], rows.get(name))


def _rows(config: Config, old: Vocabulary, new: Vocabulary) -> dict[str, list[tuple[int, int]]]:
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


def _shared(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    places = {word: place for place, word in enumerate(old)}
    return [(row, places[word]) for row, word in enumerate(new) if word in places]


def _copy(tensor: Tensor, source: Tensor, rows: list[tuple[int, int]] | None) -> None:
    with torch.no_grad():
        if rows is None:
            tensor.copy_(source)
        elif rows:
            to, of = (list(places) for places in zip(*rows, strict=True))
            tensor[to] = source[of].to(tensor)
