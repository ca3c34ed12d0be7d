"""Downloads that resume, are verified, and never leave a half file where a whole one is expected."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from filelock import FileLock, Timeout

from dmnplus.data.babi import ARCHIVE_NAME
from dmnplus.data.example import DataError

# Called with the bytes there so far and the bytes in all, None where the server does not say.
Progress: TypeAlias = Callable[[int, "int | None"], None]

_CHUNK = 1 << 16
# Worth another attempt later; other errors of 400 and above are final.
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Remote:
    """A file at a fixed address, with the checksum and size in bytes that it must have."""

    url: str
    sha256: str
    size: int | None = None


BABI_SOURCES = (
    # Facebook's own present copy (ParlAI's), which holds all folders of the original and more. ParlAI's build file for
    # bAbI publishes this checksum; its members en-10k/qa1_*, whose checksums others have published, are byte for byte
    # those of the original archive.
    Remote(
        "https://dl.fbaipublicfiles.com/parlai/babi/babi.tar.gz",
        "f7f0bee187efca0d81c3daac1b162cda4eb7f9505dee5ad6846eabbed3dbf92e",
        19_212_062,
    ),
    # The authors' original address, reported to answer 404 by now. The checksum and size are those that Hugging Face
    # recorded when it was alive (huggingface/datasets, datasets/babi_qa/dataset_infos.json).
    Remote(
        "http://www.thespermwhale.com/jaseweston/babi/tasks_1-20_v1-2.tar.gz",
        "0364ebde659f14d11bc21744516c5ec49d3d06cb692733f66680771244998898",
        15_719_851,
    ),
)


def get_babi(
    folder: Path,
    progress: Progress | None = None,
    *,
    sources: tuple[Remote, ...] = BABI_SOURCES,
    timeout: float = 30.0,
    attempts: int = 4,
) -> Path:
    """The bAbI archive in `folder`, downloaded unless it is there; `read_babi` reads it as it is.

    An archive that is there but has none of the known checksums is left alone and refused: it may be the user's own.
    `timeout` in seconds is for each wait on the network. Raises DataError naming every address tried and why it failed.
    """
    target = folder / ARCHIVE_NAME
    try:
        present = _sha256(target)
    except FileNotFoundError:
        present = None
    except OSError as error:
        raise DataError(f"{target}: cannot be read ({error.strerror}); check its permissions") from error
    if present is not None:
        if any(present == source.sha256 for source in sources):
            return target
        raise DataError(
            f"{target}: is not one of the known bAbI archives (sha256 {present}); it may be used as it is, "
            "or move it away to download the official one"
        )
    failures: list[str] = []
    for source in sources:
        try:
            return download(
                source.url,
                target,
                source.sha256,
                progress,
                size=source.size,
                timeout=timeout,
                attempts=attempts,
            )
        except DataError as error:
            failures.append(str(error))
    # A folder that cannot be written fails alike for every address.
    raise DataError(
        "bAbI could not be downloaded:\n" + "\n".join(f"  {failure}" for failure in dict.fromkeys(failures))
    )


def download(
    url: str,
    target: Path,
    sha256: str,
    progress: Progress | None = None,
    *,
    size: int | None = None,
    timeout: float = 30.0,
    attempts: int = 4,
    pause: float = 1.0,
) -> Path:
    """Fetches `url` to the file `target`, whose sha256 must come out, and returns it.

    What has arrived is kept in a `.part` file beside the target when the connection breaks or the user interrupts, and
    a later call asks only for the rest; it is removed when its content turns out wrong. Several processes may ask for
    the same target: one loads, the others wait. A target that already has the checksum is left as it is; one that has
    not is replaced once the download is whole.

    `size` in bytes bounds what is accepted; `timeout` in seconds is for each wait on the network; `attempts` failures
    end it, with `pause` seconds after the first and twice that after each further one. Raises DataError naming the
    address and what to do by hand.
    """
    if not url.startswith(("http://", "https://")):
        raise DataError(f"{url}: is not a web address; give one that starts with https:// or http://")
    fetch = _Fetch(url, target, sha256.lower(), progress, size, timeout)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=3600):
            if target.is_file() and _sha256(target) == fetch.sha256:
                return target
            return fetch.run(attempts, pause)
    except Timeout as error:
        raise DataError(f"{target}: another process has been downloading it for an hour; try again later") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise fetch.disk_full() from error
        raise DataError(f"{target}: cannot be written ({error.strerror or error}); choose another folder") from error


class _Broken(Exception):
    """The transfer stopped for a reason that may pass."""


class _Fetch:
    def __init__(
        self, url: str, target: Path, sha256: str, progress: Progress | None, size: int | None, timeout: float
    ) -> None:
        self.url, self.target, self.sha256 = url, target, sha256
        self.progress, self.size, self.timeout = progress, size, timeout
        # The checksum in the name keeps the pieces of different files apart.
        self.part = target.with_name(f".{target.name}.{sha256[:12]}.part")

    def run(self, attempts: int, pause: float) -> Path:
        reason = ""
        for attempt in range(attempts):
            if attempt:
                time.sleep(pause * 2 ** (attempt - 1))
            resumed = self._have() > 0
            try:
                page = self._transfer()
            except _Broken as broken:
                reason = str(broken)
                # A server may announce more than there is.
                if not self._have() or _sha256(self.part) != self.sha256:
                    continue
                page = False
            found = _sha256(self.part)
            if found == self.sha256:
                self.part.replace(self.target)
                return self.target
            self.part.unlink()
            reason = f"its content has the checksum {found} instead of {self.sha256}"
            if page:
                reason = "the server sent a web page instead of the file"
            # A resumed file may have been pieced together from two versions; a whole one is just wrong.
            if not resumed:
                break
        kept = self._have()
        raise self._failure(reason + (f" ({kept:,} bytes are kept; run again to go on)" if kept else ""))

    def _transfer(self) -> bool:
        """Appends what is missing to the part file. True if the server says that it is a web page."""
        have = self._have()
        request = urllib.request.Request(self.url, headers={"User-Agent": "dmnplus"})
        if have:
            request.add_header("Range", f"bytes={have}-")
        try:
            response = urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                    # There is no rest: the checksum tells whether the file is whole.
                    return False
                answer = f"the server answers {error.code} {error.reason}"
            if error.code in _PASSING_STATUS:
                raise _Broken(answer) from error
            raise self._failure(answer) from error
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(self._describe(error)) from error
        with response:
            if have and not self._continues(response, have):
                have = 0
            length = response.headers.get("Content-Length", "")
            total = have + int(length) if length.isdecimal() else None
            if total and shutil.disk_usage(self.target.parent).free < total - have:
                raise OSError(errno.ENOSPC, "No space left on device")
            with self.part.open("ab" if have else "wb") as file:
                while True:
                    try:
                        chunk = response.read1(_CHUNK)
                    except (OSError, http.client.HTTPException) as error:
                        raise _Broken(self._describe(error)) from error
                    if not chunk:
                        break
                    have += len(chunk)
                    if self.size is not None and have > self.size:
                        # Too long to be the file; the checksum says so.
                        total = None
                        break
                    file.write(chunk)
                    if self.progress is not None:
                        self.progress(have, total)
                file.flush()
                os.fsync(file.fileno())
            page = response.headers.get_content_type() == "text/html"
        if total is not None and have < total:
            raise _Broken(f"the connection broke off after {have:,} of {total:,} bytes")
        return page

    @staticmethod
    def _continues(response: http.client.HTTPResponse, have: int) -> bool:
        """Whether the answer starts where the part file ends; a server without ranges sends everything again."""
        return response.status == http.HTTPStatus.PARTIAL_CONTENT and response.headers.get(
            "Content-Range", ""
        ).startswith(f"bytes {have}-")

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _describe(self, error: Exception) -> str:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, TimeoutError):
            return f"no answer within {self.timeout:g} seconds"
        return f"the connection failed ({reason or type(reason).__name__})"

    def _failure(self, reason: str) -> DataError:
        return DataError(f"{self.url}: {reason}; try again later, or load it by hand and save it as {self.target}")

    def disk_full(self) -> DataError:
        return DataError(
            f"{self.target}: the disk is full; {self._have():,} bytes are kept in {self.part.name}: "
            "free some space and run again, or choose another folder"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
