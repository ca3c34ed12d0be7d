"""Questions on pictures as a file, one JSON object a line, beside the pictures it names.

`{"facts": ["The red things are hot.", {"picture": "000001.png"}], "question": "Is the circle hot?", "answer": ["yes"],
"supporting": [0], "regions": [{"fact": 1, "box": [0.5, 0.25, 0.75, 0.5], "step": 0}], "kind": "scenes/mixed"}`; a
picture may have a "box". Fields are those of `Example`; the last three may be left out. Paths are relative to the file
and lead to pictures in its folder, or folders in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dmnplus.data.example import WHOLE, DataError, Example, Fact, Picture, Region, Source
from dmnplus.data.reading import decode
from dmnplus.data.writing import make_folder, write_lines

QUESTIONS_FILE = "questions.jsonl"

_Box: TypeAlias = tuple[float, float, float, float]
_Text: TypeAlias = Annotated[str, Field(min_length=1)]
_Index: TypeAlias = Annotated[int, Field(ge=0)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Picture(_Line):
    picture: _Text
    box: _Box = WHOLE


class _Region(_Line):
    fact: _Index
    box: _Box
    step: _Index = 0


class _Question(_Line):
    facts: Annotated[list[_Text | _Picture], Field(min_length=1)]
    question: _Text
    answer: Annotated[list[_Text], Field(min_length=1)]
    supporting: list[_Index] = []
    regions: list[_Region] = []
    kind: str = ""


def new_folder(folder: Path) -> None:
    """Makes `folder` for pictures to be drawn; raises DataError if it holds a finished data set or cannot be made."""
    if (folder / QUESTIONS_FILE).exists():
        # Its pictures would be drawn over.
        raise DataError(f"{folder}: already holds {QUESTIONS_FILE}; choose another folder, or remove this one")
    make_folder(folder)


def write_scenes(examples: Sequence[Example], folder: Path) -> Path:
    """Writes `questions.jsonl` to `folder`, where the pictures are, and returns its path; `read_scenes` gives it back.

    The file appears whole or not at all. Raises DataError for a picture outside `folder`.
    """
    path = folder / QUESTIONS_FILE
    write_lines(path, [_line(example, folder) for example in examples])
    return path


def read_scenes(path: Path) -> list[Example]:
    """The questions of a file, or of `questions.jsonl` in a folder, in order.

    Raises DataError, with file and line, for what is missing or wrong.
    """
    if path.is_dir():
        path = path / QUESTIONS_FILE
    try:
        text = decode(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; run `dmnplus data scenes FOLDER` to make scenes") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
    # Whoever wrote the file may not have what else is on this disk shown. Where all files are links into one folder, as
    # in the cache of the Hugging Face Hub, pictures lie there.
    folders = {path.parent.resolve(), path.resolve().parent}
    there: set[Path] = set()
    examples = [
        _parse(line, path, number, folders, there)
        for number, line in enumerate(text.split("\n"), 1)
        if line and not line.isspace()
    ]
    if not examples:
        raise DataError(f"{path}: holds no question; write one JSON object a line")
    return examples


def _line(example: Example, folder: Path) -> str:
    facts: list[str | _Picture] = []
    for fact in example.facts:
        if isinstance(fact, Picture):
            if not Path(fact.path).is_relative_to(folder):
                raise DataError(f"{fact.path}: is not in {folder}; write the questions where the pictures are")
            facts.append(_Picture(picture=Path(fact.path).relative_to(folder).as_posix(), box=fact.box))
        else:
            facts.append(fact)
    return _Question(
        facts=facts,
        question=example.question,
        answer=list(example.answer),
        supporting=list(example.supporting),
        regions=[_Region(fact=region.fact, box=region.box, step=region.step) for region in example.regions],
        kind=example.source.kind,
    ).model_dump_json(exclude_defaults=True)


def _parse(line: str, path: Path, number: int, folders: set[Path], there: set[Path]) -> Example:
    """One question, its pictures in one of `folders`; `there` are those that were found already."""

    def fail(problem: str) -> NoReturn:
        raise DataError(f"{path}:{number}: {problem}")

    try:
        read = _Question.model_validate_json(line)
    except ValidationError as error:
        first: Any = error.errors()[0]
        fail(f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}")
    facts: list[Fact] = []
    for fact in read.facts:
        if isinstance(fact, str):
            facts.append(fact)
            continue
        picture = path.parent / fact.picture
        if picture not in there:
            if not picture.is_file():
                fail(f"the picture {fact.picture} is not there; put it beside {path.name}")
            if Path(fact.picture).is_absolute() or folders.isdisjoint(picture.resolve().parents):
                fail(
                    f"{fact.picture} is no path within the folder of {path.name}; copy the picture there and name it so"
                )
            there.add(picture)
        _check_box(fact.box, fail)
        facts.append(Picture(str(picture), fact.box))
    for index in read.supporting:
        if index >= len(facts):
            fail(f"supporting fact {index} is not among the {len(facts)} facts; number them from 0")
    for region in read.regions:
        if region.fact >= len(facts) or isinstance(facts[region.fact], str):
            fail(f"a region is in fact {region.fact}, which is not a picture; number facts from 0")
        _check_box(region.box, fail)
    return Example(
        facts=tuple(facts),
        question=read.question,
        answer=tuple(read.answer),
        supporting=tuple(read.supporting),
        regions=tuple(Region(region.fact, region.box, region.step) for region in read.regions),
        source=Source(str(path), number, read.kind),
    )


def _check_box(box: _Box, fail: Callable[[str], NoReturn]) -> None:
    left, top, right, bottom = box
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        fail(f"the box {list(box)} is not left, top, right, bottom as shares of the picture from 0 to 1")
