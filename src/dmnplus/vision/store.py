"""The feature store: the regions of many pictures in one folder on disk.

    regions.npy   [I, R, K, C], half precision by default: NumPy's own format
    store.json    format version, backbone, sha256 of its weights, size, grid, channels, type of the numbers, the names
                  of the pictures in the order of the rows, and those that failed, with the reason

The format exists already and any NumPy reads it; its rows have one size, so a picture's place is a multiplication, no
index; mapped into memory, all workers of all trainings share the pages that were read, and none copies them; and rows
are only ever appended, so a writer that was stopped goes on in place.

While it is written, plan.json stands for store.json and progress.jsonl says how many rows are safely on disk. Rows are
written and forced to disk first, then a line of progress, and store.json comes last. Whatever the moment of a crash,
the rows that the last whole line of progress counts are right, and what lies beyond them is cut off and done again.
Rows are written to the file and not through the map, where a full disk kills the process instead of raising an error.

Shape legend: I pictures, B batch, R rows of the grid, K columns of the grid, C channels.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from dmnplus.data.example import DataError, Picture
from dmnplus.data.pictures import PictureFormat

FORMAT = 1
"""Raised whenever an older program could not read what this one writes, or the other way round."""

REGIONS, STORE, PLAN, PROGRESS = "regions.npy", "store.json", "plan.json", "progress.jsonl"
PRECISIONS = {"half": "float16", "single": "float32"}

# Rows that a crash may cost, as time.
_SYNC_SECONDS = 2.0


class FeatureStore:
    """A finished store, mapped into memory; passed to another process, it is opened again there."""

    def __init__(self, path: Path, header: dict[str, Any], regions_IRKC: np.ndarray) -> None:
        self.path = path
        self.names: list[str] = header["names"]
        self.failed: dict[str, str] = header["failed"]
        self.description: dict[str, Any] = header["description"]
        self._regions_IRKC = regions_IRKC

    @classmethod
    def open(cls, path: str | Path) -> FeatureStore:
        """Raises DataError if there is none, or it is unfinished, damaged or of another format."""
        path = Path(path)
        if not (path / STORE).is_file():
            if (path / PLAN).is_file():
                raise DataError(f"{path}: this store is not finished; run `dmnplus features` again, it goes on")
            raise DataError(f"{path}: no store of features is there; `dmnplus features` makes one")
        header = _read_header(path / STORE)
        try:
            regions = np.lib.format.open_memmap(path / REGIONS, mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(path / REGIONS, str(error)) from None
        expected = (len(header["names"]), *_row_shape(header["description"]))
        if regions.shape != expected or regions.dtype != np.dtype(header["dtype"]):
            raise _damaged(
                path / REGIONS,
                f"it holds {regions.shape} {regions.dtype}, and {STORE} says {expected} {header['dtype']}",
            )
        return cls(path, header, regions)

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureStore.open, (self.path,)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.description["grid"]
        return rows, columns

    @property
    def channels(self) -> int:
        return self.description["channels"]

    @property
    def format(self) -> PictureFormat:
        """What a model must have been trained on to read this store."""
        said = self.description
        rows, columns = self.grid
        return PictureFormat(
            kind="regions",
            size=said["size"],
            rows=rows,
            columns=columns,
            channels=self.channels,
            backbone=said["backbone"],
            weights=said["weights"],
        )

    def index(self, picture: Picture) -> int:
        """The row of a picture, by its path from the folder of pictures, or by its file name where only one has it.

        Raises DataError if the store does not hold it, cannot tell which it is, or its features could not be made.
        """
        box = str(picture).removeprefix(picture.path)
        parts = Path(picture.path).parts
        endings = ["/".join(parts[start:]) + box for start in range(len(parts))]
        row = next((self._rows[name] for name in endings if name in self._rows), None)
        if row is None:
            # Regions that were made on the way go by the whole path, which takes the disk to find out.
            row = self._rows.get(str(Path(picture.path).resolve()) + box)
        if row is None:
            same = self._rows_by_file.get(endings[-1], []) if endings else []
            if not same:
                if box:
                    raise DataError(
                        f"{picture}: the store {self.path} does not hold this part of it; `dmnplus features` reads "
                        "whole pictures only, and parts are read from pixels: leave --features out"
                    )
                raise DataError(f"{picture}: the store {self.path} does not hold it; make one with it, or another")
            if len(same) > 1:
                names = ", ".join(self.names[row] for row in same[:3])
                raise DataError(f"{picture}: the store {self.path} holds several: {names}; give more of the path")
            row = same[0]
        if reason := self.failed.get(self.names[row]):
            raise DataError(f"{picture}: was skipped when the store {self.path} was made: {reason}")
        return row

    def read(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Regions [I, R, K, C] of the pictures in these rows, in single precision, in memory of their own.

        Indices of more dimensions give the same dimensions in front. Raises IndexError for a row that is not there.
        """
        rows = np.asarray(indices, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of a store of {len(self)}")
        return torch.from_numpy(np.asarray(self._regions_IRKC[rows], dtype=np.float32))

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def _rows_by_file(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for name, row in self._rows.items():
            rows.setdefault(name.rpartition("/")[2], []).append(row)
        return rows


class StoreWriter:
    """Makes a store, or goes on with one that was begun: rows in the order of `names`, from `done` on.

    A context manager; leaving it by an exception keeps what is there. A store that is finished already has `done`
    equal to the number of names.
    """

    def __init__(
        self,
        path: str | Path,
        description: Mapping[str, Any],
        names: Sequence[str],
        precision: str = "half",
        *,
        wait: bool = False,
    ) -> None:
        """Raises DataError if what is there was made in another way, or, unless `wait`, another process writes it."""
        if precision not in PRECISIONS:
            raise DataError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        self.path = Path(path)
        self.names = list(names)
        self.description = dict(description)
        self.dtype = np.dtype(PRECISIONS[precision])
        self.wait = wait
        self.done = 0
        self.failed: dict[str, str] = {}
        self._row_bytes = int(np.prod(_row_shape(self.description))) * self.dtype.itemsize
        if len(set(self.names)) < len(self.names):
            raise DataError("a picture is named twice; a store holds each once")

    def __enter__(self) -> StoreWriter:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path / ".lock")
            self._lock.acquire(timeout=-1 if self.wait else 0)
        except Timeout:
            raise DataError(f"{self.path}: another process is writing this store") from None
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._begin()
        except OSError as error:
            self._lock.release()
            raise self._unwritable(error) from error
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if not self.finished:
                try:
                    # What an interrupt left after the last line of progress is good, too.
                    if kind is None or not issubclass(kind, StoreFullError):
                        self._sync()
                finally:
                    self._file.close()
        except OSError as error:
            if kind is None:
                raise self._unwritable(error) from error
        finally:
            self._lock.release()

    def append(self, regions_BRKC: Tensor, failed: Mapping[int, str] | None = None) -> None:
        """The next rows; `failed` gives the reason for those of them, counted from 0, that hold nothing.

        Raises StoreFullError, after which the store can be resumed, and DataError for numbers too large for the type.
        """
        with np.errstate(over="ignore"):
            rows = regions_BRKC.cpu().numpy().astype(self.dtype)
        if rows.shape[1:] != _row_shape(self.description):
            raise ValueError(f"rows of shape {rows.shape[1:]} for a store of {_row_shape(self.description)}")
        if not np.isfinite(rows).all():
            raise DataError("features are too large for half precision, or not numbers; try --precision single")
        news = {self.names[self.done + place]: reason for place, reason in (failed or {}).items()}
        try:
            self._file.write(rows.tobytes())
            self.done += len(rows)
            self.failed |= news
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                self._sync()
        except OSError as error:
            raise self._unwritable(error) from error

    def finish(self) -> FeatureStore:
        """Makes the store whole, once all rows are there, and opens it."""
        if not self.finished:
            if self.done < len(self.names):
                raise ValueError(f"{self.done} of {len(self.names)} rows are written")
            try:
                self._sync()
                self._file.close()
                _write_whole(self.path / STORE, {**self._plan(), "failed": self.failed})
                self.finished = True
                for name in (PLAN, PROGRESS):
                    (self.path / name).unlink(missing_ok=True)
            except OSError as error:
                raise self._unwritable(error) from error
        return FeatureStore.open(self.path)

    def _plan(self) -> dict[str, Any]:
        return {"format": FORMAT, "description": self.description, "dtype": self.dtype.name, "names": self.names}

    def _begin(self) -> None:
        self.finished = (self.path / STORE).is_file()
        if self.finished:
            header = _read_header(self.path / STORE)
            self._check_same(header)
            self.done, self.failed = len(self.names), header["failed"]
            return
        if (self.path / PLAN).is_file():
            self._check_same(_read_header(self.path / PLAN))
            self._read_progress()
        elif others := [file.name for file in self.path.iterdir() if file.name != ".lock"]:
            raise DataError(f"{self.path}: holds other files ({others[0]}); give --out an empty or new folder")
        missing = (len(self.names) - self.done) * self._row_bytes
        if missing > (free := shutil.disk_usage(self.path).free):
            raise StoreFullError(
                f"{self.path}: {missing / 1e9:,.1f} GB more are needed and {free / 1e9:,.1f} GB are free; "
                f"free some space{' and run again, it goes on' if self.done else ', or choose another folder'}"
            )
        _write_whole(self.path / PLAN, self._plan())
        head = self._array_header()
        end = len(head) + self.done * self._row_bytes
        regions = self.path / REGIONS
        if self.done and (not regions.is_file() or regions.stat().st_size < end):
            raise _damaged(regions, f"it is shorter than the {self.done} rows that {PROGRESS} counts")
        self._file = regions.open("r+b" if self.done else "wb")
        self._file.write(head)
        self._file.truncate(end)
        self._file.seek(end)
        self._logged = dict(self.failed)
        self._counted = self.done
        self._synced = time.monotonic()

    def _array_header(self) -> bytes:
        head = io.BytesIO()
        shape = (len(self.names), *_row_shape(self.description))
        descr = np.lib.format.dtype_to_descr(self.dtype)
        np.lib.format.write_array_header_2_0(head, {"descr": descr, "fortran_order": False, "shape": shape})
        return head.getvalue()

    def _check_same(self, header: dict[str, Any]) -> None:
        there = {**header["description"], "precision": header["dtype"]}
        here = {**self.description, "precision": self.dtype.name}
        differing = [
            f"{key} {there.get(key)} there, {value} asked for" for key, value in here.items() if there.get(key) != value
        ]
        old, new = set(header["names"]), set(self.names)
        for what, names in (("not in it yet", new - old), ("no longer in the folder", old - new)):
            if names:
                differing.append(f"{len(names)} pictures {what} (such as {min(names)})")
        if not differing and header["names"] != self.names:
            differing.append("the pictures are in another order")
        if differing:
            raise DataError(
                f"{self.path}: holds a store made in another way: {'; '.join(differing)}; "
                "give another --out, or remove that folder"
            )

    def _read_progress(self) -> None:
        """The last whole line counts; one that a crash tore off is cut away, so that the next starts a line."""
        path = self.path / PROGRESS
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        try:
            for line in whole.splitlines():
                entry = json.loads(line)
                self.done = entry["done"]
                self.failed |= entry["failed"]
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path, str(error)) from None
        if whole != content:
            os.truncate(path, len(whole))

    def _sync(self) -> None:
        """Rows are on disk before the line that counts them is."""
        if self.done == self._counted:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        news = {name: reason for name, reason in self.failed.items() if name not in self._logged}
        with (self.path / PROGRESS).open("ab") as file:
            file.write(json.dumps({"done": self.done, "failed": news}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._logged |= news
        self._counted = self.done
        self._synced = time.monotonic()

    def _unwritable(self, error: OSError) -> DataError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StoreFullError(
                f"{self.path}: the disk is full; what was written is kept: free some space and run again, it goes on"
            )
        return DataError(f"{self.path}: cannot be written ({error.strerror or error}); choose another folder")


class StoreFullError(DataError):
    """No space for the store; what is in it stays good."""


def _row_shape(description: Mapping[str, Any]) -> tuple[int, int, int]:
    rows, columns = description["grid"]
    return rows, columns, description["channels"]


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        version = header["format"]
        if version == FORMAT:
            _row_shape(header["description"])
            np.dtype(header["dtype"])
            if not isinstance(header["names"], list) or not isinstance(header.setdefault("failed", {}), dict):
                raise TypeError("names or failed")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from None
    if version != FORMAT:
        raise DataError(f"{path}: has format {version}, this version of dmnplus reads {FORMAT}; make the store again")
    return header


def _write_whole(path: Path, content: Any) -> None:
    """All of it or nothing, also if the machine stops."""
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: damaged ({reason}); remove the store and make it again")
