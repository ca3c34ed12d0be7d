"""The reference recurrences against cases worked out by hand and against numerical gradients.

Shape legend: G groups, B batch, F facts, H hidden, K first-layer width of the gate.
"""

from __future__ import annotations

import math

import pytest
import torch

from dmnplus.kernels.attention_gate.reference import attention_gate, attention_gate_half
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


def test_attention_gate_by_hand():
    # H = K = 1: a row of W1 is its weight on f m and on |f - m|.
    facts = torch.tensor([[[[1.0], [-2.0], [torch.nan]]]], dtype=torch.float64)
    mask = torch.tensor([[[True, True, False]]])
    weight = torch.tensor([[[0.1, 0.2]]], dtype=torch.float64)
    q, b = torch.tensor([[[0.5]]], dtype=torch.float64), torch.tensor([[0.05]], dtype=torch.float64)
    half = attention_gate_half(facts, q, weight, b, mask)
    halves = [0.1 * f * 0.5 + 0.2 * abs(f - 0.5) + 0.05 for f in (1.0, -2.0)]
    assert half.flatten().tolist() == pytest.approx([*halves, 0.0])
    m, w2 = torch.tensor([[[3.0]]], dtype=torch.float64), torch.tensor([[2.0]], dtype=torch.float64)
    scores = attention_gate(facts, m, half, 2 * weight, w2, mask)
    wanted = [2 * math.tanh(x + 0.2 * f * 3.0 + 0.4 * abs(f - 3.0)) for x, f in zip(halves, (1.0, -2.0), strict=True)]
    assert scores.flatten().tolist() == pytest.approx([*wanted, 0.0])


def test_gradients_by_differences():
    mask = cases.mask_of("any", 2, 2, 4)
    x = torch.randn(2, 2, 4, 9, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 9, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: gru(x, w, mask, [False, True]), (x, weight))
    x, weight = x.detach()[..., :6].requires_grad_(), weight.detach()[:, :6].requires_grad_()
    gate = torch.rand(2, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w, g: attention_gru(x, w, g, mask), (x, weight, gate))
    facts, memory, half, weight, w2, mask = cases.attention_gate_inputs(2, 2, 4, 3, K=5)
    facts, half = facts.nan_to_num(1), half.nan_to_num(1)
    inputs = [tensor.double().requires_grad_() for tensor in (facts, memory, half, weight, w2)]
    assert torch.autograd.gradcheck(lambda *inputs: attention_gate(*inputs, mask), inputs)
    del inputs[2]
    assert torch.autograd.gradcheck(lambda *inputs: attention_gate_half(*inputs, mask), inputs)


def test_gate_passes_nothing_through_masked_facts():
    *inputs, mask = cases.attention_gate_inputs(2, 3, 5, 4)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    scores = attention_gate(*inputs, mask)
    assert (scores[~mask] == 0).all()
    grads = torch.autograd.grad(scores.sum(), inputs)
    assert all(torch.isfinite(grad).all() for grad in grads)
    assert (grads[0][~mask] == 0).all()
    assert (grads[2][~mask] == 0).all()
