"""Around every request: headers that keep a browser safe, a line in the log, a count, and errors nobody foresaw."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_ACCESS = logging.getLogger("dmnplus.serving.access")
_LOGGER = logging.getLogger("dmnplus.serving")


class Observer:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, routes: Collection[str], count: Callable[[str, str, int, float], None]) -> None:
        """`count` is told route, method, status and seconds; a path that is none of `routes` is not told."""
        self.app, self.routes, self.count = app, frozenset(routes), count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                if scope["path"].startswith("/v1/"):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        try:
            await self.app(scope, receive, send_safely)
        except Exception:
            # It has been answered by now.
            _LOGGER.exception("a request failed")
        finally:
            seconds = time.perf_counter() - started
            route = self._route(scope["path"])
            self.count(route, scope["method"], status, seconds)
            client = scope["client"][0] if scope.get("client") else "-"
            # The route and not the path, which may hold anything.
            _ACCESS.info("%s %s %s %d %.1f ms", client, scope["method"], route, status, 1000 * seconds)

    def _route(self, path: str) -> str:
        if path in self.routes:
            return path
        return "/static" if path.startswith("/static/") else "other"
