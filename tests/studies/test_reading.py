"""Attention read from a network, and interfered with."""

from __future__ import annotations

import pytest
import torch

from dmnplus.config import resolve
from dmnplus.data.example import Example, Splits
from dmnplus.studies import chain, later_facts, shared_words
from dmnplus.studies.chain import first_visits
from dmnplus.studies.fusion_order import turned
from dmnplus.studies.reading import Reading, gates, memories, read
from dmnplus.studies.scenes import Scenes
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import Trained
from dmnplus.training.run import build, build_vocabulary
from tests.model.examples import moves


@pytest.fixture
def trained() -> Trained:
    examples = moves(15)
    splits = Splits("moves", examples, examples, examples)
    config = resolve(settings=["model.hidden=8"])
    vocabulary = build_vocabulary(splits)
    return Trained(build(config, vocabulary), vocabulary, config, splits, None, ())


def test_attention_answers_and_labels_are_in_the_order_of_the_questions(trained: Trained):
    reading, examples = read(trained), trained.splits.test
    torch.testing.assert_close(reading.attention_PNF.sum(dim=-1), torch.ones(3, len(examples)))
    assert reading.mask_NF.sum(dim=1).tolist() == [len(example.facts) for example in examples]
    for steps, example in zip(reading.steps_NF.tolist(), examples, strict=True):
        assert {fact: step for fact, step in enumerate(steps) if step >= 0} == {example.supporting[0]: 0}
    told = [trained.vocabulary.answers[answer] for answer in reading.answer_N.tolist()]
    right = [answer == example.answer_text for answer, example in zip(told, examples, strict=True)]
    assert reading.right_N.tolist() == right


def test_gates_are_changed_within_and_not_after(trained: Trained):
    before = read(trained)
    seen: list[int] = []

    def shut(earlier: list[torch.Tensor], g_BF: torch.Tensor) -> torch.Tensor:
        seen.append(len(earlier))
        return g_BF * 0 if len(earlier) == 1 else g_BF

    with gates(trained.model, shut):
        changed = read(trained)
    assert seen == [0, 1, 2]
    assert changed.attention_PNF[1].abs().sum() == 0
    torch.testing.assert_close(changed.attention_PNF[0], before.attention_PNF[0])
    assert not torch.allclose(changed.attention_PNF[2], before.attention_PNF[2])
    torch.testing.assert_close(read(trained).attention_PNF, before.attention_PNF)


def test_with_the_question_for_the_memory_all_passes_attend_as_the_first(trained: Trained):
    before = read(trained)
    with memories(trained.model, lambda q, m: q):
        changed = read(trained)
    for attention in changed.attention_PNF:
        torch.testing.assert_close(attention, before.attention_PNF[0])
    assert not torch.allclose(before.attention_PNF[1], before.attention_PNF[0])


def test_a_fact_is_thrown_away_if_no_pass_gave_it_a_tenth():
    earlier = [torch.tensor([[0.95, 0.05, 0.0]]), torch.tensor([[0.0, 0.02, 0.98]])]
    assert later_facts.thrown_away(earlier).tolist() == [[False, True, False]]
    assert later_facts.thrown_away(earlier[:1]).tolist() == [[False, True, True]]


def test_first_visits_are_by_the_top_facts():
    # Facts of step 0, step 1 and no step; pass 1 looks at the last, pass 2 at step 0, pass 3 at both others.
    attention = torch.eye(3)[[2, 0, 1]][:, None]
    steps = torch.tensor([[0, 1, -1]])
    reading = Reading(attention, steps >= -1, torch.tensor([True]), torch.tensor([0]), steps)
    assert [visit.item() for visit in first_visits(reading)] == [1, 2]


def test_facts_told_backwards_keep_their_labels():
    example = Example(facts=("a", "b", "c"), question="q", answer=("x",), supporting=(0, 1))
    back = turned(example)
    assert back.facts == ("c", "b", "a")
    assert [back.facts[i] for i in back.supporting] == ["a", "b"]


