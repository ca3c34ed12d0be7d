"""The attention GRU on GPUs, in Triton: the CUDA side of the operators that cpu.py defines.

Checked against the reference in Triton's interpreter and compiled for sm_90; these kernels have not run on a GPU yet.

As gru/triton.py, with the attention in place of the update gate; only the states are kept for the backward pass.

Shape legend: G groups (runs; each with its own weights), B batch, F facts, H hidden; R rows of a program, T units of a
tile.
"""
# Triton's language is not Python: types are inferred by its own compiler.
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# A conditional expression is not an `if` at compile time.
# ruff: noqa: SIM108

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dmnplus.kernels._call import LIBRARY, empty_rows_like, rows_contiguous
from dmnplus.kernels._triton import (
    ROWS,
    WIDEST,
    bytes_of,
    load_tile,
    on,
    options,
    product,
    sigmoid,
    span,
    step_options,
    store_tile,
    tanh,
)
from dmnplus.kernels.attention_gru import cpu


@triton.jit
def _gates(x_r, x_h, a_r, a_h):
    """Reset and candidate from the facts' and the state's projections (equations 2 and 3)."""
    r = sigmoid(x_r + a_r)
    return r, tanh(x_h + r * a_h)


@triton.jit
def _gate_gradients(grad, gate, r, candidate, a_h):
    """Gradients of x_r, x_h, of a_h, and of h as far as it does not go through the products."""
    d_h = grad * gate * (1 - candidate * candidate)
    d_r = d_h * a_h * r * (1 - r)
    return d_r, d_h, d_h * r, grad * (1 - gate)


