"""The GRU as operators on the compiled CPU kernel, with their gradient, their shapes and their vmap rule.

Shape legend: G groups (directions, runs; each with its own weights), B batch, F steps, H hidden, P hidden padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dmnplus.kernels._call import LIBRARY, SLOTS, call, define, empty_rows_like, fold, padded, rows_contiguous, unfold


def gru(x_GBF3H: Tensor, weight_G3HH: Tensor, mask_GBF: Tensor, reverse: Sequence[bool]) -> Tensor:
    """States [G, B, F, H]; see `dmnplus.kernels.gru`."""
    return _forward_op(x_GBF3H, weight_G3HH, mask_GBF, reverse, torch.is_grad_enabled())[0]


def _outputs(x: Tensor, weight: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    (G, B, F, _), H = x.shape, weight.shape[-1]
    return x.new_empty(G, B, F, H), x.new_empty((G, B, F, SLOTS, padded(H)) if keep else (0,))


def _forward(x: Tensor, weight: Tensor, mask: Tensor, reverse: Sequence[bool], keep: bool) -> tuple[Tensor, Tensor]:
    states, kept = _outputs(x, weight, keep)
    call(
        "dmnplus_gru_forward",
        rows_contiguous(x),
        weight.contiguous(),
        mask,
        states,
        kept if keep else None,
        reverse=bytes(reverse),
    )
    return states, kept


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, mask: Tensor, reverse: Sequence[bool], states: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor]:
    grad_x, grad_weight = empty_rows_like(x), weight.new_empty(weight.shape)
    call(
        "dmnplus_gru_backward",
        x,
        weight.contiguous(),
        mask,
        states.contiguous(),
        kept.contiguous(),
        reverse=bytes(reverse),
        grad_output=rows_contiguous(grad),
        grad_x=grad_x,
        grad_weight=grad_weight,
    )
    return grad_x, grad_weight


_forward_op = define(
    "gru_forward(Tensor x, Tensor weight, Tensor mask, bool[] reverse, bool keep) -> (Tensor, Tensor)",
    _forward,
    lambda x, weight, mask, reverse, keep: _outputs(x, weight, keep),
)
_backward_op = define(
    "gru_backward(Tensor grad, Tensor x, Tensor weight, Tensor mask, bool[] reverse, Tensor states, Tensor kept)"
    " -> (Tensor, Tensor)",
    _backward,
    lambda grad, x, weight, *_: (empty_rows_like(x), weight.new_empty(weight.shape)),
)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, mask, reverse, _ = inputs
    states, kept = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(kept)
    ctx.save_for_backward(x, weight, mask, states, kept)
    ctx.reverse = reverse


def _differentiate(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 5
    x, weight, mask, states, kept = ctx.saved_tensors
    return *_backward_op(grad, x, weight, mask, ctx.reverse, states, kept), None, None, None


def _vmap_forward(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    n, (x, weight, mask, reverse, keep) = info.batch_size, arguments
    folded = [fold(tensor, dim, n) for tensor, dim in zip((x, weight, mask), dims[:3], strict=True)]
    states, kept = _forward_op(*folded, list(reverse) * n, keep)
    return (unfold(states, n), unfold(kept, n) if keep else kept), (0, 0 if keep else None)


def _vmap_backward(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    n, (grad, x, weight, mask, reverse, states, kept) = info.batch_size, arguments
    tensors, places = (grad, x, weight, mask, states, kept), dims[:4] + dims[5:]
    grad, x, weight, mask, states, kept = (fold(t, dim, n) for t, dim in zip(tensors, places, strict=True))
    grads = _backward_op(grad, x, weight, mask, list(reverse) * n, states, kept)
    return tuple(unfold(g, n) for g in grads), (0, 0)


torch.library.register_autograd("dmnplus::gru_forward", _differentiate, setup_context=_setup_context, lib=LIBRARY)
torch.library.register_vmap("dmnplus::gru_forward", _vmap_forward, lib=LIBRARY)
torch.library.register_vmap("dmnplus::gru_backward", _vmap_backward, lib=LIBRARY)
