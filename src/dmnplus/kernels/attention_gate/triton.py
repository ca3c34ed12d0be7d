"""The attention gate on GPUs: z is made tile by tile on chip, forward and backward, and never written to memory.

A program of the forward pass scores ROWS facts of one question against the weights, a tile at a time, so that any
hidden size fits. One of the backward pass goes through all facts of a question for TILE_H of their numbers, and so sums
the gradient of the question's vector in a fixed order. The weights' gradient is two large products.

Shape legend: G groups (runs; each with its own weights), B batch, F facts, H hidden, K first-layer width of the gate,
R facts of a tile, T units of a tile.
"""
# Triton's language is not Python: types are inferred by its own compiler.
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from dmnplus.kernels._call import LIBRARY, rows_contiguous
from dmnplus.kernels._triton import bytes_of, on, tanh

_ROWS, _TILE = 32, 32


@triton.jit(do_not_specialize=["B", "F"])
def _forward_kernel(
    facts, x, half, weight, row, mask, kept, scores, B, F, H, K,
    facts_G, facts_B, facts_F, x_G, x_B, half_G, half_B, half_F, mask_G, mask_B, mask_F,
    SCORE: tl.constexpr, KEEP: tl.constexpr, ROWS: tl.constexpr, TILE_H: tl.constexpr, TILE_K: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    i = (tl.program_id(1) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    b, g = tl.program_id(0).to(tl.int64), tl.program_id(2).to(tl.int64)
    within = i < F
    # A masked fact may hold anything: nothing of it is read.
    real = tl.load(mask + g * mask_G + b * mask_B + i * mask_F, mask=within, other=0) != 0
    place = (g * B + b) * F + i
    fact_R = facts + g * facts_G + b * facts_B + i * facts_F
    x_row = x + g * x_G + b * x_B
    score_R = tl.zeros((ROWS,), tl.float32)
    for first_k in range(0, K, TILE_K):
        k = first_k + tl.arange(0, TILE_K)
        in_k = k < K
        row_T = tl.load(row + g * K + k, mask=in_k, other=0.0)
        if SCORE:
            half_R = half + g * half_G + b * half_B + i * half_F
            sum_RT = tl.load(half_R[:, None] + k[None, :], mask=real[:, None] & in_k[None, :], other=0.0)
        else:
            sum_RT = tl.zeros((ROWS, TILE_K), tl.float32) + row_T[None, :]
        for first_h in range(0, H, TILE_H):
            h = first_h + tl.arange(0, TILE_H)
            in_h = h < H
            f = tl.load(fact_R[:, None] + h[None, :], mask=real[:, None] & in_h[None, :], other=0.0)
            m = tl.load(x_row + h, mask=in_h, other=0.0)[None, :]
            w = weight + (g * K + k)[None, :] * (2 * H) + h[:, None]
            inside = in_h[:, None] & in_k[None, :]
            sum_RT = tl.dot(f * m, tl.load(w, mask=inside, other=0.0), sum_RT, input_precision=PRECISION)
            sum_RT = tl.dot(tl.abs(f - m), tl.load(w + H, mask=inside, other=0.0), sum_RT, input_precision=PRECISION)
        if SCORE:
            t = tanh(sum_RT)
            score_R += tl.sum(tl.where(real[:, None], t * row_T[None, :], 0.0), axis=1)
            if KEEP:
                tl.store(kept + place[:, None] * K + k[None, :], t, mask=real[:, None] & in_k[None, :])
        else:
            value = tl.where(real[:, None], sum_RT, 0.0)
            tl.store(kept + place[:, None] * K + k[None, :], value, mask=within[:, None] & in_k[None, :])
    if SCORE:
        tl.store(scores + place, score_R, mask=within)


@triton.jit(do_not_specialize=["B", "F"])
def _backward_kernel(
    grad_half, facts, x, weight, mask, grad_facts, grad_x, B, F, H, K,
    facts_G, facts_B, facts_F, x_G, x_B, mask_G, mask_B, mask_F,
    ROWS: tl.constexpr, TILE_H: tl.constexpr, TILE_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    h = tl.program_id(1) * TILE_H + tl.arange(0, TILE_H)
    b, g = tl.program_id(0).to(tl.int64), tl.program_id(2).to(tl.int64)
    in_h = h < H
    m = tl.load(x + g * x_G + b * x_B + h, mask=in_h, other=0.0)[None, :]
    d_x = tl.zeros((TILE_H,), tl.float32)
    for first_i in range(0, F, ROWS):
        i = (first_i + tl.arange(0, ROWS)).to(tl.int64)
        within = i < F
        real = tl.load(mask + g * mask_G + b * mask_B + i * mask_F, mask=within, other=0) != 0
        place = (g * B + b) * F + i
        d_product = tl.zeros((ROWS, TILE_H), tl.float32)
        d_absolute = tl.zeros((ROWS, TILE_H), tl.float32)
        for first_k in range(0, K, TILE_K):
            k = first_k + tl.arange(0, TILE_K)
            in_k = k < K
            d_RT = tl.load(grad_half + place[:, None] * K + k[None, :], mask=within[:, None] & in_k[None, :], other=0.0)
            w = weight + (g * K + k)[:, None] * (2 * H) + h[None, :]
            inside = in_k[:, None] & in_h[None, :]
            d_product = tl.dot(d_RT, tl.load(w, mask=inside, other=0.0), d_product, input_precision=PRECISION)
            d_absolute = tl.dot(d_RT, tl.load(w + H, mask=inside, other=0.0), d_absolute, input_precision=PRECISION)
        fact_R = facts + g * facts_G + b * facts_B + i * facts_F
        f = tl.load(fact_R[:, None] + h[None, :], mask=real[:, None] & in_h[None, :], other=0.0)
        through = tl.where(f > m, d_absolute, tl.where(f < m, -d_absolute, 0.0))
        d_f = tl.where(real[:, None], d_product * m + through, 0.0)
        tl.store(grad_facts + place[:, None] * H + h[None, :], d_f, mask=within[:, None] & in_h[None, :])
        d_x += tl.sum(tl.where(real[:, None], d_product * f - through, 0.0), axis=0)
    tl.store(grad_x + (g * B + b) * H + h, d_x, mask=in_h)


def _options(K: int) -> dict[str, Any]:
    precision = "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"
    tiles = {"ROWS": _ROWS, "TILE_H": _TILE, "TILE_K": 64 if K > _TILE else _TILE}
    return {**tiles, "PRECISION": precision, "num_warps": 4}


def _run_forward(
    facts: Tensor, x: Tensor, half: Tensor, weight: Tensor, row: Tensor, mask: Tensor, kept: Tensor, scores: Tensor,
    *, score: bool, keep: bool,
) -> None:  # fmt: skip
    (G, B, F, H), K = facts.shape, weight.shape[1]
    if not (G and B and F):
        return
    facts, x, half, mask = rows_contiguous(facts), rows_contiguous(x), rows_contiguous(half), bytes_of(mask)
    with on(facts.device):
        # The batch comes first: only there may a grid have more than 65,535.
        _forward_kernel[B, triton.cdiv(F, _ROWS), G](
            facts, x, half, weight.contiguous(), row.contiguous(), mask, kept, scores, B, F, H, K,
            *facts.stride()[:3], *x.stride()[:2], *half.stride()[:3], *mask.stride(),
            SCORE=score, KEEP=keep, **_options(K),
        )  # fmt: skip


def forward(
    facts: Tensor, memory: Tensor, half: Tensor, weight: Tensor, w2: Tensor, mask: Tensor, keep: bool
) -> tuple[Tensor, Tensor]:
    """Scores [G, B, F] of the operator `attention_gate_forward`, and the tanh that its backward pass needs."""
    scores = facts.new_empty(facts.shape[:3])
    kept = facts.new_empty((*facts.shape[:3], weight.shape[1]) if keep else (0,))
    _run_forward(facts, memory, half, weight, w2, mask, kept, scores, score=True, keep=keep)
    return scores, kept


def half_forward(facts: Tensor, x: Tensor, weight: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Half [G, B, F, K] of the operator `attention_gate_half_forward`."""
    half = facts.new_empty(*facts.shape[:3], weight.shape[1])
    _run_forward(facts, x, half, weight, b, mask, half, half, score=False, keep=False)
    return half


def _through_half(
    grad_half: Tensor, facts: Tensor, x: Tensor, weight: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of facts, x and weight from that of the half, which is 0 at masked facts."""
    (G, B, F, H), K = facts.shape, weight.shape[1]
    grad_facts, grad_x = facts.new_empty(facts.shape), x.new_zeros(x.shape)
    if not (G and B and F):
        return grad_facts, grad_x, torch.zeros_like(weight)
    facts, x, bytes_ = rows_contiguous(facts), rows_contiguous(x), bytes_of(mask)
    with on(facts.device):
        _backward_kernel[B, triton.cdiv(H, _TILE), G](
            grad_half, facts, x, weight.contiguous(), bytes_, grad_facts, grad_x, B, F, H, K,
            *facts.stride()[:3], *x.stride()[:2], *bytes_.stride(), **_options(K),
        )  # fmt: skip
    # One half of z at a time, so that no more than [B, F, H] is written.
    facts = facts.masked_fill(~mask[..., None], 0)
    d_GKN = grad_half.flatten(1, 2).mT
    product = torch.bmm(d_GKN, (facts * x[:, :, None]).flatten(1, 2))
    absolute = torch.bmm(d_GKN, (facts - x[:, :, None]).abs_().flatten(1, 2))
    return grad_facts, grad_x, torch.cat([product, absolute], dim=2)


def backward(
    grad: Tensor, facts: Tensor, memory: Tensor, weight: Tensor, w2: Tensor, mask: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of facts, memory, question half, weight and w2, of the operator `attention_gate_backward`."""
    real = mask[..., None]
    grad = grad.masked_fill(~mask, 0)
    t = kept.masked_fill(~real, 0)
    grad_half = (grad[..., None] * w2[:, None, None] * (1 - t * t)).contiguous()
    grad_w2 = torch.einsum("gbf,gbfk->gk", grad, t)
    grad_facts, grad_memory, grad_weight = _through_half(grad_half, facts, memory, weight, mask)
    return grad_facts, grad_memory, grad_half, grad_weight, grad_w2


def half_backward(
    grad: Tensor, facts: Tensor, x: Tensor, weight: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of facts, x, weight and b, of the operator `attention_gate_half_backward`."""
    grad_half = grad.masked_fill(~mask[..., None], 0).contiguous()
    return *_through_half(grad_half, facts, x, weight, mask), grad_half.sum(dim=(1, 2))


LIBRARY.impl("attention_gate_forward", forward, "CUDA")
LIBRARY.impl("attention_gate_backward", backward, "CUDA")
LIBRARY.impl("attention_gate_half_forward", half_forward, "CUDA")
LIBRARY.impl("attention_gate_half_backward", half_backward, "CUDA")
