"""Ask a trained network: `dmnplus.load(path).answer(story, question)`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dmnplus.config import Config
from dmnplus.data.batching import Batch, Questions, encode
from dmnplus.data.example import DataError, Example, Fact, Picture, iter_sentences
from dmnplus.data.names import Cast
from dmnplus.data.pictures import Pictures, snake_order
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.data.words import split_sentences
from dmnplus.model import DMN
from dmnplus.model.answer import Ranked
from dmnplus.model.network import Output
from dmnplus.pretrained import locate
from dmnplus.training.run import load_model

# What is computed in another order is rounded in another way: matrix products of fewer rows than four, sums over facts
# and functions of numbers that do not fill a processor's vectors, and convolutions of one picture.
ROW_STEP, FACT_STEP = 4, 16


@dataclass(frozen=True)
class Answer:
    """An answer, and what led to it."""

    answer: str
    """The most probable one; several words are joined as in the data: bAbI's by commas, own data's by spaces."""
    probability: float
    ranked: list[tuple[str, float]]
    """The most probable answers with their probabilities, best first."""
    facts: list[Fact]
    """The facts that were read: of a long story, the last ones."""
    attention: list[list[float]]
    """Attention of every pass (outer) to every fact (inner), a picture's regions together; each pass sums to one."""
    regions: dict[int, list[list[list[float]]]]
    """For each picture, by its place among the facts: attention of every pass to every region, by row and column."""
    unknown_words: list[str]
    """Words of story and question that training never saw."""


