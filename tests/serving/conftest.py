from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs pip install 'dmnplus[serve]'")

import torch
from starlette.testclient import TestClient

from dmnplus.answering import QuestionAnswerer
from dmnplus.config import Config
from dmnplus.data.example import iter_sentences
from dmnplus.data.pictures import PictureFormat
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.model import NetworkConfig
from dmnplus.serving.app import create_app
from dmnplus.serving.models import ServedModel
from dmnplus.serving.server import address, build, listen
from dmnplus.serving.settings import ServerConfig
from dmnplus.training.run import build as network
from tests.model.examples import moves

Start = Callable[..., str]


def served(name: str, pictures: PictureFormat | None = None, **settings: Any) -> ServedModel:
    """A network with random weights: what a server does is the same, learnt or not."""
    examples = moves(60)
    vocabulary = Vocabulary.build(iter_sentences(examples), (example.answer for example in examples))
    config = Config(model=NetworkConfig(**{"hidden": 16, "pixel_channels": 16, **settings}))
    torch.manual_seed(0)
    answerer = QuestionAnswerer(config, vocabulary, network(config, vocabulary, pictures))
    return ServedModel(name, answerer, version="0123456789ab", data="babi/1 (moves)", test_error=0.25)


@pytest.fixture(scope="session")
def text_model() -> ServedModel:
    return served("moves")


@pytest.fixture(scope="session")
def picture_model() -> ServedModel:
    return served("drawn", PictureFormat(kind="pixels", size=16, rows=2, columns=2, channels=3))


@pytest.fixture(scope="session")
def models(text_model: ServedModel, picture_model: ServedModel) -> dict[str, ServedModel]:
    return {model.name: model for model in (text_model, picture_model)}


@pytest.fixture(scope="module")
def client(models: dict[str, ServedModel]) -> Iterator[TestClient]:
    with TestClient(create_app(models)) as client:
        yield client


@contextmanager
def running(models: Mapping[str, ServedModel], config: ServerConfig) -> Iterator[str]:
    """The address of a server that runs in a thread, on a free port."""
    with listen(config) as listening:
        server = build(models, config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield address(listening)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def start(models: dict[str, ServedModel]) -> Iterator[Start]:
    """Starts a server with these settings, and gives its address."""
    with ExitStack() as stack:

        def start(served: Mapping[str, ServedModel] = models, **settings: Any) -> str:
            return stack.enter_context(running(served, ServerConfig(port=0, **settings)))

        yield start
