"""Answers worked out again from the words of a question and the things of its scenes, by brute force.

It shares no code with the generator but the things themselves. `readings` gives every answer a reader could defend.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from dmnplus.data.scenes.scene import COLOURS, SHAPES, SIZES, Scene, Thing

PEOPLE = ("Mary", "John", "Sandra", "Daniel")
OPPOSITE = {"hot": "cold", "heavy": "light", "old": "new", "wet": "dry"}
OPPOSITE |= {word: other for other, word in OPPOSITE.items()}
SIDES = "left of|right of|above|below"


def fitting(words: str, things: Iterable[Thing]) -> list[Thing]:
    """The things that "large red star", "crosses" or "thing" may mean."""
    found = list(things)
    for word in words.split():
        for singular in (word, word.removesuffix("s"), word.removesuffix("es")):
            if singular in SIZES:
                found = [thing for thing in found if thing.size == singular]
            elif singular in COLOURS:
                found = [thing for thing in found if thing.colour == singular]
            elif singular in SHAPES:
                found = [thing for thing in found if thing.shape == singular]
            elif singular != "thing":
                continue
            break
        else:
            raise AssertionError(f"unknown word {word!r}")
    return found


def the(words: str, things: Iterable[Thing]) -> Thing:
    (thing,) = fitting(words, things)
    return thing


def centre(thing: Thing) -> tuple[float, float]:
    left, top, right, bottom = thing.box
    return (left + right) / 2, (top + bottom) / 2


def is_clearly(side: str, thing: Thing, other: Thing) -> bool:
    """To an eye that takes an eighth of the picture for a clear distance. Fails where it is not sure."""
    (x, y), (other_x, other_y) = centre(thing), centre(other)
    gap = {"left of": other_x - x, "right of": x - other_x, "above": other_y - y, "below": y - other_y}[side]
    assert gap >= 1 / 8 or gap <= 1 / 32, (side, thing, other)
    return gap >= 1 / 8


def yes(truth: object) -> str:
    return "yes" if truth else "no"


def answer(question: str, scene: Scene) -> str:
    """The answer of one picture."""
    if match := re.fullmatch(r"Is there a (.+)\?", question):
        return yes(fitting(match[1], scene))
    if match := re.fullmatch(r"What (colour|shape|size) is the ((?!thing that).+)\?", question):
        assert getattr(the(match[2], scene), match[1]) not in match[2]
        return getattr(the(match[2], scene), match[1])
    if match := re.fullmatch(r"How many (.+) are there\?", question):
        return str(len(fitting(match[1], scene)))
    if match := re.fullmatch(r"Are there more (.+) than (.+)\?", question):
        return yes(len(fitting(match[1], scene)) > len(fitting(match[2], scene)))
    if match := re.fullmatch(r"Is the (.+) larger than the (.+)\?", question):
        one, other = (the(words, scene).box for words in match.groups())
        return yes(one[2] - one[0] > other[2] - other[0])
    if match := re.fullmatch(r"Does the (.+) have the same colour as the (.+)\?", question):
        return yes(the(match[1], scene).colour == the(match[2], scene).colour)
    if match := re.fullmatch(rf"What (?:(colour) is the thing that )?is ({SIDES}) the (.+)\?", question):
        reference = the(match[3], scene)
        (found,) = [thing for thing in scene if thing != reference and is_clearly(match[2], thing, reference)]
        return found.colour if match[1] else found.shape
    match = re.fullmatch(rf"Is the (.+) ({SIDES}) the (.+)\?", question)
    assert match, question
    return yes(is_clearly(match[2], the(match[1], scene), the(match[3], scene)))


def answer_of_series(question: str, scenes: Sequence[Scene]) -> str:
    """The answer of a series in which one thing changes from each picture to the next."""
    changes = [
        (before, after)
        for old, new in pairwise(scenes)
        for before, after in [(set(old) - set(new), set(new) - set(old))]
    ]
    assert all(max(len(before), len(after)) == 1 for before, after in changes)
    moved, coloured, added, gone = [], [], [], []
    for before, after in changes:
        if not before:
            added += after
        elif not after:
            gone += before
        else:
            one, other = *before, *after
            assert (one.size, one.shape) == (other.size, other.shape)
            same_place = (one.left, one.top) == (other.left, other.top)
            assert same_place != (one.colour == other.colour)
            (coloured if same_place else moved).append((one, other))
    match question:
        case "What was added?":
            (thing,) = added
            return thing.shape
        case "What disappeared?":
            (thing,) = gone
            return thing.shape
        case "What moved?":
            ((_, thing),) = moved
            return thing.shape
        case "What changed colour?":
            ((_, thing),) = coloured
            return thing.shape
    match = re.fullmatch(r"(.+?) did the (.+?) (move|become|have at first)\?|(Did) the (.+) move\?", question)
    assert match, question
    # The name means one thing, in each picture where it is.
    words = match[2] or match[5]
    assert all(len(fitting(words, scene)) <= 1 for scene in scenes)
    if match[4]:
        assert all(the(words, scene) for scene in scenes)
        return yes([one for one, _ in moved if fitting(words, [one])])
    if match[3] == "move":
        ((one, other),) = [pair for pair in moved if fitting(words, pair)]
        if one.left != other.left:
            assert one.top == other.top
            return "left" if other.left < one.left else "right"
        return "up" if other.top < one.top else "down"
    ((one, other),) = [pair for pair in coloured if fitting(words, pair)]
    return other.colour if match[3] == "become" else one.colour


def readings(question: str, sentences: Iterable[str], scene: Scene) -> set[str]:
    """What the sentences and the picture together allow as answer, by what is told of each thing; empty if nothing."""
    told: dict[Thing, set[str]] = {thing: set() for thing in scene}
    for sentence in sentences:
        if match := re.fullmatch(r"The (.+) (?:are|belong to) (\w+)\.", sentence):
            for thing in fitting(match[1], scene):
                told[thing].add(match[2])
        else:
            assert re.fullmatch(r"\w+ went to the \w+\.", sentence), sentence
    owned = {person: [thing for thing, words in told.items() if person in words] for person in PEOPLE}
    if match := re.fullmatch(r"How many of (\w+)'s things are there\?", question):
        return {str(len(owned[match[1]]))}
    if match := re.fullmatch(r"What (colour|shape) is (\w+)'s thing\?", question):
        return {getattr(thing, match[1]) for thing in owned[match[2]]} if len(owned[match[2]]) == 1 else set()
    if match := re.fullmatch(r"Who owns the (.+)\?", question):
        named = fitting(match[1], scene)
        return {person for person in PEOPLE if person in told[named[0]]} if len(named) == 1 else set()
    match = re.fullmatch(r"Is the (.+) (\w+)\?", question)
    assert match, question
    named = fitting(match[1], scene)
    if len(named) != 1:
        return set()
    words = {match[2]: "yes", OPPOSITE[match[2]]: "no"}
    return {words[word] for word in told[named[0]] if word in words}
