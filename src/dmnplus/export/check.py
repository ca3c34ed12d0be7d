"""Whether an exported file gives what the network gives, on a batch that has something of everything.

Shape legend: as in `network.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from dmnplus.data.batching import Batch
from dmnplus.data.example import DataError
from dmnplus.model import DMN
from dmnplus.model.answer import WordAnswer

if TYPE_CHECKING:
    import onnx

TOLERANCE = 1e-4


def check(exported: onnx.ModelProto, model: DMN, words: int, names: int) -> None:
    """Raises `DataError` unless onnxruntime and PyTorch agree to `TOLERANCE`: never a file that answers otherwise."""
    try:
        import onnxruntime
    except ImportError:
        raise DataError("export to ONNX needs onnxruntime: pip install 'dmnplus[onnx]'") from None
    session = onnxruntime.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    batch = _sample(model, words, names)
    logits, attention = map(np.asarray, session.run(["logits", "attention"], feed(batch)))
    with torch.inference_mode():
        if isinstance(model.answer, WordAnswer):
            # The network scores each word given the true ones before it: here those that the file has chosen.
            batch = replace(batch, answer_words_BL=torch.from_numpy(logits.argmax(axis=-1)))
        output = model(batch)
    for found, wanted in ((logits, output.logits), (attention, output.attention_PBF)):
        if not np.allclose(found, wanted.numpy(), rtol=TOLERANCE, atol=TOLERANCE):
            raise DataError("the exported network does not give the answers of this one; a fault of dmnplus's export")


def feed(batch: Batch) -> dict[str, np.ndarray]:
    """The inputs of an exported network for a batch."""
    tensors = {
        "sentences": batch.sentences_SW,
        "facts": batch.facts_BF,
        "mask": batch.mask_BF,
        "question": batch.questions_BQ,
        "pictures": batch.pictures,
        "places": None if batch.pictures is None else batch.places_BF,
        "names": batch.names_BM,
    }
    return {name: tensor.numpy() for name, tensor in tensors.items() if tensor is not None}


def _sample(model: DMN, words: int, names: int) -> Batch:
    """Two questions: one on sentences and two pictures, if the model reads some, and one on a single sentence."""
    draw = torch.Generator().manual_seed(0)
    sentences_SW = torch.randint(1, words, (4, 5), generator=draw)
    sentences_SW[0] = 0
    sentences_SW[2, 3:] = 0
    p, pictures, places = model.pictures, None, []
    if p is not None:
        shape = (p.channels, p.size, p.size) if p.kind == "pixels" else (p.rows, p.columns, p.channels)
        pictures = torch.rand(2, *shape, generator=draw)
        places = [1] * (p.rows * p.columns) + [2] * (p.rows * p.columns)
    told = [1, *range(4, 4 + len(places)), 2]
    facts_BF = torch.tensor([told, [3, *[0] * (len(told) - 1)]])
    none_B1 = torch.full((2, 1), -1)
    return Batch(
        sentences_SW=sentences_SW,
        facts_BF=facts_BF,
        mask_BF=facts_BF > 0,
        questions_BQ=torch.tensor([[1, words - 1], [words - 1, 0]]),
        answers_B=none_B1[:, 0],
        answer_words_BL=none_B1,
        supporting_BK=none_B1,
        steps_BK=none_B1,
        places_BF=torch.tensor([[0, *places, 0], [0] * len(told)]),
        pictures=pictures,
        names_BM=torch.arange(names).expand(2, names) < torch.tensor([[2], [1]]) if names else None,
    )
