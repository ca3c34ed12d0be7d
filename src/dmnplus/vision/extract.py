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
    progress: Progress | None = None,
) -> FeatureStore:
    """The regions of `pictures`, by name, in the store `out`, which a later call goes on with if this one is stopped.

    `batch` pictures go through the network at once, and `workers` threads read the next ones meanwhile: Pillow decodes
    and shrinks without Python's lock, and threads hand pixels over without a copy. The store of a resumed run is that
    of an uninterrupted one, bit by bit, with the same batch, threads and device.

    A picture that cannot be read ends the run, or with `skip_bad` is recorded in the store. Raises DataError for it,
    with those before it kept, or if the store cannot be written or was made in another way.
    """
    names = list(pictures)
    with StoreWriter(out, backbone.description, names, precision) as writer:
        if progress is not None:
            progress(writer.done, len(names))
        # Batches begin where those of an uninterrupted run do: a network's last bits depend on its neighbours.
        batches = (names[start : start + batch] for start in range(writer.done, len(names), batch))
        load = _Loader(pictures, backbone.description["size"], max_pixels)
        with closing(_ahead(load, batches, workers)) as ahead:
            for loaded in ahead:
                good, failed = _sort_out(loaded)
                if failed and not skip_bad:
                    kept = f"{writer.done:,} of {len(names):,} pictures are in {out}"
                    raise DataError(f"{next(iter(failed.values()))}\n{kept}; run again to go on, or add --skip-bad")
                writer.append(_regions(backbone, good, len(loaded)), failed)
                if progress is not None:
                    progress(writer.done, len(names))
        return writer.finish()


class _Loader:
    def __init__(self, pictures: Mapping[str, Picture], size: int, max_pixels: int) -> None:
        self.pictures, self.size, self.max_pixels = pictures, size, max_pixels

    def __call__(self, name: str) -> np.ndarray | DataError:
        try:
            return read_pixels(self.pictures[name], self.size, max_pixels=self.max_pixels)
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


def _sort_out(loaded: Sequence[np.ndarray | DataError]) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """Pixels of the good pictures and reasons of the others, by place in the batch."""
    good = {place: item for place, item in enumerate(loaded) if not isinstance(item, DataError)}
    failed = {place: str(item) for place, item in enumerate(loaded) if isinstance(item, DataError)}
    return good, failed


def _regions(backbone: Backbone, good: Mapping[int, np.ndarray], count: int) -> Tensor:
    """Regions [B, R, K, C] of a batch of `count` places; zeros where no picture is."""
    rows, columns = backbone.description["grid"]
    regions_BRKC = torch.zeros(count, rows, columns, backbone.description["channels"])
    if good:
        pixels_BSS3 = torch.from_numpy(np.stack(list(good.values())))
        regions_BRKC[list(good)] = backbone(pixels_BSS3).float().cpu()
    return regions_BRKC
