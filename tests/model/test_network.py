from dataclasses import replace
from typing import Literal

import pytest
import torch

from dmnplus.model import VARIANTS, NetworkConfig, attention_losses
from dmnplus.model.answer import ClassAnswer, WordAnswer
from dmnplus.model.network import TextInput
from tests.model.examples import encoded, moves, network, whole

CONFIGS = {
    **{name: replace(config, hidden=16) for name, config in VARIANTS.items()},
    "reader": NetworkConfig(hidden=16, input="reader"),
    "forward fusion": NetworkConfig(hidden=16, input="forward_fusion"),
    "residual": NetworkConfig(hidden=16, update="residual"),
    "sum": NetworkConfig(hidden=16, episode="sum", update="product"),
    "sum and mean": NetworkConfig(hidden=16, episode="sum_and_mean"),
    "every feature": NetworkConfig(hidden=16, gate=("fact", "plain", "product", "squared", "cosine", "bilinear")),
    "words": NetworkConfig(hidden=16, answer="words"),
    "gate by the question": NetworkConfig(hidden=16, gate_compares=("question",)),
    "gate by the memory": NetworkConfig(hidden=16, gate_compares=("memory",)),
    "gate by memory, every feature": NetworkConfig(hidden=16, gate=("fact", "squared"), gate_compares=("memory",)),
}


@pytest.fixture(params=CONFIGS, ids=CONFIGS)
def config(request: pytest.FixtureRequest) -> NetworkConfig:
    return CONFIGS[request.param]


def test_padding_changes_nothing(config: NetworkConfig):
    vocabulary, questions = encoded(moves(12))
    model = network(vocabulary, config)
    together = model(whole(questions))
    for i in range(len(questions)):
        alone = model(questions.batch(torch.tensor([i])))
        F = alone.attention_PBF.shape[2]
        torch.testing.assert_close(alone.logits[0], together.logits[i, ..., :], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone.attention_PBF[:, 0], together.attention_PBF[:, i, :F], atol=1e-5, rtol=1e-4)
        assert together.attention_PBF[:, i, F:].abs().sum() == 0


def test_batch_order_changes_nothing(config: NetworkConfig):
    vocabulary, questions = encoded(moves(12))
    model = network(vocabulary, config)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    straight, shuffled = model(whole(questions)), model(questions.batch(order))
    torch.testing.assert_close(straight.logits[order], shuffled.logits, atol=1e-5, rtol=1e-4)


def test_gradients_reach_every_parameter(config: NetworkConfig):
    vocabulary, questions = encoded(moves(12))
    model, batch = network(vocabulary, config), whole(questions)
    model.losses(model(batch), batch).mean().backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        # b2 shifts all scores alike, which the softmax takes out again; its gradient is rounding.
        if parameter.grad is None or (parameter.grad.abs().max() == 0 and name != "memory.gate.b2")
    ]
    assert without == []


def test_eight_examples_are_overfit(config: NetworkConfig):
    vocabulary, questions = encoded(moves(8))
    model, batch = network(vocabulary, config), whole(questions)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        loss = model.losses(model(batch), batch).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.01:
            break
    assert loss < 0.01
    ranked = [best[0] for best in model.ranked(model(batch), 2)]
    if config.answer == "words":
        answers = [",".join(vocabulary.answer_words[i] for i in r.answer) for r in ranked]
    else:
        answers = [vocabulary.answers[r.answer[0]] for r in ranked]
    assert answers == [vocabulary.answers[i] for i in batch.answers_B]
    assert all(r.probability > 0.9 for r in ranked)


def test_attention_of_every_pass_sums_to_one(config: NetworkConfig):
    vocabulary, questions = encoded(moves(12))
    attention = network(vocabulary, config)(whole(questions)).attention_PBF
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(config.passes, 12))


