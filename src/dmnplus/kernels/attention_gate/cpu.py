"""The attention gate as operators on the compiled CPU kernel, with their gradients, their shapes and their vmap rules.

Shape legend: G groups (runs; each with its own weights), B batch, F facts, H hidden, K first-layer width of the gate.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dmnplus.kernels._call import LIBRARY, define, fold, rows_contiguous, run, unfold

_PACK = struct.Struct("=35q").pack


def attention_gate(
    facts_GBFH: Tensor,
    memory_GBH: Tensor,
    question_half_GBFK: Tensor,
    weight_GK2H: Tensor,
    w2_GK: Tensor,
    mask_GBF: Tensor,
) -> Tensor:
    """Scores [G, B, F]; see `dmnplus.kernels.attention_gate`."""
    keep = torch.is_grad_enabled()
    return _forward_op(facts_GBFH, memory_GBH, question_half_GBFK, weight_GK2H, w2_GK, mask_GBF, keep)[0]


def attention_gate_half(
    facts_GBFH: Tensor, x_GBH: Tensor, weight_GK2H: Tensor, b_GK: Tensor, mask_GBF: Tensor
) -> Tensor:
    """Half [G, B, F, K]; see `dmnplus.kernels.attention_gate_half`."""
    return _half_forward_op(facts_GBFH, x_GBH, weight_GK2H, b_GK, mask_GBF)


def problem(
    facts: Tensor,
    x: Tensor,
    weight: Tensor,
    mask: Tensor,
    *,
    row: Tensor | None = None,
    half: Tensor | None = None,
    kept: Tensor | None = None,
    scores: Tensor | None = None,
    grad_output: Tensor | None = None,
    grad_facts: Tensor | None = None,
    grad_x: Tensor | None = None,
    grad_half: Tensor | None = None,
    grad_weight: Tensor | None = None,
    grad_row: Tensor | None = None,
) -> bytes:
    """One `Gate` of cpu.cpp, whose fields come in this order; the tensors must outlive it."""
    return _PACK(
        *facts.shape,
        weight.shape[1],
        torch.get_num_threads(),
        *_pointer_and_strides(facts),
        *_pointer_and_strides(x[:, :, None]),
        *_pointer_and_strides(mask),
        weight.data_ptr(),
        _pointer(row),
        *_pointer_and_strides(half),
        _pointer(kept),
        _pointer(scores),
        *_pointer_and_strides(grad_output),
        *map(_pointer, (grad_facts, grad_x, grad_half, grad_weight, grad_row)),
    )


def _call(name: str, *arguments: Any, **named: Any) -> None:
    run(name, problem(*arguments, **named))


def _pointer(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _pointer_and_strides(tensor: Tensor | None) -> tuple[int, ...]:
    return (0, 0, 0, 0) if tensor is None else (tensor.data_ptr(), *tensor.stride()[:3])


def _half_like(facts: Tensor, weight: Tensor) -> Tensor:
    return facts.new_empty(*facts.shape[:3], weight.shape[1])


def _outputs(facts: Tensor, weight: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    return facts.new_empty(facts.shape[:3]), _half_like(facts, weight) if keep else facts.new_empty(0)


def _gradients(facts: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the facts, the vector, the weight, and w2 or b."""
    shapes = facts.shape, x.shape, weight.shape, weight.shape[:2]
    grad_facts, grad_x, grad_weight, grad_row = (facts.new_empty(shape) for shape in shapes)
    return grad_facts, grad_x, grad_weight, grad_row


def _forward(
    facts: Tensor, memory: Tensor, half: Tensor, weight: Tensor, w2: Tensor, mask: Tensor, keep: bool
) -> tuple[Tensor, Tensor]:
    scores, kept = _outputs(facts, weight, keep)
    _call(
        "dmnplus_attention_gate_forward",
        rows_contiguous(facts),
        rows_contiguous(memory),
        weight.contiguous(),
        mask,
        row=w2.contiguous(),
        half=rows_contiguous(half),
        kept=kept if keep else None,
        scores=scores,
    )
    return scores, kept


