"""Made-up statements as NLVR's: their truth against the corpus' own labels and by hand, balance, and the pictures."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmnplus.data.example import DataError, Picture
from dmnplus.data.nlvr import BOXES
from dmnplus.data.statements import compose, generate_statements
from dmnplus.data.statements.boxes import BOX, Boxes, Item, draw_scattered, draw_towers
from dmnplus.data.statements.claim import Claim
from dmnplus.data.statements.scattered import scattered_claim
from dmnplus.data.statements.towers import tower_claim

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
_COLOURS = {"yellow": "yellow", "black": "black", "#0099ff": "blue"}


@pytest.fixture(scope="module")
def claims() -> dict[str, Claim]:
    """One claim of each text among many."""
    random = Random(0)
    drawn = (claim_of(random) for _ in range(15_000) for claim_of in (tower_claim, scattered_claim))
    return {claim.text: claim for claim in drawn}


@pytest.fixture(scope="module")
def corpus(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path]:
    """The lines of NLVR's development set, and the folder of its pictures."""
    archive = data_root / "nlvr-dev-test.tar.gz"
    if not archive.is_file():
        pytest.skip(f"NLVR is not in {data_root}; set DMNPLUS_DATA to its folder")
    folder = tmp_path_factory.mktemp("nlvr")
    with tarfile.open(archive) as packed:
        wanted = [member for member in packed if member.name.endswith(("dev.json", "-0.png"))]
        packed.extractall(folder, wanted, filter="data")
    (file,) = folder.rglob("dev.json")
    return [json.loads(line) for line in file.read_text().splitlines()], file.parent / "images"


def boxes_of(line: dict[str, Any]) -> Boxes:
    """A tower's blocks from its base upwards."""
    return tuple(
        tuple(
            Item(item["type"], _COLOURS[item["color"].lower()], item["size"], item["x_loc"], item["y_loc"])
            for item in sorted(box, key=lambda item: -item["y_loc"])
        )
        for box in line["structured_rep"]
    )


def test_what_is_said_is_true_where_people_said_so(
    claims: dict[str, Claim], corpus: tuple[list[dict[str, Any]], Path]
) -> None:
    lines, _ = corpus
    right = [
        claims[text].holds(boxes_of(line)) == (line["label"] == "true")
        for line in lines
        if (text := line["sentence"].strip().rstrip(".").lower()) in claims
    ]
    # Nearly half of the corpus is said here in the same words; its own labels have a few mistakes.
    assert len(right) > 0.45 * len(lines)
    assert sum(right) >= len(right) - 3


def test_pictures_look_like_the_corpus(corpus: tuple[list[dict[str, Any]], Path]) -> None:
    from dmnplus.data.statements.drawing import draw

    lines, images = corpus
    for line in lines[:40]:
        name = f"dev-{line['identifier']}-0.png"
        with Image.open(images / line["directory"] / name) as picture:
            real = np.asarray(picture.convert("RGB"), dtype=int)
        ours = np.asarray(draw(boxes_of(line)), dtype=int)
        # Edges of circles and triangles are smooth there; everything else is the same.
        assert (np.abs(real - ours).max(axis=-1) > 8).mean() < 0.03, name


def tower(*colours: str) -> tuple[Item, ...]:
    return tuple(Item("square", colour, 20, 40, 80 - 21 * level) for level, colour in enumerate(colours))


TOWERS = (tower("yellow"), tower("blue", "black", "black"), tower("blue", "yellow"))
SCATTERED = (
    (Item("circle", "black", 10, 90, 90), Item("triangle", "blue", 30, 20, 5)),
    (Item("square", "yellow", 20, 0, 40), Item("square", "yellow", 10, 50, 50), Item("circle", "black", 20, 60, 80)),
    (Item("triangle", "black", 30, 30, 30),),
)


