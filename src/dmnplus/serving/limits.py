"""What a request has to meet before its route reads it: token, type, size and pace of its body."""

from __future__ import annotations

import asyncio
import hmac
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dmnplus.serving.errors import ApiError, busy, error_response
from dmnplus.serving.settings import ServerConfig

_JSON, _FORM = "application/json", "multipart/form-data"


class Body(NamedTuple):
    """What a route takes."""

    kind: str
    """Its media type."""
    most: int
    """Bytes."""
    at_once: int
    """Requests that are read or answered at a time."""


def bodies(config: ServerConfig) -> dict[str, Body]:
    """What each route that takes a body takes."""
    return {
        "/v1/answer": Body(_JSON, config.max_body, config.queue),
        "/v1/answers": Body(_JSON, config.max_body, config.queue),
        "/v1/answer/pictures": Body(_FORM, config.max_upload, config.max_uploads),
    }


class Limits:
    """Refuses what may not be read; the rest is read as it comes, and no further than allowed."""

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        self.app, self.config = app, config
        self._bodies = bodies(config)
        self._token = f"bearer {config.token}".encode()
        self._reading = dict.fromkeys(self._bodies, 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, headers = scope["path"], Headers(scope=scope)
        body = self._bodies.get(path) if scope["method"] == "POST" else None
        try:
            self._check_token(path, headers)
            if body is not None:
                _check_body(body, headers)
                if self._reading[path] >= body.at_once:
                    raise busy()
        except ApiError as error:
            await error_response(error.status_code, error.detail, error.code, error.headers)(scope, receive, send)
            return
        if body is None:
            await self.app(scope, receive, send)
            return
        self._reading[path] += 1
        try:
            await self.app(scope, _Reader(receive, body.most, self.config.read_timeout), send)
        finally:
            self._reading[path] -= 1

    def _check_token(self, path: str, headers: Headers) -> None:
        """Page, health and documentation are open; what answers, and what tells of it, is not."""
        if not self.config.token or not (path.startswith("/v1/") or path == "/metrics"):
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if not hmac.compare_digest(f"{scheme.lower()} {token.strip()}".encode(), self._token):
            raise ApiError(
                401,
                "unauthorized",
                "this server asks for a token: send Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )


def _check_body(body: Body, headers: Headers) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != body.kind:
        raise ApiError(415, "unsupported_media_type", f"the body has to be {body.kind} (Content-Type)")
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > body.most:
        raise _too_large(body.most)


def _too_large(most: int) -> ApiError:
    return ApiError(413, "too_large", f"the body is larger than the limit of {most:,} bytes")


class _Reader:
    """Receives a body up to its size and within its time."""

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self.receive, self.most = receive, most
        self.seconds = seconds
        self.deadline = asyncio.get_running_loop().time() + seconds
        self.size = 0
        self.complete = False

    async def __call__(self) -> Message:
        if self.complete:
            return await self.receive()
        try:
            async with asyncio.timeout_at(self.deadline):
                message = await self.receive()
        except TimeoutError:
            problem = f"the request did not arrive within {self.seconds:g} seconds"
            raise ApiError(408, "request_timeout", problem, {"Connection": "close"}) from None
        self.size += len(message.get("body", b""))
        if self.size > self.most:
            raise _too_large(self.most)
        self.complete = not message.get("more_body", False)
        return message
