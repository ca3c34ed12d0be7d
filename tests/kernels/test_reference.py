"""The reference recurrences against cases worked out by hand and against numerical gradients.

Shape legend: G groups, B batch, F facts, H hidden.
"""

from __future__ import annotations

import math

import pytest
import torch

from dmnplus.kernels.attention_gru.reference import attention_gru
from dmnplus.kernels.gru.reference import gru
from tests.kernels import cases


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


def test_gru_by_hand():
    # One unit, weights U_u = 1, U_r = 2, U_h = 3, two steps.
    x = torch.tensor([[[[0.5, -1.0, 2.0], [0.0, 1.0, -0.5]]]], dtype=torch.float64)
    weight = torch.tensor([[[1.0], [2.0], [3.0]]], dtype=torch.float64)
    states = gru(x, weight, torch.ones(1, 1, 2, dtype=torch.bool), [False])
    first = sigmoid(0.5) * math.tanh(2.0)
    u, r = sigmoid(0.0 + first), sigmoid(1.0 + 2 * first)
    second = u * math.tanh(-0.5 + r * 3 * first) + (1 - u) * first
    assert states.flatten().tolist() == pytest.approx([first, second])


def test_gru_backwards_is_the_scan_of_the_reversed_steps():
    x, weight, mask, _ = cases.gru_inputs(1, 2, 5, 3, mask="none")
    backwards = gru(x, weight, mask, [True])
    assert torch.equal(backwards, gru(x.flip(2), weight, mask, [False]).flip(2))


def test_gru_carries_the_state_over_masked_steps():
    x, weight, _, _ = cases.gru_inputs(1, 1, 4, 3, mask="none")
    mask = torch.tensor([[[True, False, True, False]]])
    states = gru(x, weight, mask, [False])
    kept = gru(x[:, :, ::2], weight, mask[:, :, ::2], [False])
    assert torch.equal(states[:, :, [0, 2]], kept)
    assert torch.equal(states[:, :, [1, 3]], kept)


def test_attention_gru_by_hand():
    # One unit, weights U_r = 2, U_h = 3, gates 0.25 and 0.5.
    x = torch.tensor([[[[-1.0, 2.0], [1.0, -0.5]]]], dtype=torch.float64)
    weight = torch.tensor([[[2.0], [3.0]]], dtype=torch.float64)
    gate = torch.tensor([[[0.25, 0.5]]], dtype=torch.float64)
    context = attention_gru(x, weight, gate, torch.ones(1, 1, 2, dtype=torch.bool))
    first = 0.25 * math.tanh(2.0)
    r = sigmoid(1.0 + 2 * first)
    assert context.item() == pytest.approx(0.5 * math.tanh(-0.5 + r * 3 * first) + 0.5 * first)


def test_attention_gru_leaves_out_facts_without_attention():
    x, weight, gate, mask = cases.attention_gru_inputs(1, 2, 4, 3, mask="none")
    gate[..., 1] = 0
    rest = [0, 2, 3]
    assert torch.equal(
        attention_gru(x, weight, gate, mask),
        attention_gru(x[:, :, rest], weight, gate[..., rest], mask[..., rest]),
    )


def test_gradients_by_differences():
    mask = cases.mask_of("any", 2, 2, 4)
    x = torch.randn(2, 2, 4, 9, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 9, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: gru(x, w, mask, [False, True]), (x, weight))
    x, weight = x.detach()[..., :6].requires_grad_(), weight.detach()[:, :6].requires_grad_()
    gate = torch.rand(2, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w, g: attention_gru(x, w, g, mask), (x, weight, gate))
