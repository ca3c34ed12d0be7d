"""A linear layer over many rows, as the projections of facts and words need it: see README.md for when it is used."""

from __future__ import annotations

import torch
from torch import Tensor

from dmnplus.kernels._backend import takes_cpu, uses_matrix_unit
from dmnplus.kernels.linear import cpu


def linear(x_XK: Tensor, weight_NK: Tensor, bias_N: Tensor) -> Tensor:
    """Rows [*X, N] x W' + b.

    With the compiled kernels and no gradient wanted, a row gives the same to the last bit whatever rows are beside it.
    """
    if takes_cpu(x_XK, weight_NK, bias_N) and (not torch.is_grad_enabled() or uses_matrix_unit()):
        N, K = weight_NK.shape
        y_1RN = cpu.linear(x_XK.reshape(1, -1, K), weight_NK[None], bias_N[None])
        return y_1RN.view(*x_XK.shape[:-1], N)
    return torch.nn.functional.linear(x_XK, weight_NK, bias_N)


__all__ = ["linear"]
