import math

import pytest
import torch
from torch import nn

from dmnplus import kernels
from dmnplus.model.episodic_memory import (
    GATE_FEATURES,
    AttentionGate,
    AttentionGRU,
    EpisodicMemory,
    GRUUpdate,
    ProductUpdate,
    ReLUUpdate,
    SoftAttention,
    SumAndMean,
)


def _set(parameter: nn.Parameter, values: list) -> None:
    with torch.no_grad():
        parameter.copy_(torch.tensor(values))


def test_attention_gate_by_hand():
    # H = 1: z = [f q; |f - q|; f m; |f - m|], one hidden unit.
    gate = AttentionGate(1, ("product", "absolute"))
    _set(gate.W1_question, [[0.1, 0.2]])
    _set(gate.W1_memory, [[0.3, 0.4]])
    _set(gate.b1, [0.05])
    _set(gate.W2, [[2.0]])
    _set(gate.b2, [7.0])
    facts, q, m = [1.0, -2.0, 9.0], 0.5, 3.0
    f = torch.tensor(facts)[None, :, None]
    mask = torch.tensor([[True, True, False]])
    g = gate(f, gate.question_half(f, torch.tensor([[q]]), mask), torch.tensor([[m]]), mask)
    Z = [2 * math.tanh(0.1 * x * q + 0.2 * abs(x - q) + 0.3 * x * m + 0.4 * abs(x - m) + 0.05) + 7 for x in facts[:2]]
    total = sum(map(math.exp, Z))
    assert g[0].tolist() == pytest.approx([math.exp(Z[0]) / total, math.exp(Z[1]) / total, 0.0], rel=1e-5)


@pytest.mark.parametrize("backend", ["reference", "auto"])
def test_the_operator_equals_the_features_written_out(backend: str):
    torch.manual_seed(0)
    gate = AttentionGate(5, ("product", "absolute"))
    f, q, m = torch.randn(3, 4, 5), torch.randn(3, 5), torch.randn(3, 5)
    mask = torch.tensor([[True] * 4, [True, False, True, False], [True, False, False, False]])
    # The first fact is the memory itself, where |f - m| has no derivative.
    f[:, 0] = m
    f.requires_grad_()

    def run() -> tuple[torch.Tensor, ...]:
        g = gate(f, gate.question_half(f, q, mask), m, mask)
        return g, *torch.autograd.grad(g.square().sum(), [f, *gate.parameters()])

    with kernels.backend(backend):
        fused = run()
    gate.fused = False
    for found, wanted in zip(fused, run(), strict=True):
        torch.testing.assert_close(found, wanted)


def test_attention_gru_by_hand():
    # H = 1; h_i = g h~ + (1 - g) h, h~ = tanh(W f + r U h + b), r = sigmoid(W_r f + U_r h + b_r).
    episode = AttentionGRU(1)
    _set(episode.input_weight, [[0.5], [0.8]])
    _set(episode.input_bias, [0.1, -0.2])
    _set(episode.recurrent_weight, [[0.7], [-0.6]])
    facts, gates = [1.0, -1.5, 4.0], [0.25, 0.75, 0.0]
    h = 0.0
    for f, g in zip(facts, gates, strict=True):
        r = 1 / (1 + math.exp(-(0.5 * f + 0.7 * h + 0.1)))
        h = g * math.tanh(0.8 * f + r * -0.6 * h - 0.2) + (1 - g) * h
    f = torch.tensor(facts)[None, :, None]
    mask = torch.tensor([[True, True, False]])
    context = episode(episode.project(f), torch.tensor([gates]), mask)
    assert context.item() == pytest.approx(h, rel=1e-5)


def test_soft_attention_is_the_weighted_mean():
    f = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    c = SoftAttention()(f, torch.tensor([[0.25, 0.75]]), torch.ones(1, 2, dtype=torch.bool))
    assert c.tolist() == [[2.5, 3.5]]


def test_sum_and_mean_by_hand():
    episode = SumAndMean(1)
    _set(episode.W, [[1.0, 10.0]])
    f, mask = torch.tensor([[1.0, 4.0], [1.0, 4.0]])[..., None], torch.ones(2, 2, dtype=torch.bool)
    # Sum 2.5 and mean 2.5; sum 2 and mean 4; nothing at all is no division by zero.
    assert episode(f, torch.tensor([[0.5, 0.5], [0.0, 0.5]]), mask).flatten().tolist() == [27.5, 42.0]
    assert episode(f, torch.zeros(2, 2), mask).flatten().tolist() == [0.0, 0.0]


def test_independent_gates_count_the_facts_they_open_for():
    memory = EpisodicMemory(1, passes=1, gate=("product", "absolute"), episode="sum", update="relu", tied=False)
    # Open for facts of 1, closed for those of -1: Z = 40 tanh(f q) - 20.
    for name, values in {"W1_question": [[9.0, 0.0]], "W1_memory": [[0.0, 0.0]], "W2": [[40.0]], "b2": [-20.0]}.items():
        _set(memory.gate.get_parameter(name), values)
    _set(memory.updates[0].get_parameter("W"), [[0.0, 1.0, 0.0]])
    f = torch.tensor([[1.0, -1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, 1.0]])[..., None]
    mask = torch.tensor([[True] * 4, [True, True, True, False]])
    m, attention = memory(f, torch.ones(2, 1), mask)
    assert m[:, 0].tolist() == pytest.approx([3.0, 0.0], abs=1e-5)
    assert attention[0].flatten().tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 0], abs=1e-5)


