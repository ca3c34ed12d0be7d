"""Reading and unpacking of tar archives that come from elsewhere and may be damaged or hostile."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, cast

from dmnplus.data.example import DataError


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """A .tar, .tar.gz or .tgz whose members are read in one pass, in order. Raises DataError where it is damaged."""
    try:
        with _open(path) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                yield archive
            # tarfile takes a damaged header for the end; reading on makes gzip check its own length and checksum.
            while stream.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: is a damaged or incomplete archive ({error}); delete it and fetch it again"
        ) from error


def is_archive(path: Path) -> bool:
    return path.name.endswith((".tar.gz", ".tgz", ".tar"))


def _open(path: Path) -> IO[bytes]:
    return path.open("rb") if path.suffix == ".tar" else cast("IO[bytes]", gzip.open(path, "rb"))


def extract_safely(archive: Path, folder: Path, *, max_bytes: int = 4 << 30, max_members: int = 200_000) -> Path:
    """Unpacks `archive` into the new folder `folder` and returns it; the folder appears whole or not at all.

    Only plain files and folders are unpacked: a link, a device, or a name that leads outside the folder refuses the
    whole archive, and so do more than `max_bytes` of contents. Raises DataError naming the member.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: already exists; remove it or choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the final rename stays on one disk.
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    whole = temporary / "whole"
    try:
        whole.mkdir()
        total = 0
        with open_tar(archive) as members:
            for count, member in enumerate(members, 1):
                total += member.size
                if problem := _refusal(member):
                    raise DataError(
                        f"{archive}: refused, its member {member.name!r} {problem}; use the official archive"
                    )
                if total > max_bytes or count > max_members:
                    raise DataError(
                        f"{archive}: refused at {member.name!r}, it unpacks to more than {max_bytes:,} bytes or "
                        f"{max_members:,} members; use the official archive"
                    )
                members.extract(member, whole, **_SAFELY)
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)
    except OSError as error:
        raise DataError(
            f"{archive}: cannot be unpacked into {folder} ({error.strerror or error}); free space or "
            "choose another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


# Pythons before 3.11.4 have no filters; what this one refuses is refused here, and it takes no rights from the archive.
_SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {"set_attrs": False}


def _refusal(member: tarfile.TarInfo) -> str | None:
    if not (member.isfile() or member.isdir()):
        return "is a link" if member.issym() or member.islnk() else "is a device or another special file"
    # Judged by the rules of both systems, so that an archive is good or bad everywhere.
    for path in (PurePosixPath(member.name), PureWindowsPath(member.name)):
        if path.is_absolute() or path.drive or path.root or ".." in path.parts:
            return "would land outside the folder"
    return None
