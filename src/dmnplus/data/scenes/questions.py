"""Questions that one picture answers. Each function lists all that can be asked of a scene without ambiguity."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product

from dmnplus.data.scenes.question import YES_NO, Asked, seen, yes_no
from dmnplus.data.scenes.scene import (
    DIRECTIONS,
    MOST_THINGS,
    SIZES,
    VALUES,
    Description,
    Scene,
    is_on_side,
    names,
    without,
)

# What may be counted or exist: by one attribute, or by colour or size and shape.
_GROUPS = (("colour",), ("shape",), ("size",), ("colour", "shape"), ("size", "shape"))


def _descriptions(attributes: tuple[str, ...]) -> Iterator[Description]:
    for values in product(*(VALUES[name] for name in attributes)):
        yield Description(**dict(zip(attributes, values, strict=True)))


_DESCRIPTIONS = {" ".join(attributes): list(_descriptions(attributes)) for attributes in _GROUPS}


def existence(scene: Scene) -> Iterator[Asked]:
    """What is not there is asked for only if a part of its description is, so that a "no" takes both parts."""
    for group, descriptions in _DESCRIPTIONS.items():
        for description in descriptions:
            found = description.among(scene)
            parts = [
                Description(size=description.size, colour=description.colour),
                Description(shape=description.shape),
            ]
            if found or " " not in group or any(part.among(scene) for part in parts):
                yield Asked(
                    form=f"existence of {group}",
                    text=f"Is there a {description}?",
                    answer=yes_no(bool(found)),
                    choices=YES_NO,
                    look=seen(found),
                )


def attribute(scene: Scene) -> Iterator[Asked]:
    for position, thing in enumerate(scene):
        for asked, values in VALUES.items():
            told = [name for name in VALUES if name != asked]
            for description in names(thing, without(scene, position), told):
                yield Asked(
                    form=f"attribute {asked}",
                    text=f"What {asked} is the {description}?",
                    answer=getattr(thing, asked),
                    choices=values,
                    look=seen([thing]),
                )


def counting(scene: Scene) -> Iterator[Asked]:
    choices = tuple(map(str, range(MOST_THINGS + 1)))
    yield Asked(
        form="counting all",
        text="How many things are there?",
        answer=str(len(scene)),
        choices=choices[1:],
        look=seen(scene),
    )
    for group, descriptions in _DESCRIPTIONS.items():
        for description in descriptions:
            found = description.among(scene)
            yield Asked(
                form=f"counting {group}",
                text=f"How many {description.plural} are there?",
                answer=str(len(found)),
                choices=choices,
                look=seen(found),
            )


def comparing(scene: Scene) -> Iterator[Asked]:
    for group in ("colour", "shape"):
        for one, other in permutations(_DESCRIPTIONS[group], 2):
            first, second = one.among(scene), other.among(scene)
            if first or second:
                yield Asked(
                    form=f"comparing numbers by {group}",
                    text=f"Are there more {one.plural} than {other.plural}?",
                    answer=yes_no(len(first) > len(second)),
                    choices=YES_NO,
                    look=seen(first, second),
                )
    by_colour = [names(thing, without(scene, position), ("colour", "shape")) for position, thing in enumerate(scene)]
    by_size = [names(thing, without(scene, position), ("size", "shape")) for position, thing in enumerate(scene)]
    for (place, thing), (position, other) in permutations(enumerate(scene), 2):
        for one, two in product(by_colour[place], by_colour[position]):
            yield Asked(
                form="comparing sizes",
                text=f"Is the {one} larger than the {two}?",
                answer=yes_no(SIZES[thing.size] > SIZES[other.size]),
                choices=YES_NO,
                look=seen([thing], [other]),
            )
        for one, two in product(by_size[place], by_size[position]):
            yield Asked(
                form="comparing colours",
                text=f"Does the {one} have the same colour as the {two}?",
                answer=yes_no(thing.colour == other.colour),
                choices=YES_NO,
                look=seen([thing], [other]),
            )


def spatial(scene: Scene) -> Iterator[Asked]:
    """Asked only where every thing that matters is clearly on a side or clearly not."""
    called = [names(thing, without(scene, position)) for position, thing in enumerate(scene)]
    for position, reference in enumerate(scene):
        others = without(scene, position)
        for direction in DIRECTIONS:
            sides = [is_on_side(thing, reference, direction) for thing in others]
            there = [thing for thing, on_side in zip(others, sides, strict=True) if on_side]
            if len(there) != 1 or None in sides:
                continue
            for name in called[position]:
                for wanted, text in (("shape", "What"), ("colour", "What colour is the thing that")):
                    yield Asked(
                        form=f"spatial {wanted}",
                        text=f"{text} is {direction} the {name}?",
                        answer=getattr(there[0], wanted),
                        choices=VALUES[wanted],
                        look=seen([reference], there),
                    )
    for (place, thing), (position, reference) in permutations(enumerate(scene), 2):
        for direction in DIRECTIONS:
            on_side = is_on_side(thing, reference, direction)
            if on_side is None:
                continue
            for one, two in product(called[place], called[position]):
                yield Asked(
                    form="spatial yes or no",
                    text=f"Is the {one} {direction} the {two}?",
                    answer=yes_no(on_side),
                    choices=YES_NO,
                    look=seen([reference], [thing]),
                )
