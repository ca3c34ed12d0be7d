"""Section 3.3, the answer module: one of the answers seen in training, or word by word.

Shape legend: B batch, H hidden, A answers, L answer words, V answer vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dmnplus.model.initialisation import xavier, zeros

# Answers are scored against classes or words; this one has neither, and carries no loss.
_IGNORED = -1
_END = 0


class Ranked(NamedTuple):
    """An answer of one question: its class, or its words without the end, and its probability."""

    answer: tuple[int, ...]
    probability: float


class ClassAnswer(nn.Module):
    """Softmax of a linear layer on [q; m_T]: one class an answer."""

    def __init__(self, hidden: int, answers: int) -> None:
        super().__init__()
        self.weight = xavier(answers, 2 * hidden)
        self.bias = zeros(answers)

    def forward(self, qm_BK: Float[Tensor, "B K"], answer_words_BL: Int[Tensor, "B L"]) -> Float[Tensor, "B A"]:
        return nn.functional.linear(qm_BK, self.weight, self.bias)

    @staticmethod
    def losses(
        logits_BA: Float[Tensor, "B A"], answers_B: Int[Tensor, " B"], answer_words_BL: Int[Tensor, "B L"]
    ) -> Float[Tensor, " B"]:
        """Cross-entropy of each question, zero where training never saw the answer."""
        return nn.functional.cross_entropy(logits_BA, answers_B, ignore_index=_IGNORED, reduction="none")

    @torch.no_grad()
    def ranked(self, qm_BK: Float[Tensor, "B K"], top: int) -> list[list[Ranked]]:
        """The `top` most probable answers of each question, best first."""
        probabilities_BA = torch.softmax(nn.functional.linear(qm_BK, self.weight, self.bias), dim=-1)
        best = probabilities_BA.topk(min(top, probabilities_BA.shape[-1]), dim=-1)
        return [
            [Ranked((i,), p) for i, p in zip(ids, ps, strict=True)]
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
        h_BK = self.cell(nn.functional.embedding(words_B, self.embedding), h_BK)
        return nn.functional.linear(h_BK, self.weight, self.bias), h_BK

    def forward(self, qm_BK: Float[Tensor, "B K"], answer_words_BL: Int[Tensor, "B L"]) -> Float[Tensor, "B L V"]:
        """Logits of each word, given the true ones before it."""
        h = qm_BK
        logits, words = [], torch.zeros_like(answer_words_BL[:, 0])
        for position in range(answer_words_BL.shape[1]):
            step, h = self._step(words, h)
            logits.append(step)
            words = answer_words_BL[:, position].clamp(min=0)
        return torch.stack(logits, dim=1)

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
    def ranked(self, qm_BK: Float[Tensor, "B K"], top: int) -> list[list[Ranked]]:
        """The best `top` answers of each question by beam search of that width, best first."""
        return [self._beam(qm_BK[i : i + 1], top) for i in range(len(qm_BK))]

    def _beam(self, h_1K: Tensor, width: int) -> list[Ranked]:
        words, scores = torch.zeros(1, dtype=torch.long, device=h_1K.device), h_1K.new_zeros(1)
        states, beams = h_1K, [()]
        finished: list[Ranked] = []
        for _ in range(self.LONGEST):
            logits, states = self._step(words, states)
            total = scores[:, None] + torch.log_softmax(logits, dim=-1)
            best = total.flatten().topk(min(width, total.numel()))
            rows, chosen = best.indices // total.shape[1], best.indices % total.shape[1]
            going = []
            extended: list[tuple[int, ...]] = []
            for place, (row, word) in enumerate(zip(rows.tolist(), chosen.tolist(), strict=True)):
                if word == _END:
                    finished.append(Ranked(beams[row], float(best.values[place].exp())))
                else:
                    going.append(place)
                    extended.append((*beams[row], word))
            if not going or len(finished) >= width:
                break
            keep = torch.tensor(going, device=h_1K.device)
            words, scores, states, beams = chosen[keep], best.values[keep], states[rows[keep]], extended
        # A decoder that never ends still answers: with what it had said by then.
        finished += [] if finished else [Ranked(b, float(s.exp())) for b, s in zip(beams, scores, strict=True)]
        return sorted(finished, key=lambda ranked: -ranked.probability)[:width]
