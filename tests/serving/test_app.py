"""What each route answers."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

STORY = ["mary went to the kitchen.", "john went to the garden.", "mary went back to the office."]
WHERE = "Where is mary?"


def test_an_answer_is_that_of_the_model(client: TestClient, text_model):
    response = client.post("/v1/answer", json={"facts": STORY, "question": WHERE, "top": 2})
    assert response.status_code == 200
    answer = response.json()
    expected = text_model.answerer.answer(STORY, WHERE, top=2)
    assert (answer["answer"], answer["probability"]) == (expected.answer, expected.probability)
    assert [(r["answer"], r["probability"]) for r in answer["ranked"]] == expected.ranked
    assert answer["attention"] == expected.attention
    assert answer["facts"] == [{"kind": "sentence", "text": fact} for fact in STORY]
    assert answer["unknown_words"] == []
    assert answer["model"] == {"name": "moves", "version": "0123456789ab", "data": "babi/1 (moves)"}
    assert answer["timing"]["batch"] == 1


def test_a_story_is_split_into_sentences(client: TestClient):
    whole = client.post("/v1/answer", json={"story": " ".join(STORY), "question": WHERE}).json()
    split = client.post("/v1/answer", json={"facts": STORY, "question": WHERE}).json()
    assert whole["facts"] == split["facts"]
    assert whole["ranked"] == split["ranked"]


def test_several_questions_are_answered_together(client: TestClient):
    asked = [{"facts": STORY[:n], "question": WHERE} for n in (1, 2, 3)]
    answers = client.post("/v1/answers", json={"questions": asked}).json()["answers"]
    assert [len(answer["facts"]) for answer in answers] == [1, 2, 3]
    assert {answer["timing"]["batch"] for answer in answers} == {3}


def test_models_are_listed(client: TestClient):
    listed = client.get("/v1/models").json()
    assert listed["default"] == "moves"
    assert listed["models"][0] == {
        "name": "moves",
        "data": "babi/1 (moves)",
        "test_error": 0.25,
        "pictures": False,
        "examples": [],
    }
    assert [model["pictures"] for model in listed["models"]] == [False, True]


def test_health_and_readiness(client: TestClient):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_the_page_and_its_files_are_served(client: TestClient):
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert client.get("/static/style.css").headers["content-type"].startswith("text/css")


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
def test_those_who_watch_may_ask_for_headers_alone(client: TestClient, path: str):
    head, full = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(full.content))


@pytest.mark.parametrize("path", ["/healthz/", "/v1/models/", "/static"])
def test_another_path_is_not_found_and_leads_nowhere(client: TestClient, path: str):
    response = client.get(path, follow_redirects=False)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_some_facts_may_have_no_word(client: TestClient):
    response = client.post("/v1/answer", json={"facts": ["", *STORY, "..."], "question": WHERE})
    assert (response.status_code, len(response.json()["facts"])) == (200, 5)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"facts": STORY}, 422, "invalid"),
        ({"question": WHERE}, 422, "invalid"),
        ({"facts": STORY, "story": "x", "question": WHERE}, 422, "invalid"),
        ({"facts": [], "question": WHERE}, 422, "invalid"),
        ({"facts": ["", "?!"], "question": WHERE}, 422, "empty_story"),
        # Of which the model reads the last 70.
        ({"facts": [*STORY, *[""] * 70], "question": WHERE}, 422, "empty_story"),
        ({"story": " ", "question": WHERE}, 422, "empty_story"),
        ({"story": "?!", "question": WHERE}, 422, "empty_story"),
        ({"facts": STORY, "question": ""}, 422, "empty_question"),
        ({"facts": STORY, "question": "?"}, 422, "empty_question"),
        ({"facts": [1], "question": WHERE}, 422, "invalid"),
        ({"facts": None, "story": "x", "question": WHERE}, 422, "invalid"),
        ({"facts": STORY, "question": WHERE, "top": "5"}, 422, "invalid"),
        ({"facts": STORY, "question": WHERE, "top": 0}, 422, "invalid"),
        ({"facts": STORY, "question": WHERE, "tops": 1}, 422, "invalid"),
        ({"facts": STORY, "question": WHERE, "model": "none"}, 404, "no_such_model"),
        ({"facts": ["x"] * 1001, "question": WHERE}, 422, "too_many_facts"),
        ({"facts": ["x " * 5000], "question": WHERE}, 422, "too_many_words"),
        ({"facts": ["x"] * 69 + ["x " * 2858], "question": WHERE}, 422, "too_long_fact"),
    ],
)
def test_what_cannot_be_answered_says_why(client: TestClient, body: dict, status: int, code: str):
    response = client.post("/v1/answer", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["message"]
