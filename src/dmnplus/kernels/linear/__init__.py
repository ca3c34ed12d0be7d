"""A linear layer over many rows, for projections of facts and words; `kernels/README.md` says when it is used."""

from __future__ import annotations

import torch
from torch import Tensor

from dmnplus.kernels._backend import takes_cpu, uses_matrix_unit
from dmnplus.kernels.linear import cpu


def linear(x_XK: Tensor, weight_NK: Tensor, bias_N: Tensor) -> Tensor:
    """Rows [*X, N] x W' + b.

    With the compiled kernels and no gradient wanted, a row gives the same to the last bit whatever rows are beside it.

    Raises `ValueError` where the widths disagree, and as `set_backend` where a backend asked for by name is missing.
    """
    if x_XK.shape[-1:] != weight_NK.shape[1:] or weight_NK.shape[:1] != bias_N.shape:
        x, weight, bias = list(x_XK.shape), list(weight_NK.shape), list(bias_N.shape)
        raise ValueError(f"x {x}, weight {weight} and bias {bias} must be [*X, K], [N, K] and [N]")
    if takes_cpu(x_XK, weight_NK, bias_N) and (not torch.is_grad_enabled() or uses_matrix_unit()):
        N, K = weight_NK.shape
        y_1RN = cpu.linear(x_XK.reshape(1, -1, K), weight_NK[None], bias_N[None])
        return y_1RN.view(*x_XK.shape[:-1], N)
    return torch.nn.functional.linear(x_XK, weight_NK, bias_N)


__all__ = ["linear"]
