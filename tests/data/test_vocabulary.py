"""Words, names and answers as numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dmnplus.data.batching import NO_ANSWER, drop_words, encode, rare_words, shuffle_names
from dmnplus.data.example import Example, Splits
from dmnplus.data.names import find_names, find_rare, looks_like_name
from dmnplus.data.vocabulary import UNKNOWN, Vocabulary, tokenize
from dmnplus.training.run import build_vocabulary

STORY = ("Anna took the milk.", "Then she gave it to Ben's sister Zoe.", "Zoe put it down on Monday.")
EXAMPLES = [
    Example(facts=STORY, question="Who took the milk?", answer=("Anna",)),
    Example(facts=STORY, question="Who has it?", answer=("Zoe",)),
    Example(facts=STORY, question="Who met?", answer=("Anna", "Zoe")),
    Example(facts=("The milk is sour.",), question="Is the milk sour?", answer=("Yes",)),
]


def vocabulary(*, anonymous: bool = True) -> Vocabulary:
    return build_vocabulary(Splits("own", EXAMPLES, [], [], separator=" "), anonymous=anonymous)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't go: it's a well-known (1,5) trap_2!", ["don't", "go", "it's", "a", "well-known", "1", "5", "trap_2"]),
        # Three words, told apart by their vowel signs alone, and one that ends in a mark that joins nothing.
        ("का के, को। क्‍", ["का", "के", "को", "क्\u200d"]),
        ("l\u2019e\u0301te\u0301 - cafe\u0301", ["l\u2019\u00e9t\u00e9", "caf\u00e9"]),
        ("\u0130zmir x\u0323\u0302y", ["i\u0307zmir", "x\u0323\u0302y"]),
        # A mark on nothing, or on what is no letter, is no word.
        ("\u0301 \u2764\ufe0f \u845b\U000e0100", ["\u845b\U000e0100"]),
    ],
)
def test_words_of_every_script(text: str, words: list[str]):
    assert tokenize(text) == words


def test_a_name_is_one_however_its_accent_is_typed():
    examples = [replace(EXAMPLES[0], facts=("Then Rene\u0301e took it.",), answer=("Ren\u00e9e",))]
    learnt = build_vocabulary(Splits("own", examples, [], [], separator=" "), anonymous=True)
    assert find_names(examples[0].facts, []) == {"ren\u00e9e"}
    assert learnt.cast(examples[0].facts, "Who?").places.keys() == {"ren\u00e9e"}


@pytest.mark.parametrize(
    ("word", "name"),
    [("Anna", True), ("McDonald", True), ("I", False), ("I'm", False), ("TV", False), ("Monday", False), ("it", False)],
)
def test_what_is_written_like_a_name(word: str, name: bool):
    assert looks_like_name(word) == name


def test_names_of_a_data_set():
    sentences = [
        *STORY,
        "Who took the milk?",
        "The rose is red.",
        "Rose left.",
        "Where is Rose?",
        "Tom left.",
        "Go on.",
    ]
    # Rose is also a flower, Tom is only ever the first word, and Yes is no word of a story.
    assert find_names(sentences, [("Anna",), ("Yes",)]) == {"anna", "ben", "zoe"}
    assert "tom" in find_names(sentences, [("Tom",)])


def test_names_leave_the_vocabulary_and_come_back_in_answers():
    learnt = vocabulary()
    assert not {"anna", "ben", "zoe"} & {*learnt.words, *(answer.lower() for answer in learnt.answers)}
    assert {"then", "monday", "'s", "sister"} <= {*learnt.words}
    assert learnt.names == 8
    assert Vocabulary.parse(learnt.plain()) == learnt
    questions = encode(EXAMPLES, learnt)
    for i, example in enumerate(EXAMPLES[:2]):
        said = learnt.answer_of([int(questions.answers_N[i])], by_word=False)
        assert learnt.cast(example.facts, example.question).restore(said) == example.answer
    # Two names are no class, as any two could be; word by word they can be said.
    assert questions.answers_N[2] == NO_ANSWER
    words = [int(word) for word in questions.answer_words_NL[2] if word > 0]
    assert learnt.cast(STORY, "").restore(learnt.answer_of(words, by_word=True)) == ("Anna", "Zoe")


def test_names_never_met_are_read_like_those_of_training():
    learnt = vocabulary()
    renamed = [fact.replace("Anna", "Quirin").replace("Zoe", "Xenia") for fact in STORY]
    cast = learnt.cast(renamed, "who is quirin?")
    assert set(cast.written.values()) == {"Quirin", "Ben", "Xenia"}
    assert learnt.unknown_words([*renamed, "who took Quirin's milk?"], cast.places) == []
    ids = learnt.encode("Who is quirin?", cast.places)
    assert learnt.words[ids[-1]] == f"<name-{cast.places['quirin'] + 1}>"
    # Without anonymous names they are unknown words.
    known = vocabulary(anonymous=False)
    assert known.unknown_words(renamed) == ["quirin", "xenia"]


def test_rare_words_are_those_of_few_stories():
    again = Example(facts=("The butter is red and the milk old.",), question="Is it sour?", answer=("No",))
    colours = Example(facts=("Paint it blue.",), question="Which?", answer=("red", "blue"))
    examples = [*EXAMPLES, again, colours]
    # The milk is in three stories, Anna and Zoe are answers of several words, and Yes is in no story.
    assert {"sister", "butter", "monday"} <= find_rare(examples, 1)
    assert not {"milk", "is", "sour", "anna", "zoe", "yes", "no", "red", "blue"} & find_rare(examples, 1)
    assert {"is", "sour"} <= find_rare(examples, 2)
    assert not find_rare(examples, 0)


def test_with_rare_words_as_placeholders_so_are_those_never_seen():
    learnt = build_vocabulary(Splits("own", EXAMPLES, [], [], separator=" "), rare=1)
    assert learnt.unseen
    assert Vocabulary.parse(learnt.plain()) == learnt
    assert "sister" not in learnt.words
    assert {"the", "milk", "anna"} <= {*learnt.words}
    cast = learnt.cast(["Milk the goat.", "Sister has Butter.", "the butter is sour"], "Who is Xenia?")
    assert {*cast.written.values()} >= {"goat", "Sister", "butter", "Xenia"}
    assert not {"milk", "the"} & {*cast.places}
    # An answer that only the story has is said as it stands there.
    question = Example(facts=("She took the goat.",), question="What?", answer=("goat",))
    place = learnt.cast(question.facts, question.question)
    (answer,) = encode([question], learnt).answers_N.tolist()
    assert place.restore(learnt.answer_of([answer], by_word=False)) == ("goat",)


def test_more_names_than_placeholders_stay_unknown():
    learnt = vocabulary()
    people = [f"Person{letter}" for letter in "abcdefghij"]
    cast = learnt.cast([f"{name} left." for name in people], "Who left?")
    assert len(set(cast.places.values())) == len(cast.places) == learnt.names
    assert learnt.unknown_words([" ".join(people)], cast.places) == ["personi", "personj"]


def test_shuffled_names_tell_the_same_stories():
    learnt = vocabulary()
    questions = encode(EXAMPLES, learnt)
    batch = questions.batch(torch.arange(4))
    other = shuffle_names(batch, torch.Generator().manual_seed(1))
    assert batch.names_BM is not None
    assert other.names_BM is not None
    assert not torch.equal(batch.sentences_SW, other.sentences_SW)
    exchanged = dict(zip(batch.sentences_SW.flatten().tolist(), other.sentences_SW.flatten().tolist(), strict=True))
    assert sorted(exchanged.values()) == sorted(set(exchanged.values()))
    assert all(one == other or 2 <= one < 2 + learnt.names for one, other in exchanged.items())
    for i in range(2):
        name, new = int(batch.answers_B[i]), int(other.answers_B[i])
        assert exchanged[name + 2] == new + 2
        assert int(other.answer_words_BL[i, 0]) == new + 1
        assert other.names_BM[i, new]
    assert other.names_BM.sum(dim=1).tolist() == batch.names_BM.sum(dim=1).tolist() == [3, 3, 3, 0]
    # What is not a name's answer stays.
    assert other.answers_B[2:].tolist() == batch.answers_B[2:].tolist()


def test_rare_words_become_unknown_more_often_than_common_ones():
    learnt = vocabulary(anonymous=False)
    questions = encode(EXAMPLES, learnt)
    shares = rare_words(questions, 1.0)
    ids = {word: learnt.words.index(word) for word in ("the", "sister")}
    # "the" stands in two of the distinct sentences and in two questions, "sister" in one sentence.
    assert shares[ids["the"]].item() == pytest.approx(1 / 5)
    assert shares[ids["sister"]].item() == pytest.approx(1 / 2)
    assert shares[:2].tolist() == [0, 0]
    batch = questions.batch(torch.arange(4))
    dropped = [drop_words(batch, shares, torch.Generator().manual_seed(seed)) for seed in range(200)]
    lost = torch.stack([(d.sentences_SW == UNKNOWN) & (batch.sentences_SW == ids["sister"]) for d in dropped])
    assert lost.sum(dim=(1, 2)).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert all(((d.sentences_SW == 0) == (batch.sentences_SW == 0)).all() for d in dropped)
