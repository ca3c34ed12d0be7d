"""Section 3.3, the answer module: one of the answers seen in training, or word by word.

Shape legend: B batch, H hidden, A answers, L answer words, V answer vocabulary, M placeholders of names, W beams.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dmnplus.kernels import linear
from dmnplus.model.initialisation import xavier, zeros

# Answers are scored against classes or words; this one has neither, and carries no loss.
_IGNORED = -1
_END = 0


class Ranked(NamedTuple):
    """An answer of one question: its class, or its words without the end, and its probability."""

    answer: tuple[int, ...]
    probability: float


def _only_present(logits: Tensor, names_BM: Tensor | None, first: int) -> Tensor:
    """Logits, a question a row, of which the names' placeholders from `first` on count only if the story has them."""
    if names_BM is None:
        return logits
    M = names_BM.shape[1]
    barred = nn.functional.pad(~names_BM, (first, logits.shape[-1] - first - M))
    return logits.masked_fill(barred[:, None] if logits.ndim == 3 else barred, -torch.inf)


class ClassAnswer(nn.Module):
    """Softmax of a linear layer on [q; m_T]: one class an answer. The placeholders of names are the first classes."""

    def __init__(self, hidden: int, answers: int) -> None:
        super().__init__()
        self.weight = xavier(answers, 2 * hidden)
        self.bias = zeros(answers)

    def forward(
        self,
        qm_BK: Float[Tensor, "B K"],
        answer_words_BL: Int[Tensor, "B L"],
        names_BM: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B A"]:
        return _only_present(linear(qm_BK, self.weight, self.bias), names_BM, 0)

    @staticmethod
    def losses(
        logits_BA: Float[Tensor, "B A"], answers_B: Int[Tensor, " B"], answer_words_BL: Int[Tensor, "B L"]
    ) -> Float[Tensor, " B"]:
        """Cross-entropy of each question, zero where training never saw the answer."""
        return nn.functional.cross_entropy(logits_BA, answers_B, ignore_index=_IGNORED, reduction="none")

    @torch.no_grad()
    def ranked(
        self, qm_BK: Float[Tensor, "B K"], top: int, names_BM: Bool[Tensor, "B M"] | None = None
    ) -> list[list[Ranked]]:
        """The `top` most probable answers of each question, best first."""
        logits_BA = _only_present(linear(qm_BK, self.weight, self.bias), names_BM, 0)
        best = torch.softmax(logits_BA, dim=-1).topk(min(top, logits_BA.shape[-1]), dim=-1)
        return [
            # A name that the story does not have is no answer at all.
            [Ranked((i,), p) for i, p in zip(ids, ps, strict=True) if p > 0] or [Ranked((ids[0],), ps[0])]
            for ids, ps in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]


class WordAnswer(nn.Module):
    """A GRU decoder started from [q; m_T] that gives one word a step until the end of the answer."""

    LONGEST = 16

    def __init__(self, hidden: int, words: int) -> None:
        super().__init__()
        # Word 0 is the end of an answer; as an input it stands for its beginning.
        self.embedding = nn.Parameter(torch.empty(words, hidden).uniform_(-(3**0.5), 3**0.5))
        self.cell = nn.GRUCell(hidden, 2 * hidden)
        self.weight = xavier(words, 2 * hidden)
        self.bias = zeros(words)

    def _step(self, words_B: Tensor, h_BK: Tensor) -> tuple[Tensor, Tensor]:
        # As the cell itself does, but that a row gives the same whatever rows are beside it.
        x_BK = linear(nn.functional.embedding(words_B, self.embedding), self.cell.weight_ih, self.cell.bias_ih)
        x_r, x_u, x_n = x_BK.chunk(3, dim=-1)
        h_r, h_u, h_n = linear(h_BK, self.cell.weight_hh, self.cell.bias_hh).chunk(3, dim=-1)
        u_BK = torch.sigmoid(x_u + h_u)
        candidate_BK = torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n)
        h_BK = candidate_BK + u_BK * (h_BK - candidate_BK)
        return linear(h_BK, self.weight, self.bias), h_BK

    def forward(
        self,
        qm_BK: Float[Tensor, "B K"],
        answer_words_BL: Int[Tensor, "B L"],
        names_BM: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B L V"]:
        """Logits of each word, given the true ones before it."""
        h = qm_BK
        logits, words = [], torch.zeros_like(answer_words_BL[:, 0])
        for position in range(answer_words_BL.shape[1]):
            step, h = self._step(words, h)
            logits.append(step)
            words = answer_words_BL[:, position].clamp(min=0)
        return _only_present(torch.stack(logits, dim=1), names_BM, 1)

    @staticmethod
    def losses(
        logits_BLV: Float[Tensor, "B L V"], answers_B: Int[Tensor, " B"], answer_words_BL: Int[Tensor, "B L"]
    ) -> Float[Tensor, " B"]:
        """Cross-entropy of each question, summed over its words, zero where no word of it can be produced."""
        words = nn.functional.cross_entropy(
            logits_BLV.transpose(1, 2), answer_words_BL, ignore_index=_IGNORED, reduction="none"
        )
        return words.sum(dim=1)

    @torch.no_grad()
    def ranked(
        self, qm_BK: Float[Tensor, "B K"], beams: int, names_BM: Bool[Tensor, "B M"] | None = None
    ) -> list[list[Ranked]]:
        """The answers of each question that a search of `beams` beams finds, best first; with one, greedy decoding.

        An answer that has ended keeps its place among the beams as long as its probability is one of the highest. A
        decoder that does not end still answers: with the `LONGEST` words it has said by then.
        """
        B, device = len(qm_BK), qm_BK.device
        h_BWK = qm_BK[:, None]
        scores_BW = qm_BK.new_zeros(B, 1)
        said_BWL = torch.zeros(B, 1, 1, dtype=torch.long, device=device)
        ended_BW = torch.zeros(B, 1, dtype=torch.bool, device=device)
        for _ in range(self.LONGEST):
            logits, h = self._step(said_BWL[..., -1].flatten(), h_BWK.flatten(0, 1))
            logits_BWV = _only_present(logits.unflatten(0, ended_BW.shape), names_BM, 1)
            steps_BWV = torch.log_softmax(logits_BWV, dim=-1)
            # What has ended goes on with nothing but its end, at no cost.
            stays_V = steps_BWV.new_full((steps_BWV.shape[2],), -torch.inf)
            stays_V[_END] = 0
            steps_BWV = torch.where(ended_BW[..., None], stays_V, steps_BWV)
            total = (scores_BW[..., None] + steps_BWV).flatten(1)
            scores_BW, chosen = total.topk(min(beams, total.shape[1]), dim=1)
            beam, word = chosen // len(stays_V), chosen % len(stays_V)
            rows = torch.arange(B, device=device)[:, None]
            h_BWK = h.unflatten(0, ended_BW.shape)[rows, beam]
            said_BWL = torch.cat([said_BWL[rows, beam], word[..., None]], dim=-1)
            ended_BW = word == _END
            if ended_BW.all():
                break
        return [
            [
                # The first word stands for the beginning; the end and what comes after are zeros.
                Ranked(tuple(word for word in words[1:] if word != _END), math.exp(score))
                for words, score in zip(said, scores, strict=True)
                if score > -math.inf
            ]
            for said, scores in zip(said_BWL.tolist(), scores_BW.tolist(), strict=True)
        ]