def _backward(
    grad: Tensor, facts: Tensor, memory: Tensor, weight: Tensor, w2: Tensor, mask: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    grad_facts, grad_memory, grad_weight, grad_w2 = _gradients(facts, memory, weight)
    grad_half = _half_like(facts, weight)
    _call(
        "dmnplus_attention_gate_backward",
        rows_contiguous(facts),
        rows_contiguous(memory),
        weight.contiguous(),
        mask,
        row=w2.contiguous(),
        kept=kept.contiguous(),
        grad_output=grad,
        grad_facts=grad_facts,
        grad_x=grad_memory,
        grad_half=grad_half,
        grad_weight=grad_weight,
        grad_row=grad_w2,
    )
    return grad_facts, grad_memory, grad_half, grad_weight, grad_w2


def _fake_backward(
    grad: Tensor, facts: Tensor, memory: Tensor, weight: Tensor, w2: Tensor, mask: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    grad_facts, grad_memory, grad_weight, grad_w2 = _gradients(facts, memory, weight)
    return grad_facts, grad_memory, _half_like(facts, weight), grad_weight, grad_w2


def _half_forward(facts: Tensor, x: Tensor, weight: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    half = _half_like(facts, weight)
    _call(
        "dmnplus_attention_gate_half_forward",
        rows_contiguous(facts),
        rows_contiguous(x),
        weight.contiguous(),
        mask,
        row=b.contiguous(),
        kept=half,
    )
    return half


def _half_backward(
    grad: Tensor, facts: Tensor, x: Tensor, weight: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_facts, grad_x, grad_weight, grad_b = _gradients(facts, x, weight)
    _call(
        "dmnplus_attention_gate_half_backward",
        rows_contiguous(facts),
        rows_contiguous(x),
        weight.contiguous(),
        mask,
        grad_output=rows_contiguous(grad),
        grad_facts=grad_facts,
        grad_x=grad_x,
        grad_weight=grad_weight,
        grad_row=grad_b,
    )
    return grad_facts, grad_x, grad_weight, grad_b


_forward_op = define(
    "attention_gate_forward(Tensor facts, Tensor memory, Tensor question_half, Tensor weight, Tensor w2, Tensor mask,"
    " bool keep) -> (Tensor, Tensor)",
    _forward,
    lambda facts, memory, half, weight, w2, mask, keep: _outputs(facts, weight, keep),
)
_backward_op = define(
    "attention_gate_backward(Tensor grad, Tensor facts, Tensor memory, Tensor weight, Tensor w2, Tensor mask,"
    " Tensor kept) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _backward,
    _fake_backward,
)
_half_forward_op = define(
    "attention_gate_half_forward(Tensor facts, Tensor x, Tensor weight, Tensor b, Tensor mask) -> Tensor",
    _half_forward,
    lambda facts, x, weight, b, mask: _half_like(facts, weight),
)
_half_backward_op = define(
    "attention_gate_half_backward(Tensor grad, Tensor facts, Tensor x, Tensor weight, Tensor mask)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    _half_backward,
    lambda grad, facts, x, weight, mask: _gradients(facts, x, weight),
)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    facts, memory, _, weight, w2, mask, _ = inputs
    _, kept = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(kept)
    ctx.save_for_backward(facts, memory, weight, w2, mask, kept)


def _differentiate(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 7
    return *_backward_op(grad, *ctx.saved_tensors), None, None


def _half_setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    facts, x, weight, _, mask = inputs
    ctx.save_for_backward(facts, x, weight, mask)


def _half_differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_half_backward_op(grad, *ctx.saved_tensors), None


def _vmap_forward(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    n, keep = info.batch_size, arguments[-1]
    scores, kept = _forward_op(*_fold_all(n, dims[:-1], arguments[:-1]), keep)
    return (unfold(scores, n), unfold(kept, n) if keep else kept), (0, 0 if keep else None)


def _vmap_half_forward(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    n = info.batch_size
    return unfold(_half_forward_op(*_fold_all(n, dims, arguments)), n), 0


def _vmap_backward(operator: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Any, Any]]:
    def rule(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        n = info.batch_size
        grads = operator(*_fold_all(n, dims, arguments))
        return tuple(unfold(grad, n) for grad in grads), (0,) * len(grads)

    return rule


def _fold_all(n: int, dims: tuple[Any, ...], tensors: tuple[Any, ...]) -> list[Tensor]:
    return [fold(tensor, dim, n) for tensor, dim in zip(tensors, dims, strict=True)]


torch.library.register_autograd(
    "dmnplus::attention_gate_forward", _differentiate, setup_context=_setup_context, lib=LIBRARY
)
torch.library.register_autograd(
    "dmnplus::attention_gate_half_forward", _half_differentiate, setup_context=_half_setup_context, lib=LIBRARY
)
torch.library.register_vmap("dmnplus::attention_gate_forward", _vmap_forward, lib=LIBRARY)
torch.library.register_vmap("dmnplus::attention_gate_backward", _vmap_backward(_backward_op), lib=LIBRARY)
torch.library.register_vmap("dmnplus::attention_gate_half_forward", _vmap_half_forward, lib=LIBRARY)
torch.library.register_vmap("dmnplus::attention_gate_half_backward", _vmap_backward(_half_backward_op), lib=LIBRARY)
