"""What an evaluation says, worked by hand from answers and attention that are given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import one_hot, pad

from dmnplus.data.batching import NO_ANSWER, Batch, Questions, encode
from dmnplus.data.example import Example, Source, iter_sentences
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.model import DMN, NetworkConfig, Output
from dmnplus.model.answer import Ranked
from dmnplus.training.metrics import answered, answers_of, correct, evaluate, loss_and_error, predictions
from tests.model.examples import moves, network, whole

FACTS = tuple(f"Fact {letter}." for letter in "abcd")
# Longer stories come first, so that batches have them in another order.
EXAMPLES = [
    Example(facts=FACTS, question="Is it?", answer=("moon",), supporting=(1, 2), source=Source(kind="babi/1")),
    Example(facts=FACTS[:3], question="Where?", answer=("hall",), supporting=(0,), source=Source(kind="babi/1")),
    Example(facts=FACTS[:2], question="Who?", answer=("attic",), supporting=(1,), source=Source(kind="babi/2")),
    Example(facts=FACTS[:1], question="Where?", answer=("attic",), source=Source(kind="babi/1")),
]
VOCABULARY = Vocabulary.build([*FACTS, "Is it?", "Where?", "Who?"], [("hall",), ("attic",)])
SAID = ["hall", "hall", "hall", "attic"]
ATTENTION = [  # Two passes over the facts of each question.
    [[0.60, 0.40, 0.0, 0.0], [0.45, 0.55, 0.0, 0.0]],
    [[0.70, 0.25, 0.05], [0.95, 0.02, 0.03]],
    [[0.92, 0.08], [0.95, 0.05]],
    [[1.0], [1.0]],
]
LOSSES = torch.tensor([0.0, 0.1, 0.3, 0.2])


def rows_of(batch: Batch) -> list[int]:
    """Rows are told by their number in the place of a label that is not used."""
    return batch.steps_BK[:, 0].tolist()


class Told:
    """Answers and attends as `SAID` and `ATTENTION` have it."""

    config = NetworkConfig(passes=2)
    device = torch.device("cpu")

    def __call__(self, batch: Batch) -> Output:
        rows, F = rows_of(batch), batch.mask_BF.shape[1]
        said = torch.tensor([VOCABULARY.answer_ids[SAID[row]] for row in rows])
        attention = [pad(torch.tensor(ATTENTION[row]), (0, F - len(ATTENTION[row][0]))) for row in rows]
        return Output(one_hot(said, 2).float(), torch.stack(attention, dim=1), torch.zeros(len(rows), 1))

    def losses(self, output: Output, batch: Batch) -> torch.Tensor:
        return LOSSES[rows_of(batch)]

    def ranked(self, output: Output, top: int) -> list[list[Ranked]]:
        return [[Ranked((answer,), 1.0)] for answer in output.logits.argmax(dim=-1).tolist()]


def told() -> tuple[Any, Questions]:
    return Told(), replace(encode(EXAMPLES, VOCABULARY), steps_NK=torch.arange(4)[:, None])


def test_error_loss_and_types_of_question():
    model, questions = told()
    result = evaluate(model, questions, EXAMPLES)
    assert (result.questions, result.accuracy, result.error, result.unanswerable) == (4, 0.5, 0.5, 1)
    assert result.loss == pytest.approx(0.15)
    assert loss_and_error(model, questions) == (pytest.approx(0.15), 0.5)
    assert result.by_kind == {
        "babi/1 is": {"questions": 1, "error": 1.0},
        "babi/1 where": {"questions": 2, "error": 0.0},
        "babi/2 who": {"questions": 1, "error": 1.0},
    }


def test_attention_beside_the_labelled_facts():
    attention = evaluate(*told(), EXAMPLES).attention
    assert attention is not None
    # The last question has no labels, and counts for nothing. The others use two, two and one fact, by a tenth or more
    # in some pass; among these are one, one and none of their two, one and one labelled facts.
    assert attention.questions == 3
    assert attention.precision == pytest.approx(2 / 5)
    assert attention.recall == pytest.approx(2 / 4)
    assert [one.top_fact for one in attention.passes] == pytest.approx([1 / 3, 2 / 3])
    masses = [(0.40 + 0.70 + 0.08) / 3, (0.55 + 0.95 + 0.05) / 3]
    assert [one.mass for one in attention.passes] == pytest.approx(masses)


def test_without_labels_nothing_is_said_of_the_attention():
    model, questions = told()
    unlabelled = replace(questions, supporting_NK=torch.full((4, 1), -1))
    assert evaluate(model, unlabelled, EXAMPLES).attention is None


def test_answers_are_in_the_order_of_the_questions():
    assert predictions(*told(), VOCABULARY, EXAMPLES) == [(answer,) for answer in SAID]


def words(config: NetworkConfig) -> tuple[DMN, Batch, Output]:
    """A decoder of words, questions with answers of one word, a word never seen, and two words never seen together, and
    what greedy decoding says: the first answer to all of them."""
    examples = [
        replace(e, answer=answer) for e, answer in zip(moves(3), (("hall",), ("moon",), ("hall", "attic")), strict=True)
    ]
    vocabulary = Vocabulary.build(iter_sentences(examples), [("hall",), ("attic",)])
    batch = whole(encode(examples, vocabulary))
    hall = torch.tensor([vocabulary.answer_word_ids["hall"], 0, 0])
    logits = one_hot(hall, len(vocabulary.answer_words)).float().expand(3, -1, -1)
    return network(vocabulary, config), batch, Output(logits, torch.ones(3, 3, 1), torch.zeros(3, 32))


def test_an_answer_of_words_is_right_as_a_whole_and_never_if_training_did_not_see_it():
    model, batch, output = words(NetworkConfig(hidden=16, answer="words"))
    assert correct(output, batch).tolist() == [True, False, False]
    # Two words that training has are an answer that can be said, though no class.
    assert (answers_of(model, batch) == NO_ANSWER).tolist() == [False, True, False]
    assert (batch.answers_B == NO_ANSWER).tolist() == [False, True, True]


@pytest.mark.parametrize("beams", [1, 3])
def test_what_counts_is_what_the_network_answers_with_all_its_beams(beams: int, monkeypatch: pytest.MonkeyPatch):
    model, batch, output = words(NetworkConfig(hidden=16, answer="words", beams=beams))
    found = [tuple(word for word in row if word > 0) for row in batch.answer_words_BL.tolist()]
    # The beams find every answer but the first, and nothing where there is nothing to find.
    monkeypatch.setattr(model, "ranked", lambda output, top: [[Ranked(a, 1.0)] for a in ((), *found[1:])])
    assert answered(model, output, batch).tolist() == ([True, False, False] if beams == 1 else [False, False, True])
