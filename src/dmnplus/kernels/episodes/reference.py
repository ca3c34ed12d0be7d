"""The passes of the paper's episodic memory, one operator a step.

Shape legend: G groups (runs; each with its own weights), B batch, F facts, H hidden, K first-layer width of the gate,
P passes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dmnplus.kernels.attention_gate import attention_gate
from dmnplus.kernels.attention_gru import attention_gru


def episodes(
    facts_GBFH: Tensor,
    question_GBH: Tensor,
    asked_GBH: Tensor,
    question_half_GBFK: Tensor,
    projected_GBF2H: Tensor,
    mask_GBF: Tensor,
    gate_weight_GK2H: Tensor,
    w2_GK: Tensor,
    recurrent_G2HH: Tensor,
    updates: Sequence[Tensor],
    biases: Sequence[Tensor],
) -> tuple[Tensor, Tensor]:
    """See `dmnplus.kernels.episodes`."""
    m, attention, (G, _, H) = question_GBH, [], question_GBH.shape
    for W, b in zip(updates, biases, strict=True):
        Z = attention_gate(facts_GBFH, m, question_half_GBFK, gate_weight_GK2H, w2_GK, mask_GBF)
        g = torch.softmax(Z.masked_fill(~mask_GBF, -torch.inf), dim=-1).masked_fill(~mask_GBF, 0)
        c = attention_gru(projected_GBF2H, recurrent_G2HH, g, mask_GBF)
        x_GBK = torch.cat([m, c, asked_GBH], dim=-1)
        m = torch.relu(torch.einsum("gbk,ghk->gbh", x_GBK, W.view(G, H, 3 * H)) + b.view(G, 1, H))
        attention.append(g)
    return m, torch.stack(attention)
