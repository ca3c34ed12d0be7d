"""What a statement about boxes is, and the amounts and parts that statements are put together of.

Wordings and readings are those of NLVR's development set: "2" and "one" are exact unless "at least" or "a" is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from dmnplus.data.statements.boxes import Box, Boxes, Item

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven")


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement: `form` is what statements of one kind share, `holds` says whether it is true of boxes.

    `looked_at` are the items of a box that it speaks of, for the attention.
    """

    form: str
    text: str
    holds: Callable[[Boxes], bool]
    looked_at: Callable[[Box], Iterable[Item]]


@dataclass(frozen=True, slots=True)
class Part:
    """What a box may have, as "two yellow squares": whether it `fits` a box, and which items are `meant`."""

    form: str
    text: str
    fits: Callable[[Box], bool]
    meant: Callable[[Item], bool]

    def among(self, box: Box) -> Iterable[Item]:
        return filter(self.meant, box)


@dataclass(frozen=True, slots=True)
class Amount:
    """As "exactly two", and the counts that it fits."""

    words: str
    plural: bool
    fits: Callable[[int], bool]

    def of(self, noun: str, after: str = "") -> str:
        """ "exactly two towers"; `after` follows the noun."""
        return f"{self.words} {several(noun) if self.plural else noun}{after}"

    def there(self, noun: str, after: str = "") -> str:
        return f"there {'are' if self.plural else 'is'} {self.of(noun, after)}"

    def have(self) -> str:
        return "have" if self.plural else "has"


def anything(_: object) -> bool:
    return True


def several(noun: str) -> str:
    return f"{noun}es" if noun.endswith("x") else f"{noun}s"


def number(random: Random, count: int) -> str:
    """In letters or digits."""
    return random.choice((_NUMBERS[count], str(count)))


def exactly(random: Random, count: int) -> Amount:
    return Amount(number(random, count), count > 1, lambda found: found == count)


def amount(random: Random, most: int, *, a: bool = True, no: bool = True) -> Amount:
    """Of what there can be up to `most` of; `a` and `no` say whether these words may come."""
    kinds = {"a": 6 * a, "at least": 2, "exactly": 3, "only": 1, "": 4, "no": no}
    kind = random.choices([*kinds], [*kinds.values()])[0]
    match kind:
        case "a":
            return Amount("a", False, lambda found: found >= 1)
        case "no":
            return Amount("no", False, lambda found: found == 0)
    count = random.choices(range(1, most + 1), range(most, 0, -1))[0]
    words = f"{kind} {number(random, count)}".lstrip()
    if kind == "at least":
        return Amount(words, count > 1, lambda found: found >= count)
    return Amount(words, count > 1, lambda found: found == count)


def colours(box: Box) -> list[str]:
    return [item.colour for item in box]
