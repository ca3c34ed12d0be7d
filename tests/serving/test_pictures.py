"""Questions about pictures over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dmnplus.data.example import Picture
from dmnplus.serving.app import create_app
from dmnplus.serving.settings import ServerConfig
from tests.serving.hostile import png

FILES = [("images", ("one.png", png(colour="red"))), ("images", ("two.png", png(30, 30, "blue")))]


def test_an_answer_is_that_of_the_model(client: TestClient, picture_model, tmp_path: Path):
    response = client.post("/v1/answer/pictures", data={"question": "Where is mary?"}, files=FILES)
    assert response.status_code == 200, response.text
    answer = response.json()
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    for path, (_, (_, content)) in zip(paths, FILES, strict=True):
        path.write_bytes(content)
    expected = picture_model.answerer.answer([Picture(str(path)) for path in paths], "Where is mary?")
    assert [(r["answer"], r["probability"]) for r in answer["ranked"]] == expected.ranked
    assert answer["model"]["name"] == "drawn"
    assert answer["facts"] == [{"kind": "picture", "index": 0}, {"kind": "picture", "index": 1}]
    assert answer["attention"] == expected.attention
    assert answer["regions"] == {"0": expected.regions[0], "1": expected.regions[1]}


def test_sentences_and_pictures_mix(client: TestClient):
    facts = json.dumps(["mary went to the kitchen.", {"image": 1}, "john went back."])
    response = client.post("/v1/answer/pictures", data={"question": "Where?", "facts": facts, "top": 1}, files=FILES)
    answer = response.json()
    assert [fact["kind"] for fact in answer["facts"]] == ["sentence", "picture", "sentence"]
    assert answer["facts"][1]["index"] == 1
    assert list(answer["regions"]) == ["1"]
    assert len(answer["ranked"]) == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"question": "?"}, "empty_question"),
        ({"question": "Where?", "facts": '["!"]'}, "empty_story"),
        ({"question": "Where?", "facts": "["}, "invalid"),
        ({"question": "Where?", "facts": '[{"image": 2}]'}, "invalid"),
        ({"question": "Where?", "facts": '[{"image": -1}]'}, "invalid"),
        ({"question": "Where?", "facts": "[]"}, "empty_story"),
        ({"question": "Where?", "top": "many"}, "invalid"),
        ({"question": "Where?", "model": "moves"}, "reads_text_only"),
    ],
)
def test_what_cannot_be_answered_says_why(client: TestClient, data: dict, code: str):
    response = client.post("/v1/answer/pictures", data=data, files=FILES)
    assert (response.status_code, response.json()["error"]["code"]) == (422, code)


def test_of_a_long_story_only_what_is_read_is_bounded_and_decoded(client: TestClient):
    files = [*FILES, ("images", ("broken.png", b""))]
    # A picture is four facts, and the model reads the last 70, and so not the first two.
    told = [{"image": 2}, "x " * 1500, *[{"image": 0}] * 69]

    def post(facts: list) -> tuple[int, str]:
        data = {"question": "Where?", "facts": json.dumps(facts)}
        response = client.post("/v1/answer/pictures", data=data, files=files)
        return response.status_code, response.json().get("error", {}).get("code", "")

    assert post([*told, "x " * 714]) == (200, "")
    assert post([*told, "x " * 723]) == (422, "too_long_fact")
    assert post(told) == (422, "too_long_fact")


def test_there_are_only_so_many_pictures(client: TestClient):
    response = client.post("/v1/answer/pictures", data={"question": "Where?"}, files=FILES * 5)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "too_many_pictures")


def test_pictures_are_bounded_in_pixels(picture_model):
    with TestClient(create_app({"drawn": picture_model}, ServerConfig(max_pixels=100))) as client:
        for side, status in ((10, 200), (11, 422)):
            files = [("images", ("a.png", png(side, 10)))]
            response = client.post("/v1/answer/pictures", data={"question": "Where?"}, files=files)
            assert response.status_code == status, response.text
    assert response.json()["error"]["code"] == "bad_picture"
