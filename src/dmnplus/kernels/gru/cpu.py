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


def _gradients(
    grad: Tensor,
    x: Tensor | None,
    weight: Tensor,
    mask: Tensor,
    reverse: Sequence[bool],
    states: Tensor,
    kept: Tensor,
    side_by_side: bool = False,
) -> tuple[Tensor, Tensor]:
    (G, B, F), K = mask.shape, weight.shape[1]
    if x is not None:
        grad_x = empty_rows_like(x)
    elif side_by_side:
        grad_x = weight.new_empty(B, F, G, K).permute(2, 0, 1, 3)
    else:
        grad_x = weight.new_empty(G, B, F, K)
    return grad_x, weight.new_empty(weight.shape)


def _backward(
    grad: Tensor,
    x: Tensor | None,
    weight: Tensor,
    mask: Tensor,
    reverse: Sequence[bool],
    states: Tensor,
    kept: Tensor,
    side_by_side: bool = False,
) -> tuple[Tensor, Tensor]:
    grad_x, grad_weight = _gradients(grad, x, weight, mask, reverse, states, kept, side_by_side)
    call(
        "dmnplus_gru_backward",
        None,
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
    "gru_backward(Tensor grad, Tensor? x, Tensor weight, Tensor mask, bool[] reverse, Tensor states, Tensor kept,"
    " bool side_by_side=False) -> (Tensor, Tensor)",
    _backward,
    _gradients,
)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, mask, reverse, _ = inputs
    states, kept = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(kept)
    # On the CPU what is kept suffices; of x only the layout is taken: whether the groups of a step are neighbours.
    ctx.save_for_backward(x if x.is_cuda else None, weight, mask, states, kept)
    ctx.reverse, ctx.side_by_side = reverse, x.stride(0) < x.stride(2)


def _differentiate(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 5
    x, weight, mask, states, kept = ctx.saved_tensors
    grads = _backward_op(grad, x, weight, mask, ctx.reverse, states, kept, ctx.side_by_side)
    return *grads, None, None, None


def _vmap_forward(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    n, (x, weight, mask, reverse, keep) = info.batch_size, arguments
    folded = [fold(tensor, dim, n) for tensor, dim in zip((x, weight, mask), dims[:3], strict=True)]
    states, kept = _forward_op(*folded, list(reverse) * n, keep)
    return (unfold(states, n), unfold(kept, n) if keep else kept), (0, 0 if keep else None)


def _vmap_backward(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    # Folded groups of runs are copies, one after the other.
    n, (grad, x, weight, mask, reverse, states, kept, *_) = info.batch_size, arguments
    tensors, places = (grad, x, weight, mask, states, kept), dims[:4] + dims[5:7]
    grad, x, weight, mask, states, kept = (fold(t, dim, n) for t, dim in zip(tensors, places, strict=True))
    grads = _backward_op(grad, x, weight, mask, list(reverse) * n, states, kept)
    return tuple(unfold(g, n) for g in grads), (0, 0)


torch.library.register_autograd("dmnplus::gru_forward", _differentiate, setup_context=_setup_context, lib=LIBRARY)
torch.library.register_vmap("dmnplus::gru_forward", _vmap_forward, lib=LIBRARY)
torch.library.register_vmap("dmnplus::gru_backward", _vmap_backward, lib=LIBRARY)