class QuestionAnswerer:
    """A trained network with its vocabulary."""

    def __init__(self, config: Config, vocabulary: Vocabulary, model: DMN, *, weights: Path | None = None) -> None:
        """`weights` is the file of the backbone's weights, for a model that reads a backbone's regions."""
        self.config, self.vocabulary, self.model, self.weights = config, vocabulary, model.eval(), weights

    def answer(self, story: str | Sequence[Fact], question: str, *, top: int = 5) -> Answer:
        """Answer one question about `story`, a text, or its sentences and pictures in order.

        `top` is how many of the most probable answers to rank. Raises `DataError` for an empty story or question.
        """
        return self.answer_many([(story, question)], top=top)[0]

    @torch.inference_mode()
    def answer_many(
        self, asked: Sequence[tuple[str | Sequence[Fact], str]], *, top: int = 5, pictures: Pictures | None = None
    ) -> list[Answer]:
        """Answer questions, each after its story, as one batch: as `answer` does each, whatever is batched with it.

        `pictures` is where the stories' pictures are read from; without it, from their files. Raises as `answer`.
        """
        return self._read([self.example(story, question) for story, question in asked], top, pictures=pictures)[0]

    @torch.inference_mode()
    def measure(
        self, examples: Sequence[Example], *, top: int = 5, casts: Sequence[Cast] | None = None
    ) -> tuple[list[Answer], list[float]]:
        """The network's answers, and how probable it finds the `answer` of each example, 0 if it cannot give that.

        The examples are read as one batch. `casts` are their names, if those are not to be found in each story anew.
        """
        return self._read(examples, top, casts=casts, measured=True)

    def example(self, story: str | Sequence[Fact], question: str) -> Example:
        """A question as the network reads it: of a long story, the last facts. Raises as `answer` does."""
        facts: list[Fact] = [*split_sentences(story)] if isinstance(story, str) else list(story)
        if not facts:
            raise DataError("the story is empty; give at least one sentence before the question")
        if not question.strip():
            raise DataError("the question is empty")
        return Example(facts=tuple(facts[-self.config.data.last_facts :]), question=question, answer=())

    def _read(
        self,
        examples: Sequence[Example],
        top: int,
        *,
        casts: Sequence[Cast] | None = None,
        pictures: Pictures | None = None,
        measured: bool = False,
    ) -> tuple[list[Answer], list[float]]:
        """The answers and, if `measured`, the probability of each example's own answer."""
        if top < 1:
            raise ValueError(f"top is {top}; it must be at least 1")
        if not examples:
            return [], []
        casts = casts or [self.vocabulary.cast(example.facts, example.question) for example in examples]
        alone = not measured and self.model.rows_apart
        row_step, fact_step = (1, 1) if alone else (ROW_STEP, FACT_STEP)
        batch = self._batch(examples, casts, pictures, row_step=row_step, fact_step=fact_step)
        output = self.model(batch) if measured else self.model.read(batch).filled(row_step)
        attention_BPF = output.attention_PBF.cpu().transpose(0, 1)
        # What the batch was filled up with is left out.
        answers = [*map(self._answer, examples, casts, self.model.ranked(output, top), attention_BPF)]
        probabilities = self.model.probabilities(output, batch).tolist() if isinstance(output, Output) else []
        return answers, probabilities[: len(examples)]

    def _batch(
        self,
        examples: Sequence[Example],
        casts: Sequence[Cast],
        pictures: Pictures | None,
        *,
        row_step: int,
        fact_step: int,
    ) -> Batch:
        """The questions, filled up to a multiple of rows and facts with what is computed in no time."""
        if missing := -len(examples) % row_step:
            short = Example(facts=examples[0].facts[:1], question=examples[0].question, answer=())
            examples, casts = [*examples, *[short] * missing], [*casts, *[casts[0]] * missing]
        batch = self.encode(examples, casts=casts, pictures=pictures).whole(fact_step=fact_step)
        if batch.pictures is not None and len(batch.pictures) == 1:
            batch = replace(batch, pictures=batch.pictures.repeat(2, 1, 1, 1))
        return batch.to(self.model.device)

    def _answer(self, example: Example, cast: Cast, ranked: list[Ranked], attention_PF: Tensor) -> Answer:
        texts = [(self._text(r.answer, cast), r.probability) for r in ranked]
        attention, regions = self._by_fact(example.facts, attention_PF)
        return Answer(
            answer=texts[0][0],
            probability=texts[0][1],
            ranked=texts,
            facts=list(example.facts),
            attention=attention,
            regions=regions,
            unknown_words=self.vocabulary.unknown_words([*iter_sentences([example])], cast.places),
        )

    def encode(
        self,
        examples: Sequence[Example],
        *,
        casts: Sequence[Cast] | None = None,
        pictures: Pictures | None = None,
    ) -> Questions:
        """Questions as tensors; their pictures are read from files unless `pictures` has them."""
        if pictures is None:
            pictures = self.open_pictures([fact for example in examples for fact in example.facts])
        return encode(examples, self.vocabulary, pictures=pictures, casts=casts)

    def open_pictures(self, facts: Sequence[Fact]) -> Pictures | None:
        """The pictures among `facts` as the model reads them; None if there are none, or it reads text alone.

        Raises `DataError` for one that cannot be read.
        """
        shown = [fact for fact in facts if isinstance(fact, Picture)]
        if not shown or self.model.pictures is None:
            return None
        # Here and not above: a model of text needs no library of pictures.
        from dmnplus.vision.opening import open_pictures

        data = self.config.data
        return open_pictures(
            shown, size=data.image_size, grid=data.image_grid, wanted=self.model.pictures, weights=self.weights
        )

    def _by_fact(
        self, facts: Sequence[Fact], attention_PF: Tensor
    ) -> tuple[list[list[float]], dict[int, list[list[list[float]]]]]:
        """Attention by fact, and by region of each picture."""
        if self.model.pictures is None:
            return attention_PF[:, : len(facts)].tolist(), {}
        rows, columns = self.model.pictures.rows, self.model.pictures.columns
        sizes = [rows * columns if isinstance(fact, Picture) else 1 for fact in facts]
        parts = attention_PF[:, : sum(sizes)].split(sizes, dim=1)
        in_rows = torch.tensor(snake_order(rows, columns)).argsort()
        regions = {
            i: part[:, in_rows].unflatten(1, (rows, columns)).tolist()
            for i, (fact, part) in enumerate(zip(facts, parts, strict=True))
            if isinstance(fact, Picture)
        }
        return torch.stack([part.sum(dim=1) for part in parts], dim=1).tolist(), regions

    def _text(self, ids: tuple[int, ...], cast: Cast) -> str:
        words = self.vocabulary.answer_of(ids, by_word=self.config.model.answer == "words")
        return self.vocabulary.join(cast.restore(words))


def load(name: str | Path, *, weights: str | Path | None = None, device: str = "cpu") -> QuestionAnswerer:
    """The trained network in a run's folder, of a shipped name (`babi/2`), or of a name on the Hugging Face Hub.

    It runs on `device`: cpu, cuda, cuda:1, ..., or auto. A model that reads a backbone's regions makes them of the
    pictures it is shown, with the backbone's official weights or those in the file `weights`. Raises `DataError` with
    the reason if there is no model that fits, and `ValueError` for a device that is not there.
    """
    return QuestionAnswerer(*load_model(locate(name), device), weights=Path(weights) if weights else None)
