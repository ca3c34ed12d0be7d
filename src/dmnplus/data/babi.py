"""Reader and writer of the bAbI question answering tasks, version 1.2, in their official text format.

A file is a row of stories. Every line is `number text` (a fact) or `number question<tab>answer<tab>supporting lines`;
numbers count the lines of a story, questions included, and start again at 1 with the next story. Answers of several
words are comma separated (tasks 8 and 19); a Hindi answer may hold a space ("rasoi ghar"), which is one answer.

Weston et al. 2015, https://arxiv.org/abs/1502.05698; the archive's own README.txt; licence CC BY 3.0.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NoReturn

from dmnplus.data.archive import is_archive, open_tar
from dmnplus.data.example import DataError, Example, Fact, Source
from dmnplus.data.location import ENVIRONMENT_VARIABLE, default_data_root
from dmnplus.data.reading import decode
from dmnplus.data.writing import write_lines

ARCHIVE_FOLDER = "tasks_1-20_v1-2"
ARCHIVE_NAME = f"{ARCHIVE_FOLDER}.tar.gz"
LANGUAGES = ("en", "en-10k", "en-valid", "en-valid-10k", "hn", "hn-10k", "shuffled", "shuffled-10k")
SPLITS = ("train", "valid", "test")
TASKS = range(1, 21)

GET_HINT = "run `dmnplus data get babi` for the official archive, or `dmnplus data generate` for generated stories"

# `qa3_three-supporting-facts_train.txt`; the en-valid folders leave the task's name out: `qa3_valid.txt`.
_FILE_NAME = re.compile(r"qa(?P<task>[1-9]\d?)(?:_[^/]*)?_(?P<split>train|valid|test)\.txt")
_LINE = re.compile(r"(\d{1,9}) (.*)", re.ASCII | re.DOTALL)
_SUPPORTING = re.compile(r"\d{1,9}(?: +\d{1,9})*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_UNASKED = (
    "the story before this ends with facts and no question; the file may be cut: fetch it again or ask a question"
)
# The largest official file has 15 MB; more than this in one member is not bAbI.
_MEMBER_LIMIT = 100_000_000


class MissingFileError(DataError):
    """The archive or folder is there, but not this file of it."""


def find_babi(path: Path | None = None) -> Path:
    """The archive or folder to hand to `read_babi`: `path` if given, else what lies in `default_data_root()`.

    Raises DataError where there is none, with what to run.
    """
    root = path or default_data_root()
    with _reading(root):
        if path is not None:
            path.stat()
            return path
        for found in (root / ARCHIVE_FOLDER, root / ARCHIVE_NAME):
            if found.exists():
                return found
        # A folder that itself holds en-10k/ or qa1_*.txt.
        names = [entry.name for entry in root.iterdir()] if root.is_dir() else []
        if any(name in LANGUAGES or _FILE_NAME.fullmatch(name) for name in names):
            return root
    why = f" (from {ENVIRONMENT_VARIABLE})" if os.environ.get(ENVIRONMENT_VARIABLE) else ""
    raise DataError(f"{root}{why}: neither {ARCHIVE_FOLDER}/ nor {ARCHIVE_NAME} is there; {GET_HINT}")


def is_one_file(path: Path) -> bool:
    """Whether `path` is a file of questions, and no folder or archive of several."""
    return path.is_file() and not is_archive(path)


def read_babi(path: Path, task: int, split: str, language: str = "en-10k") -> list[Example]:
    """The questions of one task in file order, each with the facts that precede it.

    `path` is the official archive (read in memory), its unpacked folder or that folder's parent, a folder that holds
    the `qaN_*.txt` files, or one such file (whose `language` is then not checked).

    Raises DataError, with file and line, for anything missing or damaged; an official file that holds fewer questions
    than published is an error too, never a shorter data set.
    """
    _check_choice("task", task, TASKS)
    _check_choice("split", split, SPLITS)
    _check_choice("language", language, LANGUAGES)
    if split == "valid" and "valid" not in language:
        raise DataError(
            f"language {language!r} has no split 'valid'; use 'en-valid' or 'en-valid-10k', "
            "or hold out the end of the training file (`split_validation`)"
        )
    with _reading(path):
        if path.is_dir():
            return _read_from_folder(path, task, split, language)
        if is_archive(path):
            return _read_from_archive(path, task, split, language)
    match = _FILE_NAME.fullmatch(path.name)
    if match and (int(match["task"]), match["split"]) != (task, split):
        raise DataError(
            f"{path}: by its name this is task {match['task']}, split {match['split']!r}, but task {task}, split "
            f"{split!r} was asked for; give the file of that task and split, or the folder they are in"
        )
    return read_babi_file(path, kind=f"babi/{task}")


def read_babi_file(path: Path, kind: str = "babi") -> list[Example]:
    """The questions of one text file in the official format, official or the user's own. Raises DataError."""
    with _reading(path):
        data = path.read_bytes()
    return _parse_bytes(data, str(path), kind)


