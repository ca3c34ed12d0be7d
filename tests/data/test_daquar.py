"""DAQUAR: what is read from the official text, what is refused, the split by photos, and the real file."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from pathlib import Path

import pytest

from dmnplus.data.daquar import count_several_words, read_daquar
from dmnplus.data.example import DataError, Example, Picture, Source, iter_pictures, split_by_picture
from dmnplus.data.reading import pictures_without_questions
from tests.data.pictures import daquar, refusal, touch

TEXT = """\
what is on the desk in the image1 ?
book, scissor
what is left of the bed in the image2 ?
night_stand
how many chairs are there in the image1 ?
4
"""


def test_photo_question_and_answer(tmp_path: Path) -> None:
    file = daquar(tmp_path, TEXT)
    first, second = read_daquar(file)
    assert first.facts == (Picture(str(tmp_path / "images" / "image2.png")),)
    assert (first.question, first.answer) == ("what is left of the bed ?", ("night_stand",))
    assert (first.source, second.source.line) == (Source(str(file), 3, "daquar"), 5)
    assert second.facts == (Picture(str(tmp_path / "images" / "image1.jpg")),)


def test_answers_of_several_words_are_an_option(tmp_path: Path) -> None:
    examples = read_daquar(daquar(tmp_path, TEXT), single_word=False)
    assert [example.answer for example in examples] == [("book", "scissor"), ("night_stand",), ("4",)]
    assert count_several_words(tmp_path) == 1
    # A comma in a question is none in its answer.
    daquar(tmp_path, TEXT + "what is red, and on the desk in the image1 ?\nbook\n")
    assert count_several_words(tmp_path) == 1


def test_a_folder_with_the_official_names(tmp_path: Path) -> None:
    daquar(tmp_path, TEXT)
    assert len(read_daquar(tmp_path)) == 2
    (tmp_path / "images").rename(tmp_path / "nyu_depth_images")
    assert len(read_daquar(tmp_path)) == 2
    assert len(read_daquar(tmp_path, pictures=tmp_path / "nyu_depth_images")) == 2
    assert refusal(lambda: read_daquar(tmp_path, "test"), tmp_path).startswith("qa.894.raw.test.txt: no such file")


@pytest.mark.parametrize(
    ("line", "question"),
    [
        ("what is on the left side of the image1 ?", "what is on the left side ?"),
        ("how many chairs are there on the image1 ?", "how many chairs are there ?"),
        ("what is the largest brown objects in this image1 ?", "what is the largest brown objects ?"),
        ("how many cupboards are in image1 ?", "how many cupboards are ?"),
        ("what is on the table image1 ?", "what is on the table ?"),
        ("what is in front of the of the image1 ?", "what is in front of the ?"),
        ("what in the image1 is close to the wall in the image1 ?", "what in the image is close to the wall ?"),
        ("what is on the desk in th eimage1 ?", "what is on the desk ?"),
        ("what is on the desk in theimage1 ?", "what is on the desk ?"),
        ("what is on the desk in the image 1?", "what is on the desk ?"),
        ("what is on the desk in the Image1", "what is on the desk ?"),
        ("is the image of a cat on the wall in the image1 ? ", "is the image of a cat on the wall ?"),
    ],
)
def test_every_way_to_name_the_photo(tmp_path: Path, line: str, question: str) -> None:
    (example,) = read_daquar(daquar(tmp_path, f"{line}\ndesk\n"))
    assert example.question == question
    assert Path(str(example.facts[0])).name == "image1.jpg"


@pytest.mark.parametrize("content", [TEXT.replace("\n", "\r\n"), "\ufeff" + TEXT, TEXT[:-1], TEXT + "\n\n"])
def test_harmless_variants_read_the_same(tmp_path: Path, content: str) -> None:
    examples = read_daquar(daquar(tmp_path, content), single_word=False)
    assert [example.source.line for example in examples] == [1, 3, 5]
    assert examples[-1].answer == ("4",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "qa.894.raw.train.txt: is empty"),
        (" \n\n", "qa.894.raw.train.txt: is empty"),
        ("what is on the desk in the image1 ?\n", ":1: is a question without an answer (the number of lines is odd)"),
        (TEXT + "what is on the desk in the image1 ?\n", ":7: is a question without an answer"),
        ("what in the image1 ?\nwhat in the image1 ?\n", ":2: is a question where an answer is expected"),
        ("what in the image1 ?\n\ndesk\n", ":2: is blank"),
        ("what in the image1 ?\ndesk,\n", ":2: has an empty answer word"),
        ("what is on the desk ?\ndesk\n", ":1: names no photo"),
        ("what is in the image1 and in the image2 ?\ndesk\n", ":1: names the photos 1, 2"),
        ("in the image1 ?\ndesk\n", ":1: holds nothing but the name of a photo"),
        ("what in the image1 ?\na\nwhat in the image7 ?\na\n", ":3: asks about image7, but images has no image7.jpg"),
        ("what in the image1 ?\ndesk, chair\n", "holds no question with one answer word"),
        ("what in the image1 ?\nbüro\n".encode("latin-1"), ":2: is not UTF-8 text"),
        (TEXT.encode("utf-16"), ":1: is not UTF-8 text (looks like UTF-16)"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-9], "is a damaged or incomplete gzip file"),
    ],
)
def test_bad_input_is_named_with_its_line(tmp_path: Path, content: str | bytes, expected: str) -> None:
    file = daquar(tmp_path, content)
    text = refusal(lambda: read_daquar(file), tmp_path)
    assert text.startswith(file.name)
    assert expected in text


def test_no_photos_at_all(tmp_path: Path) -> None:
    file = daquar(tmp_path, TEXT, pictures=())
    assert ":3: asks about image2" in refusal(lambda: read_daquar(file), tmp_path)
    (tmp_path / "images").rmdir()
    assert "images: no folder of pictures is there" in refusal(lambda: read_daquar(file), tmp_path)


def test_photos_without_questions_are_reported(tmp_path: Path) -> None:
    file = daquar(tmp_path, TEXT)
    touch(tmp_path / "images", ["image5.png", "Thumbs.db"])
    assert pictures_without_questions(read_daquar(file)) == [tmp_path / "images" / "image5.png"]


def questions(*pictures: str) -> list[Example]:
    return [Example(facts=(Picture(path),), question=f"{i} ?", answer=("a",)) for i, path in enumerate(pictures)]


def test_no_photo_is_in_training_and_validation() -> None:
    examples = questions(*(f"image{i % 20}.jpg" for i in range(100)))
    training, validation = split_by_picture(examples, share=0.1, seed=3)
    sides = [{picture.path for picture in iter_pictures(side)} for side in (training, validation)]
    assert not sides[0] & sides[1]
    assert [len(side) for side in sides] == [18, 2]
    # Nothing is lost, and both parts keep the order of the file.
    assert sorted(training + validation, key=examples.index) == examples
    assert sorted(validation, key=examples.index) == validation


def test_the_split_depends_on_the_seed_and_not_on_the_order() -> None:
    examples = questions(*(f"image{i}.jpg" for i in range(50)))
    held_out = {example.question for example in split_by_picture(examples)[1]}
    assert {example.question for example in split_by_picture(examples[::-1])[1]} == held_out
    assert {example.question for example in split_by_picture(examples, seed=1)[1]} != held_out


def test_what_cannot_be_split_by_pictures() -> None:
    with pytest.raises(ValueError, match="share 1 is not between 0 and 1"):
        split_by_picture(questions("a", "b"), share=1)
    with pytest.raises(DataError, match="1 pictures are too few"):
        split_by_picture(questions("a", "a"))
    with pytest.raises(DataError, match="has no picture"):
        split_by_picture([*questions("a", "b"), Example(facts=("A.",), question="?", answer=("a",))])
    both = Example(facts=(Picture("a"), Picture("b")), question="?", answer=("a",))
    with pytest.raises(DataError, match="has pictures in both parts"):
        split_by_picture([*questions("a", "b"), both])


def test_the_real_file(data_root: Path) -> None:
    folder = data_root / "daquar"
    if not folder.is_dir():
        pytest.skip(f"DAQUAR is not in {data_root}; set DMNPLUS_DATA to its folder")
    examples = read_daquar(folder, single_word=False)
    assert len(examples) == 6_795
    single = read_daquar(folder)
    assert len(single) / len(examples) == pytest.approx(0.905, abs=0.001)
    assert Counter(example.answer for example in single).most_common(1) == [(("2",), 272)]
    assert len(examples) - len(single) == count_several_words(folder)
    assert pictures_without_questions(examples) == [folder / "images" / "image366.jpg"]
    assert not [example for example in examples if re.search(r"image\s?\d", example.question)]
    training, validation = split_by_picture(single)
    assert len(training) + len(validation) == len(single)
    assert len({picture.path for picture in iter_pictures(validation)}) == 79
