"""Checks of arguments that both recurrences share."""

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
