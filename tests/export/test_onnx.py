import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from dmnplus.answering import QuestionAnswerer
from dmnplus.config import Config
from dmnplus.data.batching import Batch, encode
from dmnplus.data.example import DataError, Example, Splits
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.model import DMN, VARIANTS, NetworkConfig
from dmnplus.model.ensemble import Ensemble
from dmnplus.model.episodic_memory import GATE_FEATURES, Episode, Update
from dmnplus.model.network import Answer, Memory, TextInput
from dmnplus.training.run import build, build_vocabulary
from tests.model.examples import moves
from tests.model.pictures import Noise, mixtures

pytest.importorskip("onnx", reason="the package onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

from dmnplus.export import export_onnx, to_onnx  # noqa: E402
from dmnplus.export.check import feed  # noqa: E402
from dmnplus.export.runtime import OnnxAnswerer  # noqa: E402

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
H = 12


def of(network: NetworkConfig) -> Config:
    return Config(model=replace(network, hidden=H, pixel_channels=16))


def made(examples: list[Example], config: Config, pictures: Noise | None = None, **options) -> tuple[Vocabulary, DMN]:
    vocabulary = build_vocabulary(Splits("", examples, examples, []), **options)
    torch.manual_seed(0)
    model = build(config, vocabulary, pictures.format if pictures else None).eval()
    with torch.no_grad():
        # Large enough that each answer and each gate depends on what is read.
        for parameter in model.parameters():
            parameter.mul_(1.5).add_(0.05 * torch.randn_like(parameter))
        model.embedding.weight[0] = 0
    return vocabulary, model


def same(config: Config, vocabulary: Vocabulary, model: DMN, batches: list[Batch]) -> None:
    session = onnxruntime.InferenceSession(to_onnx(config, vocabulary, model).SerializeToString())
    for batch in batches:
        logits, attention = session.run(["logits", "attention"], feed(batch))
        if config.model.answer == "words":
            # The network scores each word given the true ones before it: here those that the file has chosen.
            batch = replace(batch, answer_words_BL=torch.from_numpy(logits.argmax(axis=-1)))
        with torch.no_grad():
            output = model(batch)
        np.testing.assert_allclose(attention, output.attention_PBF.numpy(), **TOLERANCE)
        np.testing.assert_allclose(logits, output.logits.numpy(), **TOLERANCE)


def text_batches(vocabulary: Vocabulary) -> list[Batch]:
    """One question with one fact, many with few, few with many, and one with more than training reads."""
    sizes = ((1, 1), (30, 9), (3, 17), (2, 130))
    stories = [encode(moves(count, longest=longest, seed=longest), vocabulary) for count, longest in sizes]
    return [questions.batch(torch.arange(len(questions))) for questions in stories]


def test_an_ensemble():
    config = of(VARIANTS["dmn+"])
    vocabulary, one = made(moves(30), config)
    torch.manual_seed(1)
    ensemble = Ensemble([one, build(config, vocabulary)])
    same(config, vocabulary, ensemble.eval(), text_batches(vocabulary))


FEATURES = ("fact", "plain", "product", "absolute", "squared", "cosine", "bilinear")
NETWORKS = {
    **VARIANTS,
    "every feature, residual": NetworkConfig(gate=FEATURES, update="residual", passes=2),
    "reader alone, tied": NetworkConfig(input="reader", tied=True, passes=5),
    "forward fusion": NetworkConfig(input="forward_fusion"),
    "sum of independent gates, products": NetworkConfig(episode="sum", update="product"),
    "sum and mean": NetworkConfig(episode="sum_and_mean"),
    "gate by memory, update and answer without question": NetworkConfig(
        gate_compares=("memory",), update_question=False, answer_question=False
    ),
    "gate by question": NetworkConfig(gate_compares=("question",)),
    "mutual, tied": NetworkConfig(memory="mutual", tied=True),
    "sentences twice as large": NetworkConfig(sentence_scale=2.0),
    "words": NetworkConfig(answer="words"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_text_gives_the_same_answers_and_attention(name: str):
    config = of(NETWORKS[name])
    vocabulary, model = made(moves(40), config)
    same(config, vocabulary, model, text_batches(vocabulary))


@pytest.mark.parametrize("closed", [17, 19, 40, 60])
def test_gates_that_are_nearly_closed_have_the_same_shares(closed: float):
    config = of(NETWORKS["sum and mean"])
    vocabulary, model = made(moves(40), config)
    with torch.no_grad():
        model.memory.gate.b2.fill_(-closed)
    same(config, vocabulary, model, text_batches(vocabulary))


def test_every_choice_of_the_network_is_among_these():
    choices_of = {"input": TextInput, "memory": Memory, "episode": Episode, "update": Update, "answer": Answer}
    for name, choices in choices_of.items():
        assert {getattr(network, name) for network in NETWORKS.values()} == set(get_args(choices))
    assert set(FEATURES) == set(GATE_FEATURES)


def test_a_network_that_cannot_be_written_is_refused():
    config = of(VARIANTS["dmn2"])
    vocabulary, model = made(moves(40), config)
    # As if a setting had been added to the network alone.
    model.memory.updates[0].forward = lambda m, c, q: c
    with pytest.raises(DataError, match="does not give the answers of this one"):
        to_onnx(config, vocabulary, model)


@pytest.mark.parametrize("answer", ["class", "words"])
def test_only_names_of_the_story_are_answers(answer: str):
    config = of(NetworkConfig(answer=answer))
    named = [
        Example(facts=(f"{a} met {b}.", "They left."), question=f"Who met {b}?", answer=(a,))
        for a, b in (("Anna", "Ben"), ("Ben", "Carl"), ("Carl", "Anna"))
    ]
    vocabulary, model = made(named, config, anonymous=True)
    assert vocabulary.names
    questions = encode(named, vocabulary)
    same(config, vocabulary, model, [questions.batch(torch.arange(3)), questions.batch(torch.tensor([1]))])


@pytest.mark.parametrize("kind", ["regions", "pixels"])
@pytest.mark.parametrize("name", ["dmn+", "odmn", "dmn-max", "places", "changes"])
def test_pictures_give_the_same_answers_and_attention(name: str, kind: str):
    more = {
        "places": NetworkConfig(region_places=True, region_norm=True, episode="soft_attention"),
        "changes": NetworkConfig(series_changes=True, series=1),
    }
    config = of((VARIANTS | more)[name])
    pictures = Noise(kind)
    vocabulary, model = made(mixtures(), config, pictures)
    questions = encode(mixtures(), vocabulary, pictures=pictures)
    same(config, vocabulary, model, [questions.batch(torch.tensor(rows)) for rows in ([0], [2, 3, 6], [*range(8)])])


def test_the_runtime_answers_as_the_network_does(tmp_path: Path):
    config = of(VARIANTS["dmn+"])
    vocabulary, model = made(moves(40), config)
    (path := tmp_path / "model.onnx").write_bytes(to_onnx(config, vocabulary, model).SerializeToString())
    ours, theirs = QuestionAnswerer(config, vocabulary, model), OnnxAnswerer(path)
    for example in moves(5, seed=3):
        wanted, found = ours.answer(example.facts, example.question), theirs.answer(example.facts, example.question)
        assert found.answer == wanted.answer
        assert found.probability == pytest.approx(wanted.probability, abs=1e-4)
        np.testing.assert_allclose(found.attention, wanted.attention, **TOLERANCE)


def test_the_runtime_reads_pictures_row_by_row(tmp_path: Path):
    config, pictures = of(VARIANTS["dmn+"]), Noise()
    vocabulary, model = made(mixtures(), config, pictures)
    (path := tmp_path / "model.onnx").write_bytes(to_onnx(config, vocabulary, model).SerializeToString())
    questions = encode(mixtures(), vocabulary, pictures=pictures)
    content = pictures.content.numpy()
    answerer = OnnxAnswerer(path)
    for row, example in enumerate(mixtures()):
        facts = [fact if isinstance(fact, str) else content[int(fact.path)] for fact in example.facts]
        found = answerer.answer(facts, example.question)
        with torch.no_grad():
            output = model(questions.batch(torch.tensor([row])))
        assert found.answer == vocabulary.answers[int(output.logits[0].argmax())]
        if len(facts) == 1:
            # In snake order the second row of three regions is read from the right.
            in_rows = output.attention_PBF[:, 0, [0, 1, 2, 5, 4, 3]].numpy()
            np.testing.assert_allclose(found.attention, in_rows, **TOLERANCE)
    with pytest.raises(DataError, match="this model reads"):
        answerer.answer([np.zeros((3, 8, 8))], "What is it?")


def test_a_file_holds_its_vocabulary_and_fingerprints(tmp_path: Path):
    export_onnx("babi/2", tmp_path / "model.onnx")
    metadata = onnxruntime.InferenceSession(tmp_path / "model.onnx").get_modelmeta().custom_metadata_map
    assert "hallway" in json.loads(metadata["vocabulary"])["words"]
    assert json.loads(metadata["dmnplus"]).keys() == {"format", "vocabulary", "model"}
    answer = OnnxAnswerer(tmp_path / "model.onnx").answer(
        "Mary got the milk. Mary went to the office.", "Where is the milk?"
    )
    assert answer.answer == "office"
    assert answer.attention.shape == (3, 2)


def test_the_runtime_needs_no_torch():
    code = "import sys, dmnplus.export.runtime; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_wrong_files_and_stories_are_named(tmp_path: Path):
    (tmp_path / "other.onnx").write_bytes(b"no model")
    with pytest.raises(DataError, match=r"other\.onnx: not a network"):
        OnnxAnswerer(tmp_path / "other.onnx")
    with pytest.raises(DataError, match="no trained model here"):
        export_onnx("babi/21", tmp_path / "model.onnx")
    with pytest.raises(DataError, match="cannot be written"):
        export_onnx("babi/2", tmp_path / "nowhere" / "model.onnx")
