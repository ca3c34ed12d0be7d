"""Tasks 1, 6 and 9 to 13: where people are.

Weston et al. 2015, https://arxiv.org/abs/1502.05698: "single supporting fact", "yes/no questions", "simple negation",
"indefinite knowledge", "basic coreference", "conjunction" and "compound coreference".
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from dmnplus.data.generate.story import Question, Story, Task
from dmnplus.data.generate.world import MOVED, MOVES_GETS_DROPS, OBJECTS, World, live, movers, tell, yes_no_question

PEOPLE_IN_TOWN = ("Bill", "Fred", "Julie", "Mary")
PLACES_IN_TOWN = ("bedroom", "cinema", "kitchen", "office", "park", "school")
AFTERWARDS = ("After that", "Afterwards", "Following that", "Then")
PRONOUNS = {"Daniel": "he", "John": "he", "Mary": "she", "Sandra": "she"}


def _where_is(world: World, supporting: int) -> Question | None:
    """Where somebody is who has moved lately, which the last `supporting` moves tell."""

    def question(actor: str) -> Question:
        lines = tuple(move.line for move in world.moves[actor][-supporting:])
        return Question(f"Where is {actor}?", (world.place[actor],), lines)

    return world.ask(movers, question)


def _any_place_but(world: World, place: str) -> str:
    return world.random.choice([other for other in world.places if other != place])


def single_supporting_fact(random: Random) -> Story:
    """Task 1: one person at a time moves to a new place."""
    world = World(random)

    def sentences() -> Iterator[str]:
        while True:
            actor = random.choice(world.actors)
            yield f"{actor} {random.choice(MOVED)} the {world.go((actor,))}."

    return tell(world, sentences(), lambda: _where_is(world, 1))


def yes_no_questions(random: Random) -> Story:
    """Task 6: half of the questions name the place where the person is, the others any other place."""
    world = World(random, objects=OBJECTS)

    def question(actor: str) -> Question:
        answer = random.choice(("yes", "no"))
        place = world.place[actor] if answer == "yes" else _any_place_but(world, world.place[actor])
        return yes_no_question(actor, place, answer, world.moves[actor][-1].line)

    return tell(world, live(world, MOVES_GETS_DROPS), lambda: world.ask(movers, question))


def simple_negation(random: Random) -> Story:
    """Task 9: a quarter of the moves is told by the place that was left; then only that place is asked for.

    What is negated is true: it is the place where the person was, told or hidden.
    """
    world = World(random)
    left: dict[str, str] = {}

    def sentences() -> Iterator[str]:
        while True:
            actor = random.choice(world.actors)
            origin = world.place[actor]
            place = world.go((actor,))
            left.pop(actor, None)
            match random.randrange(4):
                case 0:
                    left[actor] = origin
                    yield f"{actor} {random.choice(('is no longer', 'is not'))} in the {origin}."
                case 1:
                    yield f"{actor} is in the {place}."
                case _:
                    yield f"{actor} {random.choice(MOVED)} the {place}."

    def question(actor: str) -> Question:
        if actor in left:
            place = left[actor]
        elif random.random() < 0.5:
            place = world.place[actor]
        else:
            place = _any_place_but(world, world.place[actor])
        answer = "yes" if place == world.place[actor] else "no"
        return yes_no_question(actor, place, answer, world.moves[actor][-1].line)

    return tell(world, sentences(), lambda: world.ask(movers, question))


def indefinite_knowledge(random: Random) -> Story:
    """Task 10: a quarter of the moves is told as "either in the park or the office".

    As in the official files one such statement in six names the same place twice, and "maybe" is the answer then too.
    """
    world = World(random, PEOPLE_IN_TOWN, PLACES_IN_TOWN)
    possible: dict[str, list[str]] = {}

    def sentences() -> Iterator[str]:
        while True:
            actor = random.choice(world.actors)
            place = world.go((actor,))
            possible.pop(actor, None)
            match random.randrange(4):
                case 0:
                    possible[actor] = [place, random.choice(world.places)]
                    random.shuffle(possible[actor])
                    one, other = possible[actor]
                    yield f"{actor} is either in the {one} or the {other}."
                case 1:
                    yield f"{actor} is in the {place}."
                case _:
                    yield f"{actor} {random.choice(MOVED)} the {place}."

    def question(actor: str) -> Question:
        place = world.place[actor]
        asked = place if random.random() < 0.5 else _any_place_but(world, place)
        if actor in possible:
            answer = "maybe" if asked in possible[actor] else "no"
        else:
            answer = "yes" if asked == place else "no"
        return yes_no_question(actor, asked, answer, world.moves[actor][-1].line)

    return tell(world, sentences(), lambda: world.ask(movers, question))


def _moved_twice(world: World, group: int) -> Iterator[str]:
    """`group` people move to a new place, and in the next sentence, where a pronoun stands for them, to another."""
    random = world.random
    while True:
        people = tuple(random.sample(world.actors, group))
        yield f"{' and '.join(people)} {random.choice(MOVED)} the {world.go(people)}."
        pronoun = PRONOUNS[people[0]] if group == 1 else "they"
        yield f"{random.choice(AFTERWARDS)} {pronoun} {random.choice(MOVED)} the {world.go(people)}."


def basic_coreference(random: Random) -> Story:
    """Task 11: each pair of statements is about one person; both statements support an answer about them."""
    world = World(random)
    return tell(world, _moved_twice(world, 1), lambda: _where_is(world, 2))


def conjunction(random: Random) -> Story:
    """Task 12: two people at a time move to a place that is new to both."""
    world = World(random)

    def sentences() -> Iterator[str]:
        while True:
            people = tuple(random.sample(world.actors, 2))
            yield f"{' and '.join(people)} {random.choice(MOVED)} the {world.go(people)}."

    return tell(world, sentences(), lambda: _where_is(world, 1))


def compound_coreference(random: Random) -> Story:
    """Task 13: as task 11, with two people in each pair of statements."""
    world = World(random)
    return tell(world, _moved_twice(world, 2), lambda: _where_is(world, 2))


TASKS = (
    Task(1, "single-supporting-fact", single_supporting_fact),
    Task(6, "yes-no-questions", yes_no_questions),
    Task(9, "simple-negation", simple_negation),
    Task(10, "indefinite-knowledge", indefinite_knowledge),
    Task(11, "basic-coreference", basic_coreference),
    Task(12, "conjunction", conjunction),
    Task(13, "compound-coreference", compound_coreference),
)
