"""Running the application."""

from __future__ import annotations

import gc
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress

import uvicorn

from dmnplus.data.example import DataError
from dmnplus.serving.app import create_app
from dmnplus.serving.models import ServedModel
from dmnplus.serving.protocol import bounded
from dmnplus.serving.settings import ServerConfig


def listen(config: ServerConfig) -> socket.socket:
    """A socket on the host and port of `config`. Raises `DataError` where they cannot be had."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        listening = socket.create_server((config.host, config.port), family=family, backlog=2048)
    except OSError as error:
        where = f"{config.host} port {config.port}"
        raise DataError(f"cannot listen on {where}: {error.strerror or error}; choose by --host and --port") from None
    # Connections inherit it. asyncio leaves it off on a socket made so, and an answer then waits 40 ms for the client.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def address(listening: socket.socket) -> str:
    """Where a listening socket is reached."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def build(models: Mapping[str, ServedModel], config: ServerConfig) -> uvicorn.Server:
    """The server, which `run(sockets=[...])` starts."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(models, config),
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            http=bounded(config),
            ws="none",
            timeout_graceful_shutdown=round(config.timeout) + 1,
        )
    )


def serve(models: Mapping[str, ServedModel], config: ServerConfig, listening: socket.socket) -> None:
    """Answer requests until SIGINT or SIGTERM; what has been accepted by then is still answered."""
    # All that is loaded by now stays, and to look through it for garbage holds up every answer for a fifth of a second.
    gc.collect()
    gc.freeze()
    # Once it has stopped, uvicorn sends itself the signal that stopped it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        build(models, config).run(sockets=[listening])
