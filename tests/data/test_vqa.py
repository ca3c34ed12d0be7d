"""VQA: questions, annotations and results in the official JSON, what is refused, and the real files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dmnplus.data.example import DataError, Example, Picture, Source, most_common_answers, with_common_answers
from dmnplus.data.reading import pictures_without_questions
from dmnplus.data.vqa import (
    Annotation,
    read_annotations,
    read_results,
    read_vqa,
    vqa_splits,
    write_results,
)
from tests.data.pictures import refusal, touch, vqa_annotation, vqa_question, write_json

QUESTIONS = {"questions": [vqa_question(90), vqa_question(91, question=" What is it? "), vqa_question(20, image=2)]}
ANNOTATIONS = {
    "annotations": [
        vqa_annotation(20, ["no"] * 4 + ["yes"] * 6),
        vqa_annotation(91, ["green, white"] * 9 + ["Green"], "other", "what is"),
        vqa_annotation(90),
    ]
}
COCO = "COCO_train2014_{:012d}.jpg"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_json(tmp_path / "q.json", QUESTIONS), write_json(tmp_path / "a.json", ANNOTATIONS)


def test_question_answer_and_types(files: tuple[Path, Path]) -> None:
    annotations = read_annotations(files[1])
    first, second, third = read_vqa(files[0], annotations)
    assert (first.question, first.answer) == ("Is it red?", ("yes",))
    assert first.source == Source(str(files[0]), 90, "vqa/yes/no")
    # A comma does not make two answers of one class.
    assert (second.question, second.answer, second.source.kind) == ("What is it?", ("green, white",), "vqa/other")
    assert third.facts == (Picture("COCO_000000000002.jpg"),)
    assert annotations[91] == Annotation(
        "green, white", ("green, white",) * 9 + ("Green",), "what is", "other", str(files[1])
    )


def test_the_names_of_the_photos(tmp_path: Path) -> None:
    photos = touch(tmp_path / "photos", [COCO.format(9), COCO.format(2), COCO.format(5)])
    plain = write_json(tmp_path / "q.json", QUESTIONS)
    official = write_json(tmp_path / "official.json", QUESTIONS | {"data_subtype": "train2014"})
    for questions in (plain, official):
        examples = read_vqa(questions, pictures=photos)
        assert examples[0].facts == (Picture(str(photos / COCO.format(9))),)
        assert pictures_without_questions(examples) == [photos / COCO.format(5)]
    assert read_vqa(official)[0].facts == (Picture(COCO.format(9)),)
    # Names alone are not looked for.
    assert pictures_without_questions(read_vqa(official)) == []


def test_a_test_set_has_no_answers(files: tuple[Path, Path]) -> None:
    example = read_vqa(files[0])[0]
    assert (example.answer, example.source.kind) == ((), "vqa")


def test_gzipped_files_read_the_same(files: tuple[Path, Path], tmp_path: Path) -> None:
    for file in files:
        packed = file.with_suffix(".json.gz")
        packed.write_bytes(gzip.compress(file.read_bytes(), mtime=0))
    packed = read_vqa(tmp_path / "q.json.gz", read_annotations(tmp_path / "a.json.gz"))
    assert [example.answer for example in packed] == [("yes",), ("green, white",), ("yes",)]


def test_the_size_of_the_answer_vocabulary(files: tuple[Path, Path]) -> None:
    examples = read_vqa(files[0], read_annotations(files[1]))
    assert most_common_answers(examples, 1) == ["yes"]
    assert most_common_answers(examples, 9) == ["yes", "green, white"]
    assert [example.source.line for example in with_common_answers(examples, 1)] == [90, 20]
    with pytest.raises(ValueError, match="size 0 is not positive"):
        most_common_answers(examples, 0)
    # Equals in alphabetical order, however the file is sorted.
    equals = [Example(facts=(), question="?", answer=(answer,)) for answer in "cab"]
    assert most_common_answers(equals, 2) == most_common_answers(equals[::-1], 2) == ["a", "b"]


def test_official_names_are_found_and_photos_do_not_cross_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        questions = {"questions": [vqa_question(number, image=number // 2) for number in range(2, 42)]}
        answers = {"annotations": [vqa_annotation(number) for number in range(2, 42)]}
        write_json(tmp_path / f"OpenEnded_mscoco_{split}2014_questions.json", questions)
        write_json(tmp_path / f"MultipleChoice_mscoco_{split}2014_questions.json", questions)
        write_json(tmp_path / f"mscoco_{split}2014_annotations.json", answers)
    splits = vqa_splits(tmp_path, validation_share=0.2)
    assert (len(splits.training), len(splits.validation), len(splits.test)) == (32, 8, 40)
    assert not {e.facts for e in splits.training} & {e.facts for e in splits.validation}
    write_json(tmp_path / "more_train_questions.json", {})
    assert "needs one JSON file of train questions, has OpenEnded" in refusal(lambda: vqa_splits(tmp_path), tmp_path)


def without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != key}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], "q.json: holds no list of questions"),
        ({"annotations": []}, "q.json: holds no list of questions"),
        ({"questions": {}}, "q.json: holds no list of questions"),
        ({"questions": []}, "q.json: its list of questions is empty"),
        ({"questions": [vqa_question(1), 7]}, "q.json: entry 2 of its questions is 7 instead of an object"),
        ({"questions": [vqa_question(1), vqa_question(1)]}, "q.json: question 1 is there twice"),
        ({"questions": [without(vqa_question(1), "question_id")]}, "entry 1 of its questions has no 'question_id'"),
        ({"questions": [without(vqa_question(1), "image_id")]}, "q.json: question 1 has no 'image_id'"),
        ({"questions": [vqa_question(1) | {"image_id": "7"}]}, "question 1 has '7' as 'image_id', where a number"),
        ({"questions": [vqa_question(1) | {"question_id": True}]}, "questions has True as 'question_id'"),
        ({"questions": [vqa_question(1, question=" ")]}, "q.json: question 1 has ' ' as 'question', where a text"),
    ],
)
def test_bad_questions(tmp_path: Path, content: Any, expected: str) -> None:
    file = write_json(tmp_path / "q.json", content)
    assert expected in refusal(lambda: read_vqa(file), tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (QUESTIONS, "a.json: holds no list of annotations"),
        ({"annotations": [vqa_annotation(1)] * 2}, "a.json: question 1 has two annotations"),
        ({"annotations": [vqa_annotation(1) | {"answers": []}]}, "a.json: question 1 has 0 human answers"),
        ({"annotations": [vqa_annotation(1) | {"answers": "yes"}]}, "question 1 has 'yes' as 'answers', where a list"),
        ({"annotations": [vqa_annotation(1) | {"answers": ["yes"]}]}, "question 1, its answers is 'yes' instead of"),
        ({"annotations": [vqa_annotation(1) | {"answers": [{"answer": 1}]}]}, "1, its answers has 1 as 'answer'"),
        ({"annotations": [without(vqa_annotation(1), "answer_type")]}, "a.json: question 1 has no 'answer_type'"),
        ({"annotations": [without(vqa_annotation(1), "multiple_choice_answer")]}, "has no 'multiple_choice_answer'"),
    ],
)
def test_bad_annotations(tmp_path: Path, content: Any, expected: str) -> None:
    file = write_json(tmp_path / "a.json", content)
    assert expected in refusal(lambda: read_annotations(file), tmp_path)


def test_a_question_about_a_missing_photo(files: tuple[Path, Path], tmp_path: Path) -> None:
    photos = touch(tmp_path / "photos", [COCO.format(9)])
    text = refusal(lambda: read_vqa(files[0], pictures=photos), tmp_path)
    assert text.startswith("q.json: question 20 is about image 2, which is not in photos")
    text = refusal(lambda: read_vqa(files[0], pictures=tmp_path / "none"), tmp_path)
    assert text.startswith("none: no folder of pictures is there")


def test_questions_and_annotations_that_do_not_belong_together(files: tuple[Path, Path], tmp_path: Path) -> None:
    annotations = read_annotations(files[1])
    extra = annotations | {5: annotations[90]}
    assert refusal(lambda: read_vqa(files[0], extra), tmp_path).startswith(
        "a.json: question 5 has an annotation, but is not in q.json"
    )
    del annotations[91]
    assert refusal(lambda: read_vqa(files[0], annotations), tmp_path).startswith(
        "q.json: question 91 has no annotation"
    )


@pytest.mark.parametrize("read", [read_vqa, read_annotations, read_results])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "f.json: is empty"),
        (gzip.compress(b"", mtime=0), "f.json: is empty"),
        (b'{"questions": [\n{"question_id": 1', "f.json:2: is not JSON from column"),
        (b"<html>", "f.json:1: is not JSON from column 1 on"),
        (b"[" * 100_000, "f.json:1: is nested too deeply"),
        ('{"questions":\n"ü"}'.encode("latin-1"), "f.json:2: is not UTF-8 text"),
        (json.dumps(QUESTIONS).encode("utf-16"), "f.json:1: is not UTF-8 text (looks like UTF-16)"),
        (gzip.compress(json.dumps(QUESTIONS).encode(), mtime=0)[:-9], "f.json: is a damaged or incomplete gzip file"),
    ],
)
def test_a_damaged_file(tmp_path: Path, read: Callable[[Path], object], content: bytes, expected: str) -> None:
    file = tmp_path / "f.json"
    file.write_bytes(content)
    assert refusal(lambda: read(file), tmp_path).startswith(expected)


@pytest.mark.parametrize("read", [read_vqa, read_annotations, read_results])
def test_no_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    assert refusal(lambda: read(tmp_path / "f.json"), tmp_path).startswith("f.json: no such file")
    assert refusal(lambda: read(tmp_path), tmp_path).endswith("is a folder; give one of its files")


def test_results_in_the_official_format(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, {90: "yes", 20: "2:50 pm"})
    assert json.loads(path.read_text()) == [
        {"question_id": 90, "answer": "yes"},
        {"question_id": 20, "answer": "2:50 pm"},
    ]
    assert read_results(path) == {90: "yes", 20: "2:50 pm"}
    assert list(tmp_path.iterdir()) == [path]


def test_results_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    assert refusal(lambda: write_results(tmp_path / "none" / "r.json", {1: "a"}), tmp_path).startswith("none/r.json")
    path = tmp_path / "r.json"
    path.write_text("old")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match=r"r\.json: cannot be written \(No space left on device\)"):
        write_results(path, {1: "a"})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_question_answered_twice(tmp_path: Path) -> None:
    path = write_json(tmp_path / "r.json", [{"question_id": 1, "answer": "a"}] * 2)
    assert refusal(lambda: read_results(path), tmp_path).startswith("r.json: question 1 is answered twice")


def test_the_real_files(data_root: Path) -> None:
    folder = data_root / "vqa"
    if not folder.is_dir():
        pytest.skip(f"VQA is not in {data_root}; set DMNPLUS_DATA to its folder")
    examples: list[Example] = []
    for split in ("train", "valid"):
        annotations = read_annotations(folder / f"vqa_annotations_{split}.json.gz")
        assert all(len(one.answers) == 10 for one in annotations.values())
        examples += read_vqa(folder / f"vqa_questions_{split}.json.gz", annotations)
    assert len(examples) == 57_038
    assert most_common_answers(examples, 4) == ["yes", "no", "1", "2"]
    assert {example.source.kind for example in examples} == {"vqa/yes/no", "vqa/number", "vqa/other"}


def test_vqa_parts_come_from_their_own_files(tmp_path: Path) -> None:
    for split in ("train", "val"):
        questions = {"questions": [vqa_question(number, image=number) for number in range(2, 22)]}
        answers = {"annotations": [vqa_annotation(number) for number in range(2, 22)]}
        write_json(tmp_path / f"OpenEnded_mscoco_{split}2014_questions.json", questions)
        write_json(tmp_path / f"mscoco_{split}2014_annotations.json", answers)
    splits = vqa_splits(tmp_path)
    for part, split in ((splits.training, "train"), (splits.validation, "train"), (splits.test, "val")):
        assert {Path(e.source.file).name for e in part} == {f"OpenEnded_mscoco_{split}2014_questions.json"}
