"""An answer is the same, whatever it was batched with."""

from __future__ import annotations

import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dmnplus.data.example import Fact, Picture
from dmnplus.serving.models import ServedModel
from tests.model.examples import PEOPLE, PLACES
from tests.serving.conftest import served
from tests.serving.hostile import png

WORDS = (*PEOPLE, *PLACES, "went", "back", "to", "the", "yes", "never", "seen")


def asked(count: int, seed: int, *, longest: int = 40) -> list[tuple[list[Fact], str]]:
    """Questions of all lengths, most of words in no order."""
    draw = random.Random(seed)
    return [
        (
            [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) for _ in range(draw.randint(1, longest))],
            " ".join(draw.choices(WORDS, k=draw.randint(1, 8))),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hidden": 80},
        {"answer": "words"},
        {"hidden": 80, "answer": "words"},
        {"input": "ordered"},
        {"update": "gru"},
    ],
    ids=str,
)
def test_batched_and_alone_are_equal_to_the_last_bit(settings: dict[str, Any]):
    answerer = served("x", **settings).answerer
    questions = [(["yes"], "never"), *asked(23, seed=settings.get("hidden", 16))]
    alone = [asdict(answerer.answer(*question)) for question in questions]
    for size in (2, 3, 5, 24):
        batches = [questions[i : i + size] for i in range(0, len(questions), size)]
        together = [asdict(found) for batch in batches for found in answerer.answer_many(batch)]
        assert together == alone


def test_so_it_is_with_pictures(picture_model: ServedModel, tmp_path: Path):
    pictures = []
    for i, colour in enumerate(("red", "green", "blue", "white")):
        (path := tmp_path / f"{i}.png").write_bytes(png(10 + i, 20, colour))
        pictures.append(Picture(str(path)))
    draw = random.Random(0)
    questions = [
        (story + draw.choices(pictures, k=draw.randint(0, 3)), question) for story, question in asked(16, 1, longest=6)
    ]
    alone = [asdict(picture_model.answerer.answer(*question)) for question in questions]
    assert [asdict(found) for found in picture_model.answerer.answer_many(questions)] == alone
