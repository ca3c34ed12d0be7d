"""Section 3.1, the question module.

Shape legend: B batch, Q question words, V vocabulary, H hidden, K = 3H.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from dmnplus.data.vocabulary import PADDING
from dmnplus.model.gru import GRU
from dmnplus.model.text_input import WordEmbedding


class QuestionModule(nn.Module):
    """The last state of a GRU over the question's words (section 3.1)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.gru = GRU(hidden, hidden)

    def forward(self, embedding: WordEmbedding, questions_BQ: Int[Tensor, "B Q"]) -> Float[Tensor, "B H"]:
        if len(embedding.weight) < questions_BQ.numel():
            # Fewer words than are asked with: each is projected once.
            x_BQK = nn.functional.embedding(questions_BQ, self.gru.project(embedding.weight))
        else:
            x_BQK = self.gru.project(embedding(questions_BQ))
        # Padding carries the state on, so that the last step holds the state after the last word.
        return self.gru.scan(x_BQK, questions_BQ != PADDING)[0, :, -1]
