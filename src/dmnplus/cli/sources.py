"""What a user may name as data: the official archive or folder, or a source.

A source is a file in the official format, `generated:QUESTIONS[:SEED]`, or `official:LANGUAGE:SPLIT`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dmnplus.data.babi import TASKS, MissingFileError, find_babi, is_one_file, read_babi, read_babi_file
from dmnplus.data.example import DataError, Example, Splits, split_validation
from dmnplus.data.generate import generate

SOURCES = ("generated:", "official:")
"""How sources that are no files begin."""
_GENERATED = re.compile(r"generated:(\d+)(?::(\d+))?")
_OFFICIAL = re.compile(r"official:([^:]+):([^:]+)")


def parse_tasks(text: str, option: str = "--task") -> list[int]:
    """Task numbers of "2", "1,4,6", "1-20" or "all", in the order named."""
    if text == "all":
        return list(TASKS)
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not match or first not in TASKS or last not in TASKS or first > last:
            raise ValueError(f"{option} is {text!r}; it takes numbers from 1 to 20, as in 2, or 1,4,6, or 1-20, or all")
        numbers += range(first, last + 1)
    return list(dict.fromkeys(numbers))


def read_source(source: str, task: int, data: Path | None = None, *, split: str) -> list[Example]:
    """The questions of one source, of bAbI task `task`; `data` is where official files are.

    `split` says what they are for: of one seed, other stories are generated to train, to validate and to test.
    """
    if match := _GENERATED.fullmatch(source):
        return generate(task, questions=int(match[1]), seed=int(match[2] or 0), split=split)
    if match := _OFFICIAL.fullmatch(source):
        return read_babi(find_babi(data), task, match[2], match[1])
    if source.startswith(SOURCES):
        raise ValueError(f"{source!r}: it takes generated:QUESTIONS[:SEED] or official:LANGUAGE:SPLIT")
    return read_babi_file(Path(source), kind=f"babi/{task}")


def babi_splits(
    task: int,
    data: Path | None,
    language: str,
    validation_share: float,
    train: Sequence[str] | None,
    valid: Sequence[str] | None,
    test: Sequence[str] | None,
) -> Splits:
    """Training, validation and test questions of a task, from the official files where no source is named.

    Raises `DataError` where `data` is one file that would both train and test.
    """
    if data is not None and is_one_file(data) and not (train or test):
        raise DataError(
            f"{data}: is one file, and what is trained on cannot test; give --test as well (another file, or "
            "generated:1000), or the archive or folder as --data"
        )

    def read(sources: Sequence[str], split: str) -> list[Example]:
        return [example for source in sources for example in read_source(source, task, data, split=split)]

    def official(split: str) -> list[Example]:
        return read_babi(find_babi(data), task, split, language)

    training = read(train, "train") if train else official("train")
    if valid:
        validation: Sequence[Example] = read(valid, "valid")
    else:
        training, validation = split_validation(training, validation_share)
    if test:
        testing = read(test, "test")
    elif train and data is None and all(source.startswith("generated") for source in train):
        # A run on generated stories alone needs no archive.
        testing = generate(task, questions=1000, seed=0, split="test")
    else:
        testing = official("test")
    described = ", ".join(train) if train else language
    named = {"train": train, "valid": valid, "test": test}
    sources = {role: [*given] for role, given in named.items() if given}
    return Splits(f"babi/{task} ({described})", training, validation, testing, sources=sources)


_MADE_UP = {3: (["generated:9000:0", "official:en:train"], ["official:en-valid-10k:valid"])}
"""What trains and validates in place of a training file that some copies of the archive lack."""


def paper_splits(task: int, data: Path | None, validation_share: float) -> Splits:
    """The paper's data for a task, en-10k, with the fingerprints of its parts.

    Task 3's training file is made up where the archive lacks it, of generated stories; its `sources` say so.
    """
    try:
        splits = babi_splits(task, data, "en-10k", validation_share, None, None, None)
    except MissingFileError:
        if task not in _MADE_UP:
            raise
        train, valid = _MADE_UP[task]
        splits = babi_splits(task, data, "en-10k", validation_share, train, valid, None)
    return replace(splits, files=splits.digests)


def joint_splits(parts: Mapping[int, Splits], name: str) -> Splits:
    """The questions of several tasks as those of one model; `files` and `sources` say of which task each is."""
    return Splits(
        f"babi/{name}, one model ({next(iter(parts.values())).name.partition(' ')[2].strip('()')})",
        [example for part in parts.values() for example in part.training],
        [example for part in parts.values() for example in part.validation],
        [example for part in parts.values() for example in part.test],
        files={f"{task} {role}": digest for task, part in parts.items() for role, digest in part.files.items()},
        sources={f"{task} {role}": named for task, part in parts.items() for role, named in part.sources.items()},
    )


def babi_examples(data: Path | None, task: int, language: str) -> tuple[list[Example], str]:
    """All the real questions of a task that are to be compared with generated ones, and what they are."""
    path = find_babi(data)
    if (task, language) == (3, "en-10k"):
        # Its training file is missing in some copies of the archive.
        return read_babi(path, task, "test", language), "test file"
    return read_babi(path, task, "train", language), "training file"
