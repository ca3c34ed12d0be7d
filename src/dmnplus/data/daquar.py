"""Reader of DAQUAR: questions about photos of rooms, in the official text files (`qa.894.raw.train.txt`).

Questions and answers alternate, a line each; the question names its photo ("what is on the desk in the image3 ?"), the
answer is a word or several with commas ("book, papers, tape_dispenser"). The photos lie as `imageN.png` (official) or
`imageN.jpg` in `images/` or `nyu_depth_images/` beside the text file.

The reference to the photo tells nothing about it, so a question is kept without it: "what is on the desk ?". What the
6,795 official training questions hold besides "in the imageN ?" (6,630 of them):
- other words before the photo: "of the" (155), "on the" (5), "in" (2), "of", "in this", and none at all ("on the table
  image108 ?"); the preposition goes too ("on the left side of the image5 ?" becomes "on the left side ?");
- the photo named twice (13): "the object in the image912 close to the wall in the image912 ?"; the first becomes
  "image";
- a word twice in an answer (5): "stool, stool"; it is kept, the metrics take answers as sets;
- questions asked twice about a photo (160), with the same answer (111) or another; all are kept;
- a photo that nobody asks about (image366).
Misplaced blanks as in "in th eimage999 ?" or "in theimage999 ?" are read too.

Malinowski and Fritz 2014, https://arxiv.org/abs/1410.0210
"""

from __future__ import annotations

import re
from pathlib import Path

from dmnplus.data.example import DataError, Example, Picture, Source
from dmnplus.data.reading import PICTURE_SUFFIXES, picture_names, read_text

FILE_NAME = "qa.894.raw.{split}.txt"
PICTURE_FOLDERS = ("images", "nyu_depth_images")
GET_HINT = "fetch DAQUAR from the Max Planck Institute for Informatics (mpi-inf.mpg.de, search for DAQUAR)"

_PICTURE = re.compile(r"image\s?(\d+)", re.IGNORECASE)
# The photo at the end of the question, with the words that lead to it; "th e?" for a misplaced blank.
_REFERENCE = re.compile(
    r"\s*(?:\b(?:in|on|of|at|to|from)\s+)?(?:\bth(?:e|is)?\s*e?\s*)?image\s?\d+[\s?.]*$", re.IGNORECASE
)


def read_daquar(
    path: Path, split: str = "train", *, single_word: bool = True, pictures: Path | None = None
) -> list[Example]:
    """The questions of an official text file, or of DAQUAR-ALL's file for `split` in the folder `path`, in file order.

    The paper counts questions with one answer word alone (section 5.2, about 90%): `single_word=False` gives the others
    too. `pictures` is the folder of the photos where it is not beside the file. The source's line is the question's.
    Raises DataError with file and line.
    """
    file = _file(path, split)
    lines = _lines(file)
    blank = next((number for number, line in enumerate(lines, 1) if not line.strip()), None)
    if blank:
        raise DataError(f"{file}:{blank}: is blank; questions and answers alternate without blank lines")
    if len(lines) % 2:
        raise DataError(
            f"{file}:{len(lines)}: is a question without an answer (the number of lines is odd); a line is missing"
        )
    folder = pictures or _picture_folder(file.parent)
    names = picture_names(folder)
    examples: list[Example] = []
    for number in range(1, len(lines), 2):
        source = Source(str(file), number, "daquar")
        question, name = _question(lines[number - 1], source)
        answer = tuple(word.strip() for word in lines[number].split(","))
        if _PICTURE.search(lines[number]) or "?" in lines[number]:
            raise DataError(f"{file}:{number + 1}: is a question where an answer is expected; a line is missing above")
        if not all(answer):
            raise DataError(f"{file}:{number + 1}: has an empty answer word; write words with commas between them")
        if single_word and len(answer) > 1:
            continue
        found = next((name + suffix for suffix in PICTURE_SUFFIXES if name + suffix in names), None)
        if found is None:
            raise DataError(f"{source}: asks about {name}, but {folder} has no {name}.jpg or {name}.png; {GET_HINT}")
        examples.append(Example(facts=(Picture(str(folder / found)),), question=question, answer=answer, source=source))
    if not examples:
        raise DataError(f"{file}: holds no question with one answer word; --several-words takes in the others")
    return examples


def count_several_words(path: Path, split: str = "train") -> int:
    """How many questions of a file that `read_daquar` reads have answers of several words."""
    return sum("," in answer for answer in _lines(_file(path, split))[1::2])


def _file(path: Path, split: str) -> Path:
    return path / FILE_NAME.format(split=split) if path.is_dir() else path


def _lines(file: Path) -> list[str]:
    # Not splitlines(): it would split at more than line ends.
    lines = [line.rstrip("\r") for line in read_text(file, GET_HINT).split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _picture_folder(beside: Path) -> Path:
    return next((beside / name for name in PICTURE_FOLDERS if (beside / name).is_dir()), beside / PICTURE_FOLDERS[0])


def _question(line: str, source: Source) -> tuple[str, str]:
    """The question without its photo, and the photo's name (`image3`). Raises DataError."""
    numbers = {int(number) for number in _PICTURE.findall(line)}
    if not numbers:
        raise DataError(f"{source}: names no photo; write a question like 'what is on the desk in the image3 ?'")
    if len(numbers) > 1:
        raise DataError(f"{source}: names the photos {', '.join(map(str, sorted(numbers)))}; a question is about one")
    question = _PICTURE.sub("image", _REFERENCE.sub("", line)).strip().removesuffix("?").strip()
    if not question:
        raise DataError(f"{source}: holds nothing but the name of a photo; write a question")
    return f"{question} ?", f"image{numbers.pop()}"
