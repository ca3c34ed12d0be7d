"""The GRU: see README.md for the derivation of its backward pass."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dmnplus.kernels._backend import takes_cpu, takes_triton
from dmnplus.kernels._checks import check_shapes
from dmnplus.kernels.gru import cpu, reference


def gru(x_GBF3H: Tensor, weight_G3HH: Tensor, mask_GBF: Tensor, reverse: Sequence[bool]) -> Tensor:
    """States [G, B, F, H] of `G` independent GRUs (paper section 3.1, equations 1-4), started from zero.

    `x_GBF3H` holds the projected inputs with their biases, in the order update `u`, reset `r`, candidate `h~`;
    `weight_G3HH` the recurrent weights in the same order (`weight @ h`). `mask_GBF` (bool) is true on real steps: a
    masked step carries the state on unchanged and passes no gradient to its input. `reverse[g]` runs group `g` from the
    last step to the first; its states stay at the place of their input. Differentiable once, in x and weight.

    Raises `ValueError` where the shapes disagree, and as `set_backend` where a backend asked for by name is missing.
    """
    check_shapes(3, x_GBF3H, weight_G3HH, mask_GBF)
    if len(reverse) != x_GBF3H.shape[0]:
        raise ValueError(f"reverse has {len(reverse)} entries for {x_GBF3H.shape[0]} groups")
    tensors = x_GBF3H, weight_G3HH
    # The operator that cpu.py defines goes to the compiled or the Triton kernels by the tensors' device.
    run = cpu.gru if takes_cpu(*tensors) or takes_triton(*tensors) else reference.gru
    return run(x_GBF3H, weight_G3HH, mask_GBF, reverse)


__all__ = ["gru"]
