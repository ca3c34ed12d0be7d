"""An answer is the same, whatever it was batched with."""

from __future__ import annotations

import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dmnplus.data.example import Fact, Picture
from dmnplus.serving import batching
from dmnplus.serving.app import create_app
from dmnplus.serving.models import ServedModel
from dmnplus.serving.settings import ServerConfig
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


def test_so_it_is_on_the_matrix_unit(matrix_unit):
    for settings in ({}, {"hidden": 80}, {"answer": "words"}):
        test_batched_and_alone_are_equal_to_the_last_bit(settings)


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


STORY = ["mary went to the kitchen.", "john went to the garden.", "mary went back to the office."]


def ask(client: TestClient, questions: list[dict]) -> list[dict]:
    response = client.post("/v1/answers", json={"questions": questions})
    assert response.status_code == 200, response.text
    return response.json()["answers"]


def test_every_question_is_answered_by_the_model_it_names():
    models = {"one": served("one"), "other": served("other", hidden=24)}
    names = ["one", "other", "other", "one", "other"]
    asked = [{"facts": STORY[: 1 + i % 3], "question": "Where is mary?", "model": name} for i, name in enumerate(names)]
    with TestClient(create_app(models)) as client:
        answers = ask(client, asked)
    for question, name, answer in zip(asked, names, answers, strict=True):
        expected = models[name].answerer.answer(question["facts"], question["question"])
        assert [(r["answer"], r["probability"]) for r in answer["ranked"]] == expected.ranked
        assert answer["model"]["name"] == name
    assert {answer["timing"]["batch"] for answer in answers} == {2, 3}


def test_a_batch_has_no_more_questions_than_the_server_is_told():
    with TestClient(create_app({"one": served("one")}, ServerConfig(max_batch=2))) as client:
        answers = ask(client, [{"facts": STORY, "question": "Where is mary?"}] * 5)
    assert [answer["timing"]["batch"] for answer in answers] == [2, 2, 2, 2, 1]


def test_long_questions_share_a_batch_only_as_far_as_memory_allows(monkeypatch: pytest.MonkeyPatch):
    # Three facts, the longest of six words: two such questions are 36 cells, as is one of twelve words alone.
    monkeypatch.setattr(batching, "MOST_CELLS", 36)
    asked = [{"facts": STORY, "question": "Where is mary?"}] * 4
    asked.insert(2, {"facts": [*STORY[:2], "mary " * 12], "question": "Where is mary?"})
    with TestClient(create_app({"one": served("one")})) as client:
        assert [answer["timing"]["batch"] for answer in ask(client, asked)] == [2, 2, 1, 2, 2]
