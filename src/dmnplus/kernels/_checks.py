"""Checks of arguments that several operators share."""

from __future__ import annotations

import torch
from torch import Tensor


def check_shapes(gates: int, x: Tensor, weight: Tensor, mask: Tensor, gate: Tensor | None = None) -> None:
    """Raise `ValueError` unless x is [G, B, F, gates * H], weight [G, gates * H, H], mask bool and gate [G, B, F]."""
    G, B, F, width = x.shape if x.dim() == 4 else (-1, -1, -1, -1)
    H = width // gates
    if width != gates * H or H < 1 or weight.shape != (G, gates * H, H):
        found = f"{list(x.shape)} and {list(weight.shape)}"
        raise ValueError(f"x and weight must be [G, B, F, {gates}H] and [G, {gates}H, H], not {found}")
    if mask.shape != (G, B, F) or mask.dtype is not torch.bool:
        raise ValueError(f"mask must be bool {[G, B, F]}, not {mask.dtype} {list(mask.shape)}")
    if gate is not None and gate.shape != (G, B, F):
        raise ValueError(f"gate must be {[G, B, F]}, not {list(gate.shape)}")


def check_gate_shapes(facts: Tensor, x: Tensor, weight: Tensor, row: Tensor, mask: Tensor) -> None:
    """Raise `ValueError` unless facts is [G, B, F, H], x [G, B, H], weight [G, K, 2H], row [G, K] and mask bool."""
    G, B, F, H = facts.shape if facts.dim() == 4 else (-1, -1, -1, -1)
    if H < 1 or x.shape != (G, B, H):
        raise ValueError(f"facts and the vector must be [G, B, F, H] and [G, B, H], not {[*facts.shape]}, {[*x.shape]}")
    K = row.shape[-1] if row.dim() == 2 else -1
    if K < 1 or row.shape != (G, K) or weight.shape != (G, K, 2 * H):
        found = f"{list(weight.shape)} and {list(row.shape)}"
        raise ValueError(f"weight and w2 (or b) must be {[G, 'K', 2 * H]} and {[G, 'K']}, not {found}")
    if mask.shape != (G, B, F) or mask.dtype is not torch.bool:
        raise ValueError(f"mask must be bool {[G, B, F]}, not {mask.dtype} {list(mask.shape)}")


def check_half(half: Tensor, w2: Tensor, mask: Tensor) -> None:
    """Raise `ValueError` unless the question's half of the gate is [G, B, F, K]."""
    wanted = (*mask.shape, w2.shape[-1])
    if half.shape != wanted:
        raise ValueError(f"question_half must be {[*wanted]}, not {[*half.shape]}")
