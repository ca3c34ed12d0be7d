"""Reader of a user's own questions: JSON lines, CSV, Parquet, or a Hugging Face dataset saved to disk.

A row is a question, in these columns; question, answer, and facts or images are needed:

- `facts`: a list of sentences and pictures (`{"picture": "a.png", "box": [0, 0, 0.5, 1]}`), or one text, split into
  sentences; `images`: a path or a list of them, relative to the file; they stand before the facts.
- `question`; `answer`: a word, several words, or a list of them.
- `supporting`: places of the facts that lead to the answer, from 0, images counted first; `regions`: parts of pictures
  to look at, as in `dmnplus.data.scenes.files`.
- `group`: the story that the row belongs to; `split`: train, valid or test; `kind`: what results are listed by.

In CSV a list is JSON, or has its parts between semicolons. A text of several sentences is split only at semicolons that
follow the end of one.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import json
import math
import os
import random
import re
import reprlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dmnplus.data.example import WHOLE, DataError, Example, Fact, Picture, Region, Source, Splits, iter_pictures
from dmnplus.data.reading import read_text
from dmnplus.data.words import split_sentences

COLUMNS = ("facts", "images", "question", "answer", "supporting", "regions", "group", "split", "kind")
SPLITS = {"train": "train", "training": "train", "test": "test"}
SPLITS |= dict.fromkeys(("valid", "validation", "val", "dev"), "valid")
PARTS = ("train", "valid", "test")
KINDS_OF_FILE = "a .jsonl, .csv, .tsv (each also as .gz) or .parquet file, or a Hugging Face dataset saved to disk"
_AROUND = ".,;:!?\"'"


@dataclass(frozen=True)
class Row:
    """A question with the story (`group`) and the part (train, valid, test) it is said to belong to, or empty."""

    example: Example
    group: str = ""
    split: str = ""


@dataclass
class OwnFile:
    """What a file holds: the questions that can be read, and what is wrong with the others."""

    path: Path
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    """Columns that are not read, with the number of rows that have them."""
    sha256: str = ""


def counted(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number} {noun}{'s' * (number != 1)}"


def read_own(path: Path) -> OwnFile:
    """Every question of a file, and everything that is wrong with it, a line `file:line: problem` each.

    Raises `DataError` only where there is no such file, or none that can be opened.
    """
    file = OwnFile(path)
    digest = hashlib.sha256()
    there: dict[Path, bool] = {}
    count = 0
    for number, values in _records(path, file.problems, digest):
        count += 1
        _read_row(values, number, file, there)
    file.sha256 = digest.hexdigest()
    if not count and not file.problems:
        file.problems.append(f"{path}: holds no question")
    if any(row.split for row in file.rows):
        file.problems += [
            f"{row.example.source}: has no split, and other rows do" for row in file.rows if not row.split
        ]
    return file


def require(file: OwnFile) -> OwnFile:
    """`file` itself if nothing is wrong with it; raises `DataError` with the first problem otherwise."""
    if not file.problems:
        return file
    others = len(file.problems) - 1
    more = f" ({counted(others, 'more problem')}: see `dmnplus data check {file.path}`)" if others else ""
    raise DataError(file.problems[0] + more)


def divide(
    file: OwnFile,
    valid: OwnFile | None = None,
    test: OwnFile | None = None,
    *,
    validation_share: float = 0.1,
    test_share: float = 0.1,
    seed: int = 0,
) -> dict[str, list[Row]]:
    """The rows that train, validate and test, by the names in `PARTS`.

    Explicit files go before the split column, and that before a random draw of stories: by shares of the questions, the
    same for the same rows and seed, whatever their order. Raises `DataError` if there are too few stories.
    """
    stated = any(row.split for row in file.rows)
    parts = {part: [row for row in file.rows if row.split == part] for part in PARTS}
    if not stated:
        parts["train"] = file.rows
    parts |= {part: given.rows for part, given in (("valid", valid), ("test", test)) if given is not None}
    drawn = not stated and test is None and test_share > 0
    if drawn:
        left = 2 if valid is None else 1
        parts["train"], parts["test"] = _hold_out(parts["train"], test_share, f"test {seed}", file.path, left)
    if valid is None and not parts["valid"]:
        # Of what is left, so that the share is one of the whole.
        share = validation_share / (1 - test_share) if drawn else validation_share
        parts["train"], parts["valid"] = _hold_out(parts["train"], share, f"valid {seed}", file.path)
    if not parts["train"]:
        raise DataError(f"{file.path}: no question is left to train on; give more, or rows with split train")
    return parts


def own_splits(parts: Mapping[str, Sequence[Row]], files: Mapping[str, OwnFile]) -> Splits:
    """The questions of a run; `files` are those that `parts` come from, as `data`, `valid` and `test`."""
    training, validation, testing = ([row.example for row in parts[part]] for part in PARTS)
    name = f"own ({', '.join(file.path.name for file in files.values())})"
    hashes = {role: file.sha256 for role, file in files.items()}
    return Splits(name, training, validation, testing, separator=" ", files=hashes)


def shared_stories(rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """What two of the parts have in common: a line for each story in more than one, with where it is first found."""
    everything = [(part, row) for part, part_rows in rows.items() for row in part_rows]
    stories: dict[int, dict[str, Row]] = {}
    for story, (part, row) in zip(number_stories([row for _, row in everything]), everything, strict=True):
        stories.setdefault(story, {}).setdefault(part, row)
    return [
        " and ".join(f"{row.example.source} ({part})" for part, row in found.items()) + " are about one story"
        for found in stories.values()
        if len(found) > 1
    ]


def number_stories(rows: Sequence[Row]) -> list[int]:
    """The number of each row's story, from 0.

    Rows are of one story if they have the same `group` or the same facts, or, without a group, if the facts of one are
    the beginning of the other's (the story so far, and later), or if both show a picture of the same file.
    """
    parents = list(range(len(rows)))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    first: dict[object, int] = {}
    alone: dict[tuple[Fact, ...], int] = {}
    for i, row in enumerate(rows):
        keys: list[object] = [row.example.facts]
        if row.group:
            keys.append(("group", row.group))
        else:
            # Not resolved, which would ask the disk for each.
            paths = (os.path.abspath(picture.path) for picture in iter_pictures([row.example]))  # noqa: PTH100
            keys += [("picture", path) for path in paths]
            alone[row.example.facts] = i
        for key in keys:
            parents[root(i)] = root(first.setdefault(key, i))
    for facts, i in alone.items():
        for length in range(1, len(facts)):
            if (j := alone.get(facts[:length])) is not None:
                parents[root(i)] = root(j)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(i), len(numbers)) for i in range(len(rows))]


def _hold_out(rows: Sequence[Row], share: float, seed: str, path: Path, left: int = 1) -> tuple[list[Row], list[Row]]:
    """The rows that stay, of `left` stories or more, and about a `share` held out, of stories drawn by `seed`."""
    stories: dict[int, list[int]] = {}
    for i, story in enumerate(number_stories(rows)):
        stories.setdefault(story, []).append(i)
    if len(stories) < 2:
        raise DataError(
            f"{path}: {counted(len(rows), 'question')} about one story, of which no part can be held out; write a "
            "`group` or a `split` to each row, or give --valid and --test"
        )

    def told(story: Sequence[int]) -> tuple[list[str], list[tuple[str, tuple[float, ...]]]]:
        facts = (rows[i].example.facts for i in story)
        # Of pictures called alike, their folders and boxes tell.
        return min(
            (
                [Path(f.path).name if isinstance(f, Picture) else f for f in each],
                [(f.path, f.box) for f in each if isinstance(f, Picture)],
            )
            for each in facts
        )

    # In the order of what they tell, so that neither the order of rows nor the folder of the file matters.
    drawn = sorted(stories.values(), key=told)
    random.Random(seed).shuffle(drawn)
    held: set[int] = set()
    for story in drawn[:-left]:
        # One too large for the share is passed over, as a smaller one may follow.
        if len(held) + len(story) / 2 <= share * len(rows):
            held.update(story)
    held = held or {*min(drawn, key=len)}
    return [row for i, row in enumerate(rows) if i not in held], [rows[i] for i in sorted(held)]


def _records(path: Path, problems: list[str], digest: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each row's line (from 1) and its columns as the file has them."""
    name = path.name.lower().removesuffix(".gz")
    if path.is_dir():
        yield from _saved_dataset(path, digest)
    elif name.endswith((".jsonl", ".ndjson")):
        yield from _json_lines(path, problems, digest)
    elif name.endswith((".csv", ".tsv")):
        yield from _csv_rows(path, "\t" if name.endswith(".tsv") else ",", problems, digest)
    elif name.endswith(".parquet"):
        yield from _parquet_rows(path, digest)
    elif path.exists():
        raise DataError(f"{path}: is not {KINDS_OF_FILE}")
    else:
        raise DataError(f"{path}: no such file; give {KINDS_OF_FILE}")


