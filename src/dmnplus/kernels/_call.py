"""Calls into the compiled library, and what the operators of both recurrences share."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dmnplus.kernels import _build

# All operators of this package; their schemas stand beside their implementations.
LIBRARY = torch.library.Library("dmnplus", "DEF")

# Kept per step for the backward pass (cpu/scan.hpp: SLOTS and PADDING).
SLOTS = 4
_PADDING = 16
_PACK = struct.Struct("=30q").pack


def padded(hidden: int) -> int:
    """The hidden size rounded up as in the tensor kept for the backward pass."""
    return (hidden + _PADDING - 1) // _PADDING * _PADDING


def problem(
    x: Tensor | None,
    weight: Tensor,
    mask: Tensor,
    output: Tensor | None,
    kept: Tensor | None,
    gate: Tensor | None = None,
    grad_output: Tensor | None = None,
    grad_x: Tensor | None = None,
    grad_weight: Tensor | None = None,
    grad_gate: Tensor | None = None,
) -> bytes:
    """One `Problem` of cpu/scan.hpp, whose fields come in this order; the tensors must outlive it.

    Without `x` there is `mask`, which has one number where x has a row.
    """
    groups, batch, steps = mask.shape
    return _PACK(
        groups,
        batch,
        steps,
        weight.shape[-1],
        torch.get_num_threads(),
        *_pointer_and_strides(x),
        weight.data_ptr(),
        mask.data_ptr(),
        *mask.stride(),
        *((0, 0, 0, 0) if gate is None else (gate.data_ptr(), *gate.stride())),
        0 if output is None else output.data_ptr(),
        0 if kept is None else kept.data_ptr(),
        *_pointer_and_strides(grad_output),
        *_pointer_and_strides(grad_x),
        0 if grad_weight is None else grad_weight.data_ptr(),
        0 if grad_gate is None else grad_gate.data_ptr(),
    )


def call(name: str, *arguments: Any, reverse: bytes | None = None, **named: Any) -> None:
    """Run one function of the library on the `problem` of these arguments."""
    run(name, problem(*arguments, **named), reverse)


def run(name: str, fields: bytes, reverse: bytes | None = None) -> None:
    """Run one function of the library on fields that hold a problem of its own kind."""
    if getattr(_build.load(), name)(fields, reverse) != 0:
        raise MemoryError(f"no memory for the scratch buffers of {name}")


def _pointer_and_strides(tensor: Tensor | None) -> tuple[int, ...]:
    if tensor is None:
        return (0, 0, 0, 0)
    # The last state of a scan has no axis of steps.
    strides = tensor.stride()[:-1]
    return (tensor.data_ptr(), *strides, *(0,) * (3 - len(strides)))


def rows_contiguous(tensor: Tensor) -> Tensor:
    """The tensor, or a copy of it, with its last axis contiguous, as the library needs it."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def empty_rows_like(tensor: Tensor) -> Tensor:
    """An empty tensor laid out like the other where its last axis is contiguous, else a contiguous one."""
    empty = torch.empty_like(tensor)
    return empty if empty.stride(-1) == 1 else tensor.new_empty(tensor.shape)


def fold(tensor: Any, dim: int | None, size: int) -> Any:
    """Merge the vmapped axis into the leading axis of groups; None stays."""
    if tensor is None:
        return None
    moved = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
    return moved.flatten(0, 1)


def unfold(tensor: Tensor, size: int) -> Tensor:
    """Undo `fold`."""
    return tensor.unflatten(0, (size, -1))


def define(schema: str, run: Callable[..., object], fake: Callable[..., object]) -> torch._ops.OpOverload:
    """Define one operator with its CPU implementation and its shapes; returns what to call."""
    name = schema.split("(")[0]
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, run, "CPU")
    torch.library.register_fake(f"dmnplus::{name}", fake, lib=LIBRARY)
    return getattr(torch.ops.dmnplus, name).default
