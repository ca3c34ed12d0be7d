"""Tasks 1 to 3 and 5 to 14: each answer is found again from the text alone; the figures are those of the real files.

The reader below knows nothing of the generator: it reads sentences, and is itself checked on the real files.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmnplus.data.babi import read_babi
from dmnplus.data.compare import compare
from dmnplus.data.example import Example
from dmnplus.data.generate import generate

TASKS = (1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)
TIMES = ("yesterday", "this morning", "this afternoon", "this evening")
NUMBERS = ("none", "one", "two", "three")

MOVE = re.compile(
    r"(?:(?P<before>Yesterday|This \w+) )?(?P<who>\w+(?: and \w+)?|[A-Z]\w+(?: that)? (?:he|she|they)) "
    r"(?:went back|went|moved|journeyed|travelled) to the (?P<place>\w+)(?: (?P<after>yesterday|this \w+))?\."
)
REPORT = re.compile(r"(\w+) is (either in|no longer in|not in|in) the (\w+)(?: or the (\w+))?\.")
GET = re.compile(r"(\w+) (?:got|took|grabbed|picked up) the (\w+)(?: there)?\.")
DROP = re.compile(r"(\w+) (?:dropped|left|discarded|put down) the (\w+)(?: there)?\.")
GIVE = re.compile(r"(\w+) (?:gave|handed|passed) the (\w+) to (\w+)\.")


class Reader:
    """What follows from sentences; `broken` lists those that cannot be true after the ones before."""

    def __init__(self, facts: Sequence[str]) -> None:
        # For each person where they are, by possible places, or which place they are not in.
        self.possible: dict[str, set[str]] = {}
        self.excluded: dict[str, str] = {}
        self.visits: dict[str, dict[int, str]] = defaultdict(dict)
        self.holder: dict[str, str] = {}
        self.lies: dict[str, str | None] = {}
        # The known places of an object, one after another.
        self.trail: dict[str, list[str]] = defaultdict(list)
        # For each person the objects ever had, in order, and whether they still have them.
        self.had: dict[str, dict[str, bool]] = defaultdict(dict)
        self.gifts: list[tuple[str, str, str]] = []
        self.broken: list[str] = []
        met: set[str] = set()
        for fact in facts:
            if match := GET.fullmatch(fact):
                met.add(match[2])
            # Who drops or gives an object that was in no one's hands as far as told, has had it from the start.
            elif (match := DROP.fullmatch(fact) or GIVE.fullmatch(fact)) and match[2] not in met:
                met.add(match[2])
                self.holder[match[2]] = match[1]
        self.people: tuple[str, ...] = ()
        for fact in facts:
            self._read(fact)

    def place(self, person: str) -> str | None:
        possible = self.possible.get(person, set())
        return next(iter(possible)) if len(possible) == 1 else None

    def place_of(self, thing: str) -> str | None:
        return self.place(self.holder[thing]) if thing in self.holder else self.lies.get(thing)

    def _read(self, fact: str) -> None:
        if match := MOVE.fullmatch(fact):
            *_, last = who = match["who"].split(" ")
            if last not in ("he", "she", "they"):
                self.people = (who[0], last) if "and" in who else (last,)
            time = match["before"] or match["after"]
            for person in self.people:
                if time:
                    self.visits[person][TIMES.index(time.lower())] = match["place"]
                    continue
                self._check(self.place(person) != match["place"], fact)
                self.possible[person] = {match["place"]}
                self.excluded.pop(person, None)
                for thing, holder in self.holder.items():
                    if holder == person:
                        self.trail[thing].append(match["place"])
        elif match := REPORT.fullmatch(fact):
            person, how, place, other = match.groups()
            self.possible.pop(person, None)
            self.excluded.pop(person, None)
            if how in ("no longer in", "not in"):
                self.excluded[person] = place
            else:
                self.possible[person] = {place, other or place}
                # "Either in the park or the park" leaves it open in the official files.
                if how == "either in":
                    self.possible[person].add("")
        elif match := GET.fullmatch(fact):
            person, thing = match.groups()
            place = self.place(person)
            known = self.lies.get(thing)
            self._check(thing not in self.holder and (None in (known, place) or known == place), fact)
            self.holder[thing] = person
            self.had[person][thing] = True
            if place and self.trail[thing][-1:] != [place]:
                self.trail[thing].append(place)
        elif match := DROP.fullmatch(fact):
            person, thing = match.groups()
            self._check(self.holder.pop(thing, None) == person, fact)
            self.lies[thing] = self.place(person)
            self.had[person][thing] = False
        else:
            match = GIVE.fullmatch(fact)
            assert match, fact
            giver, thing, receiver = match.groups()
            places = {self.place(giver), self.place(receiver)}
            self._check(self.holder.get(thing) == giver != receiver and (None in places or len(places) == 1), fact)
            self.holder[thing] = receiver
            self.had[giver][thing], self.had[receiver][thing] = False, True
            self.gifts.append((giver, thing, receiver))

    def _check(self, holds: bool, fact: str) -> None:
        if not holds:
            self.broken.append(fact)

    def answer(self, question: str) -> str | None:
        """None where the sentences leave it open."""
        match re.findall(r"\w+", question):
            case ["Where", "is", "the", thing]:
                return self.place_of(thing)
            case ["Where", "is", person]:
                return self.place(person)
            case ["Is", person, "in", "the", place]:
                possible = self.possible.get(person, set())
                if not possible:
                    return "no" if self.excluded.get(person) == place else None
                return "no" if place not in possible else "yes" if len(possible) == 1 else "maybe"
            case ["Where", "was", "the", thing, "before", "the", place]:
                return before_last(self.trail[thing], place)
            case ["Where", "was", person, "before", "the", place]:
                return before_last([place for _, place in sorted(self.visits[person].items())], place)
            case ["How", *_, person, "carrying"]:
                return NUMBERS[sum(self.had[person].values())]
            case ["What", "is", person, "carrying"]:
                return ",".join(thing for thing, has in self.had[person].items() if has) or "nothing"
            case ["What", "did", giver, "give", "to", receiver]:
                return self._last_gift(1, giver, None, receiver)
            case ["Who", "gave", "the", thing, *receiver]:
                return self._last_gift(0, None, thing, receiver[-1] if receiver else None)
            case ["Who", "did", giver, *_, thing, "to"]:
                return self._last_gift(2, giver, thing, None)
            case ["Who", "received", "the", thing]:
                return self._last_gift(2, None, thing, None)
        raise AssertionError(question)

    def _last_gift(self, part: int, *sought: str | None) -> str | None:
        fitting = [
            gift
            for gift in self.gifts
            if all(word is None or word == told for word, told in zip(sought, gift, strict=True))
        ]
        return fitting[-1][part] if fitting else None


def before_last(places: list[str], place: str) -> str | None:
    arrivals = [index for index in range(1, len(places)) if places[index] == place]
    return places[arrivals[-1] - 1] if arrivals else None


def check(example: Example) -> bool:
    """Asserts that supporting facts exist and suffice; whether the last word of the whole story is the same answer."""
    assert example.supporting
    assert len(set(example.supporting)) == len(example.supporting)
    assert all(0 <= fact < len(example.facts) for fact in example.supporting)
    story = Reader(example.facts)
    assert story.broken == []
    supported = Reader([example.facts[index] for index in sorted(example.supporting)])
    assert supported.answer(example.question) == example.answer_text, example
    return story.answer(example.question) == example.answer_text


@pytest.mark.parametrize("task", TASKS)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=3, deadline=None)
def test_every_answer_follows_from_the_text_and_from_the_supporting_facts_alone(task: int, seed: int) -> None:
    for example in generate(task, 30, seed):
        assert check(example), example


@pytest.mark.parametrize("task", TASKS)
def test_the_reader_of_these_tests_agrees_with_the_real_files(babi_archive: Path, task: int) -> None:
    # Long stories: each question reads all of its story again.
    real = read_babi(babi_archive, task, "test")[: 100 if task == 3 else 300]
    # Two questions in a thousand of task 5 fit a later gift as well.
    assert sum(not check(example) for example in real) <= (1 if task == 5 else 0)


def test_no_later_gift_fits_what_is_asked_of_task_5() -> None:
    """Of its questions, one in seven hundred would be about a gift that another one follows between the same two."""
    assert all(check(example) for example in generate(5, 3_000, 0))


def test_the_recent_events_are_asked_about() -> None:
    for example in generate(1, 500, 0):
        assert len(example.facts) - example.supporting[0] <= 5


def test_who_is_told_where_they_are_not_is_asked_about_that_place_only() -> None:
    negated = [example for example in generate(9, 2_000, 0) if " no" in example.facts[example.supporting[0]]]
    assert all(example.answer == ("no",) for example in negated)
    assert len(negated) / 2_000 == pytest.approx(0.25, abs=0.04)


def test_lists_name_objects_in_the_order_in_which_they_were_first_got() -> None:
    lists = {example.answer for example in generate(8, 3_000, 0) if len(example.answer) > 1}
    assert {("apple", "milk"), ("milk", "apple"), ("football", "apple", "milk")} <= lists


def test_the_latest_statements_are_out_of_order_in_time_reasoning() -> None:
    """Two neighbours about one person, told between two questions, never go by time: none do in the real file."""
    before: Example | None = None
    for example in generate(14, 2_000, 0):
        if before is not None and example.facts[: len(before.facts)] == before.facts:
            told = [MOVE.fullmatch(fact) for fact in example.facts[len(before.facts) :]]
            (first, one), (second, other) = [
                (match["who"], TIMES.index((match["before"] or match["after"]).lower())) for match in told if match
            ]
            assert first != second or one > other
        before = example


@pytest.mark.parametrize("task", TASKS)
def test_figures_are_those_of_the_real_files(babi_archive: Path, task: int) -> None:
    """The tolerances are some three standard errors of as many stories: the questions of one story are alike."""
    # The 10,000 training questions of task 3 are not in the archive.
    real = read_babi(babi_archive, task, "test" if task == 3 else "train")
    comparison = compare(generate(task, 3_000, 0), real)
    assert comparison.words_only_generated == comparison.words_only_real == ()
    generated, official = comparison.generated, comparison.real
    for name in ("questions_per_story", "words_per_question"):
        assert getattr(generated, name).mean == pytest.approx(getattr(official, name).mean, abs=0.05)
    # 600 stories, and 200 real ones of task 3.
    error = official.statements.deviation * (1 / min(generated.stories, official.stories)) ** 0.5
    assert generated.statements.mean == pytest.approx(official.statements.mean, abs=3 * error + 0.01)
    assert generated.statements.deviation == pytest.approx(official.statements.deviation, rel=0.15)
    assert generated.statements.least == official.statements.least or task == 3
    assert generated.words_per_statement.mean == pytest.approx(official.words_per_statement.mean, abs=0.05)
    assert generated.supporting.mean == pytest.approx(official.supporting.mean, rel=0.05)
    assert generated.supporting_age.mean == pytest.approx(official.supporting_age.mean, rel=0.06)
    assert generated.supporting_ascending == pytest.approx(official.supporting_ascending, abs=0.03)
    assert comparison.supporting_distance < 0.03
    # Shares of 6 answers in 1,000 real questions, five of a story at a time, are off by more.
    assert comparison.answer_distance < (0.08 if task == 3 else 0.04)