def test_relu_update_by_hand():
    update = ReLUUpdate(1)
    _set(update.W, [[1.0, 2.0, -3.0]])
    _set(update.b, [0.5])
    m, c, q = torch.tensor([[1.0], [1.0]]), torch.tensor([[2.0], [0.0]]), torch.tensor([[1.0], [1.0]])
    assert update(m, c, q).tolist() == [[1 + 4 - 3 + 0.5], [0.0]]


def test_product_update_by_hand():
    update = ProductUpdate(1)
    _set(update.W, [[1.0, 2.0, -3.0]])
    _set(update.U, [[1.0, 0.0, 1.0]])
    _set(update.V, [[0.0, 2.0, 0.0]])
    _set(update.b, [0.5])
    m, c, q = torch.tensor([[1.0], [1.0]]), torch.tensor([[2.0], [-1.0]]), torch.tensor([[1.0], [1.0]])
    assert update(m, c, q).tolist() == [[1 + 4 - 3 + 0.5 + 2 * 4], [0.0]]


def test_gru_update_by_hand():
    update = GRUUpdate(1)
    _set(update.input_weight, [[0.5], [-0.3], [0.9]])
    _set(update.recurrent_weight, [[0.2], [0.4], [-0.7]])
    _set(update.bias, [0.1, 0.2, 0.3])
    c, m = 2.0, -1.0
    u = 1 / (1 + math.exp(-(0.5 * c + 0.2 * m + 0.1)))
    r = 1 / (1 + math.exp(-(-0.3 * c + 0.4 * m + 0.2)))
    expected = u * math.tanh(0.9 * c + r * -0.7 * m + 0.3) + (1 - u) * m
    result = update(torch.tensor([[m]]), torch.tensor([[c]]), torch.zeros(1, 1))
    assert result.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("feature", [name for name in GATE_FEATURES if name != "fact"])
def test_every_gate_feature_sees_the_memory(feature: str):
    torch.manual_seed(0)
    gate = AttentionGate(5, (feature, "product"))
    f, q = torch.randn(2, 4, 5), torch.randn(2, 5)
    mask = torch.ones(2, 4, dtype=torch.bool)
    half = gate.question_half(f, q, mask)
    assert not torch.allclose(gate(f, half, torch.randn(2, 5), mask), gate(f, half, torch.randn(2, 5), mask))


def test_untied_passes_have_their_own_update():
    sizes = {
        tied: len(
            EpisodicMemory(4, passes=3, gate=("product",), episode="soft_attention", update="relu", tied=tied).updates
        )
        for tied in (True, False)
    }
    assert sizes == {True: 1, False: 3}


def test_the_first_pass_attends_by_the_question_alone():
    torch.manual_seed(0)
    memory = EpisodicMemory(
        4, passes=2, gate=("product", "absolute"), episode="attention_gru", update="relu", tied=False
    )
    f, q, mask = torch.randn(1, 3, 4), torch.randn(1, 4), torch.ones(1, 3, dtype=torch.bool)
    _, attention = memory(f, q, mask)
    torch.testing.assert_close(attention[0], memory.gate(f, memory.gate.question_half(f, q, mask), q, mask))
    assert not torch.allclose(attention[0], attention[1])


def test_the_question_may_be_left_out_of_gate_and_updates():
    torch.manual_seed(0)
    f, q, other = torch.randn(1, 3, 4), torch.randn(1, 4), torch.randn(1, 4)
    mask = torch.ones(1, 3, dtype=torch.bool)
    gate = AttentionGate(4, ("product", "absolute"), ("memory",))
    assert torch.equal(gate.question_half(f, q, mask), gate.question_half(f, other, mask))
    memory = EpisodicMemory(
        4, passes=1, gate=("product",), episode="soft_attention", update="relu", update_question=False, tied=True
    )
    update = memory.updates[0]
    found, attention = memory(f, q, mask)
    context = torch.einsum("bf,bfh->bh", attention[0], f)
    torch.testing.assert_close(found, update(q, context, torch.zeros_like(q)))
    assert not torch.allclose(found, update(q, context, q))


def test_without_the_memory_in_the_gate_all_passes_attend_alike():
    torch.manual_seed(0)
    memory = EpisodicMemory(
        4, passes=3, gate=("product",), gate_compares=("question",), episode="attention_gru", update="relu", tied=False
    )
    _, attention = memory(torch.randn(2, 3, 4), torch.randn(2, 4), torch.ones(2, 3, dtype=torch.bool))
    assert torch.equal(attention[0], attention[1])
    assert torch.equal(attention[0], attention[2])


@torch.no_grad()
@pytest.mark.parametrize("settings", [{}, {"tied": True}, {"update_question": False}], ids=str)
def test_passes_in_one_operator_equal_the_steps(settings: dict):
    torch.manual_seed(0)
    fixed = {"passes": 3, "gate": ("product", "absolute"), "episode": "attention_gru", "update": "relu", "tied": False}
    memory = EpisodicMemory(8, **{**fixed, **settings})
    memory.gate.b2.fill_(0.5)
    f, q, mask = torch.randn(3, 5, 8), torch.randn(3, 8), torch.arange(5) < torch.tensor([[5], [1], [3]])
    assert memory.fused
    at_once = memory(f, q, mask)
    seen = []
    # Who watches a step is shown it.
    handle = memory.gate.register_forward_hook(lambda gate, given, g_BF: seen.append(g_BF))
    one_by_one = memory(f, q, mask)
    handle.remove()
    torch.testing.assert_close(at_once, one_by_one)
    assert torch.equal(torch.stack(seen), one_by_one[1])
