"""Tasks 4, 17 and 19: rooms and shapes that lie beside each other.

The world is a graph: each place knows its neighbour on every side. Weston et al. 2015, https://arxiv.org/abs/1502.05698,
tasks "two argument relations", "positional reasoning" and "path finding". What each docstring says of the official
files was measured on all 11,000 questions of a task (en-10k, train and test), and holds for every one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import TypeAlias

from dmnplus.data.generate.story import Question, Statement, Story, Task

Side: TypeAlias = tuple[int, int]
# For each place, its neighbours by the side they are on.
Neighbours: TypeAlias = dict[str, dict[Side, str]]

ROOMS = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
SHAPES = ("blue square", "pink rectangle", "red sphere", "red square", "triangle", "yellow square")
COMPASS: Mapping[Side, str] = {(0, 1): "north", (0, -1): "south", (1, 0): "east", (-1, 0): "west"}
POSITIONS: Mapping[Side, str] = {
    (0, 1): "above",
    (0, -1): "below",
    (1, 0): "to the right of",
    (-1, 0): "to the left of",
}
SIDES: tuple[Side, ...] = tuple(COMPASS)


def two_argument_relations(random: Random) -> Story:
    """Task 4: three rooms in a row, told from one to the next, and one question.

    The question turns one of the two statements around or repeats it; its answer is always that statement's first room.
    """
    middle, *ends = random.sample(ROOMS, 3)
    side = random.choice(SIDES)
    neighbours: Neighbours = {}
    _join(neighbours, middle, side, ends[0])
    _join(neighbours, middle, _opposite(side), ends[1])
    told = _told(random, neighbours)
    story: Story = [_room_statement(room, side, other) for room, side, other in told]
    support = random.randrange(2)
    room, side, other = told[support]
    if random.random() < 0.5:
        text = f"What is {COMPASS[_opposite(side)]} of the {other}?"
    else:
        text = f"What is the {other} {COMPASS[side]} of?"
    return [*story, Question(text, (room,), (support,))]


def positional_reasoning(random: Random) -> Story:
    """Task 17: two shapes on different sides of a third, and eight questions about those two.

    Half of the answers are yes, whatever the layout: the answer is drawn first, then a relation which has it. In a row
    of three, two of the three false relations are across the row.
    """
    middle, *ends = random.sample(SHAPES, 3)
    sides = random.sample(SIDES, 2)
    neighbours: Neighbours = {}
    for end, side in zip(ends, sides, strict=True):
        _join(neighbours, middle, side, end)
    position = dict(zip(ends, sides, strict=True))
    told = _told(random, neighbours)
    story: Story = [Statement(f"The {other} is {POSITIONS[side]} the {shape}.") for shape, side, other in told]
    # The statement that places each of the two.
    placed = {end: index for index, (shape, _, other) in enumerate(told) for end in (shape, other) if end != middle}
    for _ in range(8):
        shape, other = random.sample(ends, 2)
        across, up = (mine - its for mine, its in zip(position[shape], position[other], strict=True))
        holds = random.random() < 0.5
        relation = random.choice([name for (x, y), name in POSITIONS.items() if (across * x + up * y > 0) == holds])
        text = f"Is the {shape} {relation} the {other}?"
        story.append(Question(text, ("yes" if holds else "no",), (placed[shape], placed[other])))
    return story


def path_finding(random: Random) -> Story:
    """Task 19: a path over three rooms, three more rooms beside any of them, and the two steps of that path.

    Statements make a tree, so the way is unique. As in the official files, rooms that are no neighbours in it may
    come to lie beside each other, or (in one story of fourteen) in the same spot, which no statement mentions.
    """
    rooms = random.sample(ROOMS, 6)
    start, middle, end, *others = rooms
    neighbours: Neighbours = {}
    first, second = random.choice(SIDES), random.choice(SIDES)
    while second == _opposite(first):
        second = random.choice(SIDES)
    _join(neighbours, start, first, middle)
    _join(neighbours, middle, second, end)
    for room in others:
        beside, side = random.choice(rooms[:3]), random.choice(SIDES)
        while side in neighbours[beside]:
            beside, side = random.choice(rooms[:3]), random.choice(SIDES)
        _join(neighbours, beside, side, room)
    told = _told(random, neighbours)
    line_of = {frozenset((room, other)): line for line, (room, _, other) in enumerate(told)}
    return [
        *(_room_statement(room, side, other) for room, side, other in told),
        Question(
            f"How do you go from the {start} to the {end}?",
            (COMPASS[first][0], COMPASS[second][0]),
            (line_of[frozenset((start, middle))], line_of[frozenset((middle, end))]),
        ),
    ]


def _opposite(side: Side) -> Side:
    return -side[0], -side[1]


def _join(neighbours: Neighbours, place: str, side: Side, other: str) -> None:
    neighbours.setdefault(place, {})[side] = other
    neighbours.setdefault(other, {})[_opposite(side)] = place


def _told(random: Random, neighbours: Neighbours) -> list[tuple[str, Side, str]]:
    """Every pair of neighbours once, in the order and from the end at which the files tell them.

    A place is drawn, then one of its neighbours: so places with few neighbours are told early, and from their side.
    """
    places = list(neighbours)
    told: dict[frozenset[str], tuple[str, Side, str]] = {}
    while len(told) < len(places) - 1:
        place = random.choice(places)
        side, other = random.choice(list(neighbours[place].items()))
        told.setdefault(frozenset((place, other)), (place, side, other))
    return list(told.values())


def _room_statement(room: str, side: Side, other: str) -> Statement:
    """`other` is on that side of `room`, so `room` is on the opposite side of it."""
    return Statement(f"The {room} is {COMPASS[_opposite(side)]} of the {other}.")


TASKS = (
    Task(4, "two-arg-relations", two_argument_relations),
    Task(17, "positional-reasoning", positional_reasoning),
    Task(19, "path-finding", path_finding),
)