def test_dropout_drops_the_stated_share_and_keeps_the_mean():
    vocabulary, questions = encoded(moves(200))
    model = network(vocabulary, NetworkConfig(hidden=16, fact_dropout=0.3, answer_dropout=0.0))
    masks = model.draw_dropout(whole(questions), torch.Generator().manual_seed(0))
    assert (masks.facts_BFH == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert masks.facts_BFH.mean().item() == pytest.approx(1.0, abs=0.03)
    assert (masks.answer_BK == 1).all()


@pytest.mark.parametrize("input", ["fusion", "reader", "ordered", "word_gru"])
def test_numbers_of_facts_are_dropped_after_the_fusion_layer(input: TextInput):
    vocabulary, questions = encoded(moves(20))
    model, batch = network(vocabulary, NetworkConfig(hidden=16, input=input, dropped="facts")), whole(questions)
    masks = model.draw_dropout(batch, torch.Generator().manual_seed(0))
    read: list[torch.Tensor] = []
    model.memory.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0]))
    model(batch)
    model(batch, masks)
    assert (masks.facts_BFH == 0).any()
    torch.testing.assert_close(read[1], read[0] * masks.facts_BFH)


@pytest.mark.parametrize("memory", ["question", "mutual"])
def test_dropped_contexts_leave_the_memory_without_facts(memory: Literal["question", "mutual"]):
    vocabulary, questions = encoded(moves(200))
    config = NetworkConfig(hidden=16, memory=memory, fact_dropout=0.0, answer_dropout=0.0, context_dropout=0.3)
    model, batch = network(vocabulary, config), whole(questions)
    masks = model.draw_dropout(batch, torch.Generator().manual_seed(0))
    assert masks.contexts_PBAH is not None
    assert (masks.contexts_PBAH == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert masks.contexts_PBAH.mean().item() == pytest.approx(1.0, abs=0.03)
    assert not torch.equal(model(batch).logits, model(batch, masks).logits)
    # The question is the same everywhere, and so is what is answered once no context comes through.
    alike = batch.questions_BQ[0].expand_as(batch.questions_BQ)
    blind = masks._replace(contexts_PBAH=torch.zeros_like(masks.contexts_PBAH))
    with torch.no_grad():
        logits = model(replace(batch, questions_BQ=alike), blind).logits
    torch.testing.assert_close(logits, logits[:1].expand_as(logits))


def test_dropout_changes_the_output_and_its_absence_does_not():
    vocabulary, questions = encoded(moves(12))
    model, batch = network(vocabulary, NetworkConfig(hidden=16)), whole(questions)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(model(batch).logits, model(batch).logits)
    assert not torch.equal(model(batch).logits, model(batch, model.draw_dropout(batch, generator)).logits)


def test_word_decoder_gives_answers_of_several_words():
    examples = [
        replace(example, answer=("up", "down") if "mary" in example.question else ("left",)) for example in moves(16)
    ]
    vocabulary, questions = encoded(examples)
    model, batch = network(vocabulary, NetworkConfig(hidden=16, answer="words")), whole(questions)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        model.losses(model(batch), batch).mean().backward()
        optimizer.step()
    ranked = model.ranked(model(batch), 3)
    decoded = [tuple(vocabulary.answer_words[i] for i in best[0].answer) for best in ranked]
    assert decoded == [example.answer for example in examples]
    assert all(sum(r.probability for r in best) <= 1 + 1e-4 for best in ranked)
    assert all(best == sorted(best, key=lambda r: -r.probability) for best in ranked)


def test_attention_loss_wants_the_chain_in_order():
    # Three passes over four facts, one question; the chain is 2, 0.
    attention = torch.tensor([[[0.1, 0.1, 0.7, 0.1]], [[0.5, 0.3, 0.1, 0.1]], [[0.6, 0.2, 0.1, 0.1]]])
    expected = -(torch.tensor([0.7, 0.5, 0.6]).log().mean())
    torch.testing.assert_close(
        attention_losses(attention, torch.tensor([[2, 0, -1]]), torch.tensor([[0, 1, -1]]))[0], expected
    )


def test_attention_loss_lets_the_last_pass_take_what_is_left():
    attention = torch.tensor([[[0.7, 0.1, 0.1, 0.1]], [[0.1, 0.2, 0.3, 0.4]]])
    expected = -(torch.tensor([0.7, 0.9]).log().mean())
    torch.testing.assert_close(
        attention_losses(attention, torch.tensor([[0, 1, 2, 3]]), torch.arange(4)[None])[0], expected
    )


def test_attention_loss_is_zero_without_labels():
    attention = torch.full((2, 1, 4), 0.25)
    assert attention_losses(attention, torch.tensor([[-1]]), torch.tensor([[-1]])).item() == 0


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"passes": 0}, "model.passes is 0"),
        ({"hidden": -1}, "model.hidden is -1"),
        ({"gate": ("products",)}, "products"),
        ({"gate": ("fact",)}, "at least one besides fact"),
        ({"fact_dropout": 1.0}, "fact_dropout is 1.0"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict, named: str):
    with pytest.raises(ValueError, match=named):
        NetworkConfig(**wrong)


