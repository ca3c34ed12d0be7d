"""An exported network at work, with numpy and onnxruntime: `OnnxAnswerer("model.onnx").answer(story, question)`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dmnplus.data.example import DataError
from dmnplus.data.pictures import snake_order
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.data.words import split_sentences


class OnnxAnswer(NamedTuple):
    """The most probable answer, its probability, and the attention of every pass to every fact, [passes, facts].

    A picture is as many facts as it has regions, row by row.
    """

    answer: str
    probability: float
    attention: np.ndarray


class OnnxAnswerer:
    """A network that `dmnplus export` wrote, with the vocabulary in its file."""

    def __init__(self, path: str | Path) -> None:
        """Raises `DataError` without the package onnxruntime, and for a file that is no exported network."""
        try:
            import onnxruntime
        except ImportError:
            raise DataError("running an ONNX file needs onnxruntime: pip install 'dmnplus[onnx]'") from None
        try:
            self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            metadata = self.session.get_modelmeta().custom_metadata_map
            content = {key: json.loads(metadata[key]) for key in ("vocabulary", "config")}
            self.pictures = json.loads(metadata.get("pictures", "null"))
        # onnxruntime has an error of its own for everything that can be wrong with a file.
        except Exception as error:
            raise DataError(f"{path}: not a network that `dmnplus export` wrote: {error}") from error
        self.vocabulary = Vocabulary.parse(content["vocabulary"])
        self.last_facts: int = content["config"]["data"]["last_facts"]
        self.by_word: bool = content["config"]["model"]["answer"] == "words"

    def answer(self, story: str | Sequence[str | np.ndarray], question: str) -> OnnxAnswer:
        """Answer one question about a story: a text, or its sentences and pictures in order.

        A picture is an array as the model reads it: pixels [3, size, size] from 0 to 1, or regions [rows, columns,
        channels]. Raises `DataError` for an empty story or question, and for a picture that the model does not read.
        """
        told = split_sentences(story) if isinstance(story, str) else story
        facts = [*told][-self.last_facts :]
        if not facts or not question.strip():
            raise DataError("the story or the question is empty")
        told = [fact for fact in facts if isinstance(fact, str)]
        shown = [np.asarray(fact, np.float32) for fact in facts if not isinstance(fact, str)]
        cast = self.vocabulary.cast(told, question)
        feed = {
            "sentences": _pad([[0], *(self.vocabulary.encode(text, cast.places) for text in told)]),
            "question": np.array([self.vocabulary.encode(question, cast.places)]),
            **self._facts(facts, 1 + len(told)),
        }
        if self.pictures is not None:
            feed["pictures"] = self._stack(shown)
        elif shown:
            raise DataError("the story has a picture, and this model reads text only")
        if self.vocabulary.names:
            feed["names"] = np.array([[place in cast.written for place in range(self.vocabulary.names)]])
        known = {put_in.name for put_in in self.session.get_inputs()}
        outputs = self.session.run(
            ["logits", "attention"], {name: value for name, value in feed.items() if name in known}
        )
        logits, attention = map(np.asarray, outputs)
        ids, probability = _most_probable(logits[0], by_word=self.by_word)
        words = cast.restore(self.vocabulary.answer_of(ids, by_word=self.by_word))
        return OnnxAnswer(self.vocabulary.join(words), probability, self._by_row(facts, attention[:, 0]))

    def _facts(self, facts: Sequence[str | np.ndarray], first_region: int) -> dict[str, np.ndarray]:
        """Numbers of the sentences and regions, all of them real, and the place of each picture in its series."""
        numbers, places, sentence, picture = [], [], 0, 0
        for fact in facts:
            if isinstance(fact, str):
                sentence += 1
                numbers.append(sentence)
                places.append(0)
                continue
            first = first_region + picture * self._regions
            numbers += range(first, first + self._regions)
            picture += 1
            places += [picture] * self._regions
        return {"facts": np.array([numbers]), "mask": np.ones((1, len(numbers)), bool), "places": np.array([places])}

    @property
    def _regions(self) -> int:
        return self.pictures["rows"] * self.pictures["columns"] if self.pictures else 0

    def _stack(self, shown: Sequence[np.ndarray]) -> np.ndarray:
        p = self.pictures
        pixels = p["kind"] == "pixels"
        shape = (p["channels"], p["size"], p["size"]) if pixels else (p["rows"], p["columns"], p["channels"])
        for picture in shown:
            if picture.shape != shape:
                raise DataError(f"a picture has the shape {picture.shape}, and this model reads {shape}")
        # A story without a picture still needs one to read; no fact is of it.
        return np.stack(shown) if shown else np.zeros((1, *shape), np.float32)

    def _by_row(self, facts: Sequence[str | np.ndarray], attention_PF: np.ndarray) -> np.ndarray:
        """The attention with every picture's regions, which are read in snake order, row by row."""
        if self.pictures is None:
            return attention_PF
        back = np.argsort(snake_order(self.pictures["rows"], self.pictures["columns"]))
        order: list[int] = []
        for fact in facts:
            order += [len(order)] if isinstance(fact, str) else (back + len(order)).tolist()
        return attention_PF[:, order]


def _pad(rows: Sequence[Sequence[int]]) -> np.ndarray:
    width = max(map(len, rows))
    return np.array([[*row, *[0] * (width - len(row))] for row in rows])


def _most_probable(logits: np.ndarray, *, by_word: bool) -> tuple[tuple[int, ...], float]:
    """The class with its probability; or the words before the end of the answer, with that of all of them and it."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=-1, keepdims=True)
    best = probabilities.argmax(axis=-1)
    if not by_word:
        return (int(best),), float(probabilities[best])
    ended = np.flatnonzero(best == 0)
    said = best[: ended[0]] if len(ended) else best
    steps = best[: ended[0] + 1] if len(ended) else best
    return tuple(said.tolist()), float(np.prod(probabilities[np.arange(len(steps)), steps]))
