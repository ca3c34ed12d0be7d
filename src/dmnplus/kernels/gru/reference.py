"""The gated recurrent unit of the paper over a padded batch: plain PyTorch, one line per equation.

Shape legend: G groups (directions, runs; each with its own weights), B batch, F steps, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gru(x_GBF3H: Tensor, weight_G3HH: Tensor, mask_GBF: Tensor, reverse: Sequence[bool]) -> Tensor:
    """States [G, B, F, H] of `G` independent GRUs (paper section 3.1, equations 1-4), started from zero.

    `x_GBF3H` holds the projected inputs with their biases, in the order update `u`, reset `r`, candidate `h~`;
    `weight_G3HH` the recurrent weights in the same order (`weight @ h`). `mask_GBF` is true on real steps: a masked
    step carries the state on unchanged and passes no gradient to its input. `reverse[g]` runs group `g` from the last
    step to the first; its states stay at the place of their input.
    """
    return torch.stack(
        [_scan(x, w, m, backwards) for x, w, m, backwards in zip(x_GBF3H, weight_G3HH, mask_GBF, reverse, strict=True)]
    )


def _scan(x_BF3H: Tensor, weight_3HH: Tensor, mask_BF: Tensor, backwards: bool) -> Tensor:
    U_u, U_r, U_h = weight_3HH.chunk(3)
    # A masked input may hold anything, NaN included, and NaN would come back through the gradient of where().
    x_BF3H = x_BF3H.masked_fill(~mask_BF[..., None], 0)
    steps = range(x_BF3H.shape[1])
    h = x_BF3H.new_zeros(x_BF3H.shape[0], U_u.shape[1])
    states: list[Tensor] = [h] * len(steps)
    for i in reversed(steps) if backwards else steps:
        x_u, x_r, x_h = x_BF3H[:, i].chunk(3, dim=-1)
        u = torch.sigmoid(x_u + h @ U_u.T)
        r = torch.sigmoid(x_r + h @ U_r.T)
        candidate = torch.tanh(x_h + r * (h @ U_h.T))
        h = torch.where(mask_BF[:, i, None], u * candidate + (1 - u) * h, h)
        states[i] = h
    return torch.stack(states, dim=1)
