"""From pictures to a feature store.

Shape legend: B batch, S side in pixels, R rows of the grid, K columns of the grid, C channels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from dmnplus.data.example import DataError, Picture
from dmnplus.vision.backbones import Backbone
from dmnplus.vision.image import MAX_PIXELS, read_pixels
from dmnplus.vision.store import FeatureStore, StoreWriter

# Called with the pictures done so far and those in all, first with what an earlier run had done.
Progress: TypeAlias = Callable[[int, int], None]


class BadPictureError(DataError):
    """A picture that cannot be read; `done` pictures before it are in the store."""

    def __init__(self, reason: str, done: int) -> None:
        super().__init__(reason)
        self.done = done


def extract_features(
    pictures: Mapping[str, Picture],
    backbone: Backbone,
    out: str | Path,
    *,
    batch: int = 16,
    workers: int = 4,
    precision: str = "half",
    skip_bad: bool = False,
    max_pixels: int = MAX_PIXELS,
    animations: bool = False,
    wait: bool = False,
    progress: Progress | None = None,
) -> FeatureStore:
    """The regions of `pictures`, by name, in the store `out`, which a later call goes on with if this one is stopped.

    `batch` pictures go through the network at once, and `workers` threads read the next ones meanwhile: Pillow decodes
    and shrinks without Python's lock, and threads hand pixels over without a copy. The store of a resumed run is that
    of an uninterrupted one, bit by bit, with the same batch, threads and device.

    A picture that cannot be read ends the run, or with `skip_bad` is recorded in the store; so does one of several
    frames, unless `animations` has the first of them read. Raises BadPictureError for it, with those before it kept,
    and DataError if the store cannot be written or was made in another way, or if another process writes it, for which
    `wait` waits.
    """
    names = list(pictures)
    with StoreWriter(out, backbone.description, names, precision, wait=wait) as writer:
        if progress is not None:
            progress(writer.done, len(names))
        # Batches begin where those of an uninterrupted run do: a network's last bits depend on its neighbours.
        batches = (names[start : start + batch] for start in range(writer.done, len(names), batch))
        load = _Loader(pictures, backbone.description["size"], max_pixels, animations)
        with closing(_ahead(load, batches, workers)) as ahead:
            for loaded in ahead:
                good, failed = _sort_out(loaded)
                if failed and not skip_bad:
                    first = next(iter(failed.values()))
                    raise BadPictureError(str(first), writer.done) from first
                reasons = {place: str(error) for place, error in failed.items()}
                writer.append(_regions(backbone, good, len(loaded)), reasons)
                if progress is not None:
                    progress(writer.done, len(names))
        return writer.finish()


class _Loader:
    def __init__(self, pictures: Mapping[str, Picture], size: int, max_pixels: int, animations: bool) -> None:
        self.pictures, self.size, self.max_pixels, self.animations = pictures, size, max_pixels, animations

    def __call__(self, name: str) -> np.ndarray | DataError:
        try:
            return read_pixels(self.pictures[name], self.size, max_pixels=self.max_pixels, animations=self.animations)
        except DataError as error:
            return error


def _ahead(
    load: _Loader, batches: Iterator[list[str]], workers: int
) -> Generator[list[np.ndarray | DataError], None, None]:
    """Each batch loaded, while threads load the next two."""
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="pictures") as pool:
        waiting: deque[list[Future[np.ndarray | DataError]]] = deque()
        try:
            for names in batches:
                waiting.append([pool.submit(load, name) for name in names])
                if len(waiting) > 2:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]
        finally:
            pool.shutdown(cancel_futures=True)


def _sort_out(loaded: Sequence[np.ndarray | DataError]) -> tuple[dict[int, np.ndarray], dict[int, DataError]]:
    """Pixels of the good pictures and what is wrong with the others, by place in the batch."""
    good = {place: item for place, item in enumerate(loaded) if not isinstance(item, DataError)}
    failed = {place: item for place, item in enumerate(loaded) if isinstance(item, DataError)}
    return good, failed


def _regions(backbone: Backbone, good: Mapping[int, np.ndarray], count: int) -> Tensor:
    """Regions [B, R, K, C] of a batch of `count` places; zeros where no picture is."""
    rows, columns = backbone.description["grid"]
    regions_BRKC = torch.zeros(count, rows, columns, backbone.description["channels"])
    if good:
        pixels_BSS3 = torch.from_numpy(np.stack(list(good.values())))
        regions_BRKC[list(good)] = backbone(pixels_BSS3).float().cpu()
    return regions_BRKC
