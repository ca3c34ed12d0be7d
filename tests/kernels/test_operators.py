"""The operators as PyTorch sees them: opcheck, vmap, compile, dispatch between backends, messages.

Shape legend: R runs, G groups, B batch, F facts, H hidden.
"""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import pytest
import torch
from torch.func import vmap

from dmnplus import kernels
from dmnplus.kernels import _backend, _build
from tests.kernels import cases


# No masked step and a hidden size without padding: what is kept there for the backward pass is not defined.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_opcheck(cpu):
    x, weight, mask, reverse = cases.gru_inputs(2, 3, 4, 16, "none")
    arguments = x.requires_grad_(), weight.requires_grad_(), mask, reverse
    torch.library.opcheck(torch.ops.dmnplus.gru_forward.default, (*arguments, True))
    with torch.no_grad():
        torch.library.opcheck(
            torch.ops.dmnplus.gru_forward.default, (x.detach(), weight.detach(), mask, reverse, False)
        )
    x, weight, gate, mask = cases.attention_gru_inputs(2, 3, 4, 16, "none")
    arguments = x.requires_grad_(), weight.requires_grad_(), gate.requires_grad_(), mask
    torch.library.opcheck(torch.ops.dmnplus.attention_gru_forward.default, (*arguments, True))
    *inputs, mask = cases.attention_gate_inputs(2, 3, 4, 16, "none")
    inputs = [tensor.requires_grad_() for tensor in inputs]
    torch.library.opcheck(torch.ops.dmnplus.attention_gate_forward.default, (*inputs, mask, True))
    del inputs[2]
    torch.library.opcheck(torch.ops.dmnplus.attention_gate_half_forward.default, (*inputs, mask))


def test_the_matrix_unit_is_used_where_there_is_one(cpu):
    x, weight, bias = torch.randn(40, 80), torch.randn(50, 80), torch.randn(50)
    with torch.no_grad():
        vector = kernels.linear(x, weight, bias)
        found = kernels.use_matrix_unit(True)
        matrix = kernels.linear(x, weight, bias)
    assert not kernels.use_matrix_unit(False)
    if found:
        # Bits that only one of them keeps.
        assert not torch.equal(matrix, vector)
        torch.testing.assert_close(matrix, vector, rtol=1e-4, atol=1e-4)
    elif sys.platform == "linux":
        assert "amx_bf16" not in Path("/proc/cpuinfo").read_text(), "this processor has a matrix unit"


def test_the_matrix_unit_in_the_environment(cpu, monkeypatch):
    found = kernels.use_matrix_unit(True)
    for chosen, wanted in (("1", found), ("0", False)):
        monkeypatch.setenv("DMNPLUS_MATRIX_UNIT", chosen)
        monkeypatch.setattr(_build, "_library", None)
        assert kernels.matrix_unit() == wanted
    monkeypatch.setenv("DMNPLUS_MATRIX_UNIT", "off")
    monkeypatch.setattr(_build, "_library", None)
    with pytest.raises(ValueError, match="DMNPLUS_MATRIX_UNIT is 'off', but must be 0 or 1"):
        kernels.gru(*cases.gru_inputs(1, 2, 3, 8))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_opcheck_of_a_linear_layer(cpu, matrix_unit):
    arguments = [torch.randn(2, 5, 8), torch.randn(2, 6, 8), torch.randn(2, 6)]
    torch.library.opcheck(torch.ops.dmnplus.linear_backward.default, (torch.randn(2, 5, 6), *arguments[:2]))
    torch.library.opcheck(
        torch.ops.dmnplus.linear_forward.default, tuple(tensor.requires_grad_() for tensor in arguments)
    )


def test_the_gradient_of_a_linear_layer_without_the_matrix_unit(cpu):
    leaves = [torch.randn(2, 5, 8), torch.randn(2, 6, 8), torch.randn(2, 6)]
    leaves = [tensor.requires_grad_() for tensor in leaves]
    # As a graph has it that was traced without a gradient.
    y = torch.ops.dmnplus.linear_forward(*leaves)
    grads = torch.autograd.grad(y.square().sum(), leaves)
    expected = torch.baddbmm(leaves[2][:, None], leaves[0], leaves[1].mT)
    torch.testing.assert_close(grads, torch.autograd.grad(expected.square().sum(), leaves))


