"""Questions that need both a picture and sentences: the picture shows which thing, a sentence says what the eye cannot.

Each question is made for any answer with the same picture, and its sentences are drawn without regard to the picture's
other things: neither the picture alone nor the sentences alone favour an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from random import Random

from dmnplus.data.scenes.question import YES_NO, Asked, seen, yes_no
from dmnplus.data.scenes.scene import VALUES, Description, Scene, Thing, names, without

PEOPLE = ("Mary", "John", "Sandra", "Daniel")
PLACES = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
OPPOSITES = (("hot", "cold"), ("heavy", "light"), ("old", "new"), ("wet", "dry"))
MOST_DISTRACTORS = 3
# How many things a person is asked to own; any such number can be told of the same picture.
OWNED = range(4)


def mixed(random: Random, scene: Scene) -> Iterator[Asked]:
    yield from _property(random, scene)
    yield from _owner(random, scene)
    yield from _owned_number(random, scene)
    yield from _owned_thing(random, scene, told="shape", wanted="colour")
    yield from _owned_thing(random, scene, told="colour", wanted="shape")


def _property(random: Random, scene: Scene) -> Iterator[Asked]:
    """As in "The red things are hot. The blue things are cold." - "Is the circle hot?"."""
    for thing, attribute, name in _referents(random, scene):
        pair = random.choice(OPPOSITES)
        others = [value for value in VALUES[attribute] if value != getattr(thing, attribute)]
        # As many of one as of the other, so that counting them does not help.
        told = random.sample(others, 1 if len(others) < 3 else random.choice((1, 3)))
        for truth in (True, False):
            word, opposite = random.sample(pair, 2)
            own = word if truth else opposite
            words = [own] * (len(told) // 2) + [opposite if truth else word] * (len(told) // 2 + 1)
            yield _told(
                random,
                relevant=[_is(_having(attribute, getattr(thing, attribute)), own)],
                irrelevant=[_is(_having(attribute, value), it) for value, it in zip(told, words, strict=True)],
                topics=[other for other in OPPOSITES if other != pair],
                form="mixed property",
                text=f"Is the {name} {word}?",
                answer=yes_no(truth),
                choices=YES_NO,
                things=[thing],
                first=0,
            )


def _owner(random: Random, scene: Scene) -> Iterator[Asked]:
    """As in "The red things belong to Mary." - "Who owns the circle?"."""
    for thing, attribute, name in _referents(random, scene):
        if attribute == "size":
            continue
        others = [value for value in VALUES[attribute] if value != getattr(thing, attribute)]
        told = random.sample(others, len(PEOPLE) - 1)
        for owner in PEOPLE:
            rest = [person for person in PEOPLE if person != owner]
            yield _told(
                random,
                relevant=[_owns(owner, _having(attribute, getattr(thing, attribute)))],
                irrelevant=[_owns(person, _having(attribute, value)) for person, value in zip(rest, told, strict=True)],
                topics=OPPOSITES,
                form="mixed owner",
                text=f"Who owns the {name}?",
                answer=owner,
                choices=PEOPLE,
                things=[thing],
                first=0,
            )


def _owned_number(random: Random, scene: Scene) -> Iterator[Asked]:
    """As in "The red things belong to Mary. The blue things belong to Mary." - "How many of Mary's things are there?"""
    for attribute in ("colour", "shape"):
        values = random.sample(VALUES[attribute], len(VALUES[attribute]))
        counts = {value: len(_having(attribute, value).among(scene)) for value in values}
        pairs = {sum(counts[value] for value in pair): pair for pair in combinations(values, 2)}
        if any(number not in pairs for number in OWNED):
            continue
        for number in OWNED:
            owner, *people = random.sample(PEOPLE, len(PEOPLE))
            rest = random.sample([value for value in values if value not in pairs[number]], random.choice((1, 2)))
            yield _told(
                random,
                relevant=[_owns(owner, _having(attribute, value)) for value in pairs[number]],
                irrelevant=[
                    _owns(person, _having(attribute, value)) for person, value in zip(people, rest, strict=False)
                ],
                topics=OPPOSITES,
                form="mixed number",
                text=f"How many of {owner}'s things are there?",
                answer=str(number),
                choices=tuple(map(str, OWNED)),
                things=[thing for thing in scene if getattr(thing, attribute) in pairs[number]],
                first=2,
            )


def _owned_thing(random: Random, scene: Scene, told: str, wanted: str) -> Iterator[Asked]:
    """As in "The stars belong to Mary." - "What colour is Mary's thing?"."""
    alone = [
        thing
        for position, thing in enumerate(scene)
        if not _having(told, getattr(thing, told)).among(without(scene, position))
    ]
    # With fewer to choose from, the picture alone would give the answer away.
    if len({getattr(thing, wanted) for thing in alone}) < 3:
        return
    for thing in alone:
        owner, *people = random.sample(PEOPLE, len(PEOPLE))
        rest = random.sample([value for value in VALUES[told] if value != getattr(thing, told)], len(people))
        yield _told(
            random,
            relevant=[_owns(owner, _having(told, getattr(thing, told)))],
            irrelevant=[_owns(person, _having(told, value)) for person, value in zip(people, rest, strict=True)],
            topics=OPPOSITES,
            form=f"mixed {wanted}",
            text=f"What {wanted} is {owner}'s thing?",
            answer=getattr(thing, wanted),
            choices=VALUES[wanted],
            things=[thing],
            first=1,
        )


def _referents(random: Random, scene: Scene) -> list[tuple[Thing, str, Description]]:
    """Up to two things with an attribute that sentences may tell of, and a name that does not give it away."""
    found = [
        (thing, attribute, name)
        for position, thing in enumerate(scene)
        for attribute in VALUES
        for name in names(thing, without(scene, position), [name for name in VALUES if name != attribute])
    ]
    return random.sample(found, min(len(found), 2))


def _told(
    random: Random,
    *,
    relevant: Sequence[str],
    irrelevant: Sequence[str],
    topics: Sequence[tuple[str, str]],
    form: str,
    text: str,
    answer: str,
    choices: tuple[str, ...],
    things: Sequence[Thing],
    first: int,
) -> Asked:
    """The question with its sentences in any order, and up to `MOST_DISTRACTORS` about other `topics` among them."""
    sentences = [*relevant, *irrelevant, *_distractors(random, topics)]
    random.shuffle(sentences)
    return Asked(
        form=form,
        text=text,
        answer=answer,
        choices=choices,
        look=seen(things),
        first=first,
        sentences=tuple(sentences),
        told_before=random.randint(0, len(sentences)),
        supporting=tuple(map(sentences.index, relevant)),
    )


def _distractors(random: Random, topics: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Properties that nobody asks for, at most one of each topic, and people who go somewhere."""
    people = random.sample(PEOPLE, MOST_DISTRACTORS)
    for pair, person in zip(random.sample(topics, random.randint(0, MOST_DISTRACTORS)), people, strict=False):
        if random.random() < 0.5:
            yield f"{person} went to the {random.choice(PLACES)}."
        else:
            attribute = random.choice(tuple(VALUES))
            yield _is(_having(attribute, random.choice(VALUES[attribute])), random.choice(pair))


def _having(attribute: str, value: str) -> Description:
    return Description(**{attribute: value})


def _is(description: Description, word: str) -> str:
    return f"The {description.plural} are {word}."


def _owns(person: str, description: Description) -> str:
    return f"The {description.plural} belong to {person}."
