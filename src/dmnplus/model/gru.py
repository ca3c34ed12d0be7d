"""Gated recurrent units over padded batches, as the input and the question module use them.

Shape legend: B batch, F steps, I input size, H hidden, G directions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dmnplus.kernels import gru
from dmnplus.model.initialisation import xavier, zeros


class GRU(nn.Module):
    """Gated recurrent units over a padded batch (equations 1-4), one per entry of `reverse`, each with own weights."""

    def __init__(self, size: int, hidden: int, reverse: Sequence[bool] = (False,)) -> None:
        super().__init__()
        self.reverse = tuple(reverse)
        directions = len(self.reverse)
        self.input_weight = nn.Parameter(xavier(directions, 3, hidden, size).flatten(1, 2).detach())
        self.input_bias = zeros(directions, 3 * hidden)
        self.recurrent_weight = nn.Parameter(xavier(directions, 3, hidden, hidden).flatten(1, 2).detach())

    def forward(self, x_BFI: Float[Tensor, "B F I"], mask_BF: Bool[Tensor, "B F"]) -> Float[Tensor, "G B F H"]:
        """States of every direction at every step; a masked step carries the state on."""
        x_GBF3H = torch.einsum("bfi,gki->gbfk", x_BFI, self.input_weight) + rearrange(self.input_bias, "g k -> g 1 1 k")
        mask_GBF = mask_BF.expand(len(self.reverse), *mask_BF.shape)
        return gru(x_GBF3H, self.recurrent_weight, mask_GBF, self.reverse)
