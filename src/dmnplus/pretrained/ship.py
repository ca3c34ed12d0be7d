"""From a run to a model that ships: weights in half precision, measured as they are stored, and a card."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dmnplus.data.batching import encode
from dmnplus.data.example import DataError, Example, Picture
from dmnplus.data.pictures import Pictures
from dmnplus.data.scenes.files import QUESTIONS_FILE, write_scenes
from dmnplus.data.writing import write_whole
from dmnplus.pretrained.card import README, Card
from dmnplus.pretrained.readme import readme, title, training_command
from dmnplus.training.checkpoint import (
    CONFIG,
    PICTURES,
    RUN,
    VOCABULARY,
    WEIGHTS,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)
from dmnplus.training.metrics import evaluate, kind_of, predictions
from dmnplus.training.run import load_model

SHOWN = 3
"""Questions to try a model with."""
# Of those answered right, the ones with about so many facts: more than a glance, and short enough to read.
_FACTS = 6


def ship(
    run: Path, name: str, examples: Sequence[Example], tested_on: str, pictures: Pictures | None, into: Path
) -> Card:
    """Write the model of `run` to `into`/`name` with its card, measured on `examples`, which `tested_on` describes.

    Pictures of the shown questions are copied if the data is drawn, and so free to pass on. Raises `DataError` for an
    unfinished run, and for weights that half precision cannot hold.
    """
    record = read_json(run / RUN) if (run / RUN).exists() else {}
    config, vocabulary, model = load_model(run)
    if not record.get("finished"):
        raise DataError(f"{run}: not the record of a finished run; finish it with `dmnplus train ... --resume`")
    tensors, metadata = read_tensors(run / WEIGHTS)
    halves = {key: tensor.half() for key, tensor in tensors.items()}
    if lost := [key for key, tensor in halves.items() if not torch.isfinite(tensor).all()]:
        raise DataError(f"{run / WEIGHTS}: half precision cannot hold {lost[0]}")
    model.load_state_dict(halves)
    model.eval()
    questions = encode(examples, vocabulary, last_facts=config.data.last_facts, pictures=pictures)
    test = evaluate(model, questions, examples)
    answers = predictions(model, questions, vocabulary, examples)
    right = [example for example, answer in zip(examples, answers, strict=True) if answer == example.answer]
    card = Card(
        name=name,
        title=title(record["data"]),
        data=record["data"],
        tested_on=tested_on,
        error=test.error,
        questions=test.questions,
        seed=record["seed"],
        date=datetime.now(UTC).date().isoformat(),
        command=training_command(record),
        weights=sum(map(Tensor.numel, tensors.values())),
        reads_pictures=model.pictures is not None,
        versions=record["versions"],
    )
    folder = into / name
    folder.mkdir(parents=True, exist_ok=True)
    for copied in (CONFIG, VOCABULARY, *([PICTURES] if model.pictures else [])):
        write_whole(folder / copied, (run / copied).read_bytes())
    write_tensors(folder / WEIGHTS, halves, metadata)
    shown = _write_examples(_shown(right, drawn=record["data"].startswith("scenes")), folder)
    shipped: dict[str, Any] = {**record, "test": test.to_json(), "card": card.to_json()}
    write_json(folder / RUN, shipped)
    write_whole(folder / README, readme(card, shipped, shown))
    return card


def _shown(right: Sequence[Example], *, drawn: bool) -> list[Example]:
    """A few of the questions answered right: of different kinds where there are some, and of different stories."""
    may_be_shown = [e for e in right if drawn or not any(isinstance(fact, Picture) for fact in e.facts)]
    nearest = sorted(may_be_shown, key=lambda e: abs(len(e.facts) - _FACTS))
    first_of_kind = {kind_of(e): e for e in reversed(nearest)}
    shown: list[Example] = []
    for example in (*reversed(first_of_kind.values()), *nearest):
        if len(shown) < SHOWN and example.facts[0] not in {e.facts[0] for e in shown}:
            shown.append(example)
    return shown


def _write_examples(examples: Sequence[Example], folder: Path) -> list[Example]:
    """The examples with their pictures in `folder`, which then holds no others."""
    for old in folder.glob("example-*"):
        old.unlink()
    (folder / QUESTIONS_FILE).unlink(missing_ok=True)
    copied: dict[str, str] = {}

    def copy(picture: Picture) -> Picture:
        if picture.path not in copied:
            target = folder / f"example-{len(copied) + 1}{Path(picture.path).suffix}"
            shutil.copyfile(picture.path, target)
            copied[picture.path] = str(target)
        return replace(picture, path=copied[picture.path])

    moved = [
        replace(e, facts=tuple(copy(fact) if isinstance(fact, Picture) else fact for fact in e.facts)) for e in examples
    ]
    if moved:
        write_scenes(moved, folder)
    return moved
