"""Section 3.1, the question module.

Shape legend: B batch, Q question words, H hidden.
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from dmnplus.model.gru import GRU


class QuestionModule(nn.Module):
    """The last state of a GRU over the question's words (section 3.1)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.gru = GRU(hidden, hidden)

    def forward(self, words_BQH: Float[Tensor, "B Q H"], mask_BQ: Bool[Tensor, "B Q"]) -> Float[Tensor, "B H"]:
        # Padding carries the state on, so that the last step holds the state after the last word.
        return self.gru(words_BQH, mask_BQ)[0, :, -1]
