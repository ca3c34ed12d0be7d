"""What the Triton kernels of both recurrences share: tiles of the state, products with them, spans of real steps.

A program owns a few rows of one group and goes through all their steps. Its state lives in registers as two tiles, A
units and then TAIL more (80 = 64 + 16), because Triton's tiles have powers of two and one tile of 128 would cost 2.6
times the work. The recurrent weights are read by loop-invariant loads, which the compiler hoists out of the loop over
the steps, so that they stay on chip (registers; what does not fit, in L1) for the whole sequence. Hidden sizes above
`WIDEST` do not fit; they go step by step, one matrix product and one fused kernel a step.

Shape legend: R rows of a program, A and T units of its two tiles, O units of a result.
"""
# Triton's language is not Python: types are inferred by its own compiler.
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# Both read off the compiler's reports for sm_90: with more units or rows the registers spill by the thousand.
WIDEST = 96
ROWS = 4
# What tl.dot takes at least, and what two tiles need to cover WIDEST.
_SMALLEST_TILE, _LARGEST_TILE = 16, 64


@triton.jit
def sigmoid(a):
    return 1 / (1 + tl.exp(-a))


@triton.jit
def tanh(a):
    # The exponent is never positive, so nothing overflows.
    e = tl.exp(-2 * tl.abs(a))
    t = (1 - e) / (1 + e)
    return tl.where(a < 0, -t, t)


@triton.jit
def product(
    h_RA,
    h_RT,
    weight,
    first,
    H,
    OUT: tl.constexpr,
    A: tl.constexpr,
    TAIL: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Columns `first` to `first + OUT` of h W, [R, OUT], for one gate's W [H, H] at `weight`, h in two tiles."""
    out = first + tl.arange(0, OUT)
    k = tl.arange(0, A)
    inside = (k[:, None] < H) & (out[None, :] < H)
    w_AO = tl.load(weight + k[:, None] * H + out[None, :], mask=inside, other=0.0)
    result = tl.dot(h_RA, w_AO, input_precision=PRECISION)
    if TAIL > 0:
        k_tail = A + tl.arange(0, TAIL)
        inside_tail = (k_tail[:, None] < H) & (out[None, :] < H)
        w_TO = tl.load(weight + k_tail[:, None] * H + out[None, :], mask=inside_tail, other=0.0)
        result = tl.dot(h_RT, w_TO, result, input_precision=PRECISION)
    return result


@triton.jit
def span(mask_R, present_R, steps, stride, WIDTH: tl.constexpr):
    """The first real step of any row, and the one after the last; `steps` and 0 if there is none."""
    first = steps
    end = 0
    for start in range(0, steps, WIDTH):
        i = start + tl.arange(0, WIDTH)
        within = present_R[:, None] & (i[None, :] < steps)
        real = tl.load(mask_R[:, None] + i[None, :].to(tl.int64) * stride, mask=within, other=0) != 0
        first = tl.minimum(first, tl.min(tl.where(real, i[None, :], steps)))
        end = tl.maximum(end, tl.max(tl.where(real, i[None, :] + 1, 0)))
    return first, end


@triton.jit
def load_tile(row_R, first, wanted_R, H, T: tl.constexpr):
    """Units `first` to `first + T` of each wanted row, [R, T]; zero elsewhere, where memory may hold anything."""
    units = first + tl.arange(0, T)
    return tl.load(row_R[:, None] + units[None, :], mask=wanted_R[:, None] & (units[None, :] < H), other=0.0)


@triton.jit
def store_tile(row_R, first, value_RT, wanted_R, H, T: tl.constexpr):
    units = first + tl.arange(0, T)
    tl.store(row_R[:, None] + units[None, :], value_RT, mask=wanted_R[:, None] & (units[None, :] < H))


def tiles(H: int) -> tuple[int, int]:
    """The two tiles that cover `H` units, the second 0 where one is enough."""
    first = max(_SMALLEST_TILE, min(1 << (H.bit_length() - 1), _LARGEST_TILE))
    rest = H - first
    return first, 0 if rest <= 0 else max(_SMALLEST_TILE, triton.next_power_of_2(rest))


def options(H: int) -> dict[str, Any]:
    """Keyword arguments of a launch over whole sequences."""
    first, tail = tiles(H)
    precision = "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"
    # One stage: nothing may be prefetched across the steps of a recurrence.
    launch = {"num_warps": 8 if H > 48 else 4, "num_stages": 1, "enable_fp_fusion": True}
    return {"ROWS": ROWS, "A": first, "TAIL": tail, "PRECISION": precision, **launch}


def step_options(H: int) -> dict[str, Any]:
    """Keyword arguments of a launch for one step of one row."""
    return {"BLOCK": triton.next_power_of_2(H), "num_warps": 4, "enable_fp_fusion": True}


def bytes_of(mask: Tensor) -> Tensor:
    return mask.view(torch.uint8)


@lru_cache(maxsize=256)
def _flags(reverse: tuple[bool, ...], device: torch.device) -> Tensor:
    return torch.tensor(reverse, dtype=torch.int32, device=device)


def flags_of(reverse: Sequence[bool], device: torch.device) -> Tensor:
    """The directions on the device; kept, since every copy there would wait for the device."""
    return _flags(tuple(map(bool, reverse)), device)


def on(device: torch.device) -> AbstractContextManager[object]:
    """Launches in this block go to `device`."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
