"""A trained network as one ONNX file, which runs without PyTorch: any number of facts, words and questions."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dmnplus.data.writing import write_whole

if TYPE_CHECKING:
    import onnx

    from dmnplus.config import Config
    from dmnplus.data.vocabulary import Vocabulary
    from dmnplus.model import DMN

__all__ = ["export_onnx", "to_onnx"]


def export_onnx(name: str | Path, path: Path) -> None:
    """Write the trained network of a run's folder, a shipped name or a name on the Hub to `path`, an ONNX file.

    Raises `DataError` if there is no such network, if the package onnx is missing, or if `path` cannot be written.
    """
    from dmnplus.pretrained import locate
    from dmnplus.training.run import load_model

    write_whole(path, to_onnx(*load_model(locate(name))).SerializeToString())


def to_onnx(config: Config, vocabulary: Vocabulary, model: DMN) -> onnx.ModelProto:
    """The network with its vocabulary as an ONNX model; docs/models.md says what goes in and comes out.

    It is run once beside PyTorch, so that a network that this cannot write is refused and never written otherwise.
    Its metadata are JSON: `vocabulary`, `pictures` (of a model that reads some), `config`, and `dmnplus`, the
    fingerprints that its weights carry. Raises `DataError` without the packages onnx and onnxruntime.
    """
    from dmnplus.config import plain
    from dmnplus.export.check import check
    from dmnplus.export.graph import Graph, declare
    from dmnplus.export.network import Inputs, network
    from dmnplus.model.answer import WordAnswer
    from dmnplus.model.ensemble import Ensemble
    from dmnplus.training.run import weights_metadata

    g, i = Graph(), Inputs()
    logits, attention = network(g, model, vocabulary.names)
    whole, real, truth = "INT64", "FLOAT", "BOOL"
    inputs = [
        declare(i.sentences, whole, ["sentences", "words"]),
        declare(i.facts, whole, ["questions", "facts"]),
        declare(i.mask, truth, ["questions", "facts"]),
        declare(i.question, whole, ["questions", "question_words"]),
    ]
    if (p := model.pictures) is not None:
        picture = [p.channels, p.size, p.size] if p.kind == "pixels" else [p.rows, p.columns, p.channels]
        inputs += [
            declare(i.pictures, real, ["pictures", *picture]),
            declare(i.places, whole, ["questions", "facts"]),
        ]
    if vocabulary.names:
        inputs.append(declare(i.names, truth, ["questions", vocabulary.names]))
    choices = [WordAnswer.LONGEST] if isinstance(model.answer, WordAnswer) else []
    choices.append(len(model.answer.bias))
    outputs = {
        logits: declare("logits", real, ["questions", *choices]),
        attention: declare("attention", real, [config.model.passes, "questions", "facts"]),
    }
    members = len(model.members) if isinstance(model, Ensemble) else 1
    metadata = {
        "dmnplus": weights_metadata(config, vocabulary, model.pictures, members),
        "vocabulary": vocabulary.plain(),
        "config": plain(config),
        **({"pictures": asdict(model.pictures)} if model.pictures else {}),
    }
    exported = g.model(inputs, outputs, {key: json.dumps(value) for key, value in metadata.items()})
    check(exported, model.eval(), len(vocabulary.words), vocabulary.names)
    return exported
