"""The attention GRU as operators on the compiled CPU kernel, with their gradient, their shapes and their vmap rule.

Shape legend: G groups (runs; each with its own weights), B batch, F facts, H hidden, P hidden padded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dmnplus.kernels._call import LIBRARY, SLOTS, call, define, empty_rows_like, fold, padded, rows_contiguous, unfold


def attention_gru(x_GBF2H: Tensor, weight_G2HH: Tensor, gate_GBF: Tensor, mask_GBF: Tensor) -> Tensor:
    """Context [G, B, H]; see `dmnplus.kernels.attention_gru`."""
    return _forward_op(x_GBF2H, weight_G2HH, gate_GBF, mask_GBF, torch.is_grad_enabled())[0]


def _outputs(x: Tensor, weight: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    (G, B, F, _), H = x.shape, weight.shape[-1]
    return x.new_empty(G, B, H), x.new_empty((G, B, F, SLOTS, padded(H)) if keep else (0,))


def _gradients(
    grad: Tensor, x: Tensor | None, weight: Tensor, gate: Tensor, mask: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    grad_x = weight.new_empty(*mask.shape, weight.shape[1]) if x is None else empty_rows_like(x)
    return grad_x, weight.new_empty(weight.shape), gate.new_empty(gate.shape)


def _forward(x: Tensor, weight: Tensor, gate: Tensor, mask: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    context, kept = _outputs(x, weight, keep)
    call(
        "dmnplus_attention_gru_forward",
        rows_contiguous(x),
        weight.contiguous(),
        mask,
        context,
        kept if keep else None,
        gate=gate,
    )
    return context, kept


def _backward(
    grad: Tensor, x: Tensor | None, weight: Tensor, gate: Tensor, mask: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    grad_x, grad_weight, grad_gate = _gradients(grad, x, weight, gate, mask, kept)
    call(
        "dmnplus_attention_gru_backward",
        None,
        weight.contiguous(),
        mask,
        None,
        kept.contiguous(),
        gate=gate,
        grad_output=rows_contiguous(grad),
        grad_x=grad_x,
        grad_weight=grad_weight,
        grad_gate=grad_gate,
    )
    return grad_x, grad_weight, grad_gate


_forward_op = define(
    "attention_gru_forward(Tensor x, Tensor weight, Tensor gate, Tensor mask, bool keep) -> (Tensor, Tensor)",
    _forward,
    lambda x, weight, gate, mask, keep: _outputs(x, weight, keep),
)
_backward_op = define(
    "attention_gru_backward(Tensor grad, Tensor? x, Tensor weight, Tensor gate, Tensor mask, Tensor kept)"
    " -> (Tensor, Tensor, Tensor)",
    _backward,
    _gradients,
)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, gate, mask, _ = inputs
    _, kept = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(kept)
    # On the CPU what is kept suffices.
    ctx.save_for_backward(x if x.is_cuda else None, weight, gate, mask, kept)


def _differentiate(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 5
    x, weight, gate, mask, kept = ctx.saved_tensors
    return *_backward_op(grad, x, weight, gate, mask, kept), None, None


def _vmap_forward(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    n, keep = info.batch_size, arguments[4]
    folded = [fold(tensor, dim, n) for tensor, dim in zip(arguments[:4], dims[:4], strict=True)]
    context, kept = _forward_op(*folded, keep)
    return (unfold(context, n), unfold(kept, n) if keep else kept), (0, 0 if keep else None)


def _vmap_backward(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    n = info.batch_size
    grads = _backward_op(*(fold(tensor, dim, n) for tensor, dim in zip(arguments, dims, strict=True)))
    return tuple(unfold(grad, n) for grad in grads), (0, 0, 0)


torch.library.register_autograd(
    "dmnplus::attention_gru_forward", _differentiate, setup_context=_setup_context, lib=LIBRARY
)
torch.library.register_vmap("dmnplus::attention_gru_forward", _vmap_forward, lib=LIBRARY)
torch.library.register_vmap("dmnplus::attention_gru_backward", _vmap_backward, lib=LIBRARY)