def _json_lines(path: Path, problems: list[str], digest: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    text = read_text(path, f"give {KINDS_OF_FILE}")
    digest.update(text.encode())
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = _parse(line)
        except json.JSONDecodeError as error:
            problems.append(f"{path}:{number}: is not JSON from column {error.colno} on ({error.msg})")
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
        else:
            if isinstance(values, dict):
                yield number, values
            else:
                problems.append(f'{path}:{number}: is no JSON object, as in {{"facts": [...], "question": ...}}')


def _parse(text: str) -> Any:
    """`text` as JSON. Raises `ValueError` for what is none, or nothing that can be read on."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        if twice:
            raise ValueError(f"has {twice[0]!r} twice")
        return dict(pairs)

    try:
        values = json.loads(text, object_pairs_hook=once)
        # Only an escape can be half of a character, which nothing can print or keep.
        if "\\u" in text:
            json.dumps(values, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except UnicodeEncodeError as error:
        raise ValueError(f"has half of a character ({error.object[error.start]!r}); write all of it") from None
    return values


def _csv_rows(path: Path, delimiter: str, problems: list[str], digest: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    text = read_text(path, f"give {KINDS_OF_FILE}")
    digest.update(text.encode())
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    end = 0
    while True:
        try:
            cells = next(rows, None)
        except csv.Error as error:
            # What comes after a quote that is not closed belongs to nobody.
            problems.append(f"{path}:{end + 1}: cannot be read from here on ({error}); close its quotes")
            return
        if cells is None:
            return
        # A cell may hold line ends; a row is named by its first line.
        number, end = end + 1, rows.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = [cell.strip().lower() for cell in cells]
            if twice := [name for name, count in Counter(header).items() if count > 1]:
                raise DataError(f"{path}:{number}: has the column {twice[0]!r} twice")
            if missing := [name for name in ("question", "answer") if name not in header]:
                raise DataError(f"{path}:{number}: the first line names the columns, and {missing[0]!r} is not there")
        elif len(cells) != len(header):
            problems.append(f"{path}:{number}: has {len(cells)} cells, and the first line names {len(header)} columns")
        else:
            try:
                values = {name: _cell(name, cell) for name, cell in zip(header, cells, strict=True) if cell.strip()}
            except _Wrong as wrong:
                problems.append(f"{path}:{number}: {wrong}")
            else:
                yield number, values


def _cell(name: str, cell: str) -> Any:
    """The value of a CSV cell: lists are JSON, or stand between semicolons."""
    if name in ("facts", "images", "supporting", "regions", "answer") and cell.lstrip().startswith("["):
        try:
            return _parse(cell)
        except json.JSONDecodeError:
            # As Python and NumPy print lists; read as one text it would teach a model brackets and quotes.
            if cell.lstrip()[1:].lstrip().startswith(("'", '"')):
                raise _Wrong(f'{name} is a list, and not in JSON, as in ["a", "b"]; write it so') from None
        except ValueError as error:
            raise _Wrong(f"{name} {error}") from None
    if name == "facts":
        # Within a sentence a semicolon may belong to it; where nothing else divides the text, it is a list.
        return re.sub(r"(?<=[.!?]);" if len(split_sentences(cell)) > 1 else ";", "\n", cell)
    if name in ("images", "supporting", "answer"):
        parts = [part.strip() for part in cell.split(";") if part.strip()] or [cell]
        # More digits than a place can have stay what they are, and are named as no place.
        return [int(part) if name == "supporting" and part.isdecimal() and len(part) < 10 else part for part in parts]
    return cell


def _parquet_rows(path: Path, digest: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    arrow = _pyarrow()
    try:
        digest.update(path.read_bytes())
        rows = arrow.parquet.read_table(path).to_pylist()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; give {KINDS_OF_FILE}") from error
    except (OSError, ValueError, arrow.ArrowException) as error:
        raise DataError(f"{path}: is not readable as Parquet ({error})") from error
    yield from enumerate(rows, 1)


def _saved_dataset(path: Path, digest: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of `Dataset.save_to_disk`, or of a `DatasetDict`, whose splits become the column `split`."""
    try:
        if (path / "dataset_dict.json").is_file():
            start = 0
            for split in json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]:
                number = 0
                for number, values in _arrow_rows(path / split, digest):
                    yield start + number, {**values, "split": split}
                start += number
        elif (path / "state.json").is_file():
            yield from _arrow_rows(path, digest)
        else:
            raise DataError(f"{path}: is a folder, and no Hugging Face dataset is saved in it; give {KINDS_OF_FILE}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: is a damaged dataset ({error}); save it again") from error


