"""The linear layer as operators on the compiled CPU kernel, with its gradient, its shapes and its vmap rule.

Shape legend: G groups (runs; each with its own weights), R rows, K depth, N columns.
"""

from __future__ import annotations

import struct
from typing import Any

import torch
from torch import Tensor

from dmnplus.kernels._call import LIBRARY, define, fold, rows_contiguous, run, unfold

_PACK = struct.Struct("=17q").pack


def linear(x_GRK: Tensor, weight_GNK: Tensor, bias_GN: Tensor) -> Tensor:
    """Rows [G, R, N]; see `dmnplus.kernels.linear`."""
    return _forward_op(x_GRK, weight_GNK, bias_GN)


def _problem(x: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor | None, *grads: Tensor) -> bytes:
    """One `Linear` of cpu.cpp; `grads` are those of y, x, weight and bias."""
    (G, R, K), N = x.shape, weight.shape[1]
    grad_y, *others = grads or (None,) * 4
    return _PACK(
        G,
        R,
        K,
        N,
        torch.get_num_threads(),
        x.data_ptr(),
        *x.stride()[:2],
        weight.data_ptr(),
        _pointer(bias),
        _pointer(y),
        *((0, 0, 0) if grad_y is None else (grad_y.data_ptr(), *grad_y.stride()[:2])),
        *map(_pointer, others),
    )


def _pointer(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _output(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:2], weight.shape[1])


def _forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x, weight, bias = rows_contiguous(x), weight.contiguous(), bias.contiguous()
    y = _output(x, weight)
    run("dmnplus_linear_forward", _problem(x, weight, bias, y))
    return y


def _gradients(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape[:2])


def _backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    grad, x, weight = rows_contiguous(grad), rows_contiguous(x), weight.contiguous()
    found = _gradients(grad, x, weight)
    run("dmnplus_linear_backward", _problem(x, weight, None, None, grad, *found))
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
