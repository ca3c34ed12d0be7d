"""HTTP on one connection: uvicorn's protocol, with bounds on what comes before the application sees a request."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dmnplus.serving.errors import JsonResponse, error_response
from dmnplus.serving.observing import SECURITY_HEADERS
from dmnplus.serving.settings import ServerConfig

MOST_HEADER_BYTES = 64 * 1024


def bounded(config: ServerConfig) -> type[HttpToolsProtocol]:
    """The protocol of a server that keeps to `config`."""

    class Bounded(_Bounded):
        seconds, most_connections = config.read_timeout, config.max_connections

    return Bounded


class _Bounded(HttpToolsProtocol):
    seconds: float
    most_connections: int

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._late: asyncio.TimerHandle | None = None
        self._header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refuse(503, "the server has as many connections as it takes; come again", "retry-after: 1\r\n")
            return
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._header_bytes >= 0:
            self._header_bytes += len(data)
        # The parser has no bound of its own.
        if self._header_bytes > MOST_HEADER_BYTES and not self.transport.is_closing():
            self._refuse(431, f"the headers are larger than the limit of {MOST_HEADER_BYTES:,} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0
        if self._late is None:
            self._await_request()

    def on_headers_complete(self) -> None:
        self._header_bytes = -1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._arrived()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is not HTTP")

    def _await_request(self) -> None:
        # After the application's own deadline, which has more to say.
        self._late = self.loop.call_later(self.seconds + 1, self._give_up)

    def _arrived(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._refuse(408, f"the request did not arrive within {self.seconds:g} seconds")

    def _refuse(self, status: int, message: str, header: str = "") -> None:
        if self.transport.is_closing():
            return
        # What has begun to be answered cannot be answered otherwise.
        if self.cycle is None or self.cycle.response_complete:
            body = bytes(error_response(status, message).body)
            headers = "".join(f"{name}: {value}\r\n" for name, value in SECURITY_HEADERS.items())
            self.transport.write(
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{headers}{header}connection: close\r\n"
                f"content-type: {JsonResponse.media_type}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
                + body
            )
        self.transport.close()
