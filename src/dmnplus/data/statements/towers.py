"""What may be said of three towers. "Over", "above" and "on" are right above."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby, pairwise
from random import Random

from dmnplus.data.statements.boxes import COLOURS, HIGHEST, Box, Boxes, Item
from dmnplus.data.statements.claim import Amount, Claim, Part, amount, anything, colours, exactly, number

_ENDS = {"top": -1, "base": 0, "bottom": 0}
_OVER = ("over", "above", "on", "on top of")
_ANY_HEIGHT = Part("", "", anything, anything)


def tower_claim(random: Random) -> Claim:
    """One of the claims below, the commonest in the corpus most often."""
    claims = {_towers: 8, _blocks_at: 4, _blocks: 1, _block_on_block: 2, _the_tower: 1, _ends: 2, _all: 1, _alike: 1}
    return random.choices([*claims], [*claims.values()])[0](random)


def _towers(random: Random) -> Claim:
    """There are so many towers that have something."""
    count, part = amount(random, 3), _part(random)
    high = _ANY_HEIGHT
    joint = random.choices(("with", f"which {count.have()}", f"that {count.have()}", "having"), (6, 1, 1, 1))[0]
    if part.form in (*_ENDS, "over") and random.random() < 0.3:
        high = _height(random)
        joint = random.choice((f"with {high.text} having", f"with {high.text} with", f"with {high.text}, and it has"))

    def fits(box: Box) -> bool:
        return part.fits(box) and high.fits(box)

    return Claim(
        f"towers {part.form}",
        f"{count.there('tower')} {joint} {part.text}",
        lambda boxes: count.fits(sum(map(fits, boxes))),
        lambda box: part.among(box) if high.fits(box) else (),
    )


def _part(random: Random) -> Part:
    """What a tower may have."""
    first, second = random.choices(COLOURS, k=2)
    match random.randrange(10):
        case 0 | 1 | 2:
            end = random.choice(("top", "top", "base", "base", "bottom"))
            return Part(end, f"a {first} block at the {end}", lambda box: box[_ENDS[end]].colour == first, _is(first))
        case 3:
            count = amount(random, 3, no=False)
            text = count.of(f"{first} block")
            return Part("count", text, lambda box: count.fits(colours(box).count(first)), _is(first))
        case 4 | 5:
            text = f"a {first} block {random.choice(_OVER)} a {second} block"
            return Part("over", text, lambda box: _over(box, first, second), _is(first, second))
        case 6:
            return _height(random)
        case 7:
            named = random.sample(COLOURS, random.choice((2, 2, 3)))
            text = ", ".join(f"a {colour} block" for colour in named[:-1]) + f" and a {named[-1]} block"
            return Part("list", text, lambda box: {*named} <= {*colours(box)}, _is(*named))
        case 8:
            named = random.sample(COLOURS, random.choice((1, 2)))
            text = f"only {' and '.join(named)} blocks"
            return Part("only", text, lambda box: {*named} == {*colours(box)}, anything)
    match random.randrange(3):
        case 0:
            count = random.choice((2, 3))
            text = f"{number(random, count)} {first} blocks stacked together"
            return Part("stacked", text, lambda box: _longest_run(box, first) >= count, _is(first))
        case 1:
            text = f"blocks of all {number(random, 3)} colors"
            return Part("all colours", text, lambda box: len({*colours(box)}) == 3, anything)
        case _:
            return Part("one colour", "blocks of only one color", lambda box: len({*colours(box)}) == 1, anything)


def _height(random: Random) -> Part:
    """As "at least three blocks"."""
    count = amount(random, HIGHEST, a=False, no=False)
    return Part("height", count.of("block"), lambda box: count.fits(len(box)), anything)


def _is(*named: str) -> Callable[[Item], bool]:
    return lambda item: item.colour in named


def _over(box: Box, upper: str, lower: str) -> bool:
    return (lower, upper) in pairwise(colours(box))


def _longest_run(box: Box, colour: str) -> int:
    return max((len([*run]) for value, run in groupby(colours(box)) if value == colour), default=0)


def _blocks_at(random: Random) -> Claim:
    count, colour = amount(random, 3), random.choice(COLOURS)
    end = random.choice(("top", "base"))
    high = _height(random) if random.random() < 0.4 else _ANY_HEIGHT
    after = f" as the {end} of a tower" + (f" with {high.text}" if high.text else "")

    def fits(box: Box) -> bool:
        return high.fits(box) and box[_ENDS[end]].colour == colour

    return Claim(
        f"blocks at the {end}",
        count.there(f"{colour} block", after),
        lambda boxes: count.fits(sum(map(fits, boxes))),
        lambda box: [box[_ENDS[end]]] if fits(box) else (),
    )


def _blocks(random: Random) -> Claim:
    count, colour = amount(random, 6), random.choice(COLOURS)
    return Claim(
        "blocks",
        count.there(f"{colour} block"),
        lambda boxes: count.fits(sum(colours(box).count(colour) for box in boxes)),
        lambda box: filter(_is(colour), box),
    )


def _block_on_block(random: Random) -> Claim:
    upper, lower = random.choices(COLOURS, k=2)
    words = random.choice(("a", "a", "at least one", "no"))
    return Claim(
        "block on block",
        f"there is {words} {upper} block {random.choice(_OVER)} a {lower} block",
        lambda boxes: any(_over(box, upper, lower) for box in boxes) != (words == "no"),
        lambda box: filter(_is(upper, lower), box) if _over(box, upper, lower) else (),
    )


def _the_tower(random: Random) -> Claim:
    """Of a tower of that height; false where there is none."""
    high, colour = exactly(random, random.randint(1, HIGHEST)), random.choice(COLOURS)
    end, blocks = random.choice([*_ENDS]), high.of("block")
    texts = f"the tower with {blocks} has a {colour} block at the {end}", f"the {end} of the {blocks} tower is {colour}"
    return Claim(
        "the tower",
        random.choice(texts),
        lambda boxes: any(high.fits(len(box)) and box[_ENDS[end]].colour == colour for box in boxes),
        lambda box: [box[_ENDS[end]]] if high.fits(len(box)) else (),
    )


def _ends(random: Random) -> Claim:
    """So many of the towers have such a base or top."""
    colour, end = random.choice(COLOURS), random.choice([*_ENDS])
    count = random.choice((1, 2, 3))
    some, have = exactly(random, count), f"a {colour} {end}"
    match random.randrange(4):
        case 0:
            text = f"{some.words} of the {number(random, 3)} towers {some.have()} {have}"
        case 1:
            text = f"{some.of('tower')} {some.have()} {have}"
        case 2:
            text = f"at least {some.words} of the towers have {have}"
            some = Amount("", False, lambda found: found >= count)
        case _:
            text = f"all towers have a {colour} block at the {end}"
            some = exactly(random, 3)
    return Claim(
        "ends",
        text,
        lambda boxes: some.fits(sum(box[_ENDS[end]].colour == colour for box in boxes)),
        lambda box: [box[_ENDS[end]]],
    )


def _all(random: Random) -> Claim:
    count, colour = amount(random, 3, no=False), random.choice(COLOURS)
    towers = random.choice(("all towers", "all 3 towers", "all three towers"))
    return Claim(
        "all towers",
        f"{towers} {random.choice(('have', 'contain'))} {count.of(f'{colour} block')}",
        lambda boxes: all(count.fits(colours(box).count(colour)) for box in boxes),
        lambda box: filter(_is(colour), box),
    )


def _alike(random: Random) -> Claim:
    what = random.choice(("height", "base color", "top color"))
    end = 0 if what == "base color" else -1
    words, counts = random.choice(
        (("at least two", (2, 3)), ("exactly two", (2,)), ("only two", (2,)), ("three", (3,)))
    )

    def holds(boxes: Boxes) -> bool:
        values = [len(box) if what == "height" else box[end].colour for box in boxes]
        return max(map(values.count, values)) in counts

    text = f"there are {words} towers {random.choice(('with', 'that have', 'which have'))} the same {what}"
    return Claim(f"same {what}", text, holds, lambda box: [box[end]])
