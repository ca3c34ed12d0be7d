"""The attention gate: see README.md for the derivation of its backward pass."""

from __future__ import annotations

from torch import Tensor

from dmnplus.kernels._backend import takes_cpu, takes_triton
from dmnplus.kernels._checks import check_gate_shapes, check_half
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
    check_gate_shapes(facts_GBFH, memory_GBH, weight_GK2H, w2_GK, mask_GBF)
    check_half(question_half_GBFK, w2_GK, mask_GBF)
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
    check_gate_shapes(facts_GBFH, x_GBH, weight_GK2H, b_GK, mask_GBF)
    tensors = facts_GBFH, x_GBH, weight_GK2H, b_GK
    run = cpu.attention_gate_half if takes_cpu(*tensors) or takes_triton(*tensors) else reference.attention_gate_half
    return run(facts_GBFH, x_GBH, weight_GK2H, b_GK, mask_GBF)


__all__ = ["attention_gate", "attention_gate_half"]
