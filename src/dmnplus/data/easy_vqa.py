"""Reader of easy-VQA: questions about 64x64 pictures of one coloured shape, with 13 answers.

`{train,test}/questions.json` is a list of [question, answer, image id], in the order of the images;
`{train,test}/images/{image id}.png` are the pictures: 4,000 with 38,575 questions, and 1,000 with 9,673.

https://github.com/vzhou842/easy-VQA, licence MIT
"""

from __future__ import annotations

from pathlib import Path

from dmnplus.data.example import DataError, Example, Picture, Source, Splits
from dmnplus.data.reading import picture_names, read_json, unpacked

GET_HINT = "fetch it from https://github.com/vzhou842/easy-VQA"
SHAPES = ("circle", "rectangle", "triangle")
# Where the splits may be: in the repository, its package, the package's data folder.
_FOLDERS = ("", "easy_vqa/data", "data")


def read_easy_vqa(path: Path, split: str, *, folder: Path | None = None) -> list[Example]:
    """The questions of split "train" or "test", in file order.

    `path` is the repository's folder or an archive of it, which is unpacked once, into `folder` or the cache. The
    source's line is the place in the list, from 1, and its kind `easy-vqa/` with "yes-no", "shape" or "colour".
    Raises DataError naming the file and the place in the list.
    """
    if split not in ("train", "test"):
        raise DataError(f"split {split!r} is not one of train, test")
    root = unpacked(path, folder)
    home = next((root / name / split for name in _FOLDERS if (root / name / split).is_dir()), None)
    if home is None:
        raise DataError(f"{path}: no folder {split}/ with questions.json is there; {GET_HINT}")
    file = home / "questions.json"
    rows = read_json(file, GET_HINT)
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{file}: is not a list of questions; {GET_HINT}")
    names = picture_names(home / "images")
    examples: list[Example] = []
    for number, row in enumerate(rows, 1):
        where = f"{file}: entry {number}"
        if not (isinstance(row, list) and list(map(type, row)) == [str, str, int]):
            raise DataError(f"{where} is {row!r:.60}, not [question, answer, image id]; fetch the file again")
        question, answer, image = row
        if not question.strip() or not answer.strip():
            raise DataError(f"{where} has an empty question or answer; fetch the file again")
        if f"{image}.png" not in names:
            raise DataError(f"{where} is about image {image}, but {home / 'images'} has no {image}.png; {GET_HINT}")
        kind = "yes-no" if answer in ("yes", "no") else "shape" if answer in SHAPES else "colour"
        examples.append(
            Example(
                facts=(Picture(str(home / "images" / f"{image}.png")),),
                question=question,
                answer=(answer,),
                source=Source(str(file), number, f"easy-vqa/{kind}"),
            )
        )
    return examples


def easy_vqa_splits(path: Path, *, folder: Path | None = None) -> Splits:
    """Training without its last 10% of images, which validate, and the official test set. Raises DataError."""
    examples = read_easy_vqa(path, "train", folder=folder)
    images = sorted({_image(example) for example in examples})
    held_out = set(images[-max(1, len(images) // 10) :])
    return Splits(
        "easy-vqa",
        training=[example for example in examples if _image(example) not in held_out],
        validation=[example for example in examples if _image(example) in held_out],
        test=read_easy_vqa(path, "test", folder=folder),
    )


def _image(example: Example) -> int:
    picture = example.facts[0]
    assert isinstance(picture, Picture)
    return int(Path(picture.path).stem)