def test_a_linear_layer_refuses_other_widths():
    x, weight, bias = torch.randn(3, 14), torch.randn(2, 7), torch.randn(2)
    for given in ((x, weight, bias), (x[:, :7], weight, bias[:1]), (x[:, :7], weight[0], bias)):
        with pytest.raises(ValueError, match=re.escape("must be [*X, K], [N, K] and [N]")):
            kernels.linear(*given)


def test_vmap_of_a_linear_layer(cpu, matrix_unit):
    x, weights, bias = torch.randn(3, 4, 8), torch.randn(2, 6, 8, requires_grad=True), torch.randn(6)
    together = vmap(lambda w: kernels.linear(x, w, bias))(weights)
    alone = torch.stack([kernels.linear(x, w, bias) for w in weights])
    torch.testing.assert_close(together, alone)
    grads = [torch.autograd.grad(y.square().sum(), weights)[0] for y in (together, alone)]
    torch.testing.assert_close(*grads)


def test_opcheck_of_the_episodes(cpu):
    # With a gradient there is nothing to check: `episodes` then takes the steps one by one.
    with torch.no_grad():
        torch.library.opcheck(torch.ops.dmnplus.episodes.default, cases.episodes_inputs(2, 3, 4, 16))
    given = cases.episodes_inputs(1, 3, 4, 16, "none")
    given[4].requires_grad_()
    memory, attention = kernels.episodes(*given)
    assert memory.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(kernels.episodes(*given), (memory, attention))


def test_opcheck_of_the_backward_passes(cpu):
    x, weight, mask, reverse = cases.gru_inputs(2, 3, 4, 16, "none")
    states, kept = torch.ops.dmnplus.gru_forward(x, weight, mask, reverse, True)
    arguments = (torch.randn_like(states), x, weight, mask, reverse, states, kept)
    torch.library.opcheck(torch.ops.dmnplus.gru_backward.default, arguments)
    x, weight, gate, mask = cases.attention_gru_inputs(2, 3, 4, 16, "none")
    context, kept = torch.ops.dmnplus.attention_gru_forward(x, weight, gate, mask, True)
    arguments = (torch.randn_like(context), x, weight, gate, mask, kept)
    torch.library.opcheck(torch.ops.dmnplus.attention_gru_backward.default, arguments)
    facts, memory, half, weight, w2, mask = cases.attention_gate_inputs(2, 3, 4, 16, "none")
    scores, kept = torch.ops.dmnplus.attention_gate_forward(facts, memory, half, weight, w2, mask, True)
    arguments = (torch.randn_like(scores), facts, memory, weight, w2, mask, kept)
    torch.library.opcheck(torch.ops.dmnplus.attention_gate_backward.default, arguments)
    arguments = (torch.randn_like(half), facts, memory, weight, mask)
    torch.library.opcheck(torch.ops.dmnplus.attention_gate_half_backward.default, arguments)


