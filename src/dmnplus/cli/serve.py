"""`dmnplus serve`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dmnplus.data.example import DataError
from dmnplus.serving.settings import ServerConfig

_DEFAULT = ServerConfig()


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders of runs, shipped models (see `dmnplus models`), or ones on the Hub; NAME=MODEL renames one. "
            "Without any, all shipped ones.",
            metavar="[MODEL]...",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is all of them.")] = _DEFAULT.host,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = _DEFAULT.port,
    token: Annotated[
        str, typer.Option(envvar="DMNPLUS_TOKEN", help="Ask for this bearer token.", show_default=False)
    ] = _DEFAULT.token,
    queue: Annotated[int, typer.Option(help="Most questions that wait; beyond them, 503.")] = _DEFAULT.queue,
    max_batch: Annotated[int, typer.Option(help="Most questions answered together.")] = _DEFAULT.max_batch,
    batch_wait_ms: Annotated[
        float, typer.Option(help="Milliseconds that a question waits for others.")
    ] = _DEFAULT.batch_wait_ms,
    max_body: Annotated[int, typer.Option(help="Bytes of a request with text.")] = _DEFAULT.max_body,
    max_upload: Annotated[int, typer.Option(help="Bytes of a request with pictures.")] = _DEFAULT.max_upload,
    max_uploads: Annotated[
        int, typer.Option(help="Requests with pictures at a time; beyond them, 503.")
    ] = _DEFAULT.max_uploads,
    max_connections: Annotated[int, typer.Option(help="Connections at a time.")] = _DEFAULT.max_connections,
    max_facts: Annotated[int, typer.Option(help="Facts of a question.")] = _DEFAULT.max_facts,
    max_words: Annotated[int, typer.Option(help="Words of a question and its facts.")] = _DEFAULT.max_words,
    max_pictures: Annotated[int, typer.Option(help="Pictures of a question.")] = _DEFAULT.max_pictures,
    max_pixels: Annotated[int, typer.Option(help="Pixels of a picture.")] = _DEFAULT.max_pixels,
    read_timeout: Annotated[float, typer.Option(help="Seconds in which a request arrives.")] = _DEFAULT.read_timeout,
    timeout: Annotated[float, typer.Option(help="Seconds in which a question is answered.")] = _DEFAULT.timeout,
    access_log: Annotated[
        bool,
        typer.Option(help="Write a line a request: client, route, status, time, and nothing of what it says."),
    ] = True,
    weights: Annotated[
        Path | None, typer.Option(help="The backbone's weights, for models that read its regions.")
    ] = None,
) -> None:
    """Answer questions over HTTP, with a page to ask them on. The first model is the default."""
    config = ServerConfig(
        host=host,
        port=port,
        token=token,
        queue=queue,
        max_batch=max_batch,
        batch_wait_ms=batch_wait_ms,
        max_body=max_body,
        max_upload=max_upload,
        max_uploads=max_uploads,
        max_connections=max_connections,
        max_facts=max_facts,
        max_words=max_words,
        max_pictures=max_pictures,
        max_pixels=max_pixels,
        read_timeout=read_timeout,
        timeout=timeout,
    )
    try:
        from dmnplus.serving import server
    except ModuleNotFoundError as error:
        raise DataError(f"serving needs {error.name}: pip install 'dmnplus[serve]'") from None
    from dmnplus.pretrained import shipped
    from dmnplus.serving.models import load_models

    names = models or shipped()
    if not names:
        raise DataError("no models ship with this copy of the package; give the folder of a run")
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("dmnplus.serving.access").setLevel(logging.INFO if access_log else logging.WARNING)
    with server.listen(config) as listening:
        loaded = load_models(names, weights=weights)
        console = Console(stderr=True)
        line = f"answering with {', '.join(loaded)} at {server.address(listening)}; Ctrl-C stops"
        console.print(line, soft_wrap=True, markup=False)
        server.serve(loaded, config, listening)