@pytest.mark.parametrize(
    ("boxes", "text", "truth"),
    [
        (TOWERS, "there are two towers with a blue block at the base", True),
        (TOWERS, "there is one tower with a blue block at the base", False),
        (TOWERS, "there is at least one tower with a blue block at the base", True),
        (TOWERS, "there is a tower with a black block at the top", True),
        (TOWERS, "there is a yellow block on a blue block", True),
        # Right above: a black one is between.
        (TOWERS, "there is a black block over a blue block", True),
        (TOWERS, "there is a blue block over a black block", False),
        (TOWERS, "there is a tower with 2 black blocks stacked together", True),
        (TOWERS, "there is a tower with three blocks", True),
        (TOWERS, "there is a tower with four blocks", False),
        (TOWERS, "there is 1 tower with only blue and black blocks", True),
        (TOWERS, "there is a tower with a yellow block and a black block", False),
        (TOWERS, "there are 2 blue blocks", True),
        (TOWERS, "there are 3 blue blocks", False),
        (TOWERS, "two towers have a blue base", True),
        (TOWERS, "the tower with three blocks has a black block at the top", True),
        (TOWERS, "the tower with four blocks has a black block at the top", False),
        (TOWERS, "there are at least two towers with the same height", False),
        (TOWERS, "there are exactly two towers with the same base color", True),
        (TOWERS, "all towers have a blue block", False),
        (SCATTERED, "there are 2 black circles", True),
        (SCATTERED, "there are exactly two black circles", True),
        (SCATTERED, "there is a black circle touching the base", True),
        (SCATTERED, "there is a yellow square touching the wall", True),
        (SCATTERED, "there is a yellow square touching the base", False),
        (SCATTERED, "there is exactly one yellow square not touching any edge", True),
        (SCATTERED, "there is a black circle touching the corner", True),
        (SCATTERED, "there is a yellow square touching the corner", False),
        (SCATTERED, "there is a black circle touching right wall of a box", True),
        (SCATTERED, "there is a box with 3 items", True),
        (SCATTERED, "there is a box with 4 items", False),
        (SCATTERED, "there is 1 box with only black items", True),
        (SCATTERED, "there is a box with a blue item on top", True),
        (SCATTERED, "each box has at least one black item", True),
        (SCATTERED, "each box has at least one black circle", False),
        (SCATTERED, "all yellow squares are in the same box", True),
        (SCATTERED, "all black circles are in the same box", False),
        (SCATTERED, "black circles are touching the edge", True),
        (SCATTERED, "none of the yellow squares are touching the edge", False),
        (SCATTERED, "one of the grey boxes has exactly two objects", True),
        (SCATTERED, "2 different colors are touching the wall", True),
        (SCATTERED, "there is only one color touching the wall", False),
    ],
)
def test_by_hand(claims: dict[str, Claim], boxes: Boxes, text: str, truth: bool) -> None:
    assert claims[text].holds(boxes) is truth


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_boxes_hold_items_that_lie_inside_and_apart(seed: int) -> None:
    random = Random(seed)
    for boxes, most in ((draw_towers(random), 4), (draw_scattered(random), 7)):
        assert len(boxes) == 3
        for box in boxes:
            assert 1 <= len(box) <= most
            for place, item in enumerate(box):
                assert 0 <= item.left <= BOX - item.size
                assert 0 <= item.top <= BOX - item.size
                assert all(item.is_clear_of(other) and other.is_clear_of(item) for other in box[:place])


def test_half_is_true_within_each_form_and_no_statement_comes_twice() -> None:
    truths: dict[str, Counter[bool]] = {}
    for boxes, said in compose(4000, Random(1)):
        assert len({claim.text for claim in said}) == len(said)
        for claim in said:
            truths.setdefault(claim.form, Counter())[claim.holds(boxes)] += 1
            assert all(item in box for box in boxes for item in claim.looked_at(box))
    assert sum(map(Counter.total, truths.values())) == 4000
    assert all(abs(counts[True] - counts[False]) <= 1 for counts in truths.values())


def test_examples_are_as_the_reader_of_nlvr_has_them(tmp_path: Path) -> None:
    examples = generate_statements(tmp_path / "a", statements=30, seed=3)
    assert generate_statements(tmp_path / "b", statements=30, seed=3)[7].question == examples[7].question
    assert [e.question for e in generate_statements(tmp_path / "c", statements=30, seed=3, split="test")] != [
        e.question for e in examples
    ]
    assert len(examples) == 30
    for example in examples:
        pictures = [fact for fact in example.facts if isinstance(fact, Picture)]
        assert tuple(picture.box for picture in pictures) == BOXES
        assert example.answer in (("true",), ("false",))
        assert example.question[0].isupper() or example.question[0].isdigit()
        assert example.question.endswith(".")
    assert any(example.regions for example in examples)
    with Image.open(pictures[0].path) as picture:
        assert picture.size == (400, 100)


def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="less than 1"):
        generate_statements(tmp_path, statements=0)
    (tmp_path / "questions.jsonl").touch()
    with pytest.raises(DataError, match=r"already holds questions\.jsonl; choose another folder"):
        generate_statements(tmp_path, statements=4)