def _arrow_rows(folder: Path, digest: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    arrow = _pyarrow()
    number = 0
    for data in json.loads((folder / "state.json").read_text(encoding="utf-8"))["_data_files"]:
        path = folder / data["filename"]
        digest.update(path.read_bytes())
        with arrow.memory_map(str(path)) as source, arrow.ipc.open_stream(source) as stream:
            for batch in stream:
                for values in batch.to_pylist():
                    number += 1
                    yield number, values


def _pyarrow() -> Any:
    try:
        import pyarrow as arrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError('Parquet files and Hugging Face datasets need pip install "dmnplus[own]"') from error
    return arrow


class _Wrong(ValueError):
    """What is wrong with one column."""


def _read_row(values: Mapping[str, Any], number: int, file: OwnFile, there: dict[Path, bool]) -> None:
    """Add a row to `file`, or all that is wrong with it; `there` remembers which pictures exist."""
    # Parquet and Arrow hold every column in every row.
    values = {name: value for name, value in values.items() if value is not None}
    problems: list[str] = []

    def read(column: str, reader: Any, default: Any = None) -> Any:
        if column not in values:
            return default
        try:
            return reader(values[column])
        except _Wrong as wrong:
            problems.append(f"{column} {wrong}")
        # Such as a name longer than a file can have.
        except (OSError, ValueError, RecursionError) as error:
            problems.append(f"{column} cannot be read ({getattr(error, 'strerror', None) or error})")
        return None

    for name in values:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.75)
            if near and near[0] not in values:
                problems.append(f"the column {name!r} is not known; did you mean {near[0]!r}?")
            else:
                file.ignored[name] += 1
    problems += [f"has no {name}" for name in ("question", "answer") if name not in values]
    images = read("images", lambda value: _images(value, file.path, there), [])
    told = read("facts", lambda value: _facts(value, file.path, there), [])
    facts: tuple[Fact, ...] = (*(images or ()), *(told or ()))
    if not facts and images is not None and told is not None:
        problems.append("has neither facts nor images")
    # Where facts are missing or could not be read, places among them say nothing.
    whole = bool(facts) and images is not None and told is not None
    question = read("question", _text, "")
    answer = read("answer", _answer, ())
    supporting = read("supporting", lambda value: _supporting(value, len(facts) if whole else None), ())
    regions = read("regions", lambda value: _regions(value, facts if whole else None), ())
    group = read("group", _label, "")
    split = read("split", _split, "")
    kind = read("kind", _label, "")
    if problems:
        file.problems += [f"{file.path}:{number}: {problem}" for problem in problems]
        return
    example = Example(
        facts=facts,
        question=question,
        answer=answer,
        supporting=supporting,
        regions=regions,
        source=Source(str(file.path), number, kind),
    )
    file.rows.append(Row(example, group, split))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"is {value!r}; it must be a text")
    if not value.strip():
        raise _Wrong("is empty")
    return _composed(value)


