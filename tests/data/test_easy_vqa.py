"""easy-VQA: folder and archive, the splits, what is refused, and the real archive."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dmnplus.data.easy_vqa import easy_vqa_splits, read_easy_vqa
from dmnplus.data.example import DataError, Picture, Source, iter_pictures
from tests.data.pictures import refusal, touch, write_json

ROWS = [["what is the blue shape?", "rectangle", 0], ["is it red?", "no", 0], ["what color is it?", "teal", 1]]


def easy(folder: Path, rows: Any = ROWS, images: int = 2) -> Path:
    """The repository's layout, with the same questions in training and test."""
    for split in ("train", "test"):
        write_json(folder / "easy_vqa" / "data" / split / "questions.json", rows)
        touch(folder / "easy_vqa" / "data" / split / "images", [f"{image}.png" for image in range(images)])
    return folder


def pack(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, ".")
    return archive


def test_picture_question_answer_and_kind(tmp_path: Path) -> None:
    home = easy(tmp_path) / "easy_vqa" / "data" / "train"
    first, second, third = read_easy_vqa(tmp_path, "train")
    assert (first.question, first.answer) == ("what is the blue shape?", ("rectangle",))
    assert first.facts == (Picture(str(home / "images" / "0.png")),)
    assert first.source == Source(str(home / "questions.json"), 1, "easy-vqa/shape")
    assert (second.source.kind, third.source.kind) == ("easy-vqa/yes-no", "easy-vqa/colour")


def test_every_place_the_splits_may_be_in(tmp_path: Path) -> None:
    root = easy(tmp_path / "easy-VQA")
    for place in (root, root / "easy_vqa", root / "easy_vqa" / "data"):
        assert len(read_easy_vqa(place, "test")) == 3


def test_another_kind_of_archive_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "easy-VQA-master.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"is no folder, \.tar, \.tar\.gz or \.tgz"):
        read_easy_vqa(tmp_path / "easy-VQA-master.zip", "test")


def test_an_archive_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = pack(easy(tmp_path / "easy"), tmp_path / "easy-vqa.tar.gz")
    example = read_easy_vqa(archive, "train", folder=tmp_path / "here")[0]
    assert str(example.facts[0]) == str(tmp_path / "here" / "easy_vqa" / "data" / "train" / "images" / "0.png")
    # What is there is not unpacked again, so the archive may go.
    (tmp_path / "here" / "easy_vqa" / "data" / "train" / "images" / "7.png").touch()
    assert read_easy_vqa(archive, "train", folder=tmp_path / "here")[0] == example
    monkeypatch.setattr("dmnplus.data.reading.cache_folder", lambda: tmp_path / "cache")
    assert str(read_easy_vqa(archive, "train")[0].facts[0]).startswith(
        str(tmp_path / "cache" / "unpacked" / "easy-vqa-")
    )


def test_the_last_tenth_of_the_images_validates(tmp_path: Path) -> None:
    rows = [[f"is it {color}?", "no", image] for image in range(20) for color in ("red", "blue", "teal")]
    splits = easy_vqa_splits(easy(tmp_path, rows, images=20))
    assert [len(part) for part in (splits.training, splits.validation, splits.test)] == [54, 6, 60]
    held_out = {Path(picture.path).name for picture in iter_pictures(splits.validation)}
    assert held_out == {"18.png", "19.png"}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({}, "questions.json: is not a list of questions"),
        ([], "questions.json: is not a list of questions"),
        ([ROWS[0], ["is it red?", "no"]], "entry 2 is ['is it red?', 'no'], not [question, answer, image id]"),
        ([["is it red?", "no", "0"]], "questions.json: entry 1 is"),
        ([["is it red?", "no", True]], "questions.json: entry 1 is"),
        ([["", "no", 0]], "questions.json: entry 1 has an empty question"),
        ([*ROWS, ["is it red?", "no", 5]], "questions.json: entry 4 is about image 5, but"),
    ],
)
def test_bad_questions(tmp_path: Path, rows: Any, expected: str) -> None:
    easy(tmp_path, rows)
    assert expected in refusal(lambda: read_easy_vqa(tmp_path, "train"), tmp_path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="split 'valid' is not one of train, test"):
        read_easy_vqa(tmp_path, "valid")
    assert "no folder test/ with questions.json" in refusal(lambda: read_easy_vqa(tmp_path, "test"), tmp_path)
    assert "no such file or folder" in refusal(lambda: read_easy_vqa(tmp_path / "none", "test"), tmp_path)
    broken = tmp_path / "easy-vqa.tar.gz"
    broken.write_bytes(pack(easy(tmp_path / "easy"), broken).read_bytes()[:-200])
    text = refusal(lambda: read_easy_vqa(broken, "train", folder=tmp_path / "here"), tmp_path)
    assert "easy-vqa.tar.gz: is a damaged or incomplete archive" in text
    assert not (tmp_path / "here").exists()
    # A file where the folder should go.
    text = refusal(lambda: read_easy_vqa(broken, "train", folder=broken / "here"), tmp_path)
    assert text.startswith("easy-vqa.tar.gz/here: cannot be made")


def test_the_real_archive(data_root: Path, tmp_path: Path) -> None:
    archive = data_root / "easy-vqa.tar.gz"
    if not archive.is_file():
        pytest.skip(f"easy-VQA is not in {data_root}; set DMNPLUS_DATA to its folder")
    splits = easy_vqa_splits(archive, folder=tmp_path)
    assert len(splits.training) + len(splits.validation) == 38_575
    assert len(splits.test) == 9_673
    assert len({picture.path for picture in iter_pictures(splits.validation)}) == 400
    assert len({example.answer for example in splits.training}) == 13
    kinds = Counter(example.source.kind for example in (*splits.training, *splits.validation))
    # The archive's own README: 28,407 questions are yes or no.
    assert kinds["easy-vqa/yes-no"] == 28_407
