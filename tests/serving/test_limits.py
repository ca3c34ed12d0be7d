"""What a server refuses, and how; with it, what it tells and does not tell."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock
from urllib.parse import urlsplit

import httpx
import pytest

from dmnplus.serving.models import ServedModel
from dmnplus.serving.pictures import Decoder
from tests.serving import hostile
from tests.serving.conftest import Start, served

ASKED = {"facts": ["mary went to the kitchen."], "question": "Where is mary?"}
JSON = {"Content-Type": "application/json"}


def problem(response: httpx.Response) -> tuple[int, str]:
    assert "default-src 'none'" in response.headers["content-security-policy"]
    return response.status_code, response.json()["error"]["code"]


def talk(address: str, *pieces: bytes, pause: float = 0) -> bytes:
    """Everything that comes back for these bytes, sent one after the other."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break
            time.sleep(pause)
        received = b""
        try:
            while more := connection.recv(65536):
                received += more
        except ConnectionError:
            pass
        return received


def request(headers: str, path: str = "/v1/answer") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\r\n".encode()


def test_a_token_is_asked_for_where_it_matters(start: Start):
    address = start(token="se-cret")
    with httpx.Client(base_url=address) as client:
        for path in ("/v1/models", "/metrics"):
            refused = client.get(path)
            assert problem(refused) == (401, "unauthorized")
            assert refused.headers["www-authenticate"] == "Bearer"
            assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
            assert client.get(path, headers={"Authorization": "bearer se-cret"}).status_code == 200
        assert client.post("/v1/answer", json=ASKED).status_code == 401
        assert client.post("/v1/answer", json=ASKED, headers={"Authorization": b"Bearer \xe9"}).status_code == 401
        for path in ("/", "/healthz", "/readyz", "/openapi.json", "/static/app.js"):
            assert client.get(path).status_code == 200


def test_bodies_are_bounded_in_type_size_and_form(start: Start):
    address = start(max_body=10_000)
    with httpx.Client(base_url=address) as client:

        def post(content: bytes, headers: dict[str, str] = JSON) -> tuple[int, str]:
            return problem(client.post("/v1/answer", content=content, headers=headers))

        def pieces():
            for _ in range(100):
                yield b"x" * 1_000

        assert post(json.dumps(ASKED).encode(), {"Content-Type": "text/plain"}) == (415, "unsupported_media_type")
        assert post(b"x" * 10_001) == (413, "too_large")
        # Chunks, and no word of how many there will be.
        assert problem(client.post("/v1/answer", content=pieces(), headers=JSON)) == (413, "too_large")
        assert post(b'{"facts": [') == (400, "not_json")
        assert post(b"[" * 9_000) == (400, "not_json")
        assert post(b'{"question": "\xff", "facts": ["x"]}') == (400, "not_json")
        assert post(b'{"question": "x", "facts": ["\\ud800"]}') == (422, "not_text")
        assert post(b'{"question": "x", "facts": ["x"], "\\ud800": 1}') == (422, "invalid")
        assert post(b'{"question": "x", "facts": ["x"], "top": NaN}') == (422, "invalid")
        assert post(b'{"question": "x", "facts": ["x"], "top": 1e999}') == (422, "invalid")
        assert post(b"") == (422, "invalid")
        assert post(b"null") == (422, "invalid")
        form = {"Content-Type": "multipart/form-data"}
        assert problem(client.post("/v1/answer/pictures", content=b"x", headers=form))[0] == 400
        assert problem(client.get("/nothing")) == (404, "not_found")
        assert problem(client.get("/static/../app.py"))[0] == 404
        assert problem(client.get("/static/%2e%2e/app.py"))[0] == 404
        assert problem(client.delete("/v1/answer")) == (405, "method_not_allowed")
        assert client.post("/v1/answer", json=ASKED).status_code == 200


def test_a_huge_body_is_neither_kept_nor_waited_for(start: Start):
    # What is refused may go on sending for so long, so that it comes to read the answer.
    address = start(read_timeout=0.5)
    announced = talk(address, request("Content-Length: 104857600\r\n"))
    assert announced.startswith(b"HTTP/1.1 413")
    sent = talk(address, request("Transfer-Encoding: chunked\r\n"), *[b"100000\r\n" + b"x" * 0x100000 + b"\r\n"] * 5)
    assert sent.startswith(b"HTTP/1.1 413")
    assert httpx.get(f"{address}/healthz").status_code == 200


