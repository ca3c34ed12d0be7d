"""The linear layer as operators on the compiled CPU kernel, with its gradient, its shapes and its vmap rule.

Shape legend: G groups (runs; each with its own weights), R rows, K depth, N columns.
"""

from __future__ import annotations

import struct
from typing import Any

import torch
from torch import Tensor

from dmnplus.kernels._backend import uses_matrix_unit
from dmnplus.kernels._call import LIBRARY, define, fold, rows_contiguous, run, unfold

_PACK = struct.Struct("=17q").pack
_NO_GRADIENT = (0,) * 6


def linear(x_GRK: Tensor, weight_GNK: Tensor, bias_GN: Tensor) -> Tensor:
    """Rows [G, R, N]; see `dmnplus.kernels.linear`."""
    return _forward_op(x_GRK, weight_GNK, bias_GN)


def _output(x: Tensor, weight: Tensor) -> Tensor:
    (G, R, _), N = x.shape, weight.shape[1]
    return x.new_empty(G, R, N)


def _forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x, weight, bias = rows_contiguous(x), weight.contiguous(), bias.contiguous()
    (G, R, K), N, y = x.shape, weight.shape[1], _output(x, weight)
    # In one piece, as this is called where one question is answered: `Linear` of cpu.cpp.
    group, row, _ = x.stride()
    pointers = x.data_ptr(), group, row, weight.data_ptr(), bias.data_ptr(), y.data_ptr()
    run("dmnplus_linear_forward", _PACK(G, R, K, N, torch.get_num_threads(), *pointers, *_NO_GRADIENT))
    return y


def _gradients(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape[:2])


def _backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if not uses_matrix_unit():
        # The kernel has no other backward pass, and an operator of a traced graph may be without it.
        return grad @ weight, grad.mT @ x, grad.sum(dim=1)
    grad, x, weight = rows_contiguous(grad), rows_contiguous(x), weight.contiguous()
    (G, R, K), N = x.shape, weight.shape[1]
    found = _gradients(grad, x, weight)
    pointers = x.data_ptr(), *x.stride()[:2], weight.data_ptr(), 0, 0, grad.data_ptr(), *grad.stride()[:2]
    gradients = (tensor.data_ptr() for tensor in found)
    run("dmnplus_linear_backward", _PACK(G, R, K, N, torch.get_num_threads(), *pointers, *gradients))
    return found


_forward_op = define(
    "linear_forward(Tensor x, Tensor weight, Tensor bias) -> Tensor",
    _forward,
    lambda x, weight, bias: _output(x, weight),
)
_backward_op = define(
    "linear_backward(Tensor grad, Tensor x, Tensor weight) -> (Tensor, Tensor, Tensor)", _backward, _gradients
)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
    return _backward_op(grad, *ctx.saved_tensors)


def _vmap_forward(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    n = info.batch_size
    return unfold(_forward_op(*(fold(t, dim, n) for t, dim in zip(arguments, dims, strict=True))), n), 0


def _vmap_backward(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    n = info.batch_size
    grads = _backward_op(*(fold(tensor, dim, n) for tensor, dim in zip(arguments, dims, strict=True)))
    return tuple(unfold(grad, n) for grad in grads), (0, 0, 0)


torch.library.register_autograd("dmnplus::linear_forward", _differentiate, setup_context=_setup_context, lib=LIBRARY)
torch.library.register_vmap("dmnplus::linear_forward", _vmap_forward, lib=LIBRARY)
torch.library.register_vmap("dmnplus::linear_backward", _vmap_backward, lib=LIBRARY)