@triton.jit
def _forward_tile(
    h_RA, h_RT, h, x_R, gate_R, real_R, weight, first, H, OUT: tl.constexpr, A: tl.constexpr, TAIL: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The new state's units `first` to `first + OUT`; `h` are the old ones."""
    x_r = load_tile(x_R, first, real_R, H, OUT)
    x_h = load_tile(x_R + H, first, real_R, H, OUT)
    a_r = product(h_RA, h_RT, weight, first, H, OUT, A, TAIL, PRECISION)
    a_h = product(h_RA, h_RT, weight + H * H, first, H, OUT, A, TAIL, PRECISION)
    _, candidate = _gates(x_r, x_h, a_r, a_h)
    gate = gate_R[:, None]
    return tl.where(real_R[:, None], gate * candidate + (1 - gate) * h, h)


@triton.jit(do_not_specialize=["B", "F"])
def _forward_kernel(
    x, weight, gate, mask, context, states, B, F, H, x_G, x_B, x_F, gate_G, gate_B, gate_F, mask_G, mask_B, mask_F,
    KEEP: tl.constexpr, ROWS: tl.constexpr, A: tl.constexpr, TAIL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    g = tl.program_id(1).to(tl.int64)
    b = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    present = b < B
    x_row = x + g * x_G + b * x_B
    gate_row = gate + g * gate_G + b * gate_B
    mask_row = mask + g * mask_G + b * mask_B
    state_row = states + (g * B + b) * F * H
    weight += g * 2 * H * H
    first, end = span(mask_row, present, F, mask_F, 64)
    h_a = tl.zeros((ROWS, A), tl.float32)
    if TAIL > 0:
        h_t = tl.zeros((ROWS, TAIL), tl.float32)
    else:
        h_t = h_a
    for s in range(first, end):
        i = tl.cast(s, tl.int64)
        real = tl.load(mask_row + i * mask_F, mask=present, other=0) != 0
        gate_R = tl.load(gate_row + i * gate_F, mask=real, other=0.0)
        x_R = x_row + i * x_F
        new_a = _forward_tile(h_a, h_t, h_a, x_R, gate_R, real, weight, 0, H, A, A, TAIL, PRECISION)
        if KEEP:
            store_tile(state_row + i * H, 0, new_a, present, H, A)
        if TAIL > 0:
            h_t = _forward_tile(h_a, h_t, h_t, x_R, gate_R, real, weight, A, H, TAIL, A, TAIL, PRECISION)
            if KEEP:
                store_tile(state_row + i * H, A, h_t, present, H, TAIL)
        h_a = new_a
    context_row = context + (g * B + b) * H
    store_tile(context_row, 0, h_a, present, H, A)
    if TAIL > 0:
        store_tile(context_row, A, h_t, present, H, TAIL)


@triton.jit
def _backward_tile(
    grad, x_R, gate_R, h_R, a_R, grad_x_R, grad_a_R, real_R, has_h_R, first, H, OUT: tl.constexpr
):  # fmt: skip
    """Gradients of the units `first` to `first + OUT`: of the two products, of h beside them, and of the gate."""
    x_r = load_tile(x_R, first, real_R, H, OUT)
    x_h = load_tile(x_R + H, first, real_R, H, OUT)
    a_r = load_tile(a_R, first, has_h_R, H, OUT)
    a_h = load_tile(a_R + H, first, has_h_R, H, OUT)
    h = load_tile(h_R, first, has_h_R, H, OUT)
    r, candidate = _gates(x_r, x_h, a_r, a_h)
    d_r, d_h, d_ah, direct = _gate_gradients(grad, gate_R[:, None], r, candidate, a_h)
    store_tile(grad_x_R, first, d_r, real_R, H, OUT)
    store_tile(grad_x_R + H, first, d_h, real_R, H, OUT)
    store_tile(grad_a_R, first, d_r, has_h_R, H, OUT)
    store_tile(grad_a_R + H, first, d_ah, has_h_R, H, OUT)
    return d_r, d_ah, direct, tl.sum(grad * (candidate - h), axis=1)


@triton.jit
def _through_products(
    r_a, r_t, c_a, c_t, weight, first, H, OUT: tl.constexpr, A: tl.constexpr, TAIL: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """What reaches the units `first` to `first + OUT` of h through the two products."""
    through = product(r_a, r_t, weight, first, H, OUT, A, TAIL, PRECISION)
    return through + product(c_a, c_t, weight + H * H, first, H, OUT, A, TAIL, PRECISION)


@triton.jit(do_not_specialize=["B", "F"])
def _backward_kernel(
    grad, x, weight, gate, mask, states, products, grad_x, grad_gate, grad_a, B, F, H, grad_G, grad_B,
    x_G, x_B, x_F, gate_G, gate_B, gate_F, mask_G, mask_B, mask_F, dx_G, dx_B, dx_F,
    ROWS: tl.constexpr, A: tl.constexpr, TAIL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    g = tl.program_id(1).to(tl.int64)
    b = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    present = b < B
    x_row = x + g * x_G + b * x_B
    gate_row = gate + g * gate_G + b * gate_B
    mask_row = mask + g * mask_G + b * mask_B
    grad_x_row = grad_x + g * dx_G + b * dx_B
    grad_gate_row = grad_gate + (g * B + b) * F
    place = (g * B + b) * F * H
    weight += g * 2 * H * H
    first, end = span(mask_row, present, F, mask_F, 64)
    grad_row = grad + g * grad_G + b * grad_B
    d_a = load_tile(grad_row, 0, present, H, A)
    if TAIL > 0:
        d_t = load_tile(grad_row, A, present, H, TAIL)
    else:
        d_t = d_a
    # Without a real step `first` lies behind `end`, and there is nothing to do.
    for back in range(0, end - first):
        s = end - 1 - back
        i = tl.cast(s, tl.int64)
        real = tl.load(mask_row + i * mask_F, mask=present, other=0) != 0
        gate_R = tl.load(gate_row + i * gate_F, mask=real, other=0.0)
        # The first real step of all read zeros. Compared as a vector, since Triton's interpreter cannot spread a
        # scalar condition.
        has_h = real & (b * 0 + first < s)
        x_R, grad_x_R = x_row + i * x_F, grad_x_row + i * dx_F
        before = place + (i - 1) * H
        h_R, a_R, grad_a_R = states + before, products + 2 * before, grad_a + 2 * before
        r_a, c_a, direct_a, d_gate = _backward_tile(
            d_a, x_R, gate_R, h_R, a_R, grad_x_R, grad_a_R, real, has_h, 0, H, A
        )
        if TAIL > 0:
            r_t, c_t, direct_t, d_gate_t = _backward_tile(
                d_t, x_R, gate_R, h_R, a_R, grad_x_R, grad_a_R, real, has_h, A, H, TAIL
            )
            d_gate += d_gate_t
            through_t = _through_products(r_a, r_t, c_a, c_t, weight, A, H, TAIL, A, TAIL, PRECISION)
            d_t = tl.where(real[:, None], direct_t + through_t, d_t)
        else:
            r_t, c_t = r_a, c_a
        tl.store(grad_gate_row + i, d_gate, mask=real)
        through_a = _through_products(r_a, r_t, c_a, c_t, weight, 0, H, A, A, TAIL, PRECISION)
        d_a = tl.where(real[:, None], direct_a + through_a, d_a)


@triton.jit(do_not_specialize=["B", "F", "s"])
def _forward_step_kernel(
    x, a, gate, h, mask, new_h, states, B, F, H, s, x_G, x_B, x_F, gate_G, gate_B, gate_F, mask_G, mask_B, mask_F,
    KEEP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b, g = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    i = s.to(tl.int64)
    real = tl.load(mask + g * mask_G + b * mask_B + i * mask_F) != 0
    row = g * B + b
    units = tl.arange(0, BLOCK)
    inside = units < H
    # A scalar condition goes into the bound, since Triton's interpreter cannot spread it.
    taken = units < tl.where(real, H, 0)
    gate_now = tl.load(gate + g * gate_G + b * gate_B + i * gate_F + units * 0, mask=taken, other=0.0)
    x_row = x + g * x_G + b * x_B + i * x_F + units
    x_r = tl.load(x_row, mask=taken, other=0.0)
    x_h = tl.load(x_row + H, mask=taken, other=0.0)
    a_row = a + row * 2 * H + units
    a_r = tl.load(a_row, mask=inside, other=0.0)
    a_h = tl.load(a_row + H, mask=inside, other=0.0)
    old = tl.load(h + row * H + units, mask=inside, other=0.0)
    _, candidate = _gates(x_r, x_h, a_r, a_h)
    new = tl.where(real, gate_now * candidate + (1 - gate_now) * old, old)
    tl.store(new_h + row * H + units, new, mask=inside)
    if KEEP:
        tl.store(states + (row * F + i) * H + units, new, mask=inside)


@triton.jit(do_not_specialize=["B", "F", "s"])
def _backward_step_kernel(
    d_h, x, gate, mask, states, products, grad_x, grad_gate, grad_a, grad_a_now, direct, B, F, H, s,
    x_G, x_B, x_F, gate_G, gate_B, gate_F, mask_G, mask_B, mask_F, dx_G, dx_B, dx_F, BLOCK: tl.constexpr,
):  # fmt: skip
    b, g = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    i = s.to(tl.int64)
    real = tl.load(mask + g * mask_G + b * mask_B + i * mask_F) != 0
    row = g * B + b
    units = tl.arange(0, BLOCK)
    inside = units < H
    # Scalar conditions go into the bound, since Triton's interpreter cannot spread them.
    taken = units < tl.where(real, H, 0)
    has_h = units < tl.where(real & (s > 0), H, 0)
    gate_now = tl.load(gate + g * gate_G + b * gate_B + i * gate_F + units * 0, mask=taken, other=0.0)
    x_row = x + g * x_G + b * x_B + i * x_F + units
    x_r = tl.load(x_row, mask=taken, other=0.0)
    x_h = tl.load(x_row + H, mask=taken, other=0.0)
    before = row * F + i - 1
    a_row = products + before * 2 * H + units
    a_r = tl.load(a_row, mask=has_h, other=0.0)
    a_h = tl.load(a_row + H, mask=has_h, other=0.0)
    h = tl.load(states + before * H + units, mask=has_h, other=0.0)
    d = tl.load(d_h + row * H + units, mask=inside, other=0.0)
    r, candidate = _gates(x_r, x_h, a_r, a_h)
    d_r, d_c, d_ah, beside = _gate_gradients(d, gate_now, r, candidate, a_h)
    grad_x_row = grad_x + g * dx_G + b * dx_B + i * dx_F + units
    tl.store(grad_x_row, d_r, mask=taken)
    tl.store(grad_x_row + H, d_c, mask=taken)
    d_gate = tl.sum(tl.where(taken, d * (candidate - h), 0.0))
    tl.store(grad_gate + row * F + i, d_gate)
    grad_a_row = grad_a + before * 2 * H + units
    tl.store(grad_a_row, d_r, mask=has_h)
    tl.store(grad_a_row + H, d_ah, mask=has_h)
    now_row = grad_a_now + row * 2 * H + units
    tl.store(now_row, tl.where(real, d_r, 0.0), mask=inside)
    tl.store(now_row + H, tl.where(real, d_ah, 0.0), mask=inside)
    tl.store(direct + row * H + units, tl.where(real, beside, d), mask=inside)


def outputs(x: Tensor, weight: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    """Empty context [G, B, H], and what is kept for the backward pass: the states [G, B, F, H]."""
    (G, B, F, _), H = x.shape, weight.shape[-1]
    # Zeros: steps before the first real and after the last are not written, and meet zeros in a product.
    return x.new_empty(G, B, H), x.new_zeros((G, B, F, H) if keep else (0,))


def forward(x: Tensor, weight: Tensor, gate: Tensor, mask: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    """Context [G, B, H] of the operator `attention_gru_forward`, and what its backward pass needs."""
    context, kept = outputs(x, weight, keep)
    (G, B, F, _), H = x.shape, weight.shape[-1]
    if not (G and B and F):
        return context.zero_(), kept
    x, mask = rows_contiguous(x), bytes_of(mask)
    strides = (*x.stride()[:3], *gate.stride(), *mask.stride())
    with on(x.device):
        if H <= WIDEST:
            # Transposed, so that neighbouring outputs are neighbours in memory.
            _forward_kernel[triton.cdiv(B, ROWS), G](
                x, weight.reshape(G, 2, H, H).mT.contiguous(), gate, mask, context, kept, B, F, H, *strides,
                KEEP=keep, **options(H),
            )  # fmt: skip
            return context, kept
        h, new_h, a = x.new_zeros(G, B, H), x.new_empty(G, B, H), x.new_empty(G, B, 2 * H)
        for s in range(F):
            torch.bmm(h, weight.mT, out=a)
            _forward_step_kernel[B, G](
                x, a, gate, h, mask, new_h, kept, B, F, H, s, *strides, KEEP=keep, **step_options(H)
            )
            h, new_h = new_h, h
    return context.copy_(h), kept


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, gate: Tensor, mask: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and gate, of the operator `attention_gru_backward`."""
    (G, B, F, _), H = x.shape, weight.shape[-1]
    grad_x, grad_gate = empty_rows_like(x).zero_(), gate.new_zeros(gate.shape)
    if not (G and B and F):
        return grad_x, torch.zeros_like(weight), grad_gate
    x, weight, states, mask = rows_contiguous(x), weight.contiguous(), kept.contiguous(), bytes_of(mask)
    states_2d = states.view(G, B * F, H)
    # products[i] is what the step after i multiplied; the gradient of it goes to the same place.
    products = torch.bmm(states_2d, weight.mT)
    grad_a = torch.zeros_like(products)
    strides = (*x.stride()[:3], *gate.stride(), *mask.stride(), *grad_x.stride()[:3])
    with on(x.device):
        if H <= WIDEST:
            grad = rows_contiguous(grad)
            _backward_kernel[triton.cdiv(B, ROWS), G](
                grad, x, weight, gate, mask, states, products, grad_x, grad_gate, grad_a, B, F, H,
                *grad.stride()[:2], *strides, **options(H),
            )  # fmt: skip
        else:
            d_h = grad.clone(memory_format=torch.contiguous_format)
            direct, grad_a_now = torch.empty_like(d_h), x.new_empty(G, B, 2 * H)
            for s in reversed(range(F)):
                _backward_step_kernel[B, G](
                    d_h, x, gate, mask, states, products, grad_x, grad_gate, grad_a, grad_a_now, direct, B, F, H, s,
                    *strides, **step_options(H),
                )  # fmt: skip
                torch.baddbmm(direct, grad_a_now, weight, out=d_h)
    return grad_x, torch.bmm(grad_a.mT, states_2d), grad_gate


def _shapes(x: Tensor, weight: Tensor, gate: Tensor, mask: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    return outputs(x, weight, keep) if x.is_cuda else cpu._outputs(x, weight, keep)


LIBRARY.impl("attention_gru_forward", forward, "CUDA")
LIBRARY.impl("attention_gru_backward", backward, "CUDA")
# What is kept for the backward pass differs between the devices.
torch.library.register_fake("dmnplus::attention_gru_forward", _shapes, lib=LIBRARY, allow_override=True)
