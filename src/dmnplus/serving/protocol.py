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
        self._in_headers = self._just_began = False
        """Whether headers or trailers are being read, and whether what was received last began them."""
        self._read_bytes = self._held_bytes = 0
        """Of this request's headers and trailers: those read, and those received while one of them went on."""

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
        self._just_began = False
        super().data_received(data)
        # The parser has no bound of its own, and tells of a header only once it is whole.
        if self._in_headers and not self._just_began:
            self._held_bytes += len(data)
            if self._held_bytes > MOST_HEADER_BYTES:
                self._refuse_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._read_bytes = self._held_bytes = 0
        self._in_headers = self._just_began = True
        if self._late is None:
            self._await_request()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        # After the last chunk's come trailers, after any other's a body.
        self._in_headers = self._just_began = True

    def on_body(self, body: bytes) -> None:
        self._in_headers = False
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_headers = False
        self._arrived()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is not HTTP")

    def _count(self, size: int) -> None:
        self._read_bytes += size
        if self._read_bytes > MOST_HEADER_BYTES:
            self._refuse_headers()
            # Ends the parser, which would go on to the application.
            raise OverflowError

    def _refuse_headers(self) -> None:
        self._refuse(431, f"the headers are larger than the limit of {MOST_HEADER_BYTES:,} bytes")

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
        # What has begun to be answered cannot be answered otherwise, nor what comes after a request that is in work.
        cycle = self.cycle
        arriving = cycle is not None and cycle.more_body and not cycle.response_started and not self.pipeline
        if cycle is None or cycle.response_complete or arriving:
            body = bytes(error_response(status, message).body)
            headers = "".join(f"{name}: {value}\r\n" for name, value in SECURITY_HEADERS.items())
            self.transport.write(
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{headers}{header}connection: close\r\n"
                f"content-type: {JsonResponse.media_type}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
                + body
            )
        self.transport.close()
