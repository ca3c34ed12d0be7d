"""The consensus accuracy of VQA: an answer counts as right as far as three of ten people gave it.

The rules are those of the official evaluation code in its last form (class VQAEval of
https://github.com/GT-Vision-Lab/VQA, described at https://visualqa.org/evaluation.html), quirks included, since
published figures contain them:
- nothing but outer blanks is normalised where all people wrote the same, so "Black." is then wrong for "black"; the
  authors meant to spare questions that ask to read a text (issue 14 of that repository);
- a punctuation mark becomes a blank, or nothing if it has a blank beside it anywhere in the answer or the answer has
  a comma between digits;
- the colon and the apostrophe stay; a period goes unless a digit follows, and no more than the first 32 go;
- "none" is a number word (0), and articles go even if they are all there is.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dmnplus.data.example import DataError
from dmnplus.data.vqa import Annotation

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
ARTICLES = ("a", "an", "the")
NUMBERS = {"none": "0"} | {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
}
# Each is also known with any one of its apostrophes left out, and then gets it back.
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't
    not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll
    somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd
    there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll
    what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
    would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
# The official table has this one the wrong way round.
CONTRACTIONS = {"somebody'd": "somebodyd"} | {
    word[:place] + word[place + 1 :]: word
    for word in _CONTRACTED.split()
    for place, letter in enumerate(word)
    if letter == "'"
}
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
# The official code hands the flag re.UNICODE, which is 32, to where the largest number of replacements belongs.
_MOST_PERIODS = 32


def normalise(answer: str) -> str:
    """An answer as the official code compares it: lower case, digits for words, no articles, little punctuation."""
    given = answer
    for mark in PUNCTUATION:
        drop = f"{mark} " in given or f" {mark}" in given or _COMMA_IN_NUMBER.search(given)
        answer = answer.replace(mark, "" if drop else " ")
    answer = _PERIOD.sub("", answer, count=_MOST_PERIODS)
    words = [NUMBERS.get(word, word) for word in answer.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def question_accuracy(answer: str, people: Sequence[str]) -> float:
    """How right `answer` is, 0 to 1: the mean of min(1, matches / 3) over `people` with each one left out in turn."""
    answer, people = _clean(answer), [_clean(one) for one in people]
    if len(set(people)) > 1:
        answer, people = normalise(answer), [normalise(one) for one in people]
    matches = people.count(answer)
    # A person who is left out takes one match along if he gave the answer.
    return sum(min(1.0, (matches - (one == answer)) / 3) for one in people) / len(people)


@dataclass(frozen=True)
class VQAAccuracy:
    """Means of `question_accuracy`, 0 to 1."""

    questions: int
    overall: float
    by_answer_type: dict[str, float]
    by_question_type: dict[str, float]


def vqa_accuracy(answers: Mapping[int, str], annotations: Mapping[int, Annotation]) -> VQAAccuracy:
    """The accuracy of `answers`, by question id, over all questions of `annotations`.

    Raises DataError for an annotated question without an answer, and for an answer without an annotated question.
    """
    for ids, other, problem in ((annotations, answers, "has no answer"), (answers, annotations, "is not annotated")):
        if missing := [number for number in ids if number not in other]:
            more = f" (and {len(missing) - 1} more)" if missing[1:] else ""
            raise DataError(f"question {missing[0]}{more} {problem}; give one answer to each annotated question")
    if not annotations:
        raise DataError("there is no question; accuracy needs at least one")
    scores: list[float] = []
    answer_types: dict[str, list[float]] = defaultdict(list)
    question_types: dict[str, list[float]] = defaultdict(list)
    for number, annotation in annotations.items():
        score = question_accuracy(answers[number], annotation.answers)
        for group in (scores, answer_types[annotation.answer_type], question_types[annotation.question_type]):
            group.append(score)
    return VQAAccuracy(len(scores), _mean(scores), _means(answer_types), _means(question_types))


def _clean(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores)


def _means(groups: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: _mean(scores) for name, scores in sorted(groups.items())}
