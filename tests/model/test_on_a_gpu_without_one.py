"""Every network makes a step of training, and is asked, on a GPU that is not there.

PyTorch's fake tensors have a shape, a type and a device, but no numbers, and refuse to be mixed over devices. The
operators run the Python that launches their Triton kernels; the launches themselves are looked at and left out.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.autograd.function import BackwardCFunction
from torch.func import vmap
from torch.utils._python_dispatch import TorchDispatchMode

from dmnplus import kernels
from dmnplus.data.batching import Batch, encode
from dmnplus.data.example import iter_sentences
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.model import DMN, VARIANTS, NetworkConfig, attention_losses
from dmnplus.training.batched import _Joint, _own_of, _Stack
from dmnplus.training.metrics import correct, labelled_facts
from dmnplus.training.trainer import Trainer, TrainingConfig, adam
from tests.model.examples import encoded, moves, network, whole
from tests.model.pictures import Noise, mixtures

pytest.importorskip("triton")

from dmnplus.kernels._triton import WIDEST
from dmnplus.kernels.attention_gate import triton as attention_gate
from dmnplus.kernels.attention_gru import triton as attention_gru
from dmnplus.kernels.gru import triton as gru

SIDES = {
    "dmnplus::gru_forward": gru.forward,
    "dmnplus::gru_backward": gru.backward,
    "dmnplus::attention_gru_forward": attention_gru.forward,
    "dmnplus::attention_gru_backward": attention_gru.backward,
    "dmnplus::attention_gate_forward": attention_gate.forward,
    "dmnplus::attention_gate_backward": attention_gate.backward,
    "dmnplus::attention_gate_half_forward": attention_gate.half_forward,
    "dmnplus::attention_gate_half_backward": attention_gate.half_backward,
}


def fused_cell(input_BK: Tensor, hidden_BK: Tensor, h_BH: Tensor, *biases: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(h_BH), h_BH.new_empty(len(h_BH), 5 * h_BH.shape[1])


def fused_cell_backward(grad_BH: Tensor, kept: Tensor, biases: bool) -> tuple[Tensor, ...]:
    B, H = grad_BH.shape
    shapes = (B, 3 * H), (B, 3 * H), (B, H), (3 * H,), (3 * H,)
    return tuple(grad_BH.new_empty(shape) for shape in shapes)


# On a GPU the decoder's cell is one operator, for which PyTorch has no fake.
DECODER = {"aten::_thnn_fused_gru_cell": fused_cell, "aten::_thnn_fused_gru_cell_backward": fused_cell_backward}
# Of a launch, beside the kernel's own arguments.
OPTIONS = {"num_warps", "num_stages", "enable_fp_fusion"}

SMALL = NetworkConfig(hidden=8, passes=2)
# Each with what it reads.
NETWORKS = {
    **{name: (replace(config, hidden=8, passes=2), "text") for name, config in VARIANTS.items()},
    "step by step": (replace(SMALL, hidden=WIDEST + 1), "text"),
    "words": (replace(SMALL, answer="words", input="forward_fusion", context_dropout=0.1), "text"),
    "regions": (
        replace(
            SMALL, episode="sum_and_mean", update="product", series_changes=True, region_places=True, region_norm=True
        ),
        "regions",
    ),
    "pixels": (replace(VARIANTS["dmn-max"], hidden=8, passes=2, answer="words", context_dropout=0.1), "pixels"),
}


class Launch:
    """In the place of a kernel: a launch has all its arguments, and no tensor of another device."""

    def __init__(self, kernel: Any) -> None:
        self.signature = inspect.signature(kernel.fn)

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        assert all(size > 0 for size in grid)

        def launch(*arguments: Any, **named: Any) -> None:
            bound = self.signature.bind(*arguments, **{k: v for k, v in named.items() if k not in OPTIONS})
            assert {a.device.type for a in bound.arguments.values() if isinstance(a, Tensor)} == {"cuda"}

        return launch


class GPUSides(TorchDispatchMode):
    """Runs an operator's side for GPUs, too, and compares: what is promised of it is what a compiler builds on."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name == "aten::gru_cell":
            # Without gradients it comes here before it is taken apart.
            with self:
                return func.decompose(*args)
        if name in DECODER:
            return DECODER[name](*args)
        promised = func(*args, **(kwargs or {}))
        if func.namespace != "dmnplus":
            return promised
        made = SIDES[name](*args)
        assert isinstance(made, tuple) == isinstance(promised, tuple), name
        for one, other in zip(made, promised, strict=True) if isinstance(made, tuple) else [(made, promised)]:
            assert look(one) == look(other), name
        return made


