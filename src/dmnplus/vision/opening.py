"""Where a model's pictures come from: pixels, a store of features, or features made on the way and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from dmnplus.data.example import DataError, Picture
from dmnplus.data.location import cache_folder
from dmnplus.data.pictures import PictureFormat, Pictures
from dmnplus.vision.backbones import OFFICIAL, Backbone, load_backbone
from dmnplus.vision.extract import extract_features
from dmnplus.vision.image import MAX_PIXELS, read_pixels
from dmnplus.vision.pixels import Pixels, Watch
from dmnplus.vision.store import FeatureStore


def open_pictures(
    pictures: Iterable[Picture],
    *,
    size: int,
    grid: int,
    store: Path | None = None,
    wanted: PictureFormat | None = None,
    weights: Path | None = None,
    watch: Watch = iter,
) -> Pictures | None:
    """Where `pictures` are read from: a `store` of features, or their files as pixels; None if there are none.

    Pixels are scaled to `size` for a model that makes `grid` regions a side of them. `wanted` is what a trained model
    reads; regions that no store holds are made by its backbone and kept in the cache. `watch` goes through the files
    whose pixels are read. Raises `DataError` where that is not what there is.
    """
    pictures = list(dict.fromkeys(pictures))
    if not pictures:
        return None
    if store is None and wanted is not None and wanted.kind == "regions":
        features = _extract(pictures, wanted, weights)
    elif store is not None:
        features = FeatureStore.open(store)
        _check_held(pictures, features)
    else:
        size, grid = (wanted.size, wanted.rows) if wanted else (size, grid)
        return Pixels(pictures, size=size, grid=grid, watch=watch)
    if wanted is not None and features.format != wanted:
        raise DataError(f"{features.path}: holds {features.format}, and the model was trained on {wanted}")
    return features


def _check_held(pictures: Sequence[Picture], store: FeatureStore) -> None:
    """Raises `DataError` where `store` lacks one of `pictures`, or has one for two: said before anything long."""
    by_row: dict[int, Picture] = {}
    for picture in pictures:
        row = store.index(picture)
        first = by_row.setdefault(row, picture)
        # A store made of one folder tells nothing of the others that hold a picture of the same name.
        if first.path != picture.path and Path(first.path).resolve() != Path(picture.path).resolve():
            raise DataError(
                f"{first} and {picture}: the store {store.path} has {store.names[row]} for both; make it of the folder "
                "that both are in"
            )


def read_pictures(
    pictures: Iterable[Picture], wanted: PictureFormat, *, weights: Path | None = None, max_pixels: int = MAX_PIXELS
) -> dict[Picture, Tensor]:
    """Each of `pictures` as a model reads it that `wanted` it so; unlike `open_pictures` this keeps nothing on disk.

    Raises `DataError` for one that cannot be read, or has more than `max_pixels` pixels.
    """
    pixels = {
        picture: torch.from_numpy(read_pixels(picture, wanted.size, max_pixels=max_pixels))
        for picture in dict.fromkeys(pictures)
    }
    if wanted.kind == "pixels":
        return {picture: pixels_SS3.permute(2, 0, 1).float() / 255 for picture, pixels_SS3 in pixels.items()}
    backbone = backbone_of(wanted, weights)
    # As a store holds them.
    return {picture: backbone(pixels_SS3[None])[0].half().float() for picture, pixels_SS3 in pixels.items()}


# A server reads pictures with the same ones all its life.
@lru_cache(maxsize=4)
def backbone_of(wanted: PictureFormat, weights: Path | None) -> Backbone:
    """What makes the regions that a model reads, of official weights or those of a file; loaded once.

    Raises `DataError` for other weights than those the model was trained on.
    """
    grid = wanted.rows, wanted.columns
    backbone = load_backbone(wanted.backbone, size=wanted.size, weights=weights or OFFICIAL, grid=grid)
    if backbone.description["weights"] != wanted.weights:
        raise DataError(
            f"the model reads regions of {wanted.backbone} with other weights (SHA-256 {wanted.weights[:12]}...); give "
            "those by --weights FILE"
        )
    return backbone


def _extract(pictures: Sequence[Picture], wanted: PictureFormat, weights: Path | None) -> FeatureStore:
    named = {
        str(Path(picture.path).resolve()) + str(picture).removeprefix(picture.path): picture for picture in pictures
    }
    stamps = [(name, *_stamp(picture)) for name, picture in named.items()]
    key = hashlib.sha256(repr((stamps, wanted)).encode()).hexdigest()[:24]
    kept, backbone = cache_folder() / "features" / key, backbone_of(wanted, weights)
    # Another process may be making the same ones now.
    return extract_features(named, backbone, kept, animations=True, wait=True)


def _stamp(picture: Picture) -> tuple[int, int]:
    """What a picture is, and not only what it is called, decides whether kept regions still hold."""
    try:
        status = Path(picture.path).stat()
    except OSError as error:
        raise DataError(f"{picture.path}: cannot be read ({error.strerror}); check the path") from error
    return status.st_mtime_ns, status.st_size
