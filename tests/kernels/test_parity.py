"""The compiled kernels against the references in float64.

Shape legend: G groups, B batch, F facts, H hidden, K first-layer width of the gate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dmnplus import kernels
from dmnplus.kernels.attention_gate import reference as attention_gate_reference
from dmnplus.kernels.attention_gru import reference as attention_gru_reference
from dmnplus.kernels.episodes import reference as episodes_reference
from dmnplus.kernels.gru import reference as gru_reference
from tests.kernels import cases

pytestmark = pytest.mark.usefixtures("cpu", "unit")


@pytest.fixture(params=["vector", "matrix"])
def unit(request, cpu):
    """All of it in vector registers, and on the matrix unit of a processor that has one."""
    if request.param == "matrix":
        request.getfixturevalue("matrix_unit")


def differentiate(output: Tensor, grad: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
    cases.poison_memory()
    grads = torch.autograd.grad(output, list(inputs.values()), grad)
    return dict(zip(inputs, grads, strict=True))


def leaf(tensor: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    return tensor.to(dtype).detach().requires_grad_()


def check_gru(x: Tensor, weight: Tensor, mask: Tensor, reverse: list[bool]) -> None:
    grad = torch.randn(*mask.shape, weight.shape[-1])
    # The layout of x is part of the case.
    x32 = x.detach().requires_grad_()
    w32, x64, w64 = leaf(weight), leaf(x, torch.float64), leaf(weight, torch.float64)
    cases.poison_memory()
    states = kernels.gru(x32, w32, mask, reverse)
    wanted = gru_reference.gru(x64, w64, mask, reverse)
    cases.assert_close("states", states, wanted)
    with torch.no_grad():
        cases.poison_memory()
        assert torch.equal(kernels.gru(x, weight, mask, reverse), states), "without a gradient the states differ"
    for name, end in (("last state", -1), ("last state", 0)):
        cases.assert_close(name, states[:, :, end], wanted[:, :, end])
    found = differentiate(states, grad, x=x32, weight=w32)
    expected = differentiate(wanted, grad.double(), x=x64, weight=w64)
    for name in found:
        cases.assert_close(f"grad of {name}", found[name], expected[name])
    assert (found["x"][~mask] == 0).all(), "a masked step passes a gradient"


def check_attention_gru(x: Tensor, weight: Tensor, gate: Tensor, mask: Tensor) -> None:
    grad = torch.randn(*mask.shape[:2], weight.shape[-1])
    x32, w32, g32 = x.detach().requires_grad_(), leaf(weight), gate.detach().requires_grad_()
    x64, w64, g64 = leaf(x, torch.float64), leaf(weight, torch.float64), leaf(gate, torch.float64)
    cases.poison_memory()
    context = kernels.attention_gru(x32, w32, g32, mask)
    wanted = attention_gru_reference.attention_gru(x64, w64, g64, mask)
    cases.assert_close("context", context, wanted)
    with torch.no_grad():
        cases.poison_memory()
        assert torch.equal(kernels.attention_gru(x, weight, gate, mask), context)
    found = differentiate(context, grad, x=x32, weight=w32, gate=g32)
    expected = differentiate(wanted, grad.double(), x=x64, weight=w64, gate=g64)
    for name in found:
        cases.assert_close(f"grad of {name}", found[name], expected[name])
    assert (found["x"][~mask] == 0).all(), "a masked fact passes a gradient to its projection"
    assert (found["gate"][~mask] == 0).all(), "a masked fact passes a gradient to its gate"


def check_attention_gate(facts: Tensor, memory: Tensor, half: Tensor, weight: Tensor, w2: Tensor, mask: Tensor) -> None:
    score = {"facts": facts, "memory": memory, "question_half": half, "weight": weight, "w2": w2}
    found = _check_gate("scores", kernels.attention_gate, attention_gate_reference.attention_gate, mask, score)
    assert (found["question_half"][~mask] == 0).all(), "a masked fact passes a gradient to its half"
    first = {"facts": facts, "memory": memory, "weight": weight, "b": w2}
    _check_gate("half", kernels.attention_gate_half, attention_gate_reference.attention_gate_half, mask, first)


def _check_gate(
    name: str, run: Callable[..., Tensor], reference: Callable[..., Tensor], mask: Tensor, inputs: dict[str, Tensor]
) -> dict[str, Tensor]:
    # The layout is part of the case.
    inputs32 = {name: tensor.detach().requires_grad_() for name, tensor in inputs.items()}
    inputs64 = {name: leaf(tensor, torch.float64) for name, tensor in inputs.items()}
    cases.poison_memory()
    output = run(*inputs32.values(), mask)
    wanted = reference(*inputs64.values(), mask)
    cases.assert_close(name, output, wanted)
    assert (output[~mask] == 0).all()
    with torch.no_grad():
        cases.poison_memory()
        assert torch.equal(run(*inputs.values(), mask), output)
    # A gradient of a masked fact is not read.
    grad = torch.randn(output.shape).masked_fill(~mask.view(mask.shape + (1,) * (output.dim() - 3)), torch.nan)
    found = differentiate(output, grad, **inputs32)
    expected = differentiate(wanted, grad.double().nan_to_num(0), **inputs64)
    for key in found:
        cases.assert_close(f"grad of {key}", found[key], expected[key])
    assert (found["facts"][~mask] == 0).all(), "a masked fact gets a gradient"
    return found


def double(inputs: tuple[Any, ...]) -> list[Any]:
    """In float64, the mask as it is."""
    return [
        [tensor.double() for tensor in given] if isinstance(given, list) else given if i == 5 else given.double()
        for i, given in enumerate(inputs)
    ]


@torch.no_grad()
def check_episodes(*inputs: Any) -> None:
    cases.poison_memory()
    memory, attention = kernels.episodes(*inputs)
    with kernels.backend("reference"):
        wanted_memory, wanted_attention = episodes_reference.episodes(*double(inputs))
    cases.assert_close("last memory", memory, wanted_memory)
    cases.assert_close("attention", attention, wanted_attention)
    assert (attention[:, ~inputs[5]] == 0).all(), "a masked fact has attention"


def check_linear(x: Tensor, weight: Tensor, bias: Tensor) -> None:
    x32, x64 = x.detach().requires_grad_(), leaf(x, torch.float64)
    w32, w64, b32, b64 = leaf(weight), leaf(weight, torch.float64), leaf(bias), leaf(bias, torch.float64)
    cases.poison_memory()
    y, wanted = kernels.linear(x32, w32, b32), nn.functional.linear(x64, w64, b64)
    cases.assert_close("linear", y, wanted)
    with torch.no_grad():
        cases.poison_memory()
        cases.assert_close("linear", kernels.linear(x, weight, bias), wanted)
    grad = torch.randn(y.shape)
    found = differentiate(y, grad, x=x32, weight=w32, bias=b32)
    expected = differentiate(wanted, grad.double(), x=x64, weight=w64, bias=b64)
    for name in found:
        cases.assert_close(f"grad of {name}", found[name], expected[name])


@pytest.mark.parametrize("rows", [(0,), (1,), (2, 3), (33,), (5, 40), (1000,)])
@pytest.mark.parametrize(("K", "N"), [(3, 8), (7, 20), (33, 5), (80, 480)])
def test_linear(rows, K, N):
    check_linear(torch.randn(*rows, K), torch.randn(N, K) / K**0.5, torch.randn(N))
    # Neither the rows nor the weights lie in one piece.
    check_linear(torch.randn(*rows, 2 * K)[..., K:], torch.randn(K, N).t() / K**0.5, torch.randn(2 * N)[::2])


@torch.no_grad()
def test_neighbours_and_threads_change_nothing_in_a_linear_layer():
    x, weight, bias = torch.randn(300, 80), torch.randn(240, 80), torch.randn(240)
    together = kernels.linear(x, weight, bias)
    for count in (1, 2, 3, 7, 17, 100):
        assert torch.equal(kernels.linear(x[:count], weight, bias), together[:count])
    torch.set_num_threads(3)
    assert torch.equal(kernels.linear(x, weight, bias), together)


# Two groups: one runs forward and one backward.
@pytest.mark.parametrize("mask", ["none", "any"])
@pytest.mark.parametrize(("B", "F", "H"), cases.SIZES)
def test_sizes(B, F, H, mask):
    check_gru(*cases.gru_inputs(2, B, F, H, mask))
    check_attention_gru(*cases.attention_gru_inputs(1, B, F, H, mask))
    check_attention_gate(*cases.attention_gate_inputs(1, B, F, H, mask))
    check_episodes(*cases.episodes_inputs(1, B, F, H, mask))


@pytest.mark.parametrize("mask", cases.MASKS)
@pytest.mark.parametrize("G", [1, 2, 3])
def test_groups_and_masks(G, mask):
    # 37 rows: several units of rows, the last one not full.
    check_gru(*cases.gru_inputs(G, 37, 9, 20, mask))
    check_attention_gru(*cases.attention_gru_inputs(G, 37, 9, 20, mask))
    check_attention_gate(*cases.attention_gate_inputs(G, 37, 9, 20, mask))
    check_episodes(*cases.episodes_inputs(G, 37, 9, 20, mask))


@pytest.mark.parametrize("B", [16, 100, 300])
def test_large_batches(B):
    # 300 rows: more units than lanes of the weight gradient.
    check_gru(*cases.gru_inputs(1, B, 5, 24, "end"))
    check_attention_gru(*cases.attention_gru_inputs(1, B, 5, 24, "end"))
    check_attention_gate(*cases.attention_gate_inputs(1, B, 5, 24, "end"))


@pytest.mark.parametrize("H", [1, 2, 7, 9, 17, 33, 200])
def test_odd_hidden_sizes(H):
    check_gru(*cases.gru_inputs(2, 3, 4, H))
    check_attention_gru(*cases.attention_gru_inputs(2, 3, 4, H))
    check_attention_gate(*cases.attention_gate_inputs(2, 3, 4, H))
    check_attention_gate(*cases.attention_gate_inputs(2, 3, 4, 12, K=H))
    check_episodes(*cases.episodes_inputs(2, 3, 4, H))
    check_episodes(*cases.episodes_inputs(2, 3, 4, 12, K=H))


def test_empty():
    for B, F in ((0, 3), (2, 0)):
        x, weight, mask, reverse = cases.gru_inputs(1, B, F, 8)
        weight.requires_grad_()
        kernels.gru(x, weight, mask, reverse).sum().backward()
        assert (weight.grad == 0).all()
        x, weight, gate, mask = cases.attention_gru_inputs(1, B, F, 8)
        weight.requires_grad_()
        context = kernels.attention_gru(x, weight, gate, mask)
        context.sum().backward()
        assert (weight.grad == 0).all()
        assert (context == 0).all()
        check_attention_gate(*cases.attention_gate_inputs(1, B, F, 8))
        check_episodes(*cases.episodes_inputs(1, B, F, 8))


def test_strides():
    # As the network makes it: one projection for both directions, seen from the groups.
    x, weight, mask, reverse = cases.gru_inputs(2, 3, 6, 8, "none")
    x = x.permute(1, 2, 0, 3).contiguous().permute(2, 0, 1, 3)
    check_gru(x, weight, mask[:1].expand(2, -1, -1), reverse)
    grad = torch.autograd.grad(kernels.gru(leaf_x := x.requires_grad_(), weight, mask, reverse).sum(), leaf_x)[0]
    assert grad.stride() == x.stride()
    # And a layout whose last axis is not contiguous.
    x, weight, gate, mask = cases.attention_gru_inputs(2, 3, 6, 8)
    check_attention_gru(x.transpose(2, 3).contiguous().transpose(2, 3), weight, gate.mT.contiguous().mT, mask)
    facts, memory, half, weight, w2, mask = cases.attention_gate_inputs(2, 3, 6, 8)
    facts, half = facts.transpose(1, 2).contiguous().transpose(1, 2), half.mT.contiguous().mT
    check_attention_gate(facts, memory.mT.contiguous().mT, half, weight.mT.contiguous().mT, w2, mask)
    given = cases.episodes_inputs(2, 3, 6, 8)
    check_episodes(*(g if isinstance(g, list) or g.dtype is torch.bool else g.mT.contiguous().mT for g in given))
    mask = given[5].transpose(1, 2).contiguous().transpose(1, 2)
    check_episodes(*given[:5], mask, *given[6:9], *([t.t().contiguous().t() for t in given[9]], given[10]))


def test_gate_where_a_fact_equals_the_memory():
    facts, memory, *rest = cases.attention_gate_inputs(1, 3, 6, 9)
    facts[:, :, ::2] = memory[:, :, None]
    check_attention_gate(facts.masked_fill(~rest[-1][..., None], torch.nan), memory, *rest)


def test_extreme_inputs_stay_finite():
    x, weight, mask, reverse = cases.gru_inputs(1, 4, 6, 16, "none")
    x = (x * 1e4).requires_grad_()
    weight = (weight * 1e3).requires_grad_()
    states = kernels.gru(x, weight, mask, reverse)
    wanted = gru_reference.gru(x.double(), weight.double(), mask, reverse)
    cases.assert_close("states", states, wanted)
    states.sum().backward()
    assert torch.isfinite(x.grad).all()
    infinite = torch.tensor([torch.inf, -torch.inf]).repeat(24).expand(1, 4, 6, 48)
    assert torch.isfinite(kernels.gru(infinite, weight, mask, reverse)).all()


def test_nan_of_a_real_step_stays_in_its_row():
    x, weight, mask, reverse = cases.gru_inputs(1, 5, 6, 16, "none")
    clean = kernels.gru(x, weight, mask, reverse)
    x[0, 2, 3, 1] = torch.nan
    states = kernels.gru(x, weight, mask, reverse)
    assert states[0, 2, 3:].isnan().any()
    others = [0, 1, 3, 4]
    assert torch.equal(states[:, others], clean[:, others])


def test_threads_and_neighbours_change_nothing():
    x, weight, mask, reverse = cases.gru_inputs(2, 50, 30, 40)
    arguments = cases.attention_gru_inputs(2, 50, 30, 40)
    gate, half = cases.attention_gate_inputs(2, 50, 30, 40), cases.attention_gate_inputs(2, 50, 30, 40)
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            leaves = [leaf(tensor) for tensor in (x, weight, *arguments[:3], *gate[:5], *half[:2], *half[3:5])]
            states = kernels.gru(leaves[0], leaves[1], mask, reverse)
            context = kernels.attention_gru(*leaves[2:5], arguments[3])
            scores = kernels.attention_gate(*leaves[5:10], gate[5])
            first = kernels.attention_gate_half(*leaves[10:], half[5])
            outputs = [states, context, scores, first]
            results.append([*outputs, *torch.autograd.grad(sum(output.sum() for output in outputs), leaves)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    alone = kernels.gru(x[:, 7:8], weight, mask[:, 7:8], reverse)
    assert torch.equal(alone, results[0][0][:, 7:8])
    rows = [tensor[:, 7:8] for tensor in gate[:3]]
    assert torch.equal(kernels.attention_gate(*rows, *gate[3:5], gate[5][:, 7:8]), results[0][2][:, 7:8])


@torch.no_grad()
def test_threads_and_neighbours_change_nothing_in_the_episodes():
    given = cases.episodes_inputs(2, 150, 60, 80)
    threads, results = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(kernels.episodes(*given))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    memory, attention = results[0]
    for rows in (slice(7, 8), slice(7, 10)):
        found_memory, found_attention = kernels.episodes(*(tensor[:, rows] for tensor in given[:6]), *given[6:])
        assert torch.equal(found_memory, memory[:, rows])
        assert torch.equal(found_attention, attention[:, :, rows])
    # Nor do masked facts at the end.
    longer = [nn.functional.pad(t, (0,) * (2 * t.dim() - 5) + (5,)) if t.dim() != 3 else t for t in given[:5]]
    mask = nn.functional.pad(given[5], (0, 5))
    found_memory, found_attention = kernels.episodes(*longer, mask, *given[6:])
    assert torch.equal(found_memory, memory)
    assert torch.equal(found_attention[..., :60], attention)


@torch.no_grad()
def test_nan_of_a_real_fact_stays_in_its_row_of_the_episodes():
    given = cases.episodes_inputs(1, 5, 6, 16, "none")
    clean = kernels.episodes(*given)
    given[4][0, 2, 3, 1] = torch.nan
    memory, attention = kernels.episodes(*given)
    assert memory[0, 2].isnan().any()
    others = [0, 1, 3, 4]
    assert torch.equal(memory[:, others], clean[0][:, others])
    assert torch.equal(attention[:, :, others], clean[1][:, :, others])


def test_a_second_backward_gives_the_same():
    x, weight, mask, reverse = cases.gru_inputs(1, 3, 5, 8)
    states = kernels.gru(x.requires_grad_(), weight.requires_grad_(), mask, reverse)
    grads = [torch.autograd.grad(states.sum(), (x, weight), retain_graph=True) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@torch.no_grad()
def test_scores_of_any_size_make_attention():
    given = [*cases.episodes_inputs(1, 3, 6, 16, "end")]
    # Scores of hundreds, of which no exponential can be taken.
    given[7] = 50 * given[7]
    check_episodes(*given)