def _composed(text: str) -> str:
    """`text` in the form that words are read in (`find_words`), so that it is one and the same however it was typed."""
    return unicodedata.normalize("NFC", text.strip())


def _label(value: object) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise _Wrong(f"is {value!r}; it must be a text or a number")
    return str(value).strip()


def _split(value: object) -> str:
    split = SPLITS.get(value.strip().lower()) if isinstance(value, str) else None
    if split is None:
        raise _Wrong(f"is {value!r}; it takes train, valid or test")
    return split


def _answer(value: object) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else [value]
    words: list[str] = []
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, str | int | float):
            raise _Wrong(f"is {value!r}; it must be a word, several words, or a list of words")
        if isinstance(part, float) and not math.isfinite(part):
            raise _Wrong(f"is {part}, which is no number; if it is a word, put it between quotes")
        found = _composed(str(part)).split()
        if not found:
            raise _Wrong("is empty" if parts == [part] else "has an empty word")
        # Marks around a word are no part of it; where there is nothing else, they are the word.
        words += [word.strip(_AROUND) or word for word in found]
    if not words:
        raise _Wrong("is empty")
    return tuple(words)


def _facts(value: object, file: Path, there: dict[Path, bool]) -> list[Fact]:
    if isinstance(value, str):
        return [*split_sentences(_text(value))]
    if not isinstance(value, list):
        raise _Wrong(f"are {value!r}; they must be a list of sentences, or one text")
    facts: list[Fact] = []
    for place, fact in enumerate(value):
        if isinstance(fact, dict):
            facts.append(_picture(fact, f"[{place}]", file, there))
        elif isinstance(fact, str) and fact.strip():
            facts.append(_composed(fact))
        else:
            raise _Wrong(f"[{place}] is {fact!r}; it must be a sentence, or a picture as in {{'picture': 'a.png'}}")
    return facts


