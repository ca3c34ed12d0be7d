"""How an answer moves with the story: what is measured is what the changed story gives."""

import json

import pytest
import torch

from dmnplus.answering import Answer
from dmnplus.data.example import Example, Picture
from dmnplus.explain import explain
from dmnplus.explain.what_if import looked_at
from tests.explain.networks import untrained
from tests.model.examples import moves

STORY = ["mary went to the garden.", "john went to the kitchen.", "mary went to the office.", "john left."]
QUESTION = "where is mary?"


def probability(answerer, facts, answer: str) -> float:
    return dict(answerer.answer(facts, QUESTION, top=100).ranked)[answer]


def test_without_a_fact_is_the_story_without_it(reads_text):
    explanation = explain(reads_text, STORY, QUESTION)
    assert [change.facts for change in explanation.changes] == [(0,), (1,), (2,), (3,)]
    whole = reads_text.answer(STORY, QUESTION)
    assert explanation.answer.ranked == whole.ranked
    for i, change in enumerate(explanation.changes):
        left = [fact for place, fact in enumerate(STORY) if place != i]
        answer = reads_text.answer(left, QUESTION)
        assert change.answer.answer == answer.answer
        assert change.answer.facts == left
        assert change.answer.probability == pytest.approx(answer.probability, abs=1e-5)
        assert change.original == pytest.approx(probability(reads_text, left, whole.answer), abs=1e-5)
        assert change.move == pytest.approx(change.original - whole.probability, abs=1e-5)
        torch.testing.assert_close(torch.tensor(change.answer.attention), torch.tensor(answer.attention))


def test_swapped_facts_and_several_left_out(reads_text):
    explanation = explain(reads_text, STORY, QUESTION, without=[(0, 3), 1], swaps=[(0, 2)])
    stories = [STORY[1:3], [STORY[0], *STORY[2:]], [STORY[2], STORY[1], STORY[0], STORY[3]]]
    assert [c.kind for c in explanation.changes] == ["without", "without", "swap"]
    for change, story in zip(explanation.changes, stories, strict=True):
        assert change.answer.facts == story
        expected = probability(reads_text, story, explanation.answer.answer)
        assert change.original == pytest.approx(expected, abs=1e-5)


def test_all_changes_are_one_batch(reads_text, monkeypatch):
    sizes = []
    forward = reads_text.model.forward
    monkeypatch.setattr(reads_text.model, "forward", lambda batch: (sizes.append(len(batch)), forward(batch))[1])
    explain(reads_text, STORY, QUESTION, swaps=[(0, 1)])
    # The question alone and its six changes, each batch filled up to a multiple of four.
    assert sizes == [4, 8]


def test_answers_of_several_words_are_measured_too():
    answerer = untrained(
        [Example(facts=e.facts, question=e.question, answer=("the", *e.answer)) for e in moves(40)],
        "model.answer=words",
        separator=" ",
    )
    explanation = explain(answerer, STORY, QUESTION)
    for change in explanation.changes:
        best = dict(change.answer.ranked)
        if explanation.answer.answer in best:
            assert change.original == pytest.approx(best[explanation.answer.answer], abs=1e-5)
    assert any(change.move for change in explanation.changes)


def test_names_keep_their_placeholders():
    named = [
        Example(facts=(f"{a} took the milk.", f"{b} left."), question="Who took the milk?", answer=(a,))
        for a in ("Anna", "Ben", "Clara")
        for b in ("Ben", "Clara", "Anna")
        if a != b
    ]
    answerer = untrained(named, "data.anonymous_names=true")
    story, question = ["Zoe took the milk.", "Ugo left.", "Ugo left."], "Who took the milk?"
    explanation = explain(answerer, story, question, without=[1, 0])
    twice, without_zoe = explanation.changes
    # Ugo is named again in what is left, and so nothing but the fact itself is missing.
    assert {text for text, _ in twice.answer.ranked} == {"Zoe", "Ugo"}
    assert {text for text, _ in without_zoe.answer.ranked} == {"Ugo"}
    # A name that is not in the story is no answer.
    cast = answerer.vocabulary.cast(story, question)
    told = [Example(facts=tuple(facts), question=question, answer=("Zoe",)) for facts in (story, story[1:])]
    _, (before, after) = answerer.measure(told, casts=[cast, cast.within(story[1:])])
    assert before > 0
    assert after == 0
    # The placeholders of the whole story, and not those that the shorter story would draw.
    cast = answerer.vocabulary.cast(story, question).within(story[1:])
    assert cast.places == {"ugo": answerer.vocabulary.cast(story, question).places["ugo"]}


