"""What may be said of three boxes with scattered items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from dmnplus.data.statements.boxes import COLOURS, MOST_ITEMS, SHAPES, SIDES, Boxes, Item
from dmnplus.data.statements.claim import Amount, Claim, Part, amount, anything, colours, exactly, number, several

_SIDES = {
    "the edge": SIDES,
    "an edge": SIDES,
    "the wall": SIDES,
    "the side": SIDES,
    "the base": "bottom",
    "the bottom of a box": "bottom",
    "right wall of a box": "right",
}


@dataclass(frozen=True, slots=True)
class _Items:
    """As "yellow circle touching the edge": `noun` takes a plural, `after` follows it."""

    noun: str
    after: str
    fits: Callable[[Item], bool]


def scattered_claim(random: Random) -> Claim:
    """One of the claims below, the commonest in the corpus most often."""
    claims = {_items: 10, _boxes: 12, _each_box: 1, _same_box: 1, _all_of_a_kind: 2, _one_box: 2, _colours_touching: 2}
    return random.choices([*claims], [*claims.values()])[0](random)


def _items(random: Random) -> Claim:
    count, items = amount(random, 4), _placed(random, often=0.75)
    return Claim(
        "items touching" if items.after else "items",
        count.there(items.noun, items.after),
        lambda boxes: count.fits(sum(items.fits(item) for box in boxes for item in box)),
        lambda box: filter(items.fits, box),
    )


def _kind(random: Random) -> _Items:
    """Items by their colour, their shape, or both."""
    colour = random.choice(COLOURS) if random.random() < 0.8 else ""
    shape = random.choice(SHAPES) if random.random() < 0.65 else ""
    noun = f"{colour} {shape or random.choice(('item', 'object'))}".lstrip()
    return _Items(noun, "", lambda item: colour in ("", item.colour) and shape in ("", item.shape))


def _placed(random: Random, *, often: float) -> _Items:
    """Items by what they are and, with a probability of `often`, by what they touch."""
    kind = _kind(random)
    if random.random() >= often:
        return kind
    touching = random.choice(("touching", "touching", "closely touching"))
    match random.randrange(10):
        case 0:
            corner = random.choice(("a corner", "the corner", "a corner of a box"))
            return _Items(kind.noun, f" {touching} {corner}", lambda item: kind.fits(item) and _in_corner(item))
        case 1 | 2 | 3:
            edge = random.choice(("any edge", "the edge", "the wall"))
            return _Items(kind.noun, f" not touching {edge}", lambda item: kind.fits(item) and not item.touches())
        case _:
            side = random.choice([*_SIDES])
            return _Items(kind.noun, f" {touching} {side}", lambda item: kind.fits(item) and item.touches(_SIDES[side]))


def _in_corner(item: Item) -> bool:
    return item.touches("left right") and item.touches("top bottom")


def _boxes(random: Random) -> Claim:
    """There are so many boxes that have something."""
    count, part = amount(random, 3), _part(random)
    box = random.choice(("box", "box", "box", "grey box"))
    joint = random.choices(("with", f"that {count.have()}", f"which {count.have()}"), (8, 1, 1))[0]
    return Claim(
        f"boxes with {part.form}",
        f"{count.there(box)} {joint} {part.text}",
        lambda boxes: count.fits(sum(map(part.fits, boxes))),
        part.among,
    )


def _part(random: Random) -> Part:
    """What a box may have."""
    match random.randrange(12):
        case 0 | 1 | 2:
            return _content(random, often=0.25)
        case 3 | 4 | 5:
            return _both("two contents", _content(random, often=0), _content(random, often=0.1))
        case 6:
            return _size(random)
        case 7:
            count = random.choice((1, 2, 3))
            text = {
                1: random.choice(("only one color", "the same color")),
                2: f"{number(random, 2)} different colors",
                3: f"{random.choice(('all ', ''))}{number(random, 3)} different colors",
            }[count]
            return Part("colours", f"items of {text}", lambda box: len({*colours(box)}) == count, anything)
        case 8 | 9:
            return _only(random)
        case 10:
            return _both("on top", _size(random), _on_top(random)) if random.random() < 0.5 else _on_top(random)
        case _:
            return _both("number and content", _size(random), _content(random, often=0.4))


def _content(random: Random, *, often: float) -> Part:
    """As "two yellow squares"; they touch something with a probability of `often`."""
    items, count = _placed(random, often=often), amount(random, 3)
    text = count.of(items.noun, items.after)
    return Part("content", text, lambda box: count.fits(sum(map(items.fits, box))), items.fits)


def _size(random: Random) -> Part:
    """As "exactly two items"."""
    count = exactly(random, random.randint(1, MOST_ITEMS))
    text = random.choice(("", "exactly ", "only ")) + count.of(random.choice(("item", "object")))
    return Part("number", text, lambda box: count.fits(len(box)), anything)


def _only(random: Random) -> Part:
    named = random.sample(COLOURS, random.choice((1, 2, 2)))
    listed, colour = " and ".join(named), random.choice(("color", "colour"))
    part = Part("", random.choice((f"only {listed} items", f"items of only {listed} {colour}")), anything, anything)
    if random.random() < 0.3:
        size = _size(random)
        part = Part("", f"{size.text} of {listed} {colour}", size.fits, anything)
    return Part("only colours", part.text, lambda box: part.fits(box) and {*colours(box)} == {*named}, anything)


def _on_top(random: Random) -> Part:
    colour = random.choice(COLOURS)
    text = random.choice((f"a {colour} item on top", f"a {colour} one on top"))
    return Part("on top", text, lambda box: min(box, key=lambda item: item.top).colour == colour, anything)


def _both(form: str, first: Part, second: Part) -> Part:
    return Part(
        form,
        f"{first.text} and {second.text}",
        lambda box: first.fits(box) and second.fits(box),
        lambda item: first.meant(item) or second.meant(item),
    )


def _each_box(random: Random) -> Claim:
    items, least = _placed(random, often=0.5), random.choice((1, 1, 2))
    count = Amount(f"at least {number(random, least)}", least > 1, lambda found: found >= least)
    box = random.choice(("each box has", "each box contains", "each grey box contains", ""))
    words = (
        f"{box} {count.of(items.noun, items.after)}" if box else f"{count.there(items.noun, items.after)} in each box"
    )
    return Claim(
        "each box",
        words,
        lambda boxes: all(count.fits(sum(map(items.fits, box))) for box in boxes),
        lambda box: filter(items.fits, box),
    )


def _same_box(random: Random) -> Claim:
    items = _kind(random)
    return Claim(
        "same box",
        f"all {several(items.noun)} are in the same box",
        lambda boxes: sum(any(map(items.fits, box)) for box in boxes) == 1,
        lambda box: filter(items.fits, box),
    )


def _all_of_a_kind(random: Random) -> Claim:
    """Whether all of a kind touch an edge, or none of them; false where there is none of the kind."""
    items = _kind(random)
    noun, edge = several(items.noun), random.choice(("the edge", "an edge", "any edge", "the wall"))
    start, touching = random.choice(
        (
            (f"none of the {noun} are touching", False),
            (f"{noun} are touching", True),
            (f"all {noun} are touching", True),
            (f"{noun} are not touching", False),
        )
    )

    def holds(boxes: Boxes) -> bool:
        found = [item.touches() for box in boxes for item in box if items.fits(item)]
        return {*found} == {touching}

    return Claim("all of a kind", f"{start} {edge}", holds, lambda box: filter(items.fits, box))


def _one_box(random: Random) -> Claim:
    part = _size(random)
    if random.random() < 0.3:
        items = _kind(random)
        text = f"{part.text} one of which is a {items.noun}"
        part = _both("", part, Part("", "", lambda box: sum(map(items.fits, box)) == 1, items.fits))
        part = Part("", text, part.fits, items.fits)
    start = random.choice(("one of the grey boxes", "one of the grey box", "one of the grey square", "one box"))
    return Claim(
        "one of the boxes",
        f"{start} {random.choice(('has', 'contains'))} {part.text}",
        lambda boxes: any(map(part.fits, boxes)),
        lambda box: part.among(box) if part.fits(box) else (),
    )


def _colours_touching(random: Random) -> Claim:
    count, wall = random.choice((1, 2, 3)), random.choice(("wall", "edge"))
    text = {
        1: f"there is only one color touching the {wall}",
        2: f"{number(random, 2)} different colors are touching the {wall}",
        3: f"all {number(random, 3)} different colors are touching the {wall}",
    }[count]
    return Claim(
        "colours touching",
        text,
        lambda boxes: len({item.colour for box in boxes for item in box if item.touches()}) == count,
        lambda box: (item for item in box if item.touches()),
    )