@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_vmap_over_runs(name, request):
    if name == "cpu":
        request.getfixturevalue("cpu")
    R = 3
    with kernels.backend(name):
        runs = [cases.gru_inputs(2, 3, 5, 8, "none") for _ in range(R)]
        mask, reverse = cases.mask_of("any", 2, 3, 5), [False, True]
        x = torch.stack([run[0] for run in runs]).requires_grad_()
        weight = torch.stack([run[1] for run in runs]).requires_grad_()
        # The runs share the mask; the second argument's runs stand last.
        states = vmap(lambda x, w: kernels.gru(x, w, mask, reverse), in_dims=(0, -1))(x, weight.movedim(0, -1))
        states.square().sum().backward()
        for run in range(R):
            one_x, one_weight = x[run].detach().requires_grad_(), weight[run].detach().requires_grad_()
            alone = kernels.gru(one_x, one_weight, mask, reverse)
            alone.square().sum().backward()
            torch.testing.assert_close(states[run], alone)
            torch.testing.assert_close(x.grad[run], one_x.grad)
            torch.testing.assert_close(weight.grad[run], one_weight.grad)

        # The runs share the facts here, so that their gradients meet.
        x, weight, gate, _ = cases.attention_gru_inputs(1, 3, 5, 8, "none")
        mask = mask[:1]
        weights = torch.stack([weight, 2 * weight]).requires_grad_()
        x.requires_grad_()
        context = vmap(lambda w: kernels.attention_gru(x, w, gate, mask))(weights)
        context.sum().backward()
        grad = x.grad
        x.grad = None
        alone = [kernels.attention_gru(x, w, gate, mask) for w in (weight, 2 * weight)]
        torch.testing.assert_close(context, torch.stack(alone))
        sum(one.sum() for one in alone).backward()
        torch.testing.assert_close(grad, x.grad)
        with torch.no_grad():
            torch.testing.assert_close(vmap(lambda w: kernels.attention_gru(x, w, gate, mask))(weights), context)

        # The gate: the runs share the facts, and their question halves are made under the same vmap.
        facts, q, _, weight, row, mask = cases.attention_gate_inputs(1, 3, 5, 8, "none")
        leaves = [facts.requires_grad_(), torch.stack([weight, 2 * weight]).requires_grad_(), row.requires_grad_()]

        def scores(weight):
            half = kernels.attention_gate_half(facts, q, weight, row, mask)
            return kernels.attention_gate(facts, half[:, :, 0], half, weight, row, mask)

        together = vmap(scores)(leaves[1])
        alone = torch.stack([scores(weight) for weight in leaves[1]])
        torch.testing.assert_close(together, alone)
        grads = [torch.autograd.grad(output.square().sum(), leaves) for output in (together, alone)]
        torch.testing.assert_close(*grads)
        with torch.no_grad():
            torch.testing.assert_close(vmap(scores)(leaves[1]), alone)


@torch.no_grad()
@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_vmap_of_the_episodes(name, request):
    if name == "cpu":
        request.getfixturevalue("cpu")
    runs = [cases.episodes_inputs(1, 3, 5, 8, "none") for _ in range(3)]
    question, update = torch.stack([run[1] for run in runs]), torch.stack([run[9][0] for run in runs])
    given = runs[0]

    def run(question, update):
        return kernels.episodes(given[0], question, *given[2:9], [update, given[9][1]], given[10])

    with kernels.backend(name):
        together = vmap(run)(question, update)
        for i in range(3):
            torch.testing.assert_close([result[i] for result in together], [*run(question[i], update[i])])


def test_compile(cpu):
    x, weight, mask, reverse = cases.gru_inputs(2, 3, 4, 8)
    weight.requires_grad_()

    def loss(weight):
        return kernels.gru(x, weight, mask, reverse).square().sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    expected = torch.autograd.grad(loss(weight), weight)[0]
    assert torch.equal(torch.autograd.grad(compiled(weight), weight)[0], expected)


def test_other_dtypes_go_to_the_reference():
    x, weight, mask, reverse = cases.gru_inputs(1, 2, 3, 8)
    with kernels.backend("auto"):
        for dtype in (torch.float64, torch.bfloat16):
            assert kernels.gru(x.to(dtype), weight.to(dtype), mask, reverse).dtype is dtype


def test_a_backend_asked_for_by_name_is_taken_or_fails(cpu):
    x, weight, mask, reverse = cases.gru_inputs(1, 2, 3, 8)
    with pytest.raises(ValueError, match=re.escape("'cpu' takes torch.float32 on cpu, not torch.float64 on cpu")):
        kernels.gru(x.double(), weight.double(), mask, reverse)
    with pytest.raises(ValueError, match="must be one of auto, cpu, reference"):
        kernels.set_backend("gpu")


