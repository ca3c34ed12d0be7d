"""The GRU on GPUs, in Triton: the CUDA side of the operators that cpu.py defines.

Checked against the reference in Triton's interpreter and compiled for sm_90; these kernels have not run on a GPU yet.

Forward, one launch for all steps of all groups; nothing is kept for the backward pass but the states, which are the
output. Backward, the recurrent products of all steps come from one large product of the states; then one launch goes
back through the steps, and the weights' gradient is one large product again. Above `WIDEST` hidden units, each step is
one matrix product and one kernel.

Shape legend: G groups (directions, runs; each with its own weights), B batch, F steps, H hidden; R rows of a program,
T units of a tile.
"""
# Triton's language is not Python: types are inferred by its own compiler.
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# A conditional expression is not an `if` at compile time.
# ruff: noqa: SIM108

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from dmnplus.kernels._call import LIBRARY, empty_rows_like, rows_contiguous
from dmnplus.kernels._triton import (
    ROWS,
    WIDEST,
    bytes_of,
    flags_of,
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
from dmnplus.kernels.gru import cpu


@triton.jit
def _gates(x_u, x_r, x_h, a_u, a_r, a_h):
    """Update, reset and candidate from the inputs' and the state's projections (equations 1-3)."""
    u = sigmoid(x_u + a_u)
    r = sigmoid(x_r + a_r)
    return u, r, tanh(x_h + r * a_h)


@triton.jit
def _gate_gradients(grad, u, r, candidate, a_h, h):
    """Gradients of x_u, x_r, x_h, of a_h, and of h as far as it does not go through the products."""
    d_u = grad * (candidate - h) * u * (1 - u)
    d_h = grad * u * (1 - candidate * candidate)
    d_r = d_h * a_h * r * (1 - r)
    return d_u, d_r, d_h, d_h * r, grad * (1 - u)


@triton.jit
def _forward_tile(
    h_RA, h_RT, h, x_R, real_R, weight, first, H, OUT: tl.constexpr, A: tl.constexpr, TAIL: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The new state's units `first` to `first + OUT`; `h` are the old ones."""
    x_u = load_tile(x_R, first, real_R, H, OUT)
    x_r = load_tile(x_R + H, first, real_R, H, OUT)
    x_h = load_tile(x_R + 2 * H, first, real_R, H, OUT)
    # The weights are transposed, so that neighbouring outputs are neighbours in memory.
    a_u = product(h_RA, h_RT, weight, first, H, OUT, A, TAIL, PRECISION)
    a_r = product(h_RA, h_RT, weight + H * H, first, H, OUT, A, TAIL, PRECISION)
    a_h = product(h_RA, h_RT, weight + 2 * H * H, first, H, OUT, A, TAIL, PRECISION)
    u, _, candidate = _gates(x_u, x_r, x_h, a_u, a_r, a_h)
    return tl.where(real_R[:, None], u * candidate + (1 - u) * h, h)


@triton.jit(do_not_specialize=["B", "F"])
def _forward_kernel(
    x, weight, mask, reverse, states, B, F, H, x_G, x_B, x_F, mask_G, mask_B, mask_F,
    ROWS: tl.constexpr, A: tl.constexpr, TAIL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    g = tl.program_id(1).to(tl.int64)
    b = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    present = b < B
    x_row = x + g * x_G + b * x_B
    mask_row = mask + g * mask_G + b * mask_B
    out_row = states + (g * B + b) * F * H
    weight += g * 3 * H * H
    backwards = tl.load(reverse + g)
    base, sign = backwards * (F - 1), 1 - 2 * backwards
    first, end = span(mask_row, present, F, mask_F, 64)
    # In the order of the scan: nothing happens before `start` and after `stop`.
    start = tl.where(backwards != 0, F - end, first)
    stop = tl.maximum(start, tl.where(backwards != 0, F - first, end))
    h_a = tl.zeros((ROWS, A), tl.float32)
    if TAIL > 0:
        h_t = tl.zeros((ROWS, TAIL), tl.float32)
    else:
        h_t = h_a
    for s in range(0, start):
        i = (base + sign * s).to(tl.int64)
        store_tile(out_row + i * H, 0, h_a, present, H, A)
        if TAIL > 0:
            store_tile(out_row + i * H, A, h_t, present, H, TAIL)
    for s in range(start, stop):
        i = (base + sign * s).to(tl.int64)
        real = tl.load(mask_row + i * mask_F, mask=present, other=0) != 0
        x_R = x_row + i * x_F
        new_a = _forward_tile(h_a, h_t, h_a, x_R, real, weight, 0, H, A, A, TAIL, PRECISION)
        store_tile(out_row + i * H, 0, new_a, present, H, A)
        if TAIL > 0:
            h_t = _forward_tile(h_a, h_t, h_t, x_R, real, weight, A, H, TAIL, A, TAIL, PRECISION)
            store_tile(out_row + i * H, A, h_t, present, H, TAIL)
        h_a = new_a
    for s in range(stop, F):
        i = (base + sign * s).to(tl.int64)
        store_tile(out_row + i * H, 0, h_a, present, H, A)
        if TAIL > 0:
            store_tile(out_row + i * H, A, h_t, present, H, TAIL)


@triton.jit
def _backward_tile(
    grad, x_R, h_R, a_R, grad_x_R, grad_a_R, real_R, has_h_R, first, H, OUT: tl.constexpr
):  # fmt: skip
    """Gradients of the units `first` to `first + OUT`: of the three products, and of h beside them; stores x's."""
    x_u = load_tile(x_R, first, real_R, H, OUT)
    x_r = load_tile(x_R + H, first, real_R, H, OUT)
    x_h = load_tile(x_R + 2 * H, first, real_R, H, OUT)
    a_u = load_tile(a_R, first, has_h_R, H, OUT)
    a_r = load_tile(a_R + H, first, has_h_R, H, OUT)
    a_h = load_tile(a_R + 2 * H, first, has_h_R, H, OUT)
    h = load_tile(h_R, first, has_h_R, H, OUT)
    u, r, candidate = _gates(x_u, x_r, x_h, a_u, a_r, a_h)
    d_u, d_r, d_h, d_ah, direct = _gate_gradients(grad, u, r, candidate, a_h, h)
    store_tile(grad_x_R, first, d_u, real_R, H, OUT)
    store_tile(grad_x_R + H, first, d_r, real_R, H, OUT)
    store_tile(grad_x_R + 2 * H, first, d_h, real_R, H, OUT)
    store_tile(grad_a_R, first, d_u, has_h_R, H, OUT)
    store_tile(grad_a_R + H, first, d_r, has_h_R, H, OUT)
    store_tile(grad_a_R + 2 * H, first, d_ah, has_h_R, H, OUT)
    return d_u, d_r, d_ah, direct


@triton.jit
def _through_products(
    u_a, u_t, r_a, r_t, c_a, c_t, weight, first, H, OUT: tl.constexpr, A: tl.constexpr, TAIL: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """What reaches the units `first` to `first + OUT` of h through the three products."""
    through = product(u_a, u_t, weight, first, H, OUT, A, TAIL, PRECISION)
    through += product(r_a, r_t, weight + H * H, first, H, OUT, A, TAIL, PRECISION)
    return through + product(c_a, c_t, weight + 2 * H * H, first, H, OUT, A, TAIL, PRECISION)


@triton.jit(do_not_specialize=["B", "F"])
def _backward_kernel(
    grad, x, weight, mask, reverse, states, products, grad_x, grad_a, B, F, H,
    grad_G, grad_B, grad_F, x_G, x_B, x_F, mask_G, mask_B, mask_F, dx_G, dx_B, dx_F,
    ROWS: tl.constexpr, A: tl.constexpr, TAIL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    g = tl.program_id(1).to(tl.int64)
    b = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    present = b < B
    grad_row = grad + g * grad_G + b * grad_B
    x_row = x + g * x_G + b * x_B
    mask_row = mask + g * mask_G + b * mask_B
    grad_x_row = grad_x + g * dx_G + b * dx_B
    place = (g * B + b) * F * H
    weight += g * 3 * H * H
    backwards = tl.load(reverse + g)
    base, sign = backwards * (F - 1), 1 - 2 * backwards
    first, end = span(mask_row, present, F, mask_F, 64)
    start = tl.where(backwards != 0, F - end, first)
    stop = tl.maximum(start, tl.where(backwards != 0, F - first, end))
    d_a = tl.zeros((ROWS, A), tl.float32)
    if TAIL > 0:
        d_t = tl.zeros((ROWS, TAIL), tl.float32)
    else:
        d_t = d_a
    for s in range(stop, F):
        i = (base + sign * s).to(tl.int64)
        d_a += load_tile(grad_row + i * grad_F, 0, present, H, A)
        if TAIL > 0:
            d_t += load_tile(grad_row + i * grad_F, A, present, H, TAIL)
    for back in range(0, stop - start):
        s = stop - 1 - back
        i = (base + sign * s).to(tl.int64)
        real = tl.load(mask_row + i * mask_F, mask=present, other=0) != 0
        # The state this step read stands at the step before it in the scan; its first step read zeros.
        before = i - sign
        # Compared as a vector, since Triton's interpreter cannot spread a scalar condition.
        has_h = real & (b * 0 < s)
        x_R, grad_x_R = x_row + i * x_F, grad_x_row + i * dx_F
        h_R = states + (place + before * H)
        a_R, grad_a_R = products + 3 * (place + before * H), grad_a + 3 * (place + before * H)
        d_a += load_tile(grad_row + i * grad_F, 0, present, H, A)
        u_a, r_a, c_a, direct_a = _backward_tile(d_a, x_R, h_R, a_R, grad_x_R, grad_a_R, real, has_h, 0, H, A)
        if TAIL > 0:
            d_t += load_tile(grad_row + i * grad_F, A, present, H, TAIL)
            u_t, r_t, c_t, direct_t = _backward_tile(d_t, x_R, h_R, a_R, grad_x_R, grad_a_R, real, has_h, A, H, TAIL)
            through_t = _through_products(u_a, u_t, r_a, r_t, c_a, c_t, weight, A, H, TAIL, A, TAIL, PRECISION)
            d_t = tl.where(real[:, None], direct_t + through_t, d_t)
        else:
            u_t, r_t, c_t = u_a, r_a, c_a
        through_a = _through_products(u_a, u_t, r_a, r_t, c_a, c_t, weight, 0, H, A, A, TAIL, PRECISION)
        d_a = tl.where(real[:, None], direct_a + through_a, d_a)


@triton.jit(do_not_specialize=["B", "F", "s"])
def _forward_step_kernel(
    x, a, h, mask, reverse, new_h, states, B, F, H, s, x_G, x_B, x_F, mask_G, mask_B, mask_F, BLOCK: tl.constexpr
):
    b, g = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    backwards = tl.load(reverse + g)
    i = (backwards * (F - 1) + (1 - 2 * backwards) * s).to(tl.int64)
    real = tl.load(mask + g * mask_G + b * mask_B + i * mask_F) != 0
    row = g * B + b
    units = tl.arange(0, BLOCK)
    inside = units < H
    taken = units < tl.where(real, H, 0)
    x_row = x + g * x_G + b * x_B + i * x_F + units
    x_u = tl.load(x_row, mask=taken, other=0.0)
    x_r = tl.load(x_row + H, mask=taken, other=0.0)
    x_h = tl.load(x_row + 2 * H, mask=taken, other=0.0)
    a_row = a + row * 3 * H + units
    a_u = tl.load(a_row, mask=inside, other=0.0)
    a_r = tl.load(a_row + H, mask=inside, other=0.0)
    a_h = tl.load(a_row + 2 * H, mask=inside, other=0.0)
    old = tl.load(h + row * H + units, mask=inside, other=0.0)
    u, _, candidate = _gates(x_u, x_r, x_h, a_u, a_r, a_h)
    new = tl.where(real, u * candidate + (1 - u) * old, old)
    tl.store(new_h + row * H + units, new, mask=inside)
    tl.store(states + (row * F + i) * H + units, new, mask=inside)


@triton.jit(do_not_specialize=["B", "F", "s"])
def _backward_step_kernel(
    grad, x, mask, reverse, states, products, carried, grad_x, grad_a, grad_a_now, direct, B, F, H, s,
    grad_G, grad_B, grad_F, x_G, x_B, x_F, mask_G, mask_B, mask_F, dx_G, dx_B, dx_F, BLOCK: tl.constexpr,
):  # fmt: skip
    b, g = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    backwards = tl.load(reverse + g)
    sign = 1 - 2 * backwards
    i = (backwards * (F - 1) + sign * s).to(tl.int64)
    real = tl.load(mask + g * mask_G + b * mask_B + i * mask_F) != 0
    row = g * B + b
    units = tl.arange(0, BLOCK)
    inside = units < H
    # Scalar conditions go into the bound, since Triton's interpreter cannot spread them.
    taken = units < tl.where(real, H, 0)
    has_h = units < tl.where(real & (s > 0), H, 0)
    x_row = x + g * x_G + b * x_B + i * x_F + units
    x_u = tl.load(x_row, mask=taken, other=0.0)
    x_r = tl.load(x_row + H, mask=taken, other=0.0)
    x_h = tl.load(x_row + 2 * H, mask=taken, other=0.0)
    before = row * F + i - sign
    a_row = products + before * 3 * H + units
    a_u = tl.load(a_row, mask=has_h, other=0.0)
    a_r = tl.load(a_row + H, mask=has_h, other=0.0)
    a_h = tl.load(a_row + 2 * H, mask=has_h, other=0.0)
    h = tl.load(states + before * H + units, mask=has_h, other=0.0)
    d = tl.load(carried + row * H + units, mask=inside, other=0.0)
    d += tl.load(grad + g * grad_G + b * grad_B + i * grad_F + units, mask=inside, other=0.0)
    u, r, candidate = _gates(x_u, x_r, x_h, a_u, a_r, a_h)
    d_u, d_r, d_h, d_ah, beside = _gate_gradients(d, u, r, candidate, a_h, h)
    grad_x_row = grad_x + g * dx_G + b * dx_B + i * dx_F + units
    tl.store(grad_x_row, d_u, mask=taken)
    tl.store(grad_x_row + H, d_r, mask=taken)
    tl.store(grad_x_row + 2 * H, d_h, mask=taken)
    grad_a_row = grad_a + before * 3 * H + units
    tl.store(grad_a_row, d_u, mask=has_h)
    tl.store(grad_a_row + H, d_r, mask=has_h)
    tl.store(grad_a_row + 2 * H, d_ah, mask=has_h)
    now_row = grad_a_now + row * 3 * H + units
    tl.store(now_row, tl.where(real, d_u, 0.0), mask=inside)
    tl.store(now_row + H, tl.where(real, d_r, 0.0), mask=inside)
    tl.store(now_row + 2 * H, tl.where(real, d_ah, 0.0), mask=inside)
    tl.store(direct + row * H + units, tl.where(real, beside, d), mask=inside)


def outputs(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Empty states [G, B, F, H], and nothing to keep beside them."""
    G, B, F, _ = x.shape
    return x.new_empty(G, B, F, weight.shape[-1]), x.new_empty(G, 0)


def forward(x: Tensor, weight: Tensor, mask: Tensor, reverse: Sequence[bool], keep: bool) -> tuple[Tensor, Tensor]:
    """States [G, B, F, H] of the operator `gru_forward`, and an empty tensor."""
    states, kept = outputs(x, weight)
    G, B, F, H = states.shape
    if not states.numel():
        return states, kept
    x, mask, flags = rows_contiguous(x), bytes_of(mask), flags_of(reverse, x.device)
    with on(x.device):
        if H <= WIDEST:
            _forward_kernel[triton.cdiv(B, ROWS), G](
                x, weight.reshape(G, 3, H, H).mT.contiguous(), mask, flags, states, B, F, H,
                *x.stride()[:3], *mask.stride(), **options(H),
            )  # fmt: skip
            return states, kept
        h, new_h, a = x.new_zeros(G, B, H), x.new_empty(G, B, H), x.new_empty(G, B, 3 * H)
        for s in range(F):
            torch.bmm(h, weight.mT, out=a)
            _forward_step_kernel[B, G](
                x, a, h, mask, flags, new_h, states, B, F, H, s, *x.stride()[:3], *mask.stride(), **step_options(H)
            )
            h, new_h = new_h, h
    return states, kept


def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    mask: Tensor,
    reverse: Sequence[bool],
    states: Tensor,
    kept: Tensor,
    side_by_side: bool = False,
) -> tuple[Tensor, Tensor]:
    """Gradients of x and weight, of the operator `gru_backward`; x, kept here, has the layout by itself."""
    grad_x = empty_rows_like(x).zero_()
    G, B, F, H = states.shape
    if not states.numel():
        return grad_x, torch.zeros_like(weight)
    x, grad, weight, states = rows_contiguous(x), rows_contiguous(grad), weight.contiguous(), states.contiguous()
    mask, flags = bytes_of(mask), flags_of(reverse, x.device)
    states_2d = states.view(G, B * F, H)
    # products[i] is what the step after i multiplied; the gradient of it goes to the same place.
    products = torch.bmm(states_2d, weight.mT)
    grad_a = torch.zeros_like(products)
    strides = (*grad.stride()[:3], *x.stride()[:3], *mask.stride(), *grad_x.stride()[:3])
    with on(x.device):
        if H <= WIDEST:
            _backward_kernel[triton.cdiv(B, ROWS), G](
                grad, x, weight, mask, flags, states, products, grad_x, grad_a, B, F, H, *strides, **options(H)
            )
        else:
            carried, direct = x.new_zeros(G, B, H), x.new_empty(G, B, H)
            grad_a_now = x.new_empty(G, B, 3 * H)
            for s in reversed(range(F)):
                _backward_step_kernel[B, G](
                    grad, x, mask, flags, states, products, carried, grad_x, grad_a, grad_a_now, direct, B, F, H, s,
                    *strides, **step_options(H),
                )  # fmt: skip
                torch.baddbmm(direct, grad_a_now, weight, out=carried)
    return grad_x, torch.bmm(grad_a.mT, states_2d)


def _shapes(x: Tensor, weight: Tensor, mask: Tensor, reverse: Sequence[bool], keep: bool) -> tuple[Tensor, Tensor]:
    return outputs(x, weight) if x.is_cuda else cpu._outputs(x, weight, keep)


LIBRARY.impl("gru_forward", forward, "CUDA")
LIBRARY.impl("gru_backward", backward, "CUDA")
# What is kept for the backward pass differs between the devices.
torch.library.register_fake("dmnplus::gru_forward", _shapes, lib=LIBRARY, allow_override=True)
