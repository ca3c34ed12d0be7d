"""The command, in a process of its own."""

from __future__ import annotations

import gc
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

pytest.importorskip("uvicorn", reason="needs pip install 'dmnplus[serve]'")

from dmnplus.serving import server
from dmnplus.serving.settings import ServerConfig

ASKED = {"story": "Mary went to the kitchen. John went to the garden.", "question": "Where is Mary?"}


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_was_accepted(stop: signal.Signals):
    # Everything that is asked waits for half a minute, unless a full batch comes first, or the end.
    command = [*(sys.executable, "-m", "dmnplus", "serve", "babi/1", "--port", "0"), "--batch-wait-ms", "3000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            address = re.search(r"http://\S+?(?=;)", process.stderr.readline())
            assert address is not None
            with ThreadPoolExecutor(5) as pool:
                answers = [pool.submit(httpx.post, f"{address[0]}/v1/answer", json=ASKED, timeout=60) for _ in range(5)]
                metrics = ""
                while "dmnplus_pending_questions 5.0" not in metrics:
                    metrics = httpx.get(f"{address[0]}/metrics", timeout=60).text
                    time.sleep(0.05)
                process.send_signal(stop)
                found = [future.result() for future in answers]
            assert [answer.status_code for answer in found] == [200] * 5
            assert {answer.json()["answer"] for answer in found} == {"kitchen"}
            assert process.wait(timeout=60) == 0
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{address[0]}/healthz")
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_what_is_loaded_is_not_looked_through_for_garbage(models, monkeypatch: pytest.MonkeyPatch):
    frozen = []

    class Server:
        def run(self, sockets: list[socket.socket]) -> None:
            frozen.append(gc.get_freeze_count())

    monkeypatch.setattr(server, "build", lambda models, config: Server())
    monkeypatch.setattr(server.signal, "signal", lambda *arguments: None)
    try:
        with socket.socket() as listening:
            server.serve(models, ServerConfig(), listening)
    finally:
        gc.unfreeze()
    assert frozen[0] > 10_000
