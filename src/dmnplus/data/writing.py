"""Files that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from dmnplus.data.example import DataError


def write_whole(path: Path, content: bytes | str) -> None:
    """Write `content` so that `path` holds what it held before or all of `content`, also if the disk fills up.

    Raises `DataError` if it cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    # A random name beside the target: two writers never share a file, and the move stays on one disk.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        problem = f"{path}: cannot be written ({error.strerror or error}); what was there before is untouched"
        raise DataError(f"{problem}, make room or choose another place") from error


def make_folder(folder: Path) -> None:
    """Make `folder`, and those above it, where it is not there. Raises `DataError` if that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror or error}); choose another folder") from error


def remove_parts(folder: Path) -> None:
    """Remove what writers that were killed have left in `folder`; none may be at work there."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """`write_whole` of `lines`, each with its end."""
    write_whole(path, "".join(f"{line}\n" for line in lines))
