"""Scenes without pixels: a few things on a grid, what they may be called, and series of scenes in which they change."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from random import Random
from typing import TypeAlias

# Pixels of a picture's and of a cell's side; things stand in different cells.
PICTURE = 64
CELL = 16
CELLS = PICTURE // CELL

SIZES: Mapping[str, int] = {"small": 8, "large": 13}
COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
SHAPES = ("circle", "square", "triangle", "cross", "star")
# In the order in which a name lists them.
VALUES: Mapping[str, tuple[str, ...]] = {"size": tuple(SIZES), "colour": COLOURS, "shape": SHAPES}
MOST_THINGS = 5

DIRECTIONS: Mapping[str, tuple[int, int]] = {
    "left of": (-1, 0),
    "right of": (1, 0),
    "above": (0, -1),
    "below": (0, 1),
}
# Centres this many pixels apart are clearly on two sides; up to `LEVEL` pixels they are level. Between is unclear.
APART = 8
LEVEL = 2


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing to be drawn in the square of `SIZES[size]` pixels whose corner is (`left`, `top`)."""

    size: str
    colour: str
    shape: str
    left: int
    top: int

    @property
    def cell(self) -> tuple[int, int]:
        """Column and row."""
        return self.left // CELL, self.top // CELL

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom as shares of the picture."""
        right, bottom = self.left + SIZES[self.size], self.top + SIZES[self.size]
        return self.left / PICTURE, self.top / PICTURE, right / PICTURE, bottom / PICTURE


Scene: TypeAlias = tuple[Thing, ...]
# What a thing is in each scene of a series; None where it is not there.
Track: TypeAlias = tuple[Thing | None, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """What is said of a thing, "large red star"; an empty value says nothing."""

    size: str = ""
    colour: str = ""
    shape: str = ""

    def fits(self, thing: Thing) -> bool:
        return self.size in ("", thing.size) and self.colour in ("", thing.colour) and self.shape in ("", thing.shape)

    def among(self, scene: Iterable[Thing]) -> tuple[Thing, ...]:
        return tuple(thing for thing in scene if self.fits(thing))

    def __str__(self) -> str:
        return " ".join(word for word in (self.size, self.colour, self.shape or "thing") if word)

    @property
    def plural(self) -> str:
        return f"{self}es" if self.shape == "cross" else f"{self}s"


def names(thing: Thing, others: Collection[Thing], attributes: Sequence[str] = tuple(VALUES)) -> list[Description]:
    """The descriptions of `thing` by some of `attributes` that fit none of `others`, none longer than it must be."""
    shared = {
        frozenset(attribute for attribute in attributes if getattr(thing, attribute) == getattr(other, attribute))
        for other in others
    }
    found: list[frozenset[str]] = []
    for used in _subsets(tuple(attributes)):
        if not any(shorter <= used for shorter in found) and not any(used <= same for same in shared):
            found.append(used)
    return [Description(**{attribute: getattr(thing, attribute) for attribute in used}) for used in found]


@cache
def _subsets(attributes: tuple[str, ...]) -> list[frozenset[str]]:
    """All but the empty one, the short ones first."""
    return [frozenset(used) for length in range(1, len(attributes) + 1) for used in combinations(attributes, length)]


def without(scene: Scene, position: int) -> Scene:
    return scene[:position] + scene[position + 1 :]


def is_on_side(thing: Thing, other: Thing, direction: str) -> bool | None:
    """Whether the centre of `thing` is on that side of the centre of `other`; None where the eye cannot tell."""
    across, down = DIRECTIONS[direction]
    half, other_half = SIZES[thing.size] / 2, SIZES[other.size] / 2
    gap = across * (thing.left + half - other.left - other_half) + down * (thing.top + half - other.top - other_half)
    if gap >= APART:
        return True
    return False if gap <= LEVEL else None


def draw_scene(random: Random, fewest: int = 1, most: int = MOST_THINGS) -> Scene:
    """`fewest` to `most` things, more being likelier."""
    count = random.choices(range(fewest, most + 1), range(1, most - fewest + 2))[0]
    columns = {attribute: _draw_values(random, values, count) for attribute, values in VALUES.items()}
    cells = random.sample(range(CELLS * CELLS), count)
    return tuple(
        _place(random, cell, {attribute: column[index] for attribute, column in columns.items()})
        for index, cell in enumerate(cells)
    )


def _draw_values(random: Random, values: Sequence[str], count: int) -> list[str]:
    """`count` of `values`: of one or two of them, so that large counts occur, or of all, or all different."""
    few = random.choice((1, 2, len(values), count))
    if few == count <= len(values):
        return random.sample(values, count)
    return random.choices(random.sample(values, min(few, len(values))), k=count)


def _place(random: Random, cell: int, look: Mapping[str, str]) -> Thing:
    row, column = divmod(cell, CELLS)
    # A pixel stays free on every side of the cell, so that neighbours never touch.
    free = CELL - 1 - SIZES[look["size"]]
    return Thing(**look, left=column * CELL + random.randint(1, free), top=row * CELL + random.randint(1, free))


def scenes_of(tracks: Iterable[Track]) -> tuple[Scene, ...]:
    """The scenes of a series, in order."""
    return tuple(tuple(thing for thing in scene if thing) for scene in zip(*tracks, strict=True))


def draw_series(random: Random) -> tuple[Track, ...]:
    """A series of two to four scenes: from one to the next one thing moves, changes colour, appears or disappears."""
    now: list[Thing | None] = list(draw_scene(random, fewest=2, most=MOST_THINGS - 1))
    states = [tuple(now)]
    for _ in range(random.randint(1, 3)):
        _change(random, now, states)
        states.append(tuple(now))
    # Things that came later were not there before.
    padded = [state + (None,) * (len(now) - len(state)) for state in states]
    return tuple(zip(*padded, strict=True))


def _change(random: Random, now: list[Thing | None], states: Sequence[Sequence[Thing | None]]) -> None:
    """One change of `now`, in place."""
    there = [(index, thing) for index, thing in enumerate(now) if thing]
    taken = {thing.cell for _, thing in there}
    index, thing = random.choice(there)
    match random.choice(("move", "colour", "add", "remove")):
        case "add" if len(there) < MOST_THINGS:
            # One that looks like a thing that disappeared would seem to be that thing, moved.
            gone = {old.shape for state in states for position, old in enumerate(state) if old and not now[position]}
            look = {name: random.choice(values) for name, values in VALUES.items()}
            look["shape"] = random.choice([shape for shape in SHAPES if shape not in gone])
            free = [cell for cell in range(CELLS * CELLS) if divmod(cell, CELLS)[::-1] not in taken]
            now.append(_place(random, random.choice(free), look))
        case "remove" if len(there) > 1:
            now[index] = None
        case "move":
            column, row = thing.cell
            moves = [(steps, 0) for steps in range(-column, CELLS - column) if (column + steps, row) not in taken]
            moves += [(0, steps) for steps in range(-row, CELLS - row) if (column, row + steps) not in taken]
            # With five things in sixteen cells a row and a column of seven cells always have a free one.
            across, down = random.choice(moves)
            now[index] = replace(thing, left=thing.left + across * CELL, top=thing.top + down * CELL)
        case _:
            now[index] = replace(thing, colour=random.choice([colour for colour in COLOURS if colour != thing.colour]))
