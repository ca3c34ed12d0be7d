"""Data sets of questions about pictures, as `train pictures` and `eval` name them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dmnplus.data.daquar import read_daquar
from dmnplus.data.easy_vqa import easy_vqa_splits, read_easy_vqa
from dmnplus.data.example import DataError, Example, Picture, Splits, iter_pictures, split_by_picture
from dmnplus.data.location import cache_folder
from dmnplus.data.nlvr import nlvr_splits, read_nlvr
from dmnplus.data.scenes import read_scenes

if TYPE_CHECKING:
    from dmnplus.data.pictures import PictureFormat, Pictures
    from dmnplus.training.trainer import DataConfig
    from dmnplus.vision.store import FeatureStore

DATASETS = ("scenes", "easy-vqa", "daquar", "nlvr")


def picture_splits(dataset: str, data: Path, *, validation_share: float = 0.1, hold_out: float = 0.0) -> Splits:
    """The splits of a data set in `data`, its folder or archive.

    Official where there are such. DAQUAR's test questions are its own file: `hold_out` keeps that share of the training
    photos back to measure on.
    """
    match dataset:
        case "scenes":
            training, validation = split_by_picture_sets(read_scenes(data / "train"), validation_share)
            return Splits("scenes", training, validation, read_scenes(data / "test"))
        case "easy-vqa":
            return easy_vqa_splits(data)
        case "nlvr":
            return nlvr_splits(data)
        case "daquar":
            examples = read_daquar(data)
            test: list[Example] = []
            if hold_out:
                examples, test = split_by_picture(examples, hold_out, seed=1)
            training, validation = split_by_picture(examples, validation_share)
            return Splits("daquar", training, validation, test)
    raise ValueError(f"unknown data set {dataset!r}; there are {', '.join(DATASETS)}")


def read_questions(dataset: str, data: Path, *, images: Path | None = None) -> list[Example]:
    """The test questions of a data set; `data` is a file, a folder or an archive, `images` where the pictures are."""
    match dataset:
        case "scenes":
            return read_scenes(data / "test" if (data / "test").is_dir() else data)
        case "easy-vqa":
            return read_easy_vqa(data, "test")
        case "nlvr":
            return read_nlvr(data, "test")
        case "daquar":
            return read_daquar(data, pictures=images)
    raise ValueError(f"unknown data set {dataset!r}; there are {', '.join(DATASETS)}")


def split_by_picture_sets(examples: Sequence[Example], share: float) -> tuple[Sequence[Example], Sequence[Example]]:
    """The last `share` validates, cut where no picture is on both sides; pictures follow each other in `examples`."""
    cut = len(examples) - max(1, round(len(examples) * share))
    while cut < len(examples) and {*iter_pictures(examples[cut - 1 : cut])} & {*iter_pictures(examples[cut : cut + 1])}:
        cut += 1
    if not 0 < cut < len(examples):
        raise DataError(f"{len(examples)} questions are too few to hold out a share of {share}; give more")
    return examples[:cut], examples[cut:]


def without_pictures(examples: Sequence[Example]) -> list[Example]:
    """The same questions with no picture to look at: what a model reaches by the question alone."""
    said = [tuple(fact for fact in example.facts if isinstance(fact, str)) for example in examples]
    # A memory over nothing is not defined; every question gets the same empty fact.
    return [
        replace(e, facts=facts or ("nothing",), supporting=(), regions=())
        for e, facts in zip(examples, said, strict=True)
    ]


def open_pictures(
    examples: Sequence[Example],
    config: DataConfig,
    store: Path | None,
    wanted: PictureFormat | None = None,
    weights: Path | None = None,
) -> Pictures | None:
    """Where the pictures of `examples` are read from: a `store` of features, or their files as pixels; None without.

    `wanted` is what a trained model reads; regions that no store holds are made by its
    backbone and kept in the cache. Raises `DataError` where that is not what there is.
    """
    from dmnplus.vision.pixels import Pixels
    from dmnplus.vision.store import FeatureStore

    pictures = list(dict.fromkeys(iter_pictures(examples)))
    if not pictures:
        return None
    if store is None and wanted is not None and wanted.kind == "regions":
        features = _extract(pictures, wanted, weights)
    elif store is not None:
        features = FeatureStore.open(store)
    else:
        size, grid = (wanted.size, wanted.rows) if wanted else (config.image_size, config.image_grid)
        return Pixels(pictures, size=size, grid=grid)
    if wanted is not None and features.format != wanted:
        raise DataError(f"{features.path}: holds {features.format}, and the model was trained on {wanted}")
    return features


def _extract(pictures: Sequence[Picture], wanted: PictureFormat, weights: Path | None) -> FeatureStore:
    from dmnplus.vision.backbones import OFFICIAL, load_backbone
    from dmnplus.vision.extract import extract_features

    backbone = load_backbone(wanted.backbone, size=wanted.size, weights=weights or OFFICIAL)
    if backbone.description["weights"] != wanted.weights:
        raise DataError(
            f"the model reads regions of {wanted.backbone} with other weights (SHA-256 {wanted.weights[:12]}...); give "
            "those by --weights FILE"
        )
    named = {
        str(Path(picture.path).resolve()) + str(picture).removeprefix(picture.path): picture for picture in pictures
    }
    # What the pictures are, not only what they are called, decides whether kept regions still hold.
    stamps = [(name, Path(p.path).stat().st_mtime_ns, Path(p.path).stat().st_size) for name, p in named.items()]
    key = hashlib.sha256(repr((stamps, wanted)).encode()).hexdigest()[:24]
    return extract_features(named, backbone, cache_folder() / "features" / key)
