from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi", reason="needs pip install 'dmnplus[serve]'")

import torch
from fastapi.testclient import TestClient

from dmnplus.answering import QuestionAnswerer
from dmnplus.config import Config
from dmnplus.data.example import iter_sentences
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.model import NetworkConfig
from dmnplus.serving.app import create_app
from dmnplus.serving.models import ServedModel
from dmnplus.training.run import build
from tests.model.examples import moves


@pytest.fixture(scope="session")
def text_model() -> ServedModel:
    """A network of text with random weights: what a server does is the same, learnt or not."""
    examples = moves(60)
    vocabulary = Vocabulary.build(iter_sentences(examples), (example.answer for example in examples))
    config = Config(model=NetworkConfig(hidden=16))
    torch.manual_seed(0)
    answerer = QuestionAnswerer(config, vocabulary, build(config, vocabulary))
    return ServedModel("moves", answerer, version="0123456789ab", data="babi/1 (moves)", test_error=0.25)


@pytest.fixture(scope="module")
def client(text_model: ServedModel) -> Iterator[TestClient]:
    with TestClient(create_app({"moves": text_model}), raise_server_exceptions=False) as client:
        yield client
