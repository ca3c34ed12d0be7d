"""NLVR's pictures without pixels: three boxes, each with a tower of blocks or with scattered shapes of three sizes.

Measures, colours and the spread of places are those of the corpus' `structured_rep`.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from dmnplus.data.nlvr import BOXES

# Pixels of a box's side, and its places in the picture from left to right.
BOX = 100
PICTURE = (400, BOX)
BOX_LEFTS = tuple(round(left * PICTURE[0]) for left, *_ in BOXES)

COLOURS = ("yellow", "black", "blue")
SHAPES = ("circle", "square", "triangle")
SIZES = (10, 20, 30)
BLOCK = 20
HIGHEST = 4
MOST_ITEMS = 7
SIDES = "left top right bottom"


@dataclass(frozen=True, slots=True)
class Item:
    """A shape in the square of `size` pixels whose corner is (`left`, `top`) in its box."""

    shape: str
    colour: str
    size: int
    left: int
    top: int

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom as shares of the box it is in."""
        return self.left / BOX, self.top / BOX, (self.left + self.size) / BOX, (self.top + self.size) / BOX

    def touches(self, sides: str = SIDES) -> bool:
        """Whether it reaches any of `sides`."""
        low, high = 0, BOX - self.size
        reached = {
            "left": self.left == low,
            "top": self.top == low,
            "right": self.left == high,
            "bottom": self.top == high,
        }
        return any(reached[side] for side in sides.split())

    def is_clear_of(self, other: Item) -> bool:
        """Whether a pixel or more lies between the squares of both."""
        return (
            self.left > other.left + other.size
            or other.left > self.left + self.size
            or self.top > other.top + other.size
            or other.top > self.top + self.size
        )


# The items of a box; a tower's from its base upwards.
Box: TypeAlias = tuple[Item, ...]
Boxes: TypeAlias = tuple[Box, ...]


def draw_towers(random: Random) -> Boxes:
    """One tower of one to four blocks in each box."""
    return tuple(
        tuple(
            # A pixel stays free between blocks.
            Item("square", random.choice(COLOURS), BLOCK, (BOX - BLOCK) // 2, BOX - BLOCK - level * (BLOCK + 1))
            for level in range(random.randint(1, HIGHEST))
        )
        for _ in BOX_LEFTS
    )


def draw_scattered(random: Random) -> Boxes:
    """One to seven items in each box, none over another; many are pushed against the right side or the bottom."""
    return tuple(_scatter(random, random.randint(1, MOST_ITEMS)) for _ in BOX_LEFTS)


def _scatter(random: Random, count: int) -> Box:
    items: list[Item] = []
    while len(items) < count:
        size = random.choice(SIZES)
        left, top = (min(random.randrange(BOX), BOX - size) for _ in range(2))
        item = Item(random.choice(SHAPES), random.choice(COLOURS), size, left, top)
        if all(map(item.is_clear_of, items)):
            items.append(item)
    return tuple(items)
