"""Questions about what changes in a series of pictures. Each lists all that can be asked without ambiguity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from dmnplus.data.scenes.question import YES_NO, Asked, Seen, yes_no
from dmnplus.data.scenes.scene import COLOURS, SHAPES, Description, Thing, Track, names

_WAYS = ("up", "down", "left", "right")


def change(tracks: Sequence[Track]) -> Iterator[Asked]:
    yield from _what(tracks)
    for position, track in enumerate(tracks):
        moves, recolours = _moves(track), _recolours(track)
        there = [(index, thing) for index, thing in enumerate(track) if thing]
        for name in _names(tracks, position):
            if len(moves) == 1:
                yield Asked(
                    form="change where",
                    text=f"Where did the {name} move?",
                    answer=_way(*moves[0]),
                    choices=_WAYS,
                    look=_steps(*moves[0]),
                )
            if None not in track:
                yield Asked(
                    form="change did it move",
                    text=f"Did the {name} move?",
                    answer=yes_no(bool(moves)),
                    choices=YES_NO,
                    look=_steps(*(moves[0] if moves else (there[0], there[-1]))),
                )
            if len(recolours) == 1:
                before, after = recolours[0]
                for word, (_, thing) in (("become", after), ("have at first", before)):
                    yield Asked(
                        form=f"change colour {word}",
                        text=f"What colour did the {name} {word}?",
                        answer=thing.colour,
                        choices=COLOURS,
                        look=_steps(before, after),
                    )


def _what(tracks: Sequence[Track]) -> Iterator[Asked]:
    """What did it, wherever one thing alone did it, and once."""
    for text, find in (
        ("What changed colour?", _recolours),
        ("What moved?", _moves),
        ("What was added?", _additions),
        ("What disappeared?", _losses),
    ):
        events = [event for track in tracks for event in find(track)]
        if len(events) == 1:
            yield Asked(
                form=f"change {text}", text=text, answer=events[0][0][1].shape, choices=SHAPES, look=_steps(*events[0])
            )


# The changes of one thing, each as what is to be seen of it: before and after, or only where it is there.


def _moves(track: Track) -> list[tuple[Seen, Seen]]:
    return [(before, after) for before, after in _pairs(track) if before[1].cell != after[1].cell]


def _recolours(track: Track) -> list[tuple[Seen, Seen]]:
    return [(before, after) for before, after in _pairs(track) if before[1].colour != after[1].colour]


def _additions(track: Track) -> list[tuple[Seen]]:
    return [((index, after),) for index, (before, after) in enumerate(pairwise(track), 1) if after and not before]


def _losses(track: Track) -> list[tuple[Seen]]:
    return [((index, before),) for index, (before, after) in enumerate(pairwise(track)) if before and not after]


def _pairs(track: Track) -> Iterator[tuple[Seen, Seen]]:
    for index, (before, after) in enumerate(pairwise(track)):
        if before and after:
            yield (index, before), (index + 1, after)


def _way(before: Seen, after: Seen) -> str:
    (column, row), (new_column, new_row) = before[1].cell, after[1].cell
    if column != new_column:
        return "left" if new_column < column else "right"
    return "up" if new_row < row else "down"


def _steps(*things: Seen) -> tuple[tuple[Seen], ...]:
    return tuple((thing,) for thing in things)


def _names(tracks: Sequence[Track], position: int) -> list[Description]:
    """What a thing may be called in all pictures: nothing else in any of them fits, and its colour is left out if it
    changes."""
    own = next(thing for thing in tracks[position] if thing)
    others: list[Thing] = [thing for place, track in enumerate(tracks) if place != position for thing in track if thing]
    return names(own, others, ("size", "shape") if _recolours(tracks[position]) else ("size", "colour", "shape"))
