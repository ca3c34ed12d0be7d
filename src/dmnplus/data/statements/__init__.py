"""Statements about three boxes, true or false, made as NLVR's are: as many as wanted, the same ones for the same seed.

NLVR version 1 has 248 different sentences to learn from. These have its pictures and its commonest wordings, and truth
is read from the boxes, never from a template. Suhr et al. 2017, https://lil.nlp.cornell.edu/nlvr/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

from dmnplus.data.example import DataError, Example, Picture, Region, Source
from dmnplus.data.nlvr import BOXES
from dmnplus.data.scenes.files import new_folder
from dmnplus.data.statements.boxes import Boxes, draw_scattered, draw_towers
from dmnplus.data.statements.claim import Claim
from dmnplus.data.statements.scattered import scattered_claim
from dmnplus.data.statements.towers import tower_claim

# Statements on one picture.
_PER_PICTURE = 4
# Two thirds of the corpus' pictures show towers.
_TOWERS = 2 / 3


def generate_statements(folder: Path, *, statements: int, seed: int = 0, split: str = "train") -> list[Example]:
    """`statements` statements, four a picture, half true within each form; the PNG files go to `folder`.

    Facts are the three boxes, as `read_nlvr` has them; what a statement speaks of is marked.

    Raises ValueError for less than one statement; DataError where Pillow is missing or `folder` holds a finished data
    set or cannot be made; OSError.
    """
    if statements < 1:
        raise ValueError(f"statements {statements!r} is less than 1; ask for at least one")
    try:
        from dmnplus.data.statements.drawing import draw
    except ModuleNotFoundError as error:
        raise DataError(f"drawing needs the package Pillow ({error}); install it: pip install pillow") from error
    new_folder(folder)
    examples: list[Example] = []
    for number, (boxes, claims) in enumerate(compose(statements, Random(f"statements/{split}/{seed}")), 1):
        path = folder / f"{number:06}.png"
        draw(boxes).save(path, compress_level=1)
        for claim in claims:
            regions = (Region(place, item.box) for place, box in enumerate(boxes) for item in claim.looked_at(box))
            examples.append(
                Example(
                    facts=tuple(Picture(str(path), box) for box in BOXES),
                    question=claim.text[0].upper() + claim.text[1:] + ".",
                    answer=("true" if claim.holds(boxes) else "false",),
                    regions=tuple(regions),
                    source=Source(
                        f"generated statements {split} (seed {seed})", len(examples) + 1, f"statements/{claim.form}"
                    ),
                )
            )
    return examples


def compose(statements: int, random: Random) -> Iterator[tuple[Boxes, list[Claim]]]:
    """The boxes of each picture, and what is said of them, `statements` in all."""
    ahead: Counter[str] = Counter()
    while statements > 0:
        draw, claim_of = (draw_towers, tower_claim) if random.random() < _TOWERS else (draw_scattered, scattered_claim)
        boxes = draw(random)
        chosen: dict[str, Claim] = {}
        while len(chosen) < min(statements, _PER_PICTURE):
            claim = claim_of(random)
            # Within a form neither truth gets more than one ahead of the other.
            truth = 1 if claim.holds(boxes) else -1
            if claim.text in chosen or ahead[claim.form] * truth > 0:
                continue
            ahead[claim.form] += truth
            chosen[claim.text] = claim
        statements -= len(chosen)
        yield boxes, list(chosen.values())
