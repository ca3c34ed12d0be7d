"""The attention GRU: see README.md for the derivation of its backward pass."""

from __future__ import annotations

from torch import Tensor

from dmnplus.kernels._backend import takes_cpu, takes_triton
from dmnplus.kernels._checks import check_shapes
from dmnplus.kernels.attention_gru import cpu, reference


def attention_gru(x_GBF2H: Tensor, weight_G2HH: Tensor, gate_GBF: Tensor, mask_GBF: Tensor) -> Tensor:
    """Context [G, B, H]: the last state of the attention GRU (paper section 3.3, equation 11), started from zero.

    `x_GBF2H` holds the projected facts with their biases, in the order reset `r`, candidate `h~`; `weight_G2HH` the
    recurrent weights in the same order (`weight @ h`); `gate_GBF` the attention, which takes the place of the update
    gate. `mask_GBF` (bool) is true on real facts: a masked fact carries the state on unchanged and passes no gradient
    to its projection or its gate. Differentiable once, in x, weight and gate.

    Raises `ValueError` where the shapes disagree, and as `set_backend` where a backend asked for by name is missing.
    """
    check_shapes(2, x_GBF2H, weight_G2HH, mask_GBF, gate_GBF)
    tensors = x_GBF2H, weight_G2HH, gate_GBF
    # The operator that cpu.py defines goes to the compiled or the Triton kernels by the tensors' device.
    run = cpu.attention_gru if takes_cpu(*tensors) or takes_triton(*tensors) else reference.attention_gru
    return run(x_GBF2H, weight_G2HH, gate_GBF, mask_GBF)


__all__ = ["attention_gru"]
