"""Questions as tensors: encoded once, kept, and cut into batches of like length.

A picture is as many facts as its grid has regions.

Shape legend: N questions, B batch, F facts, S distinct sentences, I distinct pictures, R regions of a picture,
W words per sentence, Q question words, L answer words, K supporting facts, M placeholders of names, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate, count
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from dmnplus.data.example import DataError, Example, Fact, Picture
from dmnplus.data.names import Cast, placeholder
from dmnplus.data.pictures import Pictures, regions_in
from dmnplus.data.vocabulary import PADDING, UNKNOWN, Vocabulary

# Answers that training never saw have no class; they count as wrong and carry no loss.
NO_ANSWER = -1
# A single question or sentence of fewer words would be a product of so few rows that it is rounded in another way.
WORD_STEP = 4
_Tensors = TypeVar("_Tensors", bound="_TensorFields")


@dataclass(frozen=True)
class _TensorFields:
    sentences_SW: Tensor
    """Word ids of the distinct sentences, 0 where there is no word; sentence 0 is padding."""

    def to(self: _Tensors, device: torch.device | str) -> _Tensors:
        """The same tensors on `device`."""
        if self.sentences_SW.device == torch.device(device):
            return self
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return type(self)(**{name: v.to(device) if isinstance(v, Tensor) else v for name, v in values.items()})


@dataclass(frozen=True)
class Batch(_TensorFields):
    """What the network reads. Sentences repeat within and between stories, so each distinct one is held once."""

    facts_BF: Tensor
    """Each fact as a row of `sentences_SW`; after its rows, each region of each of the `pictures`, in snake order."""
    mask_BF: Tensor
    """True on real facts."""
    questions_BQ: Tensor
    """Word ids, 0 where there is no word."""
    answers_B: Tensor
    """Class of the answer, -1 where training never saw it."""
    answer_words_BL: Tensor
    """Words of the answer, then its end (0), then -1."""
    supporting_BK: Tensor
    """Labelled facts in the source's order, a picture as all its regions, then -1."""
    steps_BK: Tensor
    """Place of each labelled fact in the chain that leads to the answer, from 0, then -1."""
    places_BF: Tensor
    """Place in the series of the picture that a region is of, from 1; 0 for sentences."""
    pictures: Tensor | None = None
    """The distinct pictures as `Pictures.read` gives them; None for a model of text."""
    names_BM: Tensor | None = None
    """True on the placeholders that stand for a name of the story; None where names are not made anonymous."""

    def __len__(self) -> int:
        return len(self.facts_BF)


