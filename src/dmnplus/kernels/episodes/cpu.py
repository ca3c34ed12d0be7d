"""The passes of the episodic memory as one operator without a gradient, with its shapes and its vmap rule.

Shape legend: G groups (runs; each with its own weights), B batch, F facts, H hidden, K first-layer width of the gate,
P passes.
"""

from __future__ import annotations

import struct
from typing import Any

import torch
from torch import Tensor

from dmnplus.kernels import _call
from dmnplus.kernels._call import LIBRARY, define, fold, rows_contiguous, run, unfold
from dmnplus.kernels.attention_gate import cpu as attention_gate

# `Episodes` of cpu.cpp.
_FIELDS = struct.Struct("=18q")


def _outputs(facts: Tensor, question: Tensor, passes: int) -> tuple[Tensor, Tensor]:
    return question.new_empty(question.shape), facts.new_empty(passes, *facts.shape[:3])


def _run(
    facts: Tensor,
    question: Tensor,
    asked: Tensor,
    half: Tensor,
    projected: Tensor,
    mask: Tensor,
    gate_weight: Tensor,
    w2: Tensor,
    recurrent: Tensor,
    updates: list[Tensor],
    biases: list[Tensor],
) -> tuple[Tensor, Tensor]:
    (G, B, F, H), passes = facts.shape, len(updates)
    facts, half, projected = rows_contiguous(facts), rows_contiguous(half), rows_contiguous(projected)
    asked, gate_weight, w2, recurrent = (t.contiguous() for t in (asked, gate_weight, w2, recurrent))
    weights = [tensor.contiguous() for pair in zip(updates, biases, strict=True) for tensor in pair]
    memory, attention = question.clone(memory_format=torch.contiguous_format), facts.new_empty(passes, G, B, F)
    context, shares = torch.empty_like(memory), facts.new_empty(G, B, F)
    gate = attention_gate.problem(facts, memory, gate_weight, mask, row=w2, half=half, scores=shares)
    scan = _call.problem(projected, recurrent, mask, context, None, gate=shares)
    fields = _FIELDS.pack(
        G,
        B,
        F,
        H,
        torch.get_num_threads(),
        passes,
        mask.data_ptr(),
        *mask.stride(),
        *(tensor.data_ptr() for tensor in (asked, memory, context, shares, attention)),
        _FIELDS.size,
        _FIELDS.size + len(gate),
        _FIELDS.size + len(gate) + len(scan),
    )
    pointers = struct.pack(f"={2 * passes}q", *(tensor.data_ptr() for tensor in weights))
    run("dmnplus_episodes", fields + gate + scan + pointers)
    return memory, attention


episodes = define(
    "episodes(Tensor facts, Tensor question, Tensor asked, Tensor half, Tensor projected, Tensor mask,"
    " Tensor gate_weight, Tensor w2, Tensor recurrent, Tensor[] updates, Tensor[] biases) -> (Tensor, Tensor)",
    _run,
    lambda facts, question, asked, half, projected, mask, gate_weight, w2, recurrent, updates, biases: _outputs(
        facts, question, len(updates)
    ),
)


def _vmap(info: Any, dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    n = info.batch_size
    single = [fold(tensor, dim, n) for tensor, dim in zip(arguments[:9], dims[:9], strict=True)]
    lists = [
        [fold(tensor, dim, n) for tensor, dim in zip(tensors, own, strict=True)]
        for tensors, own in zip(arguments[9:], dims[9:], strict=True)
    ]
    memory, attention = episodes(*single, *lists)
    return (unfold(memory, n), attention.unflatten(1, (n, -1))), (0, 1)


torch.library.register_vmap("dmnplus::episodes", _vmap, lib=LIBRARY)
