"""Small data sets in the official layouts, for the tests of the readers and of what is trained on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dmnplus.data.example import DataError


def refusal(call: Any, folder: Path) -> str:
    """The one DataError of `call()`, on one line, with `folder` cut off the file names."""
    try:
        call()
    except DataError as error:
        text = str(error)
        assert "\n" not in text
        # Every message goes on to say what to do.
        assert ";" in text
        return text.replace(f"{folder}/", "")
    raise AssertionError("no DataError was raised")


def touch(folder: Path, names: Iterable[str]) -> Path:
    """Empty files: readers look whether pictures are there, not into them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def daquar(folder: Path, content: str | bytes, pictures: Iterable[str] = ("image1.jpg", "image2.png")) -> Path:
    touch(folder / "images", pictures)
    file = folder / "qa.894.raw.train.txt"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def vqa_question(number: int, image: int = 9, question: str = "Is it red?") -> dict[str, Any]:
    return {"question_id": number, "image_id": image, "question": question}


def vqa_annotation(
    number: int, answers: Sequence[str] = ("yes",) * 10, kind: str = "yes/no", first: str = "is it"
) -> dict[str, Any]:
    people = [
        {"answer": answer, "answer_confidence": "yes", "answer_id": place} for place, answer in enumerate(answers, 1)
    ]
    return {
        "question_id": number,
        "question_type": first,
        "answer_type": kind,
        "multiple_choice_answer": max(answers, key=list(answers).count),
        "answers": people,
    }


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
