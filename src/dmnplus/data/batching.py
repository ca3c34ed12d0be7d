"""Questions as tensors: encoded once, kept, and cut into batches of like length.

Shape legend: N questions, B batch, F facts, S distinct sentences, W words per sentence, Q question words,
L answer words, K supporting facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor

from dmnplus.data.example import DataError, Example
from dmnplus.data.vocabulary import PADDING, Vocabulary

# Answers that training never saw have no class; they count as wrong and carry no loss.
NO_ANSWER = -1
_Tensors = TypeVar("_Tensors", bound="_TensorFields")


@dataclass(frozen=True)
class _TensorFields:
    def to(self: _Tensors, device: torch.device | str) -> _Tensors:
        """The same tensors on `device`."""
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True)
class Batch(_TensorFields):
    """What the network reads. Sentences repeat within and between stories, so each distinct one is held once."""

    sentences_SW: Tensor
    """Word ids of the distinct sentences, 0 where there is no word; sentence 0 is padding."""
    facts_BF: Tensor
    """Each fact as a row of `sentences_SW`."""
    mask_BF: Tensor
    """True on real facts."""
    questions_BQ: Tensor
    """Word ids, 0 where there is no word."""
    answers_B: Tensor
    """Class of the answer, -1 where training never saw it."""
    answer_words_BL: Tensor
    """Words of the answer, then its end (0), then -1."""
    supporting_BK: Tensor
    """Labelled facts in the source's order, then -1."""

    def __len__(self) -> int:
        return len(self.facts_BF)


@dataclass(frozen=True)
class Questions(_TensorFields):
    """A whole data set, encoded."""

    sentences_SW: Tensor
    facts_NF: Tensor
    lengths_N: Tensor
    questions_NQ: Tensor
    answers_N: Tensor
    answer_words_NL: Tensor
    supporting_NK: Tensor

    def __len__(self) -> int:
        return len(self.facts_NF)

    def batch(self, rows_B: Tensor) -> Batch:
        """The questions in `rows_B`, cut to the longest among them."""
        facts_BF = self.facts_NF[rows_B, : int(self.lengths_N[rows_B].max())]
        # Padding (0) leads the sorted distinct values, so that it keeps the number 0.
        distinct, inverse = torch.unique(torch.cat([facts_BF.new_zeros(1), facts_BF.flatten()]), return_inverse=True)
        return Batch(
            sentences_SW=_trim(self.sentences_SW[distinct], PADDING),
            facts_BF=inverse[1:].view_as(facts_BF),
            mask_BF=facts_BF != 0,
            questions_BQ=_trim(self.questions_NQ[rows_B], PADDING),
            answers_B=self.answers_N[rows_B],
            answer_words_BL=_trim(self.answer_words_NL[rows_B], NO_ANSWER),
            supporting_BK=self.supporting_NK[rows_B],
        )

    def batches(self, size: int, *, shuffle: torch.Generator | None = None) -> Iterator[Tensor]:
        """Rows of each batch, every question once, those of like length together.

        With `shuffle`, questions are drawn in random order and sorted by length only within pools of some batches,
        and the batches come in random order: little padding, and yet no batch is the same twice.
        """
        if shuffle is None:
            yield from torch.argsort(self.lengths_N, stable=True).split(size)
            return
        order = torch.randperm(len(self), generator=shuffle)
        pools = order.split(size * BATCHES_PER_POOL)
        batches = [b for pool in pools for b in pool[torch.argsort(self.lengths_N[pool], stable=True)].split(size)]
        yield from (batches[i] for i in torch.randperm(len(batches), generator=shuffle))


BATCHES_PER_POOL = 8


def encode(examples: Sequence[Example], vocabulary: Vocabulary, *, last_facts: int | None = None) -> Questions:
    """`examples` as tensors; of longer stories only the `last_facts` are kept (paper section 4.2).

    Raises `DataError` for no examples, and for an example without a fact.
    """
    if not examples:
        raise DataError("there are no questions to encode")
    sentences: dict[str, int] = {}
    facts, supporting = [], []
    for example in examples:
        if not example.facts:
            raise DataError(f"{example.source}: the question {example.question!r} has no fact before it")
        kept = example.facts[-last_facts:] if last_facts else example.facts
        dropped = len(example.facts) - len(kept)
        facts.append([sentences.setdefault(str(fact), len(sentences) + 1) for fact in kept])
        supporting.append([i - dropped for i in example.supporting if i >= dropped])
    answers = [vocabulary.answer_ids.get(example.answer_text, NO_ANSWER) for example in examples]
    return Questions(
        sentences_SW=_pad([[PADDING], *map(vocabulary.encode, sentences)], PADDING),
        facts_NF=_pad(facts, 0),
        lengths_N=torch.tensor([len(f) for f in facts]),
        questions_NQ=_pad([vocabulary.encode(example.question) for example in examples], PADDING),
        answers_N=torch.tensor(answers),
        answer_words_NL=_pad([_answer_words(example, vocabulary) for example in examples], NO_ANSWER),
        supporting_NK=_pad(supporting, NO_ANSWER),
    )


def _answer_words(example: Example, vocabulary: Vocabulary) -> list[int]:
    ids = [vocabulary.answer_word_ids.get(word, NO_ANSWER) for word in example.answer]
    # An answer with a word that cannot be produced is as lost as one without a class.
    return [NO_ANSWER] if NO_ANSWER in ids else [*ids, 0]


def _pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    # A last dimension of zero has no maximum and no last step; one column of padding has.
    width = max(1, *map(len, rows))
    # One tensor made of lists: a tensor a row costs more than all else in encoding one question.
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], dtype=torch.long)


def _trim(ids: Tensor, value: int) -> Tensor:
    """`ids` without the columns at the end that hold nothing but padding (one column always stays)."""
    used = int((ids != value).sum(dim=1).max())
    return ids[:, : max(used, 1)]