def parse_babi(lines: Iterable[str], *, file: str = "", kind: str = "babi") -> list[Example]:
    """The questions in `lines` (with or without line ends; blank lines are skipped).

    `file` and `kind` go into each example's source. Supporting line numbers become 0-based indices into the facts, in
    the order listed; a question may leave that column out. Raises DataError `file:line: what is wrong; what to do`.
    """
    examples: list[Example] = []
    facts: list[str] = []
    # For each numbered line of the story, the index of its fact; None for a question.
    fact_of_line: list[int | None] = []
    asked = True

    def fail(line: int, problem: str) -> NoReturn:
        raise DataError(f"{Source(file, line)}: {problem}")

    line_number = 0
    for line_number, raw in enumerate(lines, 1):
        text = raw.rstrip("\r\n")
        if not text.isprintable() and (control := _CONTROL.search(text)):
            fail(line_number, f"holds the control character {control[0]!r}; is this a text file? Save it as UTF-8 text")
        match = _LINE.fullmatch(text)
        if match is None:
            if not text or text.isspace():
                continue
            fail(
                line_number, f"does not start with a line number and a space: {_short(text)}; write '1 Mary went home.'"
            )
        number, body = int(match[1]), match[2]
        if number == 1:
            if not asked:
                fail(line_number, _UNASKED)
            facts, fact_of_line = [], []
        elif number != len(fact_of_line) + 1:
            fail(
                line_number,
                f"is numbered {number} where {len(fact_of_line) + 1} is expected"
                + (" (or 1 for a new story)" if fact_of_line else ": a file starts with line 1 of a story")
                + "; a line is missing or misnumbered",
            )
        fact_text, *columns = body.split("\t")
        fact_text = fact_text.strip()
        if not fact_text:
            fail(line_number, "holds no text after its number; write a fact or a question")
        if not columns:
            if "?" in fact_text and not fact_text.endswith((".", "!", '"', "'")):
                fail(line_number, f"is a question without an answer; add a tab and the answer: {_short(fact_text)}")
            fact_of_line.append(len(facts))
            facts.append(fact_text)
            asked = False
            continue
        if not facts:
            fail(line_number, "asks a question before the story has any fact; put its facts before it")
        answer = tuple(word.strip() for word in columns[0].split(","))
        if not all(answer):
            fail(line_number, f"has an empty answer or two tabs in a row: {_short(body)}; write question, tab, answer")
        if len(columns) > 2:
            fail(line_number, f"has {len(columns) + 1} columns; write question, tab, answer, tab, supporting lines")
        supporting: list[int] = []
        listed = columns[1].strip() if len(columns) == 2 else ""
        if listed and not _SUPPORTING.fullmatch(listed):
            fail(line_number, f"lists supporting facts as {listed!r}; write line numbers with spaces, like '2 5'")
        for word in listed.split():
            named = int(word)
            if not 1 <= named <= len(fact_of_line):
                fail(
                    line_number,
                    f"names line {named} as supporting fact, but the story so far has lines 1 to {len(fact_of_line)}; "
                    "name lines above the question",
                )
            index = fact_of_line[named - 1]
            if index is None:
                fail(line_number, f"names line {named} as supporting fact, which is a question; name a fact")
            supporting.append(index)
        fact_of_line.append(None)
        asked = True
        examples.append(
            Example(
                facts=tuple(facts),
                question=fact_text,
                answer=answer,
                supporting=tuple(supporting),
                source=Source(file, line_number, kind),
            )
        )
    if not asked:
        fail(line_number, _UNASKED)
    if not examples:
        raise DataError(f"{file}: holds no question; write one as '3 Where is Mary?', tab, 'kitchen', tab, '1'")
    return examples


def write_babi(examples: Sequence[Example], path: Path) -> None:
    """Writes `examples` in the official format, so that `read_babi_file` gives them back (sources aside).

    Neighbours whose facts continue each other become one story. The file appears whole or not at all. Raises
    DataError, and writes nothing, for what the format cannot hold (a tab in a fact, a comma in an answer word).
    """
    lines = list(_story_lines(examples))
    for example, back in zip(examples, parse_babi(lines, file=str(path)), strict=True):
        if _content(example) != _content(back):
            raise DataError(
                f"{path}: the bAbI format cannot hold the question {_short(example.question)} ({example.source}) "
                "as it is; take out tabs and outer spaces, and commas within an answer word"
            )
    write_lines(path, lines)


def _story_lines(examples: Sequence[Example]) -> Iterator[str]:
    written: tuple[Fact, ...] = ()
    line_of_fact: list[int] = []
    number = 0
    for example in examples:
        if number == 0 or example.facts[: len(written)] != written:
            written, line_of_fact, number = (), [], 0
        for fact in example.facts[len(written) :]:
            number += 1
            line_of_fact.append(number)
            yield f"{number} {fact}"
        written = example.facts
        number += 1
        if not all(0 <= index < len(line_of_fact) for index in example.supporting):
            raise DataError(
                f"{example.source}: supporting facts {example.supporting} of {_short(example.question)} are not all "
                f"among its {len(line_of_fact)} facts; number them from 0"
            )
        line = f"{number} {example.question}\t{example.answer_text}"
        if example.supporting:
            line += "\t" + " ".join(str(line_of_fact[index]) for index in example.supporting)
        yield line


