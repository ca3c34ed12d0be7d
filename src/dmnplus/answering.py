"""Ask a trained network: `dmnplus.load(path).answer(story, question)`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dmnplus.config import Config
from dmnplus.data.batching import encode
from dmnplus.data.example import DataError, Example, Fact
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.model import DMN
from dmnplus.training.run import load_model

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text: one a line, or ended by `.`, `!` or `?` and white space."""
    return [sentence.strip() for sentence in _SENTENCE_END.split(text) if sentence.strip()]


@dataclass(frozen=True)
class Answer:
    """An answer, and what led to it."""

    answer: str
    """The most probable one; several words are comma separated."""
    probability: float
    ranked: list[tuple[str, float]]
    """The most probable answers with their probabilities, best first."""
    facts: list[Fact]
    """The facts that were read: of a long story, the last ones."""
    attention: list[list[float]]
    """Attention of every pass (outer) to every fact (inner); each pass sums to one."""
    unknown_words: list[str]
    """Words of story and question that training never saw."""


class QuestionAnswerer:
    """A trained network with its vocabulary."""

    def __init__(self, config: Config, vocabulary: Vocabulary, model: DMN) -> None:
        self.config, self.vocabulary, self.model = config, vocabulary, model.eval()

    @torch.inference_mode()
    def answer(self, story: str | Sequence[Fact], question: str, *, top: int = 5) -> Answer:
        """Answer one question about `story`, a text or its sentences in order.

        `top` is how many of the most probable answers to rank. Raises `DataError` for an empty story or question.
        """
        facts: list[Fact] = [*split_sentences(story)] if isinstance(story, str) else list(story)
        if not facts:
            raise DataError("the story is empty; give at least one sentence before the question")
        if not question.strip():
            raise DataError("the question is empty")
        if top < 1:
            raise ValueError(f"top is {top}; it must be at least 1")
        example = Example(facts=tuple(facts), question=question, answer=())
        batch = encode([example], self.vocabulary, last_facts=self.config.data.last_facts).batch(torch.tensor([0]))
        output = self.model(batch)
        ranked = [(self._text(r.answer), r.probability) for r in self.model.ranked(output, top)[0]]
        read = facts[-self.config.data.last_facts :]
        return Answer(
            answer=ranked[0][0],
            probability=ranked[0][1],
            ranked=ranked,
            facts=read,
            attention=output.attention_PBF[:, 0].tolist(),
            unknown_words=self.vocabulary.unknown_words([*(f for f in read if isinstance(f, str)), question]),
        )

    def _text(self, ids: tuple[int, ...]) -> str:
        return ",".join(self.vocabulary.answer_of(ids, by_word=self.config.model.answer == "words"))


def load(path: str | Path) -> QuestionAnswerer:
    """The trained network in a run's folder. Raises `DataError` with the reason if there is none that fits."""
    return QuestionAnswerer(*load_model(Path(path)))
