"""The metrics of DAQUAR: accuracy and WUPS, which gives part of the credit to answers of a near meaning.

Answers are sets of words. With a measure m of two words in [0, 1], an answer A scores against the truth T

    min( prod_{a in A} max_{t in T} m(a, t),  prod_{t in T} max_{a in A} m(a, t) ).

Accuracy takes m(a, t) = 1 if a = t, else 0: the sets must be the same. WUPS takes the Wu-Palmer similarity in WordNet,
the largest over the words' meanings as nouns, times 0.1 where it is below a threshold; equal words have 1, a word that
WordNet does not know has 0. Malinowski and Fritz 2014, https://arxiv.org/abs/1410.0210, section 4 and their
`calculate_wups.py`.
"""

from __future__ import annotations

import io
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from dmnplus.data.example import DataError

# Where Debian's package wordnet-base lies.
DEBIAN_FOLDER = Path("/usr/share/wordnet")
INSTALL_HINT = (
    "install the database (`apt-get install wordnet-base`, or `python -m nltk.downloader wordnet`) or name its folder"
)
BELOW_THRESHOLD = 0.1

Similarity = Callable[[str, str], float]


@dataclass(frozen=True)
class DaquarScores:
    """Means over questions, 0 to 1. `wups_00` and `wups_09` have the thresholds 0.0 and 0.9."""

    questions: int
    accuracy: float
    wups_09: float
    wups_00: float


def daquar_scores(
    predicted: Sequence[Sequence[str]], truth: Sequence[Sequence[str]], similarity: Similarity
) -> DaquarScores:
    """The scores of answers, each a tuple of words as in `Example.answer`; `similarity` is `wordnet_similarity()`.

    Raises DataError if there is no answer, or not one for each question.
    """
    if not truth or len(predicted) != len(truth):
        raise DataError(f"{len(predicted)} answers for {len(truth)} questions; give one answer to each")
    pairs = list(zip(predicted, truth, strict=True))

    def mean(measure: Similarity) -> float:
        return sum(set_score(one, other, measure) for one, other in pairs) / len(pairs)

    return DaquarScores(
        questions=len(pairs),
        accuracy=mean(lambda a, t: float(a == t)),
        wups_09=mean(lambda a, t: thresholded(similarity(a, t), 0.9)),
        wups_00=mean(lambda a, t: thresholded(similarity(a, t), 0.0)),
    )


def set_score(predicted: Sequence[str], truth: Sequence[str], measure: Similarity) -> float:
    """How well two sets of words match under `measure`, 0 to 1; words in a tuple may repeat, an empty one matches none.

    The word that is looked for comes first in `measure`, as in the official script.
    """
    answers, wanted = set(predicted), set(truth)
    if not answers or not wanted:
        return float(answers == wanted)
    return min(
        prod(max(measure(a, t) for t in wanted) for a in answers),
        prod(max(measure(t, a) for a in answers) for t in wanted),
    )


def thresholded(similarity: float, threshold: float) -> float:
    """`similarity`, cut to a tenth if below `threshold`."""
    return similarity * (BELOW_THRESHOLD if similarity < threshold else 1.0)


def wordnet_similarity(folder: Path | None = None) -> Similarity:
    """The largest Wu-Palmer similarity of two words over their nouns in WordNet, 0 to 1.

    `folder` holds the database (`data.noun`, `index.noun`, `noun.exc`); without it, Debian's or NLTK's own is taken.
    Raises DataError, naming what to install, where there is no NLTK or no database.
    """
    nouns = _nouns(folder)

    @cache
    def meanings(word: str) -> list[Any]:
        return nouns.synsets(word, pos="n")

    @cache
    def similarity(a: str, t: str) -> float:
        if a == t:
            return 1.0
        return max((x.wup_similarity(y) or 0.0 for x in meanings(a) for y in meanings(t)), default=0.0)

    return similarity


def _nouns(folder: Path | None) -> Any:
    """NLTK's reader of WordNet, with the nouns of `folder`."""
    try:
        import nltk
        from nltk.corpus.reader.wordnet import WordNetCorpusReader
    except ImportError as error:
        raise DataError("WUPS needs NLTK; run `pip install 'dmnplus[wups]'`") from error
    if folder is None and not (DEBIAN_FOLDER / "data.noun").is_file():
        from nltk.corpus import wordnet

        try:
            wordnet.ensure_loaded()
        except LookupError as error:
            raise DataError(f"{DEBIAN_FOLDER}: no WordNet is there, nor NLTK's own; {INSTALL_HINT}") from error
        return wordnet
    root = folder or DEBIAN_FOLDER

    class Nouns(WordNetCorpusReader):
        """The nouns alone, which load faster; and Debian leaves out `lexnames` and `index.sense`."""

        def open(self, file: str) -> Any:
            if file == "lexnames":
                # The names of the lexicographers' files are not used, only that there are 45.
                return io.StringIO("".join(f"{number:02} file{number} 1\n" for number in range(45)))
            if "noun" not in file:
                return io.StringIO()
            opened = (root / file).open(encoding="utf-8")
            # The base class keeps data.noun open and never closes it.
            weakref.finalize(self, opened.close)
            return opened

        def map_wn(self, version: str = "") -> None:
            """No mapping to another version of WordNet, which would need `index.sense`."""

        map_wn30 = map_wn

    # NLTK reads no folder that is not on its list.
    if str(root) not in nltk.data.path:
        nltk.data.path.append(str(root))
    try:
        with warnings.catch_warnings():
            # It warns that there is English only.
            warnings.simplefilter("ignore")
            return Nouns(str(root), None)
    except OSError as error:
        raise DataError(f"{root}: is no WordNet database ({error.strerror or error}); {INSTALL_HINT}") from error
