"""Reader of NLVR, version 1: is a sentence true of three boxes with coloured shapes?

`{dev,test}/{dev,test}.json` holds an object a line: sentence, label, identifier, directory. Six pictures a line, one
for each order of the boxes, lie in `{split}/images/{directory}/{split}-{identifier}-{order}.png`. A picture has
400 x 100 pixels: three boxes of 100 x 100 (light grey) at 0, 150 and 300 with gaps of 50 (grey) between them.

Dev (989 sentences, 5,934 examples, 55.3% true) trains; one of its directories 0 to 5 validates, as the corpus
advises: sentences of one origin share a directory, so random sampling would let near-copies into both parts. The
public test set has 990 sentences (56.2% true).

Suhr et al. 2017, https://lil.nlp.cornell.edu/nlvr/
"""

from __future__ import annotations

from pathlib import Path

from dmnplus.data.example import DataError, Example, Picture, Source, Splits
from dmnplus.data.reading import parse_json, picture_names, read_text, unpacked

GET_HINT = "fetch it from https://github.com/lil-lab/nlvr (folder nlvr)"
ORDERS = range(6)
# Left, top, right, bottom of each box as shares of the picture.
BOXES = ((0.0, 0.0, 0.25, 1.0), (0.375, 0.0, 0.625, 1.0), (0.75, 0.0, 1.0, 1.0))


def read_nlvr(path: Path, split: str, *, folder: Path | None = None) -> list[Example]:
    """The examples of split "dev", "test" (or "train", where it is there): six for each line, in file order.

    The boxes of a picture are three facts, from left to right, the sentence is the question, the answer "true" or
    "false". `path` is the corpus' folder or an archive of it, which is unpacked once, into `folder` or the cache.
    Raises DataError with file, line and identifier.
    """
    root = unpacked(path, folder)
    file = root / split / f"{split}.json"
    if not file.is_file():
        raise DataError(f"{path}: no {split}/{split}.json is there; {GET_HINT}")
    names: dict[str, set[str]] = {}
    lines: dict[str, int] = {}
    examples: list[Example] = []
    for number, line in enumerate(read_text(file, GET_HINT).split("\n"), 1):
        if not line.strip():
            continue
        source = Source(str(file), number, "nlvr")
        entry = parse_json(line, file, number)
        keys = ("sentence", "label", "identifier", "directory")
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) and entry[key] for key in keys):
            raise DataError(f"{source}: is not an object with the texts {', '.join(keys)}; {GET_HINT}")
        sentence, label, identifier, directory = (entry[key] for key in keys)
        if label not in ("true", "false"):
            raise DataError(f"{source}: {identifier} has the label {label!r}; write 'true' or 'false'")
        if identifier in lines:
            raise DataError(f"{source}: {identifier} was already in line {lines[identifier]}; keep one of them")
        lines[identifier] = number
        images = root / split / "images" / directory
        if directory not in names:
            try:
                names[directory] = picture_names(images)
            except DataError as error:
                raise DataError(f"{source}: {identifier} is in {directory!r}: {error}") from error
        for order in ORDERS:
            name = f"{split}-{identifier}-{order}.png"
            if name not in names[directory]:
                raise DataError(f"{source}: the picture {name} of {identifier} is not in {images}; {GET_HINT}")
            examples.append(
                Example(
                    facts=tuple(Picture(str(images / name), box) for box in BOXES),
                    question=sentence.strip(),
                    answer=(label,),
                    source=source,
                )
            )
    return examples


def nlvr_splits(path: Path, *, directory: str = "5", folder: Path | None = None) -> Splits:
    """Dev without `directory` trains, `directory` of dev validates, the public test set tests. Raises DataError."""
    examples = read_nlvr(path, "dev", folder=folder)
    training = [example for example in examples if directory_of(example) != directory]
    validation = [example for example in examples if directory_of(example) == directory]
    if not training or not validation:
        found = ", ".join(sorted({directory_of(example) for example in examples}))
        raise DataError(f"{path}: dev has the directories {found}; {directory!r} cannot be held out of them")
    return Splits("nlvr", training, validation, read_nlvr(path, "test", folder=folder))


def directory_of(example: Example) -> str:
    """The sub-directory of an example's picture, the corpus' own unit for splitting."""
    picture = example.facts[0]
    assert isinstance(picture, Picture)
    return Path(picture.path).parent.name
