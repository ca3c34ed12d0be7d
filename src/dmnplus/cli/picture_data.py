"""Data sets of questions about pictures, as `train pictures` and `eval` name them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dmnplus.data.daquar import count_several_words, read_daquar
from dmnplus.data.easy_vqa import easy_vqa_splits, read_easy_vqa
from dmnplus.data.example import DataError, Example, Splits, iter_pictures, split_by_picture
from dmnplus.data.nlvr import nlvr_splits, read_nlvr
from dmnplus.data.reading import pictures_without_questions
from dmnplus.data.scenes import read_scenes
from dmnplus.data.vqa import read_annotations, read_vqa, vqa_files, vqa_splits

DATASETS = ("scenes", "easy-vqa", "daquar", "nlvr", "vqa")
# In the record of a run on DAQUAR with answers of several words, too.
SEVERAL_WORDS = "with several words"


def picture_splits(
    dataset: str,
    data: Path,
    *,
    validation_share: float = 0.1,
    hold_out: float = 0.0,
    seed: int = 0,
    several_words: bool = False,
) -> Splits:
    """The splits of a data set in `data`, its folder or archive.

    Official where there are such. DAQUAR's test questions are its own file: `hold_out` keeps that share of the training
    photos back to measure on, others for another `seed`; `several_words` takes in its answers of more than one word.
    """
    match dataset:
        case "scenes":
            training, validation = split_between_pictures(read_scenes(data / "train"), validation_share)
            return Splits("scenes", training, validation, read_scenes(data / "test"))
        case "easy-vqa":
            return easy_vqa_splits(data)
        case "nlvr":
            return nlvr_splits(data)
        case "vqa":
            return vqa_splits(data, validation_share=validation_share)
        case "daquar":
            examples = read_daquar(data, single_word=not several_words)
            test: list[Example] = []
            if hold_out:
                examples, test = split_by_picture(examples, hold_out, seed=seed + 1)
            training, validation = split_by_picture(examples, validation_share, seed=seed)
            return Splits(f"daquar {SEVERAL_WORDS}" if several_words else "daquar", training, validation, test)
    raise ValueError(f"unknown data set {dataset!r}; there are {', '.join(DATASETS)}")


def picture_remarks(dataset: str, data: Path, splits: Splits, *, several_words: bool = False) -> Iterator[str]:
    """What of a data set is not read, a line each."""
    if dataset == "daquar" and not several_words and (count := count_several_words(data)):
        yield f"{count} questions with answers of several words are left out; --several-words takes them in"
    if unasked := pictures_without_questions([*splits.training, *splits.validation, *splits.test]):
        yield f"{len(unasked)} pictures that no question here asks about are ignored (first: {unasked[0]})"


def require_photos(folder: Path) -> None:
    """Raise DataError where VQA's photos are missing beside its questions in `folder`, before these are read."""
    for split in ("train", "val"):
        if vqa_files(folder, split)[2] is None:
            raise DataError(
                f"{folder}: has no photos for its {split} questions; put COCO's into train2014 and val2014, or all "
                "into images, or give --blind to read the questions alone"
            )


def read_questions(
    dataset: str,
    data: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    annotations: Path | None = None,
    several_words: bool = False,
) -> list[Example]:
    """The questions of a part of a data set, by default its test questions.

    `data` is a file, a folder or an archive, `images` where the pictures are. VQA has its answers in a file of their
    own, `annotations`; `several_words` is for DAQUAR.
    """
    if split and dataset in ("scenes", "daquar", "vqa") and data.is_file():
        raise DataError(f"{data}: is a file, and read whole; leave --split out, or give the data set's folder")
    match dataset:
        case "scenes":
            folder = data / (split or "test")
            return read_scenes(folder if split or folder.is_dir() else data)
        case "easy-vqa":
            return read_easy_vqa(data, split or "test")
        case "nlvr":
            return read_nlvr(data, split or "test")
        case "vqa":
            return read_vqa(data, read_annotations(annotations) if annotations else None, images)
        case "daquar":
            return read_daquar(data, split or "test", single_word=not several_words, pictures=images)
    raise ValueError(f"unknown data set {dataset!r}; there are {', '.join(DATASETS)}")


def split_between_pictures(examples: Sequence[Example], share: float) -> tuple[Sequence[Example], Sequence[Example]]:
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


def splits_without_pictures(splits: Splits) -> Splits:
    training, validation, test = map(without_pictures, (splits.training, splits.validation, splits.test))
    return Splits(f"{splits.name} without pictures", training, validation, test)
