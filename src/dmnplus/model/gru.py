"""Gated recurrent units over padded batches, as the input and the question module use them.

Shape legend: B batch, F steps, I input size, H hidden, G directions, K = 3 G H.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor, nn

from dmnplus.kernels import gru, linear
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
        return self.scan(self.project(x_BFI), mask_BF)

    def project(self, x_XI: Float[Tensor, "*X I"]) -> Float[Tensor, "*X K"]:
        """What the recurrences need of the inputs, all directions side by side: one product, its bias within."""
        return linear(x_XI, self.input_weight.flatten(0, 1), self.input_bias.flatten())

    def scan(self, x_BFK: Float[Tensor, "B F K"], mask_BF: Bool[Tensor, "B F"]) -> Float[Tensor, "G B F H"]:
        """States from projected inputs."""
        (B, F), G = mask_BF.shape, len(self.reverse)
        # Not rearrange, whose own time counts where one question is answered.
        x_GBF3H = x_BFK.view(B, F, G, -1).permute(2, 0, 1, 3)
        return gru(x_GBF3H, self.recurrent_weight, mask_BF.expand(G, B, F), self.reverse)