def test_backend_from_the_environment(monkeypatch):
    monkeypatch.setattr(_backend, "_chosen", None)
    monkeypatch.setenv("DMNPLUS_BACKEND", "reference")
    assert kernels.get_backend() == "reference"
    monkeypatch.setattr(_backend, "_chosen", None)
    monkeypatch.setenv("DMNPLUS_BACKEND", "fast")
    with pytest.raises(ValueError, match="DMNPLUS_BACKEND is 'fast'"):
        kernels.get_backend()
    # A backend chosen for a block ends with it, however the block ends.
    monkeypatch.setattr(_backend, "_chosen", "auto")
    with pytest.raises(ValueError, match="x and weight"), kernels.backend("reference"):
        kernels.gru(*cases.gru_inputs(1, 2, 3, 8)[:1] * 3, [])
    assert kernels.get_backend() == "auto"


def test_auto_falls_back_with_one_line(monkeypatch, caplog):
    def fail():
        raise kernels.KernelUnavailableError("no compiler: install one")

    monkeypatch.setattr(_build, "load", fail)
    monkeypatch.setattr(_backend, "_cpu_found", None)
    monkeypatch.setattr(_backend, "_chosen", "auto")
    x, weight, mask, reverse = cases.gru_inputs(1, 2, 3, 8)
    with caplog.at_level(logging.INFO, "dmnplus.kernels"):
        for _ in range(3):
            kernels.gru(x, weight, mask, reverse)
    assert len(caplog.records) == 1
    with pytest.raises(kernels.KernelUnavailableError, match="install one"):
        kernels.set_backend("cpu")
    assert kernels.get_backend() == "auto"
    monkeypatch.setattr(_backend, "_chosen", "cpu")
    with pytest.raises(kernels.KernelUnavailableError, match="install one"):
        kernels.gru(x, weight, mask, reverse)


@pytest.mark.parametrize("name", ["auto", "reference"])
def test_shapes_that_disagree(name):
    x, weight, mask, reverse = cases.gru_inputs(2, 3, 4, 8, "none")
    with kernels.backend(name):
        with pytest.raises(ValueError, match="x and weight"):
            kernels.gru(x, weight[:, :-1], mask, reverse)
        with pytest.raises(ValueError, match="x and weight"):
            kernels.gru(x[..., :-1], weight, mask, reverse)
        with pytest.raises(ValueError, match="mask must be bool"):
            kernels.gru(x, weight, mask.float(), reverse)
        with pytest.raises(ValueError, match="mask must be bool"):
            kernels.gru(x, weight, mask[:1], reverse)
        with pytest.raises(ValueError, match="reverse has 1"):
            kernels.gru(x, weight, mask, [False])
        x, weight, gate, mask = cases.attention_gru_inputs(2, 3, 4, 8, "none")
        with pytest.raises(ValueError, match="gate must be"):
            kernels.attention_gru(x, weight, gate[..., None], mask)
        facts, memory, half, weight, w2, mask = cases.attention_gate_inputs(2, 3, 4, 8, "none")
        with pytest.raises(ValueError, match="facts and the vector must be"):
            kernels.attention_gate(facts, memory[:, :-1], half, weight, w2, mask)
        with pytest.raises(ValueError, match="weight and w2"):
            kernels.attention_gate(facts, memory, half, weight[..., :-1], w2, mask)
        with pytest.raises(ValueError, match="question_half must be"):
            kernels.attention_gate(facts, memory, half[..., :-1], weight, w2, mask)
        with pytest.raises(ValueError, match="weight and w2"):
            kernels.attention_gate_half(facts, memory, weight, w2[:, :-1], mask)
        with pytest.raises(ValueError, match="mask must be bool"):
            kernels.attention_gate_half(facts, memory, weight, w2, mask.float())
        given = cases.episodes_inputs(2, 3, 4, 8, "none")
        with pytest.raises(ValueError, match="each pass needs an update"):
            kernels.episodes(*given[:9], given[9], given[10][:1])
        with pytest.raises(ValueError, match="each pass needs an update"):
            kernels.episodes(*given[:9], [], [])
        with pytest.raises(ValueError, match="q of the updates"):
            kernels.episodes(*given[:2], given[2][:1], *given[3:])
        with pytest.raises(ValueError, match="question_half must be"):
            kernels.episodes(*given[:3], given[3][..., :-1], *given[4:])
        with pytest.raises(ValueError, match="mask must be bool"):
            kernels.episodes(*given[:4], given[4][:, :, 1:], *given[5:])