def _images(value: object, file: Path, there: dict[Path, bool]) -> list[Fact]:
    listed = value if isinstance(value, list) else [value]
    pictures: list[Fact] = []
    for place, image in enumerate(listed):
        if isinstance(image, dict):
            if image.get("bytes") and not image.get("path"):
                raise _Wrong(f"[{place}] is held in the table; save the pictures as files and name them by path")
            image = image.get("path")
        pictures.append(_picture({"picture": image}, f"[{place}]", file, there))
    return pictures


def _picture(values: Mapping[str, Any], where: str, file: Path, there: dict[Path, bool]) -> Picture:
    values = {key: value for key, value in values.items() if value is not None}
    name = values.get("picture")
    if not isinstance(name, str) or not name.strip() or not {*values} <= {"picture", "box"}:
        raise _Wrong(f"{where} is {dict(values)!r}; a picture is named by its path, as in {{'picture': 'a.png'}}")
    path = file.parent / name
    if not there.setdefault(path, path.is_file()):
        raise _Wrong(f"{where} names {name}, and no such file is in {file.parent}")
    return Picture(str(path), _box(values["box"], where) if "box" in values else WHOLE)


def _box(value: object, where: str) -> tuple[float, float, float, float]:
    if isinstance(value, list) and len(value) == 4 and all(isinstance(x, int | float) for x in value):
        left, top, right, bottom = value
        if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
            return left, top, right, bottom
    raise _Wrong(f"{where} has the box {value!r}; it takes left, top, right, bottom as shares of the picture, 0 to 1")


def _supporting(value: object, facts: int | None) -> tuple[int, ...]:
    listed: list[Any] = value if isinstance(value, list) else [value]
    for place in listed:
        if isinstance(place, bool) or not isinstance(place, int):
            raise _Wrong(f"holds {reprlib.repr(place)}; it takes places of facts, from 0")
        if facts is not None and not 0 <= place < facts:
            raise _Wrong(f"names fact {place}, and there are {facts}, counted from 0")
    if len({*listed}) < len(listed):
        raise _Wrong(f"is {listed}; it names a fact twice")
    return tuple(listed)


def _regions(value: object, facts: Sequence[Fact] | None) -> tuple[Region, ...]:
    regions: list[Region] = []
    for region in value if isinstance(value, list) else [value]:
        if not isinstance(region, dict) or not {"fact", "box"} <= {*region} <= {"fact", "box", "step"}:
            raise _Wrong(f"hold {region!r}; a region has a fact and a box, and may have a step")
        place, step = region["fact"], region.get("step") or 0
        if not isinstance(place, int) or not isinstance(step, int) or step < 0:
            raise _Wrong(f"hold {region!r}; fact and step are numbers from 0")
        if facts is not None and not (0 <= place < len(facts) and isinstance(facts[place], Picture)):
            raise _Wrong(f"name fact {place}, which is no picture")
        regions.append(Region(place, _box(region["box"], ""), step))
    return tuple(regions)


def iter_contradictions(rows: Iterable[Row]) -> Iterator[str]:
    """Rows that ask the same about the same facts, and answer differently; a line each."""
    answers: dict[tuple[tuple[Fact, ...], str], Example] = {}
    for row in rows:
        first = answers.setdefault((row.example.facts, row.example.question), row.example)
        if first.answer != row.example.answer:
            one, other = " ".join(first.answer), " ".join(row.example.answer)
            yield f"{row.example.source}: answers {other!r}, and {first.source} the same question by {one!r}"
