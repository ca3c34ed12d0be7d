"""The attention gate: see README.md for the derivation of its backward pass."""

from __future__ import annotations

import torch
from torch import Tensor

from dmnplus.kernels._backend import takes_cpu, takes_triton
from dmnplus.kernels.attention_gate import cpu, reference


def attention_gate(
    facts_GBFH: Tensor,
    memory_GBH: Tensor,
    question_half_GBFK: Tensor,
    weight_GK2H: Tensor,
    w2_GK: Tensor,
    mask_GBF: Tensor,
) -> Tensor:
    """Scores [G, B, F] w2 . tanh(question_half + weight [f o m; |f - m|]) (paper section 3.3, equations 8 and 9).

    `question_half_GBFK` is what `attention_gate_half` makes of the question; the bias of the scores is left to the
    caller. `mask_GBF` (bool) is true on real facts: a masked fact has score 0 and passes no gradient. Where f = m the
    derivative of |f - m| is 0. Differentiable once, in all but the mask.

    Raises `ValueError` where the shapes disagree, and as `set_backend` where a backend asked for by name is missing.
    """
    _check_shapes(facts_GBFH, memory_GBH, weight_GK2H, w2_GK, mask_GBF)
    if question_half_GBFK.shape != (*mask_GBF.shape, w2_GK.shape[-1]):
        wanted = [*mask_GBF.shape, w2_GK.shape[-1]]
        raise ValueError(f"question_half must be {wanted}, not {list(question_half_GBFK.shape)}")
    tensors = facts_GBFH, memory_GBH, question_half_GBFK, weight_GK2H, w2_GK
    # The operators that cpu.py defines go to the compiled or the Triton kernels by the tensors' device.
    run = cpu.attention_gate if takes_cpu(*tensors) or takes_triton(*tensors) else reference.attention_gate
    return run(facts_GBFH, memory_GBH, question_half_GBFK, weight_GK2H, w2_GK, mask_GBF)


def attention_gate_half(
    facts_GBFH: Tensor, x_GBH: Tensor, weight_GK2H: Tensor, b_GK: Tensor, mask_GBF: Tensor
) -> Tensor:
    """The half [G, B, F, K] of the gate's first layer that meets one vector: weight [f o x; |f - x|] + b.

    Paper section 3.3, equations 8 and 9. A masked fact gets 0 and passes no gradient. Differentiable once, in all but
    the mask. Raises as `attention_gate`.
    """
    _check_shapes(facts_GBFH, x_GBH, weight_GK2H, b_GK, mask_GBF)
    tensors = facts_GBFH, x_GBH, weight_GK2H, b_GK
    run = cpu.attention_gate_half if takes_cpu(*tensors) or takes_triton(*tensors) else reference.attention_gate_half
    return run(facts_GBFH, x_GBH, weight_GK2H, b_GK, mask_GBF)


def _check_shapes(facts: Tensor, x: Tensor, weight: Tensor, row: Tensor, mask: Tensor) -> None:
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


__all__ = ["attention_gate", "attention_gate_half"]