def _content(example: Example) -> tuple[object, ...]:
    return example.facts, example.question, example.answer, example.supporting


def _parse_bytes(data: bytes, file: str, kind: str, whole: bool = False) -> list[Example]:
    """`whole`: an official file, which ends with a line end; in a user's own file a complete last question will do."""
    if not data.strip():
        raise DataError(f"{file}: is empty; fetch or write it again")
    lines = decode(data, file).split("\n")
    last = lines[-1]
    if last:
        # "5 Where is Mary?<tab>hall" may once have been "hallway<tab>12": without a line end, only a question with all
        # columns of the others counts as complete.
        columns = max((line.count("\t") for line in lines[:-1]), default=last.count("\t"))
        if whole or not last.count("\t") or last.count("\t") < columns or last.endswith("\t"):
            raise DataError(
                f"{file}:{len(lines)}: the file breaks off in this line: {_short(last)}; "
                "fetch it again, or finish the line and end it with a newline"
            )
    return parse_babi(lines, file=file, kind=kind)


def _read_from_archive(path: Path, task: int, split: str, language: str) -> list[Example]:
    status = path.stat()
    files = _archive_files(path.absolute(), language, status.st_mtime_ns, status.st_size)
    name = _choose(files, task, split, f"{path}/{ARCHIVE_FOLDER}/{language}")
    return _parse_official(files[name], f"{path}/{name}", task, split, language)


def _read_from_folder(path: Path, task: int, split: str, language: str) -> list[Example]:
    folders = (path / language, path / ARCHIVE_FOLDER / language)
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None and (path / ARCHIVE_NAME).is_file():
        return _read_from_archive(path / ARCHIVE_NAME, task, split, language)
    if folder is None and path.name in LANGUAGES and path.name != language:
        raise DataError(f"{path}: holds language {path.name!r}, but {language!r} was asked for; ask for {path.name!r}")
    where = folder or path
    file = where / _choose([entry.name for entry in where.iterdir()], task, split, str(where))
    if where.name == language:
        return _parse_official(file.read_bytes(), str(file), task, split, language)
    return _parse_bytes(file.read_bytes(), str(file), f"babi/{task}")


def _parse_official(data: bytes, file: str, task: int, split: str, language: str) -> list[Example]:
    examples = _parse_bytes(data, file, f"babi/{task}", whole=True)
    # The en-valid folders cut the training file between stories, so their counts are not round.
    if "valid" in language and split != "test":
        return examples
    published = 10_000 if language.endswith("10k") and split == "train" else 1_000
    if len(examples) < published:
        raise DataError(
            f"{file}: holds {len(examples)} questions where the official file has {published}; it is cut short: "
            "fetch it again, or give the file itself as path if it is your own"
        )
    return examples


def _matching(names: Iterable[str], task: int | None, split: str | None) -> list[str]:
    """Those of `names` (plain or with folders) that are the official name of this task and split; None takes any."""
    found: list[str] = []
    for name in names:
        match = _FILE_NAME.fullmatch(PurePosixPath(name).name)
        if match and task in (None, int(match["task"])) and split in (None, match["split"]):
            found.append(name)
    return sorted(found)


def _choose(names: Collection[str], task: int, split: str, where: str) -> str:
    found = _matching(names, task, split)
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"{where}: holds {len(found)} files for task {task}, {split}: {', '.join(found)}; give one of them"
        )
    there = [PurePosixPath(name).name for name in _matching(names, task, None)]
    raise MissingFileError(
        f"{where}: no qa{task}_*_{split}.txt or qa{task}_{split}.txt is there"
        f" ({'only ' + ', '.join(there) if there else 'nor any other file of this task'}); {GET_HINT}"
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{error.filename or path}: no such file or folder; {GET_HINT}") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder; give one of its files") from error
    except OSError as error:
        raise DataError(
            f"{error.filename or path}: cannot be read ({error.strerror or error}); check its permissions"
        ) from error


@lru_cache(maxsize=2)
def _archive_files(path: Path, language: str, modified: int, size: int) -> Mapping[str, bytes]:
    """The task files of one language by member name. `modified` and `size` make a changed archive a new one.

    A tar.gz can only be read from its start, so all files of a language (about 30 MB) are kept for the next task.
    """
    files: dict[str, bytes] = {}
    with open_tar(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            if not member.isfile() or name.parent.name != language or not _FILE_NAME.fullmatch(name.name):
                continue
            if member.size > _MEMBER_LIMIT:
                raise DataError(f"{path}: {member.name} has {member.size} bytes, too many for bAbI; {GET_HINT}")
            data = archive.extractfile(member)
            assert data is not None
            files[member.name] = data.read()
    return files


def _check_choice(key: str, value: object, accepted: Iterable[object]) -> None:
    accepted = list(accepted)
    if value not in accepted:
        choices = "1 to 20" if key == "task" else ", ".join(map(str, accepted))
        raise DataError(f"{key} {value!r} is not one of {choices}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
