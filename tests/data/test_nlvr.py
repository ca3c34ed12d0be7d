"""NLVR: three boxes of a picture as three facts, the splits, what is refused, and the real archive."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dmnplus.data.example import DataError, Picture, Source, iter_pictures
from dmnplus.data.nlvr import BOXES, ORDERS, directory_of, nlvr_splits, read_nlvr
from tests.data.pictures import refusal, touch


def line(identifier: str = "7-0", directory: str = "0", label: str = "true", **more: Any) -> str:
    entry = {"sentence": " There is a box. ", "label": label, "identifier": identifier, "directory": directory}
    return json.dumps(entry | more)


def nlvr(folder: Path, lines: list[str], split: str = "dev") -> Path:
    """The corpus' layout, with a picture for each order of each line that can be read."""
    for text in lines:
        try:
            entry = json.loads(text)
            names = [f"{split}-{entry['identifier']}-{order}.png" for order in ORDERS]
            touch(folder / split / "images" / entry["directory"], names)
        except (ValueError, KeyError, TypeError, OSError):
            continue
    (folder / split).mkdir(exist_ok=True)
    (folder / split / f"{split}.json").write_text("\n".join(lines) + "\n")
    return folder


def test_another_archive_is_named_and_not_where_it_was_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "other.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(touch(tmp_path / "other", ["a.txt"]), "other")
    text = refusal(lambda: read_nlvr(archive, "dev", folder=tmp_path / "cache"), tmp_path)
    assert text.startswith("other.tar.gz: no dev/dev.json is there; fetch it")


def test_three_boxes_sentence_and_label(tmp_path: Path) -> None:
    examples = read_nlvr(nlvr(tmp_path, [line(), line("7-1", label="false")]), "dev")
    assert len(examples) == 12
    assert examples[0].question == "There is a box."
    assert [example.answer for example in examples[5:7]] == [("true",), ("false",)]
    path = str(tmp_path / "dev" / "images" / "0" / "dev-7-1-2.png")
    assert examples[8].facts == tuple(Picture(path, box) for box in BOXES)
    assert examples[8].source == Source(str(tmp_path / "dev" / "dev.json"), 2, "nlvr")


def test_a_directory_of_dev_validates(tmp_path: Path) -> None:
    nlvr(tmp_path, [line(), line("7-1"), line("8-0", directory="5")])
    nlvr(tmp_path, [line("9-0")], "test")
    splits = nlvr_splits(tmp_path)
    assert [len(part) for part in (splits.training, splits.validation, splits.test)] == [12, 6, 6]
    assert {directory_of(example) for example in splits.validation} == {"5"}
    with pytest.raises(DataError, match="dev has the directories 0, 5; '3' cannot be held out"):
        nlvr_splits(tmp_path, directory="3")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([""], "dev/dev.json: is empty"),
        ([line(), line("7-1")[:40]], "dev/dev.json:2: is not JSON from column"),
        ([line(), "[]"], "dev/dev.json:2: is not an object with the texts sentence, label"),
        ([line(sentence="")], "dev/dev.json:1: is not an object with"),
        ([line(directory=0)], "dev/dev.json:1: is not an object with"),  # type: ignore[arg-type]
        ([line(label="maybe")], "dev/dev.json:1: 7-0 has the label 'maybe'"),
        ([line(), "", line()], "dev/dev.json:3: 7-0 was already in line 1"),
        # Names that no folder can have.
        ([line(), line("7-1", "\0")], "dev/dev.json:2: 7-1 is in '\\x00': "),
        ([line(directory="\ud83d")], "dev/dev.json:1: 7-0 is in '\\ud83d': "),
        ([line(directory="x" * 300)], "dev/dev.json:1: 7-0 is in 'xxx"),
    ],
)
def test_bad_lines(tmp_path: Path, lines: list[str], expected: str) -> None:
    nlvr(tmp_path, lines)
    assert refusal(lambda: read_nlvr(tmp_path, "dev"), tmp_path).startswith(expected)


def test_a_picture_is_missing(tmp_path: Path) -> None:
    images = nlvr(tmp_path, [line(), line("7-1")]) / "dev" / "images" / "0"
    (images / "dev-7-1-3.png").unlink()
    text = refusal(lambda: read_nlvr(tmp_path, "dev"), tmp_path)
    assert text.startswith("dev/dev.json:2: the picture dev-7-1-3.png of 7-1 is not in dev/images/0")
    images.rename(images.with_name("1"))
    text = refusal(lambda: read_nlvr(tmp_path, "dev"), tmp_path)
    assert text.startswith("dev/dev.json:1: 7-0 is in '0': dev/images/0: no folder of pictures")
    assert refusal(lambda: read_nlvr(tmp_path, "test"), tmp_path).endswith(
        ": no test/test.json is there; fetch it from https://github.com/lil-lab/nlvr (folder nlvr)"
    )


def test_the_real_archive(data_root: Path, tmp_path: Path) -> None:
    archive = data_root / "nlvr-dev-test.tar.gz"
    if not archive.is_file():
        pytest.skip(f"NLVR is not in {data_root}; set DMNPLUS_DATA to its folder")
    splits = nlvr_splits(archive, folder=tmp_path)
    assert len(splits.training) + len(splits.validation) == 6 * 989
    assert len(splits.test) == 6 * 990
    assert len(splits.validation) == 978
    assert Counter(example.answer for example in splits.test) == {("true",): 3_336, ("false",): 2_604}

    image = pytest.importorskip("PIL.Image", reason="Pillow shows where the boxes are")
    for picture in list(iter_pictures(splits.test))[::600]:
        with image.open(picture.path) as opened:
            pixels = opened.convert("RGB")
        assert pixels.size == (400, 100)
        left, _, right, _ = (round(400 * share) for share in picture.box)
        gap = (128, 128, 128)
        corners = [pixels.getpixel((x, y)) for x in (left, right - 1) for y in (0, 99)]
        assert gap not in corners
        assert all(pixels.getpixel((x, y)) == gap for x in (left - 1, right) if 0 <= x < 400 for y in (0, 50, 99))
