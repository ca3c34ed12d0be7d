"""What is read of a story, and which questions share a batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dmnplus.data.batching import encode, rare_words
from dmnplus.data.example import DataError, Example, Picture, Region, Splits, split_validation
from dmnplus.data.pictures import HeldPictures, PictureFormat
from dmnplus.data.vocabulary import UNKNOWN, Vocabulary
from dmnplus.training.run import build_vocabulary
from tests.model.examples import encoded, moves, whole


def test_of_a_long_story_the_last_facts_are_read_and_their_labels_go_with_them():
    example = Example(
        facts=("Mary left.", "John left.", "Mary came.", "John came."),
        question="Who came?",
        answer=("John",),
        supporting=(3, 0, 2),
    )
    vocabulary, _ = encoded([example])
    found = whole(encode([example], vocabulary, last_facts=2))
    wanted = whole(encode([replace(example, facts=example.facts[2:], supporting=(1, 0))], vocabulary))
    assert torch.equal(found.sentences_SW[found.facts_BF], wanted.sentences_SW[wanted.facts_BF])
    # What was dropped is no step of the chain.
    assert found.supporting_BK.tolist() == wanted.supporting_BK.tolist() == [[1, 0]]
    assert found.steps_BK.tolist() == wanted.steps_BK.tolist() == [[0, 1]]


def labels(supporting: tuple[int, ...], regions: tuple[Region, ...], last_facts: int | None = None) -> list[list[int]]:
    """Each label's fact, and its step: of two pictures of four regions each, and a sentence."""
    shape = PictureFormat(kind="pixels", size=4, rows=2, columns=2, channels=3)
    facts = (Picture("a.png"), Picture("b.png"), "Anna left.")
    held = HeldPictures(shape, dict.fromkeys(facts[:2], torch.zeros(3, 4, 4)))
    example = Example(facts=facts, question="Who?", answer=("Anna",), supporting=supporting, regions=regions)
    vocabulary = Vocabulary.build(["Anna left. Who?"], [("Anna",)])
    batch = whole(encode([example], vocabulary, last_facts=last_facts, pictures=held))
    return [ids[0].tolist() for ids in (batch.supporting_BK, batch.steps_BK)]


def test_a_supporting_picture_is_labelled_as_a_region_that_is_all_of_it():
    assert labels((1, 2), ()) == [[4, 5, 6, 7, 8], [0, 0, 0, 0, 1]]
    assert labels((1,), ()) == labels((), (Region(1, (0, 0, 1, 1)),))


def test_regions_of_pictures_that_are_not_read_are_no_labels():
    left = [Region(i, (0, 0, 0.5, 1), step=i) for i in range(2)]
    assert labels((), (*left,)) == [[0, 3, 4, 7], [0, 0, 1, 1]]
    assert labels((), (*left,), last_facts=2) == [[0, 3], [1, 1]]


def test_batches_are_of_like_length_and_others_in_every_epoch():
    _, questions = encoded(moves(320, longest=20))
    shuffle = torch.Generator().manual_seed(0)
    epochs = [list(questions.batches(16, shuffle=shuffle)) for _ in range(2)]
    for batches in epochs:
        assert sorted(torch.cat(batches).tolist()) == list(range(320))
        lengths = [questions.lengths_N[rows] for rows in batches]
        # Of the eight batches of a pool, each has about an eighth of the lengths.
        assert sum(int(length.max() - length.min()) for length in lengths) / len(lengths) < 5
        assert (means := [float(length.float().mean()) for length in lengths]) != sorted(means)
    first, second = ({frozenset(rows.tolist()) for rows in batches} for batches in epochs)
    assert not first & second
    # Left to chance, batches are as mixed as all questions are.
    mixed = [questions.lengths_N[rows] for rows in questions.batches(16, shuffle=shuffle, by_length=False)]
    assert sum(int(length.max() - length.min()) for length in mixed) / len(mixed) > 12
    # To measure, in order of length, and the same every time.
    assert torch.equal(torch.cat(list(questions.batches(16))), questions.lengths_N.argsort(stable=True))


def test_names_are_never_read_as_the_unknown_word():
    examples = [Example(facts=(f"{a} met {b}.",), question="Who?", answer=(a,)) for a, b in (("Anna", "Ben"),) * 3]
    vocabulary = build_vocabulary(Splits("own", examples, [], []), anonymous=True)
    shares = rare_words(encode(examples, vocabulary), 1.0)
    names = slice(UNKNOWN + 1, UNKNOWN + 1 + vocabulary.names)
    assert shares[names].numel() > 0
    assert shares[names].abs().sum() == 0
    assert shares[vocabulary.words.index("met")] > 0


def test_the_end_of_the_training_file_validates_as_it_stands():
    examples = moves(30)
    assert split_validation(examples, 0.1) == (examples[:27], examples[27:])
    assert split_validation(examples[:3], 0.1) == (examples[:2], examples[2:3])
    with pytest.raises(DataError, match=r"1 questions are too few to hold out a share of 0\.1"):
        split_validation(examples[:1], 0.1)
    with pytest.raises(ValueError, match="validation share 1 is not between 0 and 1"):
        split_validation(examples, 1)
