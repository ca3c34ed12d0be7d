"""The attention GRU over a padded batch of facts: plain PyTorch, one line per equation.

Shape legend: G groups (runs; each with its own weights), B batch, F facts, H hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor


def attention_gru(x_GBF2H: Tensor, weight_G2HH: Tensor, gate_GBF: Tensor, mask_GBF: Tensor) -> Tensor:
    """Context [G, B, H]: the last state of the attention GRU (paper section 3.3, equation 11), started from zero.

    `x_GBF2H` holds the projected facts with their biases, in the order reset `r`, candidate `h~`; `weight_G2HH` the
    recurrent weights in the same order (`weight @ h`); `gate_GBF` the attention, which takes the place of the update
    gate. `mask_GBF` is true on real facts: a masked fact carries the state on unchanged and passes no gradient to its
    projection or its gate.
    """
    return torch.stack([_scan(*group) for group in zip(x_GBF2H, weight_G2HH, gate_GBF, mask_GBF, strict=True)])


def _scan(x_BF2H: Tensor, weight_2HH: Tensor, gate_BF: Tensor, mask_BF: Tensor) -> Tensor:
    U_r, U_h = weight_2HH.chunk(2)
    # A masked fact may hold anything, NaN included, and NaN would come back through the gradient of where().
    x_BF2H, gate_BF = x_BF2H.masked_fill(~mask_BF[..., None], 0), gate_BF.masked_fill(~mask_BF, 0)
    h = x_BF2H.new_zeros(x_BF2H.shape[0], U_r.shape[1])
    for i in range(x_BF2H.shape[1]):
        x_r, x_h = x_BF2H[:, i].chunk(2, dim=-1)
        g = gate_BF[:, i, None]
        r = torch.sigmoid(x_r + h @ U_r.T)
        candidate = torch.tanh(x_h + r * (h @ U_h.T))
        h = torch.where(mask_BF[:, i, None], g * candidate + (1 - g) * h, h)
    return h