def test_without_a_picture_or_a_region(reads_pictures, cards):
    story = [cards[0], "mary went to the garden.", cards[1]]
    explanation = explain(reads_pictures, story, QUESTION, regions=True)
    for i, change in enumerate(explanation.changes):
        left = [fact for place, fact in enumerate(story) if place != i]
        expected = probability(reads_pictures, left, explanation.answer.answer)
        assert change.original == pytest.approx(expected, abs=1e-5)
    assert {*explanation.regions} == {0, 2}
    moves_of_regions = torch.tensor([explanation.regions[0], explanation.regions[2]])
    assert moves_of_regions.shape == (2, 2, 2)
    assert (moves_of_regions.abs() > 1e-6).all()


def test_a_region_left_out_is_as_if_it_were_not_there(reads_pictures, cards):
    """The second row of a grid is read from right to left; its first place is the region on the right."""
    from dataclasses import replace

    explanation = explain(reads_pictures, [cards[0]], QUESTION, regions=True)
    assert explanation.changes == []
    batch = reads_pictures.encode([reads_pictures.example([cards[0]], QUESTION)]).batch(torch.tensor([0]))
    kept = torch.tensor([0, 1, 3])
    fields = ("facts_BF", "mask_BF", "places_BF")
    batch = replace(batch, **{name: getattr(batch, name)[:, kept] for name in fields})
    with torch.inference_mode():
        probabilities = reads_pictures.model(batch).logits.softmax(dim=1)[0]
    answer = reads_pictures.vocabulary.answer_ids[explanation.answer.answer]
    expected = float(probabilities[answer]) - explanation.answer.probability
    assert explanation.regions[0][1][1] == pytest.approx(expected, abs=1e-5)


def test_of_a_long_story_only_what_is_read_is_left_out():
    answerer = untrained(moves(40), "data.last_facts=3")
    explanation = explain(answerer, STORY, QUESTION)
    assert explanation.answer.facts == STORY[1:]
    assert explanation.changes[0].answer.facts == STORY[2:]


def test_one_fact_cannot_be_left_out_in_turn(reads_text):
    assert explain(reads_text, STORY[:1], QUESTION).changes == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"without": [4]}, "there is no fact 4; the story that is read has 4, counted from 0"),
        ({"without": [-1]}, "there is no fact -1"),
        ({"without": [(0, 1, 2, 3)]}, "leaving out 0, 1, 2, 3 leaves no fact of the story's 4"),
        ({"without": [()]}, "names no fact"),
        ({"swaps": [(0, 4)]}, "there is no fact 4"),
        ({"swaps": [(1, 1)]}, "fact 1 cannot change places with itself"),
    ],
)
def test_a_change_that_cannot_be_says_why(reads_text, changes, message: str):
    with pytest.raises(ValueError, match=message):
        explain(reads_text, STORY, QUESTION, **changes)


def test_as_json_it_names_no_folder(reads_pictures, cards):
    explanation = explain(reads_pictures, [cards[0], "mary left."], QUESTION, regions=True, swaps=[(0, 1)])
    plain = json.loads(json.dumps(explanation.plain()))
    assert plain["facts"] == [{"picture": "a.png", "box": [0, 0, 1, 1]}, {"sentence": "mary left."}]
    assert plain["answer"] == plain["ranked"][0]["answer"]
    assert [change["kind"] for change in plain["changes"]] == ["swap", "without", "without"][::-1]
    assert plain["without_regions"][0]["fact"] == 0
    assert str(cards[0].path) not in json.dumps(plain)


def test_a_picture_is_dark_where_the_pass_looked_at_sentences():
    facts = ["Red things are hot.", Picture("a.png"), Picture("b.png")]
    answer = Answer(
        "yes", 1.0, [], facts, [[0.5, 0.4, 0.1]], {1: [[[0.25, 0.15]]], 2: [[[0.0, 0.1]]]}, unknown_words=[]
    )
    assert looked_at(answer, 1, 0) == [[0.5, pytest.approx(0.3)]]
    assert looked_at(answer, 2, 0) == [[0.0, pytest.approx(0.2)]]


def test_attention_to_regions_is_by_row_and_column(reads_pictures, cards):
    """The second row of a grid is read from right to left."""
    story = ["mary left.", cards[0]]
    answer = reads_pictures.answer(story, QUESTION)
    batch = reads_pictures.encode([reads_pictures.example(story, QUESTION)]).batch(torch.tensor([0]))
    with torch.inference_mode():
        attention = reads_pictures.model(batch).attention_PBF[:, 0]
    # The sentence, then the regions as the snake goes.
    for gates, shown, whole in zip(attention.tolist(), answer.regions[1], answer.attention, strict=True):
        assert [*shown[0], *reversed(shown[1])] == pytest.approx(gates[1:], abs=1e-6)
        assert whole == pytest.approx([gates[0], sum(gates[1:])], abs=1e-6)
    assert len({round(gate, 7) for gate in attention.flatten().tolist()}) > 3