def look(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.device, tensor.dtype, tensor.shape, tensor.stride()


@contextmanager
def gpu() -> Iterator[FakeTensorMode]:
    with ExitStack() as stack:
        for module in (attention_gate, attention_gru, gru):
            stack.enter_context(mock.patch.object(module, "on", nullcontext))
            for name in [name for name in vars(module) if name.endswith("_kernel")]:
                stack.enter_context(mock.patch.object(module, name, Launch(getattr(module, name))))
        # Numbers written here would be copied to the GPU, and kept for others.
        flags = lambda reverse, device: torch.empty(len(reverse), dtype=torch.int32, device=device)  # noqa: E731
        stack.enter_context(mock.patch.object(gru, "flags_of", flags))
        stack.enter_context(kernels.backend("triton"))
        mode = stack.enter_context(FakeTensorMode())
        stack.enter_context(GPUSides())
        yield mode


def to_gpu(mode: FakeTensorMode, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: mode.from_tensor(tensor).to("cuda") for name, tensor in tensors.items()}


def batch_to_gpu(mode: FakeTensorMode, batch: Batch) -> Batch:
    return replace(batch, **to_gpu(mode, {name: t for name, t in vars(batch).items() if isinstance(t, Tensor)}))


@torch.no_grad()
def differentiate(loss: Tensor) -> None:
    """`loss.backward()`, which wants a real GPU for a loss on one: the same steps in an order of their own."""
    assert loss.grad_fn is not None
    nodes, uses, waiting = {loss.grad_fn}, defaultdict(int), [loss.grad_fn]
    while waiting:
        for after, _ in waiting.pop().next_functions:
            if after is not None:
                uses[after] += 1
                if after not in nodes:
                    nodes.add(after)
                    waiting.append(after)
    grads: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    grads[loss.grad_fn][0], ready = torch.ones_like(loss), [loss.grad_fn]
    while ready:
        node: Any = ready.pop()
        own: list[Tensor | None] = []
        for place, wanted in enumerate(node._input_metadata):
            # What was expanded going forward is summed, as PyTorch does.
            grad = found.sum_to_size(wanted.shape) if (found := grads[node].get(place)) is not None else None
            assert grad is None or (grad.device, grad.dtype) == (wanted.device, wanted.dtype), node
            own.append(grad)
        results = None
        if any(grad is not None for grad in own):
            results = node.apply(*own) if isinstance(node, BackwardCFunction) else node(*own)
        results = results if isinstance(results, tuple) else (results,) * len(node.next_functions)
        # A function written in Python leads nowhere from what is no tensor, which comes last in the operators here.
        assert not any(grad is not None for grad in results[len(node.next_functions) :])
        for (after, place), grad in zip(node.next_functions, results, strict=False):
            if after is None:
                continue
            if grad is not None:
                before = grads[after].get(place)
                grads[after][place] = grad if before is None else before + grad
            uses[after] -= 1
            if not uses[after]:
                ready.append(after)


def assert_trained(parameters: dict[str, Any]) -> None:
    """Every parameter has a gradient beside it, and Adam takes its first step and another."""
    assert {n for n, p in parameters.items() if p.grad is None or look(p.grad)[:3] != look(p)[:3]} == set()
    optimizer = adam(parameters.items(), TrainingConfig())
    optimizer.step()
    optimizer.step()


def questions_and_network(config: NetworkConfig, kind: Any) -> tuple[Batch, DMN]:
    if kind == "text":
        vocabulary, questions = encoded(moves(20))
        return whole(questions), network(vocabulary, config)
    examples, pictures = mixtures(), Noise(kind)
    vocabulary = Vocabulary.build(iter_sentences(examples), (example.answer for example in examples))
    questions = encode(examples, vocabulary, pictures=pictures)
    sizes = (len(vocabulary.words), len(vocabulary.answers), len(vocabulary.answer_words))
    model = DMN(config, words=sizes[0], answers=sizes[1], answer_words=sizes[2], pictures=pictures.format)
    return whole(questions), model


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_and_a_question(name: str):
    batch, model = questions_and_network(*NETWORKS[name])
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    with gpu() as mode:
        for name, tensor in to_gpu(mode, weights).items():
            module, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(module), leaf, nn.Parameter(tensor))
        batch = batch_to_gpu(mode, batch)
        # A generator of a GPU cannot be had; the numbers are nowhere anyway.
        output = model(batch, model.draw_dropout(batch, torch.Generator()))
        missed = attention_losses(output.attention_PBF, batch.supporting_BK, batch.steps_BK)
        differentiate((model.losses(output, batch) + missed).mean())
        assert_trained(dict(model.named_parameters()))
        with torch.inference_mode():
            output = model(batch)
            found = (model.probabilities(output, batch), correct(output, batch), labelled_facts(batch))
            assert {tensor.device.type for tensor in (*output[:3], *found)} == {"cuda"}
            # All that is left is to read numbers, of which there are none.
            with pytest.raises(DataDependentOutputException):
                model.ranked(model.read(batch).filled(7), 3)


# As the decoder's cell runs one start at a time.
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", ["dmn+", "words"])
def test_a_step_of_starts_together(tmp_path: Path, name: str):
    vocabulary, questions = encoded(moves(20))
    config = TrainingConfig(attention_weight=0.3)
    trainers = [Trainer(network(vocabulary, NETWORKS[name][0], seed=s), config, tmp_path, seed=s) for s in (0, 1)]
    parts, rows = [questions] * 2, [torch.arange(12), torch.arange(9)]
    stack = _Stack([0, 1], trainers)
    batch, real_RB = _Joint(parts).batch([0, 1], rows, torch.device("cpu"))
    dropout = stack._draw_dropout(batch, parts, rows)._asdict()
    weights = {name: parameter.detach() for name, parameter in stack.parameters.items()}
    with gpu() as mode:
        parameters = {name: tensor.requires_grad_() for name, tensor in to_gpu(mode, weights).items()}
        batch = batch_to_gpu(mode, batch)
        masks = to_gpu(mode, {name: mask for name, mask in dropout.items() if mask is not None})
        real_RB = to_gpu(mode, {"": real_RB})[""]
        loss_R, _ = vmap(stack._losses, in_dims=(0, None, 0, 0, 0, 0))(
            parameters, batch.sentences_SW, _own_of(batch), masks, real_RB, real_RB
        )
        differentiate(loss_R.sum())
        assert_trained(parameters)


def test_what_is_of_two_devices_is_refused():
    """What all of the above builds on."""
    with gpu() as mode:
        here, there = mode.from_tensor(torch.rand(2)), mode.from_tensor(torch.rand(2)).to("cuda")
        with pytest.raises(Exception, match="device"):
            here.add(there)
