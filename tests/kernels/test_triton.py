"""The Triton kernels against the references in float64: in Triton's interpreter, and on a GPU where there is one.

The interpreter must be chosen before Triton is first imported, so those tests run in a process of their own.

Shape legend: G groups, B batch, F facts, H hidden.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor

from dmnplus import kernels
from dmnplus.kernels import _backend
from dmnplus.kernels.attention_gate import reference as attention_gate_reference
from dmnplus.kernels.attention_gru import reference as attention_gru_reference
from dmnplus.kernels.gru import reference as gru_reference
from tests.kernels import cases

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreter = pytest.mark.skipif(not INTERPRETED, reason="runs in the process that test_in_the_interpreter starts")
outside = pytest.mark.skipif(INTERPRETED, reason="not for Triton's interpreter")
gpu = pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use")

# G, B, F, H, mask. 40 = 32 + 16 units and 80 = 64 + 16 take two tiles, 8 one; 97 goes step by step.
SMALL = [
    (1, 1, 1, 8, "none"),
    (1, 3, 5, 8, "any"),
    (1, 5, 2, 40, "end"),
    (2, 1, 2, 80, "start"),
    (2, 3, 1, 97, "any"),
]


# The interpreter takes about ten seconds of one core, but a busy machine may not give it them at once.
@outside
@pytest.mark.timeout(1200)
def test_in_the_interpreter():
    pytest.importorskip("triton")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "--timeout=1000", "-k", "interpreted", __file__],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:]
    assert f"{3 * len(SMALL) + 1} passed" in run.stdout, run.stdout[-2000:]


def compare(found: dict[str, Tensor], wanted: Tensor, inputs: dict[str, Tensor], grad: Tensor, mask: Tensor) -> None:
    """The output first in `found`, then the gradients by name."""
    (name, output), *grads = found.items()
    cases.assert_close(name, output.cpu(), wanted.cpu())
    expected = torch.autograd.grad(wanted, list(inputs.values()), grad.double())
    for (name, value), reference in zip(grads, expected, strict=True):
        cases.assert_close(f"grad of {name}", value.cpu(), reference.cpu())
        if value.shape[:3] == mask.shape:
            assert (value[~mask] == 0).all(), f"a masked step passes a gradient to {name}"


def double(tensor: Tensor) -> Tensor:
    return tensor.detach().double().requires_grad_()


@interpreter
@pytest.mark.parametrize(("G", "B", "F", "H", "mask"), SMALL)
def test_interpreted_gru(G: int, B: int, F: int, H: int, mask: str):
    from dmnplus.kernels.gru import triton

    x, weight, real, reverse = cases.gru_inputs(G, B, F, H, mask)
    # Of the cases with one group, one runs forward and one backward.
    reverse = [True] if mask == "end" else reverse
    inputs = {"x": double(x), "weight": double(weight)}
    wanted = gru_reference.gru(*inputs.values(), real, reverse)
    grad = torch.randn(G, B, F, H)
    cases.poison_memory()
    states, kept = triton.forward(x, weight, real, reverse, True)
    cases.poison_memory()
    grads = triton.backward(grad, x, weight, real, reverse, states, kept)
    found = {"states": states, **dict(zip(inputs, grads, strict=True))}
    compare(found, wanted, inputs, grad, real)


@interpreter
@pytest.mark.parametrize(("G", "B", "F", "H", "mask"), SMALL)
def test_interpreted_attention_gru(G: int, B: int, F: int, H: int, mask: str):
    from dmnplus.kernels.attention_gru import triton

    x, weight, gate, real = cases.attention_gru_inputs(G, B, F, H, mask)
    inputs = {"x": double(x), "weight": double(weight), "gate": double(gate)}
    wanted = attention_gru_reference.attention_gru(*inputs.values(), real)
    grad = torch.randn(G, B, H)
    cases.poison_memory()
    context, kept = triton.forward(x, weight, gate, real, True)
    cases.poison_memory()
    grads = triton.backward(grad, x, weight, gate, real, kept)
    found = {"context": context, **dict(zip(inputs, grads, strict=True))}
    compare(found, wanted, inputs, grad, real)
    if H == 8:
        assert torch.equal(triton.forward(x, weight, gate, real, False)[0], context)


@interpreter
@pytest.mark.parametrize(("G", "B", "F", "H", "mask"), SMALL)
def test_interpreted_attention_gate(G: int, B: int, F: int, H: int, mask: str):
    from dmnplus.kernels.attention_gate import triton

    # More hidden than one tile of units, and a first layer of another width.
    facts, memory, half, weight, w2, real = cases.attention_gate_inputs(G, B, F, H, mask, K=H + 3)
    names = ("facts", "memory", "question_half", "weight", "w2")
    inputs = {name: double(t) for name, t in zip(names, (facts, memory, half, weight, w2), strict=True)}
    wanted = attention_gate_reference.attention_gate(*inputs.values(), real)
    grad = torch.randn(G, B, F).masked_fill(~real, 0)
    cases.poison_memory()
    scores, kept = triton.forward(facts, memory, half, weight, w2, real, True)
    cases.poison_memory()
    grads = triton.backward(grad, facts, memory, weight, w2, real, kept)
    compare({"scores": scores, **dict(zip(inputs, grads, strict=True))}, wanted, inputs, grad, real)
    inputs = {"facts": double(facts), "memory": double(memory), "weight": double(weight), "b": double(w2)}
    wanted = attention_gate_reference.attention_gate_half(*inputs.values(), real)
    grad = torch.randn(G, B, F, H + 3).masked_fill(~real[..., None], 0)
    cases.poison_memory()
    found = triton.half_forward(facts, memory, weight, w2, real)
    cases.poison_memory()
    grads = triton.half_backward(grad, facts, memory, weight, real)
    compare({"half": found, **dict(zip(inputs, grads, strict=True))}, wanted, inputs, grad, real)


@interpreter
def test_interpreted_strides_and_empty_batches():
    from dmnplus.kernels.attention_gru import triton as attention
    from dmnplus.kernels.gru import triton

    x, weight, mask, reverse = cases.gru_inputs(2, 2, 2, 8, "none")
    mask = mask[:1].expand(2, -1, -1)
    states, kept = triton.forward(x, weight, mask, reverse, True)
    grad = torch.randn(2, 2, 2, 8)
    grads = triton.backward(grad, x, weight, mask, reverse, states, kept)
    # As the network makes it: one projection for both directions, seen from the groups.
    seen = x.permute(1, 2, 0, 3).contiguous().permute(2, 0, 1, 3)
    assert torch.equal(triton.forward(seen, weight, mask, reverse, True)[0], states)
    found = triton.backward(grad[:1].expand(2, -1, -1, -1), seen, weight, mask, reverse, states, kept)
    assert found[0].stride() == seen.stride()
    assert torch.equal(found[0][0], grads[0][0])
    for B, F in ((0, 2), (2, 0)):
        x, weight, gate, mask = cases.attention_gru_inputs(1, B, F, 8)
        context, kept = attention.forward(x, weight, gate, mask, True)
        assert (context == 0).all()
        assert (attention.backward(context, x, weight, gate, mask, kept)[1] == 0).all()


@outside
def test_shapes_on_a_gpu_without_one():
    """Tracing for a GPU takes what the Triton kernels keep; that of the compiled kernels stays."""
    pytest.importorskip("triton")
    from torch._subclasses.fake_tensor import FakeTensorMode

    with kernels.backend("triton"), FakeTensorMode():
        for device, shapes in (("cuda", [(2, 0), (2, 3, 4, 8)]), ("cpu", [(2, 3, 4, 4, 16)] * 2)):
            x, weight, mask, reverse = cases.gru_inputs(2, 3, 4, 8, "none")
            x, weight, mask = (tensor.to(device) for tensor in (x, weight, mask))
            states, kept = torch.ops.dmnplus.gru_forward(x, weight, mask, reverse, True)
            assert states.shape == (2, 3, 4, 8)
            found = [kept.shape]
            gate = torch.rand(2, 3, 4, device=device)
            context, kept = torch.ops.dmnplus.attention_gru_forward(x[..., :16], weight[:, :16], gate, mask, True)
            assert context.shape == (2, 3, 8)
            assert [*found, kept.shape] == shapes


@outside
def test_the_gpu_side_takes_every_argument_of_its_operator():
    """PyTorch leaves out those that have their default, so that a missing one may go unnoticed for long."""
    pytest.importorskip("triton")
    from dmnplus.kernels.attention_gate import triton as attention_gate
    from dmnplus.kernels.attention_gru import triton as attention_gru
    from dmnplus.kernels.gru import triton as gru

    sides = {
        "gru_forward": gru.forward,
        "gru_backward": gru.backward,
        "attention_gru_forward": attention_gru.forward,
        "attention_gru_backward": attention_gru.backward,
        "attention_gate_forward": attention_gate.forward,
        "attention_gate_backward": attention_gate.backward,
        "attention_gate_half_forward": attention_gate.half_forward,
        "attention_gate_half_backward": attention_gate.half_backward,
    }
    for name, side in sides.items():
        schema = getattr(torch.ops.dmnplus, name).default._schema
        assert len(inspect.signature(side).parameters) == len(schema.arguments), name


@outside
def test_the_backend_by_name_takes_gpu_tensors_only():
    pytest.importorskip("triton")
    x, weight, mask, reverse = cases.gru_inputs(1, 2, 3, 8)
    with kernels.backend("triton"), pytest.raises(ValueError, match=r"'triton' takes torch\.float32 on cuda, not"):
        kernels.gru(x, weight, mask, reverse)


@outside
def test_without_triton(monkeypatch, caplog):
    with monkeypatch.context() as patch:
        for name in ("gru", "attention_gru"):
            patch.setitem(sys.modules, f"dmnplus.kernels.{name}.triton", None)
        with pytest.raises(kernels.KernelUnavailableError, match="pip install triton"):
            kernels.set_backend("triton")
        patch.setattr(_backend, "_triton_found", None)
        patch.setattr(_backend, "_chosen", "auto")
        tensor = mock.Mock(dtype=torch.float32, is_cuda=True)
        assert [_backend.takes_triton(tensor) for _ in range(3)] == [False] * 3
    assert len(caplog.records) == 1
    assert "pip install triton" in caplog.text


@outside
@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton can launch kernels on the GPU here")
def test_a_triton_that_can_launch_nothing(monkeypatch, caplog):
    """Nor is there a driver here; so it is with one that is too old, and without a C compiler."""
    pytest.importorskip("triton")
    monkeypatch.setattr(_backend, "_triton_found", None)
    monkeypatch.setattr(_backend, "_chosen", "auto")
    tensor = mock.Mock(dtype=torch.float32, is_cuda=True)
    assert [_backend.takes_triton(tensor) for _ in range(3)] == [False] * 3
    assert len(caplog.records) == 1
    assert "Triton cannot launch GPU kernels here" in caplog.text


@gpu
@pytest.mark.parametrize("mask", ["none", "any"])
@pytest.mark.parametrize(("B", "F", "H"), [*cases.SIZES, (37, 9, 96), (3, 5, 512)])
def test_sizes_on_the_gpu(B: int, F: int, H: int, mask: str):
    with kernels.backend("triton"):
        x, weight, real, reverse = cases.gru_inputs(2, B, F, H, mask)
        x, weight, real = x.cuda(), weight.cuda(), real.cuda()
        check_on_the_gpu("states", {"x": x, "weight": weight}, real, (2, B, F, H), reverse)
        x, weight, gate, real = cases.attention_gru_inputs(2, B, F, H, mask)
        inputs = {"x": x.cuda(), "weight": weight.cuda(), "gate": gate.cuda()}
        check_on_the_gpu("context", inputs, real.cuda(), (2, B, H), None)


def check_on_the_gpu(
    name: str, inputs: dict[str, Tensor], real: Tensor, shape: tuple[int, ...], reverse: list[bool] | None
) -> None:
    rest = (real,) if reverse is None else (real, reverse)
    run, reference = (
        (kernels.attention_gru, attention_gru_reference.attention_gru)
        if reverse is None
        else (kernels.gru, gru_reference.gru)
    )
    exact = {key: double(value) for key, value in inputs.items()}
    wanted = reference(*exact.values(), *rest)
    grad = torch.randn(shape, device="cuda")
    leaves = [value.detach().requires_grad_() for value in inputs.values()]
    # Freed blocks full of NaN are what the kernels get next.
    blocks = [torch.full((2**k,), torch.nan, device="cuda") for k in range(4, 22) for _ in range(3)]
    del blocks
    output = run(*leaves, *rest)
    grads = torch.autograd.grad(output, leaves, grad)
    found = {name: output.detach(), **dict(zip(inputs, grads, strict=True))}
    compare(found, wanted, exact, grad, real)
    with torch.no_grad():
        assert torch.equal(run(*leaves, *rest), output)


@gpu
def test_opcheck_on_the_gpu():
    with kernels.backend("triton"):
        x, weight, mask, reverse = cases.gru_inputs(2, 3, 4, 16, "none")
        arguments = x.cuda().requires_grad_(), weight.cuda().requires_grad_(), mask.cuda(), reverse, True
        torch.library.opcheck(torch.ops.dmnplus.gru_forward.default, arguments)
        x, weight, gate, mask = cases.attention_gru_inputs(2, 3, 4, 16, "none")
        leaves = [tensor.cuda().requires_grad_() for tensor in (x, weight, gate)]
        torch.library.opcheck(torch.ops.dmnplus.attention_gru_forward.default, (*leaves, mask.cuda(), True))