def _decoder(first: dict[int, float], after: dict[int, dict[int, float]]) -> WordAnswer:
    """A decoder over the words end, 1, 2, 3 with these probabilities of the first word and of those after a word."""
    decoder = WordAnswer(2, 4)

    def step(words_B: torch.Tensor, h_BK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [first if word == 0 else after[word] for word in words_B.tolist()]
        return torch.tensor([[row.get(i, 1e-9) for i in range(4)] for row in rows]).log(), h_BK

    decoder._step = step
    return decoder


def test_a_beam_finds_a_better_answer_than_greedy_decoding():
    # 1 begins best, but what follows it is spread out; 2 is followed by 3 for sure.
    decoder = _decoder({1: 0.5, 2: 0.4, 3: 0.1}, {1: {1: 0.4, 2: 0.3, 3: 0.3}, 2: {3: 1.0}, 3: {0: 1.0}})
    start = torch.zeros(2, 4)
    greedy, beam = decoder.ranked(start, 1), decoder.ranked(start, 3)
    assert greedy[0][0].answer[0] == 1
    assert beam[0] == beam[1]
    assert beam[0][0].answer == (2, 3)
    assert beam[0][0].probability == pytest.approx(0.4, abs=1e-6)
    assert beam[0][0].probability > greedy[0][0].probability


def test_an_ended_answer_does_not_end_the_search():
    # The end at once is soon found twice over, and is yet less likely than a longer answer.
    decoder = _decoder({0: 0.3, 1: 0.7}, {1: {0: 0.1, 2: 0.9}, 2: {0: 1.0}})
    assert [ranked.answer for ranked in decoder.ranked(torch.zeros(1, 4), 2)[0]] == [(1, 2), ()]


def test_greedy_decoding_is_what_the_logits_say():
    vocabulary, questions = encoded([replace(e, answer=(*e.answer, "now")) for e in moves(12)])
    model, batch = network(vocabulary, NetworkConfig(hidden=16, answer="words", beams=1)), whole(questions)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    # Not for so long that all answers are right.
    for _ in range(15):
        optimizer.zero_grad()
        model.losses(model(batch), batch).mean().backward()
        optimizer.step()
    found = [ranked[0].answer for ranked in model.ranked(model(batch), 5)]
    assert max(map(len, found)) < WordAnswer.LONGEST
    # Given its own words, the decoder's best next word at every place is the one it said.
    said = torch.nn.utils.rnn.pad_sequence([torch.tensor([*words, 0]) for words in found], True, -1)
    logits = model(replace(batch, answer_words_BL=said)).logits
    assert ((logits.argmax(dim=-1) == said) | (said < 0)).all()


def test_names_that_the_story_does_not_have_are_no_answers():
    for answer in (ClassAnswer(8, 5), WordAnswer(8, 6)):
        present = torch.tensor([[True, False, False], [False, False, True]])
        ranked = answer.ranked(torch.randn(2, 16), 50, present)
        first = 0 if isinstance(answer, ClassAnswer) else 1
        barred = [{first + 1, first + 2}, {first, first + 1}]
        for best, wrong in zip(ranked, barred, strict=True):
            assert best
            assert not any(wrong & {*r.answer} for r in best)


def test_without_the_question_in_the_answer_it_is_the_memorys():
    vocabulary, questions = encoded(moves(6))
    output = network(vocabulary, NetworkConfig(hidden=16, answer_question=False))(whole(questions))
    assert output.answer_input_BK[:, :16].abs().max() == 0
    assert output.answer_input_BK[:, 16:].abs().max() > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_dropout_is_of_the_facts_and_of_the_answers_input(variant: str):
    vocabulary, questions = encoded(moves(12))
    model, batch = network(vocabulary, replace(VARIANTS[variant], hidden=16)), whole(questions)
    kept = model.draw_dropout(batch, torch.Generator().manual_seed(0))
    kept = kept._replace(facts_BFH=torch.ones_like(kept.facts_BFH), answer_BK=torch.ones_like(kept.answer_BK))
    torch.testing.assert_close(model(batch, kept).logits, model(batch).logits)
    with torch.no_grad():
        model.answer.bias.copy_(torch.arange(len(model.answer.bias)))
    nothing = model(batch, kept._replace(answer_BK=torch.zeros_like(kept.answer_BK))).logits
    torch.testing.assert_close(nothing, model.answer.bias.expand_as(nothing))
    # Of facts that say nothing, those of one place are alike in all stories of one length and one question.
    alike = replace(batch, questions_BQ=batch.questions_BQ[:1].expand_as(batch.questions_BQ))
    blind = model(alike, kept._replace(facts_BFH=torch.zeros_like(kept.facts_BFH))).logits
    for length in batch.mask_BF.sum(dim=1).unique():
        same = blind[batch.mask_BF.sum(dim=1) == length]
        torch.testing.assert_close(same, same[:1].expand_as(same))


def test_weights_start_as_in_the_paper():
    vocabulary, _ = encoded(moves(12))
    model = network(vocabulary, NetworkConfig())
    embedding = model.embedding.weight
    assert embedding[0].abs().max() == 0
    assert 0.99 * 3**0.5 < embedding.abs().max() <= 3**0.5
    assert embedding[1:].std().item() == pytest.approx(1, abs=0.05)
    # Xavier: the root of 6 / (in + out); those of a gated unit are drawn one by one.
    for name, inputs, outputs in (
        ("memory.updates.0.W", 240, 80),
        ("memory.gate.W1_memory", 320, 80),
        ("memory.episode.recurrent_weight", 80, 80),
        ("fusion.gru.input_weight", 80, 80),
        ("answer.weight", 160, len(vocabulary.answers)),
    ):
        bound, largest = (6 / (inputs + outputs)) ** 0.5, model.get_parameter(name).abs().max().item()
        assert 0.95 * bound < largest <= bound, name


def test_gated_units_that_start_stacked():
    vocabulary, _ = encoded(moves(12))
    torch.manual_seed(0)
    alone = network(vocabulary, NetworkConfig())
    torch.manual_seed(0)
    stacked = network(vocabulary, NetworkConfig(start="stacked"))
    changed = {"memory.episode.input_weight", "memory.episode.recurrent_weight"}
    for gru in ("fusion.gru", "question.gru"):
        changed |= {f"{gru}.{leaf}" for leaf in ("input_weight", "input_bias", "recurrent_weight")}
        bias = stacked.get_parameter(f"{gru}.input_bias")
        assert (bias[:, :80] == -1).all()
        assert (bias[:, 80:] == 0).all()
    for (name, one), other in zip(alone.named_parameters(), stacked.parameters(), strict=True):
        if name.endswith("weight") and name in changed:
            torch.testing.assert_close(other, one / 2**0.5)
        else:
            assert torch.equal(one, other) == (name not in changed), name