def test_slow_clients_are_told_and_let_go(start: Start):
    address = start(read_timeout=0.3)
    with ThreadPoolExecutor(4) as pool:
        silent = pool.submit(talk, address)
        headers = pool.submit(talk, address, b"POST /v1/answer HTTP/1.1\r\nHost: x\r\n")
        body = pool.submit(talk, address, request("Content-Length: 100\r\n"), *[b"{"] * 5, pause=0.1)
        assert body.result().startswith(b"HTTP/1.1 408")
        assert headers.result().startswith(b"HTTP/1.1 408")
        assert silent.result().startswith(b"HTTP/1.1 408")
    assert httpx.post(f"{address}/v1/answer", json=ASKED).status_code == 200


def test_what_is_not_http_is_told_so(start: Start):
    address = start()
    assert talk(address, b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert httpx.get(f"{address}/healthz").status_code == 200


def test_headers_are_bounded_however_they_come(start: Start):
    address = start()

    def fields(size: int) -> bytes:
        return b"".join(b"X-%03d: " % i + b"x" * 992 + b"\r\n" for i in range(size // 1000))

    def status(*pieces: bytes, pause: float = 0.02) -> bytes:
        return talk(address, *pieces, pause=pause).removeprefix(b"HTTP/1.1 ")[:3]

    get, end = b"GET /healthz HTTP/1.1\r\nConnection: close\r\n", b"\r\n"
    chunked = request("Transfer-Encoding: chunked\r\nConnection: close\r\n")
    body = b"%x\r\n%s\r\n0\r\n" % (len(asked := json.dumps(ASKED).encode()), asked)
    for size, expected in ((60_000, b"200"), (70_000, b"431"), (120_000, b"431"), (400_000, b"431")):
        one = b"X: " + b"x" * size + b"\r\n"
        assert status(get + fields(size) + end) == expected
        assert status(get + one + end) == expected
        assert status(b"GET /healthz?%s HTTP/1.1\r\nConnection: close\r\n\r\n" % (b"x" * size)) == expected
        # Trailers come after the body, and none of them need ever end.
        assert status(chunked, body + fields(size), end) == expected
        assert status(chunked, body, one, end) == expected
    half = b"X: " + b"x" * 40_000
    assert status(get, half, half) == status(chunked, body, half, half) == b"431"
    assert status(get, half[:30_000], half[:30_000], end, end) == b"200"


def test_a_request_may_come_with_the_end_of_the_one_before(start: Start):
    address = start()
    # How much is received at once is not told beforehand.
    for size in (66_000, 70_000, 100_000, 150_000, 200_000):
        asked = json.dumps(ASKED).encode() + b" " * size
        first = request(f"Content-Length: {len(asked)}\r\n") + asked + b"GET /healthz HTTP/1.1\r\nHo"
        # What the body counts is no header.
        answers = talk(address, first, b"st: x\r\nConnection: close\r\n\r\n", pause=0.2)
        assert answers.count(b"HTTP/1.1 200") == 2


def test_connections_are_bounded(start: Start):
    address = start(max_connections=2)
    parts = urlsplit(address)
    with (
        socket.create_connection((parts.hostname, parts.port)),
        socket.create_connection((parts.hostname, parts.port)),
    ):
        time.sleep(0.2)
        refused = talk(address)
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in refused


def gated() -> tuple[ServedModel, threading.Event]:
    """A model that answers nothing until its gate is set."""
    gate, model = threading.Event(), served("gated")
    answer_many = model.answerer.answer_many

    def wait_and_answer(*arguments, **named):
        gate.wait()
        return answer_many(*arguments, **named)

    model.answerer.answer_many = wait_and_answer
    return model, gate


def test_more_than_the_queue_holds_gets_503_and_nothing_else(start: Start):
    model, gate = gated()
    address = start({"gated": model}, queue=4)
    with httpx.Client(base_url=address, timeout=60) as client, ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(client.post, "/v1/answer", json=ASKED) for _ in range(20)]
        while sum(future.done() for future in asked) < 16:
            time.sleep(0.01)
        refused = [future.result() for future in asked if future.done()]
        assert {problem(response) for response in refused} == {(503, "busy")}
        assert {response.headers["retry-after"] for response in refused} == {"1"}
        gate.set()
        assert sorted(future.result().status_code for future in asked) == [200] * 4 + [503] * 16
        assert problem(client.post("/v1/answers", json={"questions": [ASKED] * 5})) == (422, "too_many_questions")


def test_an_answer_that_takes_too_long_is_504(start: Start, monkeypatch: pytest.MonkeyPatch):
    model, gate = gated()
    answer_many = mock.Mock(side_effect=model.answerer.answer_many)
    monkeypatch.setattr(model.answerer, "answer_many", answer_many)
    address = start({"gated": model}, timeout=0.5)
    # The second waits behind the first, which is in work, and is not answered once nobody waits for it.
    for _ in range(2):
        assert problem(httpx.post(f"{address}/v1/answer", json=ASKED)) == (504, "timeout")
    gate.set()
    assert httpx.post(f"{address}/v1/answer", json=ASKED).status_code == 200
    assert answer_many.call_count == 2


def test_slow_pictures_are_504_too(start: Start, picture_model, monkeypatch: pytest.MonkeyPatch):
    gate, read = threading.Event(), Decoder._read

    def wait(*arguments):
        gate.wait(30)
        return read(*arguments)

    monkeypatch.setattr(Decoder, "_read", wait)
    address = start({"pictures": picture_model}, timeout=1)
    files = [("images", ("a.png", hostile.png(8, 8), "image/png"))]
    ask = f"{address}/v1/answer/pictures"
    assert problem(httpx.post(ask, data={"question": "What?"}, files=files)) == (504, "timeout")
    gate.set()
    assert httpx.post(ask, data={"question": "What?"}, files=files).status_code == 200


def test_an_error_of_one_question_is_not_that_of_its_neighbours(start: Start):
    model = served("picky")
    answer_many = model.answerer.answer_many

    def picky(asked, **named):
        if any(question == "fail" for _, question in asked):
            raise RuntimeError("secret")
        return answer_many(asked, **named)

    model.answerer.answer_many = picky
    address = start({"picky": model}, batch_wait_ms=200)
    with ThreadPoolExecutor(3) as pool:
        good = [pool.submit(httpx.post, f"{address}/v1/answer", json=ASKED) for _ in range(2)]
        bad = pool.submit(httpx.post, f"{address}/v1/answer", json={**ASKED, "question": "fail"})
        assert [future.result().status_code for future in good] == [200, 200]
        assert problem(bad.result()) == (500, "internal")
        assert "secret" not in bad.result().text


def test_the_log_names_requests_and_not_what_they_say(start: Start, caplog: pytest.LogCaptureFixture):
    address = start()
    with caplog.at_level(logging.INFO, "dmnplus.serving.access"):
        httpx.post(f"{address}/v1/answer", json=ASKED)
        httpx.get(f"{address}/where-is-mary")
        # A line may be written after its answer was sent.
        for _ in range(500):
            lines = [record.getMessage() for record in caplog.records if record.name == "dmnplus.serving.access"]
            if len(lines) == 2:
                break
            time.sleep(0.01)
    assert "POST /v1/answer 200" in lines[0]
    assert "GET other 404" in lines[1]
    assert "mary" not in caplog.text


def test_metrics_count_requests_and_batches(start: Start):
    address = start()
    httpx.post(f"{address}/v1/answers", json={"questions": [ASKED] * 3})
    httpx.get(f"{address}/nothing")
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    assert 'dmnplus_requests_total{method="POST",route="/v1/answers",status="200"} 1.0' in lines
    assert 'dmnplus_requests_total{method="GET",route="other",status="404"} 1.0' in lines
    assert 'dmnplus_questions_total{model="moves"} 3.0' in lines
    assert "dmnplus_pending_questions 0.0" in lines


def test_hostile_files_are_answered_and_survived(start: Start, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    address = start()
    with httpx.Client(base_url=address, timeout=60) as client:

        def post(name: str, content: bytes) -> httpx.Response:
            return client.post(
                "/v1/answer/pictures", data={"question": "Where is mary?"}, files={"images": (name, content)}
            )

        answered = {name: post(name, content) for name, content in hostile.files().items()}
        assert {name: problem(response) for name, response in answered.items()} == dict.fromkeys(
            answered, (422, "bad_picture")
        )
        for response in answered.values():
            assert response.json()["error"]["message"].startswith("images[0]: ")
            assert str(tmp_path) not in response.text
        for name, content in hostile.polyglots().items():
            assert post(name, content).status_code == 200
        for name in hostile.NAMES:
            assert post(name, hostile.png()).status_code in (200, 400), name
        assert client.post("/v1/answer", json=ASKED).status_code == 200
    assert list(tmp_path.rglob("*")) == []


def test_only_so_many_uploads_are_read_at_a_time(start: Start, picture_model, monkeypatch: pytest.MonkeyPatch):
    gate, read, reading = threading.Event(), Decoder._read, threading.Event()

    def wait(*arguments):
        reading.set()
        gate.wait(30)
        return read(*arguments)

    monkeypatch.setattr(Decoder, "_read", wait)
    address = start({"pictures": picture_model}, max_uploads=1)
    ask = f"{address}/v1/answer/pictures"
    files = [("images", ("a.png", hostile.png(8, 8), "image/png"))]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(httpx.post, ask, data={"question": "What?"}, files=files, timeout=60)
        try:
            assert reading.wait(30)
            assert problem(httpx.post(ask, data={"question": "What?"}, files=files)) == (503, "busy")
        finally:
            gate.set()
        assert first.result().status_code == 200
    assert httpx.post(ask, data={"question": "What?"}, files=files).status_code == 200