def test_the_shared_word_is_renamed_in_question_and_facts():
    people = Example(
        facts=("Mary went to the office.", "John is Mary's friend."), question="Where is Mary?", answer=("office",)
    )
    assert shared_words.renamed(people).question == "Where is Xanthe?"
    assert shared_words.renamed(people).facts[0] == "Xanthe went to the office."
    things = Example(facts=("Mary got the milk.",), question="Where is the milk?", answer=("office",))
    assert shared_words.renamed(things).facts == ("Mary got the zeppelin.",)


def test_stories_are_short_and_as_many_as_asked():
    splits = Stories(2, questions=40, longest=8, validation=5, test=6).splits()
    assert [len(splits.training), len(splits.validation), len(splits.test)] == [40, 5, 6]
    assert max(len(example.facts) for example in splits.training) <= 8
    assert set(splits.training).isdisjoint(splits.test)


@pytest.mark.parametrize("asked", ["Who owns the circle?", "What colour did the circle have at first?"])
def test_a_labelled_region_holds_the_thing_that_the_answer_is_about(asked: str):
    scenes = Scenes(asked, questions=20, validation=2, test=2)
    pictures = scenes.pictures()
    assert pictures is not None
    for example in scenes.splits().training:
        for region in example.regions:
            left, top, right, bottom = region.box
            cells = pictures.read(torch.tensor([pictures.index(example.facts[region.fact])]))[0]  # pyright: ignore
            # Size, colour and shape.
            assert cells[int(2 * (top + bottom)), int(2 * (left + right))].sum() == 3


def test_hidden_parts_are_not_shown():
    alone = Scenes("Who owns the circle?", "sentences alone", questions=5, validation=2, test=2)
    assert alone.pictures() is None
    whole = Scenes("Who owns the circle?", questions=5, validation=2, test=2).splits().training
    for example, shown in zip(whole, alone.splits().training, strict=True):
        # The labels of what is left stay, so that an arm differs in what is shown alone.
        assert [shown.facts[place] for place in shown.supporting] == [
            example.facts[place] for place in example.supporting
        ]
        assert shown.facts == tuple(fact for fact in example.facts if isinstance(fact, str))
        assert example.supporting
        assert not shown.regions
    alone = Scenes("Who owns the circle?", "picture alone", questions=5, validation=2, test=2)
    for example, shown in zip(whole, alone.splits().training, strict=True):
        assert [(shown.facts[r.fact], r.box) for r in shown.regions] == [
            (example.facts[r.fact], r.box) for r in example.regions
        ]
        assert example.regions
        assert not shown.supporting
    with pytest.raises(ValueError, match="everything"):
        Scenes("Who owns the circle?", "nothing")  # pyright: ignore


def test_the_chain_of_labelled_facts_by_hand(monkeypatch: pytest.MonkeyPatch):
    # The top facts of three passes: the chain in order, against its order, and its first fact alone.
    top_NP = torch.tensor([[2, 0, 1], [0, 0, 1], [2, 2, 0]])
    steps = torch.tensor([[0, 1, -1], [1, 0, -1], [0, 1, -1]])
    attention = torch.eye(3)[top_NP.T]
    reading = Reading(attention, steps >= -1, torch.ones(3, dtype=torch.bool), torch.zeros(3), steps)
    monkeypatch.setattr(chain, "read", lambda trained: reading)
    measured = chain.measure(None)  # pyright: ignore
    # Of seven facts that are on top of some pass five are labelled, and of six that are labelled.
    assert measured == pytest.approx(
        {
            "precision": 5 / 7,
            "recall": 5 / 6,
            "visited": 2 / 3,
            "in order": 1 / 3,
            "pass 1": 1 / 3,
            "pass 2": 2 / 3,
            "pass 3": 1,
            "pass 1, recall": 1 / 6,
            "pass 2, recall": 2 / 6,
            "pass 3, recall": 3 / 6,
            "pass 1, step 1": 0,
            "pass 1, step 2": 1 / 3,
            "pass 2, step 1": 1 / 3,
            "pass 2, step 2": 1 / 3,
            "pass 3, step 1": 2 / 3,
            "pass 3, step 2": 1 / 3,
        }
    )
