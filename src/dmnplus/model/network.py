"""The whole network: input, question, episodic memory, answer.

Shape legend: B batch, F facts, I distinct pictures, R regions of a picture, C channels, H hidden, P passes, K = 2H,
A rows that ask (F facts and the question, or the question alone), M placeholders of names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from dmnplus.data.batching import NO_ANSWER, Batch
from dmnplus.data.pictures import PictureFormat
from dmnplus.data.vocabulary import PADDING
from dmnplus.model.answer import ClassAnswer, Ranked, WordAnswer
from dmnplus.model.episodic_memory import GATE_COMPARES, GATE_FEATURES, Episode, EpisodicMemory, Update
from dmnplus.model.image_input import PixelReader, RegionReader, SeriesChanges, SeriesEmbedding
from dmnplus.model.initialisation import start_stacked, start_uniform
from dmnplus.model.mutual_memory import GateStart, MutualMemory
from dmnplus.model.question import QuestionModule
from dmnplus.model.text_input import (
    InputFusion,
    OrderedEncoding,
    PositionEncoding,
    SentenceReader,
    WordEmbedding,
    WordGRU,
)

TextInput = Literal["fusion", "forward_fusion", "reader", "word_gru", "ordered"]
Memory = Literal["question", "mutual"]
Answer = Literal["class", "words"]
Start = Literal["xavier", "stacked", "uniform"]
Dropped = Literal["encodings", "facts"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """What the network is made of. The defaults are the paper's DMN+ on text (sections 3 and 4.1)."""

    hidden: int = 80
    """Size of embeddings, facts, question and memory."""
    input: TextInput = "fusion"
    """fusion: sentence reader and input fusion layer; forward_fusion: one that reads forwards only; reader: no fusion
    layer; word_gru: the original DMN's; ordered: a reader that sees the order of words, for facts and question alike,
    with the fusion layer's states added."""
    memory: Memory = "question"
    """question: the question goes over the facts; mutual: each fact does, too, by similarity (`gate`, `episode` and
    `update` then have no say)."""
    gate: tuple[str, ...] = ("product", "absolute")
    """What the attention gate compares facts with q and m by."""
    gate_compares: tuple[str, ...] = ("question", "memory")
    """What the gate compares facts with: q, and m, without which all passes attend alike."""
    episode: Episode = "attention_gru"
    """How a pass makes its context of facts and attention; sum: each fact by a gate of its own, so that they
    count; sum_and_mean: both, the mean telling what was read."""
    update: Update = "relu"
    """How a pass makes its memory; product: by products of what it reads, too."""
    update_question: bool = True
    """Whether q goes into every memory update but the gru, which takes none; it is the first memory in any case."""
    tied: bool = False
    """Whether the passes share one memory update."""
    gate_start: GateStart = "identity"
    """How the gate by similarity of a mutual memory starts: by likeness itself, or at random."""
    passes: int = 3
    """Episodes over the facts."""
    answer: Answer = "class"
    """class: one of the answers seen in training; words: a decoder, word by word."""
    answer_question: bool = True
    """Whether the answer is made of q and the last memory, or of the memory alone."""
    beams: int = 5
    """Unfinished answers that the decoder keeps at a time, and so at most the answers that are ranked; 1 is greedy."""
    sentence_scale: float = 1.0
    """What the position encoding is multiplied by; 2 as in the code of Sukhbaatar et al. (2015), not in its formula."""
    fact_dropout: float = 0.1
    """Share of a sentence's numbers dropped in training."""
    dropped: Dropped = "encodings"
    """What those numbers are of. encodings: the sentence reader's, before the fusion layer; facts: what comes of it."""
    image_dropout: float = 0.5
    """Share of an image region's numbers dropped in training."""
    answer_dropout: float = 0.1
    """Share of the answer module's input dropped in training."""
    context_dropout: float = 0.0
    """Share of the context of every pass dropped in training."""
    pixel_channels: int = 64
    """Numbers a region that the convolutions give, for a model that reads pixels."""
    region_places: bool = False
    """Whether a vector for each place in a picture's grid is learnt and added to the regions there."""
    region_norm: bool = False
    """Whether each region is scaled to a root mean square of one before its projection."""
    series: int = 8
    """Pictures before a question that are told apart by their place."""
    series_changes: bool = False
    """Whether a region is told how it differs from the same place in the pictures before and after it."""
    start: Start = "xavier"
    """xavier: and embeddings uniform in +-sqrt(3), the paper's for text; stacked: the same, for the matrices of a gated
    unit as one, and GRUs start by keeping their states; uniform: all in +-0.08, the paper's for images."""

    def __post_init__(self) -> None:
        if self.sentence_scale <= 0:
            raise ValueError(f"model.sentence_scale is {self.sentence_scale}; it must be above 0")
        for name in ("hidden", "passes", "series", "beams"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} is {getattr(self, name)}; it must be at least 1")
        if self.pixel_channels < 16 or self.pixel_channels % 16:
            raise ValueError(f"model.pixel_channels is {self.pixel_channels}; it must be a multiple of 16")
        for name in ("fact_dropout", "image_dropout", "answer_dropout", "context_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"model.{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        unknown = [name for name in self.gate if name not in GATE_FEATURES]
        if unknown or set(self.gate) <= {"fact"}:
            raise ValueError(
                f"model.gate is {list(self.gate)}; it takes {', '.join(GATE_FEATURES)}, at least one besides fact"
            )
        if not self.gate_compares or not set(self.gate_compares) <= set(GATE_COMPARES):
            raise ValueError(
                f"model.gate_compares is {list(self.gate_compares)}; it takes {', '.join(GATE_COMPARES)}, at least one"
            )
        choices = {
            "input": TextInput,
            "memory": Memory,
            "gate_start": GateStart,
            "episode": Episode,
            "update": Update,
            "answer": Answer,
            "start": Start,
            "dropped": Dropped,
        }
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"model.{name} is {getattr(self, name)!r}; it takes {', '.join(get_args(kind))}")


_ORIGINAL_GATE = ("fact", "plain", "product", "absolute", "bilinear")

VARIANTS: dict[str, NetworkConfig] = {
    "odmn": NetworkConfig(input="word_gru", gate=_ORIGINAL_GATE, episode="soft_attention", update="gru", tied=True),
    "dmn2": NetworkConfig(episode="soft_attention", update="gru", tied=True),
    "dmn3": NetworkConfig(update="gru", tied=True),
    "dmn+": NetworkConfig(),
    "dmn-max": NetworkConfig(input="ordered", memory="mutual", passes=4, fact_dropout=0.2, answer_dropout=0.2),
}
"""The paper's ablation (section 5.1), from the original network to DMN+, and what goes past it (docs/dmn_max.md)."""


class DropoutMasks(NamedTuple):
    """What training drops, drawn outside the network: scaled by 1 / (1 - share), zero where dropped."""

    facts_BFH: Tensor
    answer_BK: Tensor
    regions_IRC: Tensor | None = None
    contexts_PBAH: Tensor | None = None


class Reading(NamedTuple):
    """What the answer is made of; the attention sums to one over each question's facts."""

    attention_PBF: Tensor
    answer_input_BK: Tensor
    names_BM: Tensor | None = None

    def filled(self, multiple: int) -> Reading:
        """The same with a multiple of `multiple` questions, those added being the first again, without attention."""
        rows = [*range(B := len(self.answer_input_BK)), *[0] * (-B % multiple)]
        if len(rows) == B:
            return self
        names_BM = None if self.names_BM is None else self.names_BM[rows]
        return Reading(self.attention_PBF, self.answer_input_BK[rows], names_BM)


class Output(NamedTuple):
    """`logits` are [B, A] for classes and [B, L, V] for words; the rest is that of `Reading`."""

    logits: Tensor
    attention_PBF: Tensor
    answer_input_BK: Tensor
    names_BM: Tensor | None = None


class DMN(nn.Module):
    """A Dynamic Memory Network (Xiong, Merity and Socher 2016) over sentences, pictures, or both."""

    def __init__(
        self,
        config: NetworkConfig,
        *,
        words: int,
        answers: int,
        answer_words: int,
        pictures: PictureFormat | None = None,
    ) -> None:
        """`words`, `answers` and `answer_words` are the sizes of the vocabulary; `pictures` is None for text alone."""
        super().__init__()
        self.config = config
        H = config.hidden
        self.embedding = WordEmbedding(words, H)
        match config.input:
            case "word_gru":
                self.reader = WordGRU(H)
            case "ordered":
                self.reader = SentenceReader(OrderedEncoding(H, config.sentence_scale))
            case _:
                self.reader = SentenceReader(PositionEncoding(config.sentence_scale))
        self.pictures = pictures
        if pictures is not None:
            channels = config.pixel_channels if pictures.kind == "pixels" else pictures.channels
            self.pixels = PixelReader(pictures, channels) if pictures.kind == "pixels" else nn.Identity()
            self.regions = RegionReader(pictures, channels, H, places=config.region_places, norm=config.region_norm)
            self.series = SeriesEmbedding(config.series, H)
            self.changes = SeriesChanges(pictures.rows * pictures.columns, H) if config.series_changes else None
        fused = config.input in ("fusion", "forward_fusion", "ordered")
        self.fusion = InputFusion(H, bidirectional=config.input != "forward_fusion") if fused else None
        # An ordered reader reads the question as well, so that both lie in one space.
        self.question = None if config.input == "ordered" else QuestionModule(H)
        match config.memory:
            case "question":
                self.memory = EpisodicMemory(
                    H,
                    passes=config.passes,
                    gate=config.gate,
                    gate_compares=config.gate_compares,
                    episode=config.episode,
                    update=config.update,
                    update_question=config.update_question,
                    tied=config.tied,
                )
            case "mutual":
                self.memory = MutualMemory(H, passes=config.passes, tied=config.tied, gate_start=config.gate_start)
        self.answer = WordAnswer(H, answer_words) if config.answer == "words" else ClassAnswer(H, answers)
        match config.start:
            case "uniform":
                start_uniform(self)
            case "stacked":
                start_stacked(self)

    def forward(self, batch: Batch, dropout: DropoutMasks | None = None) -> Output:
        reading = self.read(batch, dropout)
        return Output(self.answer(reading.answer_input_BK, batch.answer_words_BL, batch.names_BM), *reading)

    def read(self, batch: Batch, dropout: DropoutMasks | None = None) -> Reading:
        """All but the logits, which `ranked` does without."""
        words = self.embedding(batch.sentences_SW)
        regions = self._regions(batch, words, dropout)
        facts = self._facts(batch, words, regions, dropout)
        q = self._question(batch.questions_BQ)
        m, attention = self.memory(facts, q, batch.mask_BF, dropout and dropout.contexts_PBAH)
        # To a linear layer zeros are nothing.
        qm = torch.cat([q if self.config.answer_question else torch.zeros_like(q), m], dim=-1)
        if dropout is not None:
            qm = qm * dropout.answer_BK
        return Reading(attention, qm, batch.names_BM)

    def _question(self, questions_BQ: Tensor) -> Tensor:
        if self.question is not None:
            return self.question(self.embedding, questions_BQ)
        assert isinstance(self.reader, SentenceReader)
        return self.reader.encode(self.embedding(questions_BQ), questions_BQ != PADDING)

    def _facts(self, batch: Batch, words_SWH: Tensor, regions_NH: Tensor, dropout: DropoutMasks | None) -> Tensor:
        """Every fact, read and fused, [B, F, H]."""
        read = words_SWH, batch.sentences_SW != PADDING, regions_NH
        # With nothing dropped or added, equal sentences stay equal up to the recurrence. Few rows gain nothing, and
        # libraries of matrix products may round them otherwise.
        alike = dropout is None and self.pictures is None and self.question is not None
        few = 16 <= len(words_SWH) < batch.facts_BF.numel()
        if alike and few and self.fusion is not None and isinstance(self.reader, SentenceReader):
            return self.fusion.of_distinct(self.reader.distinct(*read), batch.facts_BF, batch.mask_BF)
        facts = self.reader(*read, batch.facts_BF, batch.mask_BF)
        if dropout is not None and self.config.dropped == "encodings":
            facts = facts * dropout.facts_BFH
        if self.pictures is not None:
            if self.changes is not None:
                facts = self.changes(facts, batch.places_BF, batch.mask_BF)
            facts = facts + self.series(batch.places_BF)
        if self.fusion is not None:
            fused = self.fusion(facts, batch.mask_BF)
            facts = facts + fused if self.question is None else fused
        return facts * dropout.facts_BFH if dropout is not None and self.config.dropped == "facts" else facts

    def _regions(self, batch: Batch, words_SWH: Tensor, dropout: DropoutMasks | None) -> Tensor:
        """The regions of the batch's pictures one after the other, [I * R, H]; of a model of text, none."""
        if self.pictures is None or batch.pictures is None:
            return words_SWH.new_zeros(0, self.config.hidden)
        return self.regions(self.pixels(batch.pictures), dropout and dropout.regions_IRC).flatten(0, 1)

    def draw_dropout(self, batch: Batch, generator: torch.Generator) -> DropoutMasks:
        """Dropout for one training step (section 4): of sentence encodings or facts, image regions and the answer's
        input; and of contexts, which the paper does not drop."""
        weight = self.embedding.weight
        B, F = batch.facts_BF.shape
        H = self.config.hidden

        def draw(share: float, *shape: int) -> Tensor:
            # Sixteen bits a number, four numbers a draw: bernoulli_ takes four times as long.
            count = math.prod(shape)
            drawn = torch.empty((count + 3) // 4, dtype=torch.int64, device=weight.device)
            bits = drawn.random_(-(2**63), None, generator=generator).view(torch.int16)[:count]
            dropped = min(round(share * 2**16), 2**16 - 1)
            kept = (bits >= dropped - 2**15).to(weight.dtype)
            return kept.mul_(2**16 / (2**16 - dropped)).view(shape)

        facts = draw(self.config.fact_dropout, B, F, H)
        answer = draw(self.config.answer_dropout, B, 2 * H)
        contexts = None
        if self.config.context_dropout:
            asking = F + 1 if self.config.memory == "mutual" else 1
            contexts = draw(self.config.context_dropout, self.config.passes, B, asking, H)
        if self.pictures is None or batch.pictures is None:
            return DropoutMasks(facts, answer, contexts_PBAH=contexts)
        # Regions are dropped before their projection instead.
        facts = facts.masked_fill_((batch.places_BF > 0)[..., None], 1)
        shape = (len(batch.pictures), self.pictures.rows * self.pictures.columns, self.regions.weight.shape[1])
        return DropoutMasks(facts, answer, draw(self.config.image_dropout, *shape), contexts)

    def losses(self, output: Output, batch: Batch) -> Tensor:
        """Cross-entropy of each question's answer, [B]."""
        return self.answer.losses(output.logits, batch.answers_B, batch.answer_words_BL)

    def probabilities(self, output: Output, batch: Batch) -> Tensor:
        """How probable each question's own answer is, [B]; 0 for one that cannot be given."""
        answers_B = batch.answers_B if self.config.answer == "class" else batch.answer_words_BL[:, 0]
        return (-self.losses(output, batch)).exp() * (answers_B != NO_ANSWER)

    @property
    def device(self) -> torch.device:
        return self.answer.weight.device

    @property
    def rows_apart(self) -> bool:
        """Whether `read` gives a question the same to the last bit, with or without other questions in the batch."""
        return isinstance(self.memory, EpisodicMemory) and self.memory.at_once

    def ranked(self, output: Output | Reading, top: int) -> list[list[Ranked]]:
        """The `top` answers of each question, best first; of a decoder at most as many as it has beams."""
        width = self.config.beams if self.config.answer == "words" else top
        return [best[:top] for best in self.answer.ranked(output.answer_input_BK, width, output.names_BM)]


def attention_losses(attention_PBF: Tensor, supporting_BK: Tensor, steps_BK: Tensor) -> Tensor:
    """What each question's attention misses of its labelled facts, [B]; zero for a question without labels.

    Pass t is to attend to the facts of step t; the last pass takes those that are left, and passes beyond the last
    step repeat it (after Kumar et al. 2015, section 2.3). The loss is -log of the attention on the wanted facts.
    """
    P, _, F = attention_PBF.shape
    labelled_BK = supporting_BK >= 0
    last_B1 = steps_BK.amax(dim=1, keepdim=True)
    facts_BKF = nn.functional.one_hot(supporting_BK.clamp(min=0), F) * labelled_BK[..., None]
    losses = []
    for t in range(P):
        wanted_BK = (steps_BK >= t) if t == P - 1 else (steps_BK == t)
        # Past the end of the chain, its last step.
        wanted_BK = torch.where(last_B1 < t, steps_BK == last_B1, wanted_BK)
        wanted_BF = (facts_BKF * wanted_BK[..., None]).amax(dim=1)
        losses.append(-(attention_PBF[t] * wanted_BF).sum(dim=1).clamp(min=1e-9).log())
    return torch.stack(losses).mean(dim=0) * (last_B1[:, 0] >= 0)