@dataclass(frozen=True)
class Questions(_TensorFields):
    """A whole data set, encoded."""

    facts_NF: Tensor
    """Each fact as a row of `sentences_SW`, or -1 - the number of a picture; then 0."""
    lengths_N: Tensor
    """Facts of each question, a picture counted as its regions."""
    questions_NQ: Tensor
    answers_N: Tensor
    answer_words_NL: Tensor
    supporting_NK: Tensor
    steps_NK: Tensor
    kinds_N: Tensor
    """Number of each question's type, of those in this set."""
    pictures: Pictures | None = None
    names_NM: Tensor | None = None

    def __len__(self) -> int:
        return len(self.facts_NF)

    def batch(self, rows_B: Tensor) -> Batch:
        """The questions in `rows_B`, cut to the longest among them."""
        facts_BF = self.facts_NF[rows_B, : int(self.lengths_N[rows_B].max())]
        # Padding (0) leads the sorted distinct values, so that it keeps the number 0.
        distinct, inverse = torch.unique(
            torch.cat([facts_BF.new_zeros(1), facts_BF.clamp(min=0).flatten()]), return_inverse=True
        )
        numbered_BF = inverse[1:].view_as(facts_BF)
        return Questions(
            sentences_SW=_trim(self.sentences_SW[distinct], PADDING),
            facts_NF=numbered_BF if self.pictures is None else torch.where(facts_BF < 0, facts_BF, numbered_BF),
            lengths_N=self.lengths_N[rows_B],
            questions_NQ=_trim(self.questions_NQ[rows_B], PADDING),
            answers_N=self.answers_N[rows_B],
            answer_words_NL=_trim(self.answer_words_NL[rows_B], NO_ANSWER),
            supporting_NK=self.supporting_NK[rows_B],
            steps_NK=self.steps_NK[rows_B],
            kinds_N=self.kinds_N[rows_B],
            pictures=self.pictures,
            names_NM=None if self.names_NM is None else self.names_NM[rows_B],
        ).whole()

    def whole(self, *, fact_step: int = 1) -> Batch:
        """All questions as one batch of a multiple of `fact_step` facts, those at the end being none."""
        facts_BF, pictures = self.facts_NF, None
        if self.pictures is None:
            facts_BF = pad(facts_BF, (0, -facts_BF.shape[1] % fact_step))
            mask_BF, places_BF = facts_BF != 0, torch.zeros_like(facts_BF)
        else:
            shown, picture = torch.unique((-1 - facts_BF)[facts_BF < 0], return_inverse=True)
            numbered_BF = facts_BF.masked_scatter(
                facts_BF < 0, len(self.sentences_SW) + picture * _regions(self.pictures)
            )
            facts_BF, places_BF, mask_BF = _spread(facts_BF, numbered_BF, _regions(self.pictures), fact_step)
            pictures = self.pictures.read(shown)
        return Batch(
            sentences_SW=self.sentences_SW,
            facts_BF=facts_BF,
            mask_BF=mask_BF,
            questions_BQ=self.questions_NQ,
            answers_B=self.answers_N,
            answer_words_BL=self.answer_words_NL,
            supporting_BK=self.supporting_NK,
            steps_BK=self.steps_NK,
            places_BF=places_BF,
            pictures=pictures,
            names_BM=self.names_NM,
        )

    def batches(
        self,
        size: int,
        *,
        shuffle: torch.Generator | None = None,
        by_length: bool = True,
        by_picture: bool = False,
        repeats_K: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Rows of each batch, every question once, those of like length together.

        With `shuffle`, questions are drawn in random order and sorted by length only within pools of some batches,
        and the batches come in random order: little padding, and yet no batch is the same twice. Without `by_length`
        chance alone decides which questions share a batch. `by_picture` keeps questions about one picture together, so
        that it is read once for all of them. `repeats_K` says how many times the questions of each type are drawn, a
        random part of them for what is left of a whole number.
        """
        if shuffle is None:
            yield from torch.argsort(self.lengths_N, stable=True).split(size)
            return
        order = torch.randperm(len(self), generator=shuffle)
        if repeats_K is not None:
            order = self._repeated(order, repeats_K)
            order = order[torch.randperm(len(order), generator=shuffle)]
        if by_picture:
            # In the order in which the first question about each picture was drawn; one without a picture is alone.
            last = self.facts_NF.amin(dim=1)
            _, group = torch.unique(torch.where(last < 0, last, torch.arange(len(self))), return_inverse=True)
            first = torch.full((int(group.max()) + 1,), len(self)).scatter_reduce(
                0, group[order], torch.arange(len(order)), "amin"
            )
            order = order[torch.argsort(first[group[order]], stable=True)]
        pools = order.split(size * (BATCHES_PER_POOL if by_length else 1))
        batches = [b for pool in pools for b in pool[torch.argsort(self.lengths_N[pool], stable=True)].split(size)]
        yield from (batches[i] for i in torch.randperm(len(batches), generator=shuffle))

    def _repeated(self, order_N: Tensor, repeats_K: Tensor) -> Tensor:
        """`order_N` type by type, each cut, or begun again, to the length that its repeats give it."""
        kinds_N = self.kinds_N[order_N]
        parts = []
        for kind, repeats in enumerate(repeats_K.tolist()):
            own = order_N[kinds_N == kind]
            parts.append(own.repeat(math.ceil(repeats))[: max(1, round(repeats * len(own)))])
        return torch.cat(parts)


BATCHES_PER_POOL = 8


def encode(
    examples: Sequence[Example],
    vocabulary: Vocabulary,
    *,
    last_facts: int | None = None,
    pictures: Pictures | None = None,
    casts: Sequence[Cast] | None = None,
) -> Questions:
    """`examples` as tensors; of longer stories only the `last_facts` are kept (paper section 4.2).

    `pictures` is where the pictures among the facts are read from; `casts` are the names of each example, found in its
    story unless given. Raises `DataError` for no examples, for an example
    without a fact, and for a picture that is not in `pictures`.
    """
    if not examples:
        raise DataError("there are no questions to encode")
    sentences = _Sentences(vocabulary)
    casts = casts or [vocabulary.cast(example.facts, example.question) for example in examples]
    facts, lengths, labels = [], [], []
    for example, cast in zip(examples, casts, strict=True):
        if not example.facts:
            raise DataError(f"{example.source}: the question {example.question!r} has no fact before it")
        kept = example.facts[-last_facts:] if last_facts else example.facts
        dropped = len(example.facts) - len(kept)
        facts.append([_number(fact, sentences, cast, pictures, example) for fact in kept])
        sizes = [_regions(pictures) if isinstance(fact, Picture) and pictures else 1 for fact in kept]
        lengths.append(sum(sizes))
        labels.append(_labels(example, dropped, [0, *accumulate(sizes)], pictures))
    kinds = {kind: number for number, kind in enumerate(sorted({example.source.kind for example in examples}))}
    answers = [_answer(example, cast) for example, cast in zip(examples, casts, strict=True)]
    questions = [vocabulary.encode(e.question, cast.places) for e, cast in zip(examples, casts, strict=True)]
    return Questions(
        sentences_SW=_pad([[PADDING], *sentences.rows], PADDING, WORD_STEP),
        facts_NF=_pad(facts, 0),
        lengths_N=_ids(lengths),
        questions_NQ=_pad(questions, PADDING, WORD_STEP),
        answers_N=_ids([vocabulary.answer_ids.get(vocabulary.join(words), NO_ANSWER) for words in answers]),
        answer_words_NL=_pad([_answer_words(words, vocabulary) for words in answers], NO_ANSWER),
        supporting_NK=_pad([[fact for fact, _ in label] for label in labels], NO_ANSWER),
        steps_NK=_pad([[step for _, step in label] for label in labels], NO_ANSWER),
        kinds_N=_ids([kinds[example.source.kind] for example in examples]),
        pictures=pictures,
        names_NM=torch.tensor([[place in cast.written for place in range(vocabulary.names)] for cast in casts])
        if vocabulary.names
        else None,
    )


class _Sentences:
    """The distinct sentences of a data set, as word ids."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.rows: dict[tuple[int, ...], int] = {}
        self._seen: dict[tuple[str, tuple[tuple[str, int], ...]], int] = {}

    def number(self, sentence: str, cast: Cast) -> int:
        """The number of a sentence, from 1."""
        key = sentence, tuple(cast.places.items())
        if key not in self._seen:
            ids = tuple(self.vocabulary.encode(sentence, cast.places))
            self._seen[key] = self.rows.setdefault(ids, len(self.rows) + 1)
        return self._seen[key]


def shuffle_names(batch: Batch, generator: torch.Generator) -> Batch:
    """`batch` with the placeholders of names exchanged at random, the same way in words and answers."""
    if batch.names_BM is None:
        return batch
    M = batch.names_BM.shape[1]
    order_M = torch.randperm(M, generator=generator).to(batch.names_BM.device)

    def exchange(ids: Tensor, first: int) -> Tensor:
        places = ids - first
        return torch.where((places >= 0) & (places < M), first + order_M[places.clamp(0, M - 1)], ids)

    return replace(
        batch,
        sentences_SW=exchange(batch.sentences_SW, UNKNOWN + 1),
        questions_BQ=exchange(batch.questions_BQ, UNKNOWN + 1),
        answers_B=exchange(batch.answers_B, 0),
        answer_words_BL=exchange(batch.answer_words_BL, 1),
        names_BM=torch.empty_like(batch.names_BM).index_copy_(1, order_M, batch.names_BM),
    )


def rare_words(questions: Questions, strength: float) -> Tensor:
    """How likely each word is to be read as the unknown one in training, [V]: `strength` / (`strength` + n).

    n is how often it occurs in the distinct sentences and the questions (Kiperwasser and Goldberg 2016, section 4), so
    that the unknown word is learnt from the words that are most like those never seen. Names stay.
    """
    counts_V = torch.bincount(torch.cat([questions.sentences_SW.flatten(), questions.questions_NQ.flatten()]))
    shares_V = strength / (strength + counts_V)
    names = 0 if questions.names_NM is None else questions.names_NM.shape[1]
    shares_V[: UNKNOWN + 1 + names] = 0
    return shares_V


def drop_words(batch: Batch, shares_V: Tensor, generator: torch.Generator) -> Batch:
    """`batch` with each word made unknown by its share in `shares_V` (see `rare_words`)."""

    def drop(ids: Tensor) -> Tensor:
        dropped = torch.rand(ids.shape, generator=generator).to(ids.device) < shares_V.to(ids.device)[ids]
        return torch.where(dropped, UNKNOWN, ids)

    return replace(batch, sentences_SW=drop(batch.sentences_SW), questions_BQ=drop(batch.questions_BQ))


def jitter_pictures(batch: Batch, generator: torch.Generator, *, shift: int, mirror: bool) -> Batch:
    """`batch` with each picture of pixels moved by up to `shift` pixels and, with `mirror`, half of them mirrored.

    What comes in at an edge repeats the pixels there.
    """
    if batch.pictures is None:
        return batch
    count, side = len(batch.pictures), batch.pictures.shape[-1]
    moves_2I1 = torch.randint(-shift, shift + 1, (2, count, 1), generator=generator)
    rows_IS, columns_IS = (torch.arange(side) + moves_2I1).clamp(0, side - 1)
    if mirror:
        columns_IS = torch.where(torch.rand(count, 1, generator=generator) < 0.5, columns_IS, columns_IS.flip(1))
    rows_IS, columns_IS = rows_IS.to(batch.pictures.device), columns_IS.to(batch.pictures.device)
    picture = torch.arange(count, device=batch.pictures.device)[:, None, None]
    pictures_ISSC = batch.pictures.permute(0, 2, 3, 1)[picture, rows_IS[:, :, None], columns_IS[:, None, :]]
    return replace(batch, pictures=pictures_ISSC.permute(0, 3, 1, 2).contiguous())


def _number(fact: Fact, sentences: _Sentences, cast: Cast, pictures: Pictures | None, example: Example) -> int:
    if isinstance(fact, str):
        return sentences.number(fact, cast)
    if pictures is None:
        where = f"{example.source}: " if example.source.file else ""
        raise DataError(f"{where}{fact} is a picture, and this model reads text only")
    return -1 - pictures.index(fact)


def _regions(pictures: Pictures) -> int:
    return pictures.format.rows * pictures.format.columns


def _labels(example: Example, dropped: int, starts: Sequence[int], pictures: Pictures | None) -> list[tuple[int, int]]:
    """The labelled facts, each with its step in the chain; of a picture without a box, all its regions in one step."""
    if not example.supporting and not example.regions:
        return []
    seen = {region.step for region in example.regions} if pictures else set()
    steps = (step for step in count() if step not in seen)
    kept = [i - dropped for i in example.supporting if i >= dropped]
    labels = [(place, step) for i, step in zip(kept, steps, strict=False) for place in range(starts[i], starts[i + 1])]
    for region in example.regions:
        if pictures and region.fact >= dropped:
            places = regions_in(region.box, pictures.format.rows, pictures.format.columns)
            labels += [(starts[region.fact - dropped] + place, region.step) for place in places]
    return labels


def _spread(facts_BF: Tensor, numbered_BF: Tensor, regions: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every picture as its regions: numbers, places in the series and mask, all [B, F] for the F after.

    F is a multiple of `step`.
    """
    is_picture_BF = facts_BF < 0
    counts_BF = torch.where(is_picture_BF, regions, (facts_BF != 0).long())
    counts = counts_BF.flatten()
    region = torch.arange(int(counts.sum())) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    lengths_B = counts_BF.sum(dim=1)
    longest = int(lengths_B.max())
    mask_BF = torch.arange(longest + -longest % step) < lengths_B[:, None]
    spread_BF, places_BF = torch.zeros_like(mask_BF, dtype=torch.long), torch.zeros_like(mask_BF, dtype=torch.long)
    spread_BF[mask_BF] = torch.repeat_interleave(numbered_BF.flatten(), counts) + region
    place_BF = is_picture_BF.cumsum(dim=1) * is_picture_BF
    places_BF[mask_BF] = torch.repeat_interleave(place_BF.flatten(), counts)
    return spread_BF, places_BF, mask_BF


def _answer(example: Example, cast: Cast) -> list[str]:
    places = (cast.places.get(word.lower()) for word in example.answer)
    return [word if place is None else placeholder(place) for word, place in zip(example.answer, places, strict=True)]


def _answer_words(answer: Sequence[str], vocabulary: Vocabulary) -> list[int]:
    ids = [vocabulary.answer_word_ids.get(word, NO_ANSWER) for word in answer]
    # An answer with a word that cannot be produced is as lost as one without a class.
    return [NO_ANSWER] if NO_ANSWER in ids else [*ids, 0]


def _pad(rows: Sequence[Sequence[int]], value: int, step: int = 1) -> Tensor:
    # A last dimension of zero has no maximum and no last step; one column of padding has.
    width = max(1, *map(len, rows))
    width += -width % step
    return _ids([[*row, *[value] * (width - len(row))] for row in rows])


def _ids(numbers: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
    # NumPy reads lists several times as fast as PyTorch.
    return torch.from_numpy(np.array(numbers, dtype=np.int64))


def _trim(ids: Tensor, value: int) -> Tensor:
    """`ids` without the columns at the end that hold nothing but padding (one column always stays)."""
    used = int((ids != value).sum(dim=1).max())
    return ids[:, : max(used, 1)]
