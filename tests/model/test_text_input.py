import pytest
import torch

from dmnplus.model.text_input import InputFusion, OrderedEncoding, WordGRU, position_encoding


def test_position_encoding_by_hand():
    # M = 2 words, D = 2: l_jd = (1 - j/2) - (d/2)(1 - j), so l_1 = (1/2, 1/2) and l_2 = (1/2, 1).
    words = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [99.0, 99.0]]])
    mask = torch.tensor([[True, True, False]])
    assert position_encoding(words, mask).tolist() == [[0.5 * 1 + 0.5 * 2, 0.5 * 10 + 1.0 * 20]]
    assert position_encoding(words, mask, 2.0).tolist() == [[1.0 * 1 + 1.0 * 2, 1.0 * 10 + 2.0 * 20]]


def test_position_encoding_follows_the_formula():
    torch.manual_seed(0)
    words, M, D = torch.randn(1, 5, 7), 5, 7
    weights = torch.tensor(
        [[(1 - j / M) - (d / D) * (1 - 2 * j / M) for d in range(1, D + 1)] for j in range(1, M + 1)]
    )
    expected = (weights * words[0]).sum(dim=0)
    torch.testing.assert_close(position_encoding(words, torch.ones(1, 5, dtype=torch.bool))[0], expected)


def test_position_encoding_counts_the_words_of_its_own_sentence():
    torch.manual_seed(0)
    words = torch.randn(1, 3, 4)
    alone = position_encoding(words, torch.ones(1, 3, dtype=torch.bool))
    padded = torch.cat([words, torch.full((1, 6, 4), 5.0)], dim=1)
    mask = torch.arange(9)[None] < 3
    torch.testing.assert_close(position_encoding(padded, mask), alone)


def test_word_gru_reads_on_across_sentences_and_skips_padding():
    torch.manual_seed(0)
    reader = WordGRU(6)
    words = torch.randn(2, 3, 6)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    facts = torch.tensor([[0, 1]])
    states = reader(words, mask, torch.zeros(0, 6), facts, torch.ones(1, 2, dtype=torch.bool))
    running = torch.cat([words[0, :2], words[1]])[None]
    by_word = reader.gru(running, torch.ones(1, 5, dtype=torch.bool))[0]
    torch.testing.assert_close(states, by_word[:, [1, 4]])


@pytest.mark.parametrize("direction", [0, 1])
def test_gru_is_pytorchs_with_the_reset_gate_before_the_product(direction: int):
    from dmnplus.model.gru import GRU

    torch.manual_seed(0)
    gru = GRU(3, 3, reverse=(False, True))
    x = torch.randn(1, 4, 3)
    states = gru(x, torch.ones(1, 4, dtype=torch.bool))[direction, 0]
    W, U, b = gru.input_weight[direction], gru.recurrent_weight[direction], gru.input_bias[direction]
    h = torch.zeros(3)
    for i in reversed(range(4)) if direction else range(4):
        u = torch.sigmoid(W[:3] @ x[0, i] + U[:3] @ h + b[:3])
        r = torch.sigmoid(W[3:6] @ x[0, i] + U[3:6] @ h + b[3:6])
        h = u * torch.tanh(W[6:] @ x[0, i] + r * (U[6:] @ h) + b[6:]) + (1 - u) * h
        torch.testing.assert_close(states[i], h)


def test_forward_fusion_is_that_direction_of_the_bidirectional_one_alone():
    torch.manual_seed(0)
    both, forward = InputFusion(5), InputFusion(5, bidirectional=False)
    forward.gru.load_state_dict({name: tensor[:1] for name, tensor in both.gru.state_dict().items()})
    facts, mask = torch.randn(2, 4, 5), torch.tensor([[True, True, True, False], [True] * 4])
    torch.testing.assert_close(forward(facts, mask), both.gru(facts, mask)[0])
    later = facts.clone()
    later[:, 2:] += 1
    torch.testing.assert_close(forward(later, mask)[:, :2], forward(facts, mask)[:, :2])
    assert not torch.allclose(both(later, mask)[:, :2], both(facts, mask)[:, :2])


def test_ordered_encoding_is_that_of_each_sentences_own_words():
    torch.manual_seed(0)
    encode = OrderedEncoding(4)
    words = torch.randn(1, 3, 4)
    alone = encode(words, torch.ones(1, 3, dtype=torch.bool))
    padded = torch.cat([words, torch.full((1, 6, 4), 5.0)], dim=1)
    torch.testing.assert_close(encode(padded, torch.arange(9)[None] < 3), alone)
