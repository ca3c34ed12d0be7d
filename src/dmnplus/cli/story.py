"""Stories and questions that a user types, pipes in or has in a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.markup import escape

from dmnplus.data.example import DataError
from dmnplus.data.reading import decode

# Stories may be pasted from a file in bAbI's format: "3 Where is Mary?<tab>bathroom<tab>1".
_NUMBERED = re.compile(r"(\d+)\s+(?=\D)")


def read_lines(story: Path | None, console: Console) -> Iterator[str]:
    """The lines of a file, or of what is typed or piped in where there is none or it is `-`.

    Numbers before lines that count up from 1 are left out; where they begin again at 1, an empty line comes first.
    """
    if story is not None and str(story) != "-":
        try:
            lines: Iterator[str] = iter(decode(story.read_bytes(), str(story)).splitlines())
        except OSError as error:
            raise DataError(f"{story}: cannot be read: {error.strerror or error}") from None
    else:
        if sys.stdin.isatty():
            console.print("A sentence a line; a question ends in ?; an empty line begins a new story; Ctrl-D ends.")
            lines = iter(sys.stdin)
        else:
            # What a notebook or a test puts there may be text already.
            lines = _piped(sys.stdin.buffer) if hasattr(sys.stdin, "buffer") else iter(sys.stdin)
    number = 0
    for line in lines:
        text = line.partition("\t")[0].strip()
        match = _NUMBERED.match(text)
        # "2 men went to the office." is a sentence.
        if match and int(match[1]) in (1, number + 1):
            if number and int(match[1]) == 1:
                yield ""
            number, text = int(match[1]), text[match.end() :]
        yield text


def _piped(stream: BinaryIO) -> Iterator[str]:
    # A line at a time: a program may wait for an answer before it asks on.
    for number, line in enumerate(stream, 1):
        yield from decode(line, "standard input", number).splitlines()


def warn_of_unknown_words(words: Sequence[str], warnings: Console) -> None:
    """Name the words of a story or question that training never saw."""
    if words:
        warnings.print(f"[yellow]warning:[/] never seen in training: {escape(', '.join(words))}", highlight=False)
