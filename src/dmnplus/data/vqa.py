"""Reader of VQA, versions 1 and 2: open questions about COCO photos, each with the answers of ten people.

The official JSON, gzipped or not: a file of questions (`{"questions": [{"question_id", "image_id", "question"}]}`) and,
for training and validation, one of annotations (`{"annotations": [{"question_id", "question_type", "answer_type",
"multiple_choice_answer", "answers": [{"answer"}]}]}`). Photos are `COCO_{data_subtype}_{image_id:012d}.jpg`.

An example's source has the question file as `file`, the question id as `line` and `vqa/<answer type>` as `kind`
("vqa/yes/no", "vqa/number", "vqa/other"); the question type and the ten answers stay in the `Annotation` of that id.
A photo without questions is ignored.

Antol et al. 2015, https://arxiv.org/abs/1505.00468; Goyal et al. 2017; https://visualqa.org/vqa_v1_download.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmnplus.data.example import DataError, Example, Picture, Source, Splits, split_by_picture
from dmnplus.data.reading import picture_names, read_json
from dmnplus.data.writing import write_whole

GET_HINT = "fetch it from https://visualqa.org/download.html"


@dataclass(frozen=True, slots=True)
class Annotation:
    """What people answered to a question. `answer` is the one to train on, `answers` those of all ten, as written."""

    answer: str
    answers: tuple[str, ...]
    question_type: str
    """Its first words, from the official list ("how many", "is the")."""
    answer_type: str
    """yes/no, number or other."""
    file: str = ""


def read_annotations(path: Path) -> dict[int, Annotation]:
    """The annotations of a file by question id, in file order. Raises DataError naming file and id."""
    annotations: dict[int, Annotation] = {}
    for entry, where in _entries(read_json(path, GET_HINT), "annotations", path):
        number = _get(entry, "question_id", int, where)
        where = f"{path}: question {number}"
        if number in annotations:
            raise DataError(f"{where} has two annotations; keep one of them")
        people = [_object(one, f"{where}, its answers") for one in _get(entry, "answers", list, where)]
        annotations[number] = Annotation(
            answer=_get(entry, "multiple_choice_answer", str, where),
            answers=tuple(_get(one, "answer", str, f"{where}, its answers") for one in people),
            question_type=_get(entry, "question_type", str, where),
            answer_type=_get(entry, "answer_type", str, where),
            file=str(path),
        )
        if len(people) < 2:
            raise DataError(f"{where} has {len(people)} human answers, too few for the metric; there should be ten")
    return annotations


def read_vqa(
    questions: Path,
    annotations: Mapping[int, Annotation] | None = None,
    pictures: Path | None = None,
) -> list[Example]:
    """The questions of a file, in file order, each about one picture.

    With `annotations` (training and validation) every question has one and every annotation its question; the answer
    is the annotation's `answer`, one whole ("green, white" too). Without, as in a test set, examples have no answer.
    `pictures` is the folder of the photos; without it the picture is a file name alone that nobody checks, for the
    metric and for models that read the question only. Raises DataError naming the file and the question or image id.
    """
    content = read_json(questions, GET_HINT)
    entries = list(_entries(content, "questions", questions))
    name_of = _namer(content.get("data_subtype"), pictures)
    examples: dict[int, Example] = {}
    for entry, where in entries:
        number = _get(entry, "question_id", int, where)
        where = f"{questions}: question {number}"
        if number in examples:
            raise DataError(f"{where} is there twice; keep one of them")
        image = _get(entry, "image_id", int, where)
        text = _get(entry, "question", str, where).strip()
        annotation = annotations.get(number) if annotations is not None else None
        if annotations is not None and annotation is None:
            raise DataError(f"{where} has no annotation; give the annotations of this file, or none for a test set")
        if (name := name_of(image)) is None:
            raise DataError(f"{where} is about image {image}, which is not in {pictures}; add the photo")
        examples[number] = Example(
            facts=(Picture(str(pictures / name) if pictures else name),),
            question=text,
            answer=(annotation.answer,) if annotation else (),
            source=Source(str(questions), number, f"vqa/{annotation.answer_type}" if annotation else "vqa"),
        )
    for number, annotation in (annotations or {}).items():
        if number not in examples:
            raise DataError(
                f"{annotation.file}: question {number} has an annotation, but is not in {questions}; "
                "give the questions of these annotations"
            )
    return list(examples.values())


def vqa_splits(folder: Path, *, validation_share: float = 0.1) -> Splits:
    """The official training questions, some photos of which validate, and as test the official validation questions.

    Files go by their official names, or any that tell questions from annotations and train from val; version 1's
    multiple choice is left out. Photos lie in `folder`, in `train2014` and `val2014`, or in `images`; without them the
    questions can only be read alone. Raises DataError.
    """
    training, validation = split_by_picture(_read_split(folder, "train"), validation_share)
    return Splits("vqa", training, validation, _read_split(folder, "val"))


def vqa_files(folder: Path, split: str) -> tuple[Path, Path, Path | None]:
    """The files of questions and annotations of a split, "train" or "val", in `folder`, and the folder of its photos.

    The last is None where there is none. Raises DataError.
    """
    photos = [path for path in (folder / f"{split}2014", folder / "images") if path.is_dir()]
    return _find(folder, "questions", split), _find(folder, "annotations", split), photos[0] if photos else None


def _read_split(folder: Path, split: str) -> list[Example]:
    questions, annotations, photos = vqa_files(folder, split)
    return read_vqa(questions, read_annotations(annotations), photos)


def _find(folder: Path, kind: str, split: str) -> Path:
    """The file of `kind` (questions, annotations) and `split` (train, val) in `folder`."""
    named = sorted(path for path in folder.glob("*.json*") if kind in path.name and split in path.name)
    named = [path for path in named if "MultipleChoice" not in path.name]
    if len(named) != 1:
        names = ", ".join(path.name for path in named) or "none"
        raise DataError(f"{folder}: needs one JSON file of {split} {kind}, has {names}; {GET_HINT}")
    return named[0]


def write_results(path: Path, answers: Mapping[int, str]) -> None:
    """Writes answers by question id in the official format, `[{"question_id": 1, "answer": "yes"}]`.

    The file appears whole or not at all. Raises DataError. https://visualqa.org/evaluation.html
    """
    rows = [{"question_id": number, "answer": answer} for number, answer in answers.items()]
    write_whole(path, json.dumps(rows) + "\n")


def read_results(path: Path) -> dict[int, str]:
    """The answers of a result file by question id. Raises DataError."""
    content = read_json(path, "write it with `write_results`")
    answers: dict[int, str] = {}
    for entry, where in _entries({"results": content}, "results", path):
        number = _get(entry, "question_id", int, where)
        if number in answers:
            raise DataError(f"{path}: question {number} is answered twice; keep one answer")
        answers[number] = _get(entry, "answer", str, f"{path}: question {number}")
    return answers


def _entries(content: Any, key: str, path: Path) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The objects of the list at `key`, each with its place for a message."""
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataError(f"{path}: holds no list of {key}; is this the right file? {GET_HINT}")
    if not entries:
        raise DataError(f"{path}: its list of {key} is empty; {GET_HINT}")
    for number, entry in enumerate(entries, 1):
        where = f"{path}: entry {number} of its {key}"
        yield _object(entry, where), where


def _object(entry: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        raise DataError(f"{where} is {entry!r:.60} instead of an object; fetch the file again")
    return entry


def _get(entry: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    value = entry.get(key)
    # People, and models, may give an empty answer.
    empty = isinstance(value, str) and not value.strip() and key != "answer"
    # Not isinstance(): True is an int to Python.
    if type(value) is not kind or empty:
        wanted = {int: "a number", str: "a text", list: "a list"}[kind]
        problem = f"has {value!r:.60} as {key!r}" if key in entry else f"has no {key!r}"
        raise DataError(f"{where} {problem}, where {wanted} belongs; fetch the file again")
    return value


def _namer(subtype: Any, folder: Path | None) -> Callable[[int], str | None]:
    """A function from image id to file name, or to None for a photo that `folder` lacks."""
    if folder is None:
        prefix = f"COCO_{subtype}_" if isinstance(subtype, str) else "COCO_"
        return lambda image: f"{prefix}{image:012d}.jpg"
    # By the id at the end, so that files without a data_subtype, and the names of COCO 2017, do too.
    by_end = {Path(name).stem.rpartition("_")[2]: name for name in sorted(picture_names(folder))}
    return lambda image: by_end.get(f"{image:012d}")
