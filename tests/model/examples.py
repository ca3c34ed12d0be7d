"""Small questions for the tests of the network."""

from __future__ import annotations

import random

import torch

from dmnplus.data.batching import Batch, Questions, encode
from dmnplus.data.example import Example, iter_sentences
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.model import DMN, NetworkConfig

PLACES = ("kitchen", "garden", "office", "hallway")
PEOPLE = ("mary", "john", "sandra")


def moves(count: int, *, longest: int = 9, seed: int = 0) -> list[Example]:
    """Questions after the last move of a person, over stories of different lengths."""
    draw = random.Random(seed)
    examples = []
    for _ in range(count):
        story = [(draw.choice(PEOPLE), draw.choice(PLACES)) for _ in range(draw.randint(1, longest))]
        who, _ = draw.choice(story)
        last = max(i for i, (person, _) in enumerate(story) if person == who)
        facts = tuple(f"{person} went {'back ' * (i % 2)}to the {place}." for i, (person, place) in enumerate(story))
        examples.append(Example(facts=facts, question=f"Where is {who}?", answer=(story[last][1],), supporting=(last,)))
    return examples


def encoded(examples: list[Example]) -> tuple[Vocabulary, Questions]:
    vocabulary = Vocabulary.build(iter_sentences(examples), (example.answer for example in examples))
    return vocabulary, encode(examples, vocabulary)


def network(vocabulary: Vocabulary, config: NetworkConfig, *, seed: int = 0) -> DMN:
    torch.manual_seed(seed)
    return DMN(
        config,
        words=len(vocabulary.words),
        answers=len(vocabulary.answers),
        answer_words=len(vocabulary.answer_words),
    )


def whole(questions: Questions) -> Batch:
    """All questions as one batch, in their order."""
    return questions.batch(torch.arange(len(questions)))
