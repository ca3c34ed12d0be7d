"""Stories and questions that a user types, pipes in or has in a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from dmnplus.data.example import DataError

# Stories may be pasted from a file in bAbI's format: "3 Where is Mary?<tab>bathroom<tab>1".
_LINE_NUMBER = re.compile(r"^\d+\s+(?=\D)")


def read_lines(story: Path | None, console: Console) -> Iterator[str]:
    """The lines of a file, or of what is typed or piped in where there is none or it is `-`."""
    if story is not None and str(story) != "-":
        try:
            lines: Iterator[str] = iter(story.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{story}: cannot be read: {error}") from None
    else:
        if sys.stdin.isatty():
            console.print("A sentence a line; a question ends in ?; an empty line begins a new story; Ctrl-D ends.")
        lines = iter(sys.stdin)
    for line in lines:
        yield _LINE_NUMBER.sub("", line.partition("\t")[0].strip())


def warn_of_unknown_words(words: Sequence[str], warnings: Console) -> None:
    """Name the words of a story or question that training never saw."""
    if words:
        warnings.print(f"[yellow]warning:[/] never seen in training: {', '.join(words)}", highlight=False)
