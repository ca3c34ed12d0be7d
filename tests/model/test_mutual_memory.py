import pytest
import torch

from dmnplus.model.mutual_memory import ContextUpdate, MutualMemory, SimilarityGate


def test_similarity_gate_by_hand():
    # H = 4, so that Z = 2 / sqrt(4) x_i . x_j; two facts, then the question, which is like the first.
    gate = SimilarityGate(4)
    rows = torch.tensor([[[1.0, 0, 0, 0], [0, 1.0, 0, 0], [1.0, 0, 0, 0]]])
    g = gate(rows, rows[:, :2], torch.ones(1, 2, dtype=torch.bool))
    likeness = torch.tensor([1.0, 0.0]).softmax(dim=0)
    torch.testing.assert_close(g[0, 2], likeness)
    # A fact does not attend to itself: each of the two attends to the other.
    torch.testing.assert_close(g[0, :2], torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    # The question alone attends as it does beside the facts.
    alone = gate(rows[:, 2:], rows[:, :2], torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(alone, g[:, 2:])


def test_an_untrained_gate_attends_to_what_shares_a_word():
    torch.manual_seed(0)
    lily, frog, brian, swan, colour = torch.randn(5, 80)
    facts = torch.stack([lily + frog, brian + swan])
    rows = torch.nn.functional.layer_norm(torch.cat([facts, (lily + colour)[None]])[None], (80,))
    g = SimilarityGate(80)(rows, rows[:, :2], torch.ones(1, 2, dtype=torch.bool))
    assert g[0, 2, 0] > 0.9


def test_a_fact_that_is_alone_attends_to_itself_and_never_to_padding():
    mask = torch.tensor([[True, False, False]])
    rows = torch.randn(1, 4, 8)
    g = SimilarityGate(8)(rows, rows[:, :3], mask)
    torch.testing.assert_close(g[0], torch.tensor([[1.0, 0, 0]] * 4))


def test_update_by_hand():
    update = ContextUpdate(2)
    with torch.no_grad():
        update.V.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        update.W1.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]))
        update.W2.copy_(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))
    # x + V c = (3, 1), whose normalised form is (1, -1); ReLU leaves (1, 0).
    x, c = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[0.0, 2.0]]])
    torch.testing.assert_close(update(x, c), torch.tensor([[[4.0, 1.0]]]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("tied", [True, False])
def test_tied_passes_share_their_weights(tied: bool):
    memory = MutualMemory(8, passes=3, tied=tied)
    assert len(memory.gates) == len(memory.updates) == (1 if tied else 3)
    m, attention = memory(torch.randn(2, 5, 8), torch.randn(2, 8), torch.ones(2, 5, dtype=torch.bool))
    assert m.shape == (2, 8)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(3, 2))
