"""Inputs of the kernel tests: awkward sizes, every kind of mask, NaN wherever nothing may be read.

Shape legend: G groups, B batch, F facts, H hidden, K first-layer width of the gate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dmnplus import kernels

# The largest error allowed, relative to the largest element of the reference in float64, per quantity.
TOLERANCE = {
    "states": 2e-6,
    "last state": 2e-6,
    "context": 2e-6,
    "scores": 2e-6,
    "half": 2e-6,
    "last memory": 1e-5,
    "attention": 1e-5,
    "grad of x": 1e-5,
    "grad of weight": 1e-5,
    "grad of gate": 1e-5,
    "grad of facts": 1e-5,
    "grad of memory": 1e-5,
    "grad of question_half": 1e-5,
    "grad of w2": 1e-5,
    "grad of b": 1e-5,
    "linear": 2e-6,
    "grad of bias": 1e-5,
}
# What is added on the matrix unit, where a product keeps 16 bits of the mantissa of both factors.
MATRIX_UNIT_TOLERANCE = 2**-15
MASKS = ("none", "end", "start", "any")
SIZES = [(B, F, H) for B in (1, 3) for F in (1, 2, 17, 63) for H in (8, 40, 80, 127)]


def mask_of(kind: str, G: int, B: int, F: int) -> Tensor:
    """Mask [G, B, F]; some rows of the masked kinds may be empty."""
    lengths = torch.randint(0, F + 1, (G, B, 1))
    match kind:
        case "none":
            return torch.ones(G, B, F, dtype=torch.bool)
        case "end":
            return torch.arange(F) < lengths
        case "start":
            return torch.arange(F) >= lengths
        case _:
            return torch.rand(G, B, F) < 0.6


def gru_inputs(G: int, B: int, F: int, H: int, mask: str = "any") -> tuple[Tensor, Tensor, Tensor, list[bool]]:
    """x, weight, mask and reverse of a GRU; the input of masked steps is NaN."""
    mask_GBF = mask_of(mask, G, B, F)
    x = torch.randn(G, B, F, 3 * H).masked_fill(~mask_GBF[..., None], torch.nan)
    return x, torch.randn(G, 3 * H, H) / H**0.5, mask_GBF, [g % 2 == 1 for g in range(G)]


def attention_gru_inputs(G: int, B: int, F: int, H: int, mask: str = "any") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, weight, gate and mask of an attention GRU; input and gate of masked facts are NaN."""
    mask_GBF = mask_of(mask, G, B, F)
    x = torch.randn(G, B, F, 2 * H).masked_fill(~mask_GBF[..., None], torch.nan)
    gate = torch.rand(G, B, F).masked_fill(~mask_GBF, torch.nan)
    return x, torch.randn(G, 2 * H, H) / H**0.5, gate, mask_GBF


def attention_gate_inputs(
    G: int, B: int, F: int, H: int, mask: str = "any", K: int | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """facts, memory, question half, weight, w2 and mask of a gate; facts and half of masked facts are NaN."""
    K = H if K is None else K
    mask_GBF = mask_of(mask, G, B, F)
    facts = torch.randn(G, B, F, H).masked_fill(~mask_GBF[..., None], torch.nan)
    half = torch.randn(G, B, F, K).masked_fill(~mask_GBF[..., None], torch.nan)
    weight = torch.randn(G, K, 2 * H) / (2 * H) ** 0.5
    return facts, torch.randn(G, B, H), half, weight, torch.randn(G, K), mask_GBF


def episodes_inputs(
    G: int, B: int, F: int, H: int, mask: str = "any", K: int | None = None, passes: int = 2
) -> tuple[Any, ...]:
    """What `episodes` takes; everything of masked facts is NaN."""
    facts, question, half, weight, w2, mask_GBF = attention_gate_inputs(G, B, F, H, mask, K)
    projected = torch.randn(G, B, F, 2 * H).masked_fill(~mask_GBF[..., None], torch.nan)
    updates = [torch.randn(G * H, 3 * H) / (3 * H) ** 0.5 for _ in range(passes)]
    biases = [torch.randn(G * H) for _ in range(passes)]
    recurrent = torch.randn(G, 2 * H, H) / H**0.5
    given = facts, question, torch.randn(G, B, H), half, projected, mask_GBF
    return *given, weight, w2, recurrent, updates, biases


def poison_memory() -> None:
    """Leave NaN in the memory that the next tensors are likely to get."""
    sizes = [2**k for k in range(4, 19)]
    blocks = [torch.full((size,), torch.nan) for size in sizes for _ in range(3)]
    del blocks


def assert_close(name: str, found: Tensor, wanted: Tensor) -> None:
    """Compare with the table; `wanted` is the reference in float64."""
    assert found.shape == wanted.shape, name
    assert torch.isfinite(found).all(), f"{name} is not finite"
    error = (found.double() - wanted).abs().max().item() if found.numel() else 0.0
    scale = max(wanted.abs().max().item(), 1e-3) if wanted.numel() else 1.0
    tolerance = TOLERANCE[name] + (MATRIX_UNIT_TOLERANCE if kernels.matrix_unit() else 0.0)
    assert error <= tolerance * scale, f"{name}: error {error:.2e} of {scale:.2e}"
