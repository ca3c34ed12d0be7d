"""The attention gate over padded facts: plain PyTorch, one line per equation.

Shape legend: G groups (runs; each with its own weights), B batch, F facts, H hidden, K first-layer width of the gate.
"""

from __future__ import annotations

import torch
from torch import Tensor


def attention_gate_half(
    facts_GBFH: Tensor, x_GBH: Tensor, weight_GK2H: Tensor, b_GK: Tensor, mask_GBF: Tensor
) -> Tensor:
    """See `dmnplus.kernels.attention_gate_half`."""
    return _half(facts_GBFH, x_GBH, weight_GK2H, b_GK[:, None, None], mask_GBF)


def attention_gate(
    facts_GBFH: Tensor,
    memory_GBH: Tensor,
    question_half_GBFK: Tensor,
    weight_GK2H: Tensor,
    w2_GK: Tensor,
    mask_GBF: Tensor,
) -> Tensor:
    """See `dmnplus.kernels.attention_gate`."""
    # A masked fact's half is 0, and so is its score.
    hidden_GBFK = torch.tanh(_half(facts_GBFH, memory_GBH, weight_GK2H, question_half_GBFK, mask_GBF))
    return torch.einsum("gbfk,gk->gbf", hidden_GBFK, w2_GK)


def _half(facts_GBFH: Tensor, x_GBH: Tensor, weight_GK2H: Tensor, other_GBFK: Tensor, mask_GBF: Tensor) -> Tensor:
    # A masked fact may hold anything, NaN included, and NaN would come back through the weight's gradient.
    f, x = facts_GBFH.masked_fill(~mask_GBF[..., None], 0), x_GBH[:, :, None]
    z_GBF2H = torch.cat([f * x, (f - x).abs()], dim=-1)
    half_GBFK = torch.einsum("gbfz,gkz->gbfk", z_GBF2H, weight_GK2H) + other_GBFK
    return half_GBFK.masked_fill(~mask_GBF[..., None], 0)
