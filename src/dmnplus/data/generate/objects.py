"""Tasks 2, 3, 5, 7 and 8: where objects are and were, who gave them to whom, and who carries them.

Weston et al. 2015, https://arxiv.org/abs/1502.05698: "two or three supporting facts", "three argument relations",
"counting" and "lists/sets".
"""

from __future__ import annotations

from itertools import pairwise
from random import Random

from dmnplus.data.generate.story import Question, Story, Task
from dmnplus.data.generate.world import MOVES_GETS_DROPS, OBJECTS, THERE, WITH_GIFTS, Event, World, live, tell

GIVERS = ("Mary", "Fred", "Bill", "Jeff")
NUMBERS = ("none", "one", "two", "three")


def _handled(event: Event) -> tuple[str, ...]:
    return (event.object,) if event.object else ()


def _handler(event: Event) -> tuple[str, ...]:
    return (event.actor,) if event.object else ()


def two_supporting_facts(random: Random) -> Story:
    """Task 2: where an object is, once it was dropped at a told place or its holder has moved with it.

    Holds for all official questions, and whenever it holds for an object of the last five statements one is asked.
    """
    world = World(random, objects=OBJECTS)

    def question(thing: str) -> Question | None:
        last = world.handled[thing][-1]
        held = thing in world.holder
        arrival = world.arrival(last.actor, before=world.line if held else last.line)
        if arrival is None or (held and arrival.line < last.line):
            return None
        return Question(f"Where is the {thing}?", (world.place_of(thing),), (last.line, arrival.line))

    return tell(world, live(world, MOVES_GETS_DROPS), lambda: world.ask(_handled, question))


def three_supporting_facts(random: Random) -> Story:
    """Task 3: where an object was before it last came to a place, on the way it was last carried.

    Both places were reached with the object in hand; the third fact is the last time it was got or dropped.
    """
    world = World(random, objects=OBJECTS)

    def way(thing: str) -> list[Event]:
        last = world.handled[thing][-1]
        start, end = (last.line, world.line) if thing in world.holder else (world.handled[thing][-2].line, last.line)
        return [move for move in world.moves[last.actor] if start < move.line < end]

    def stops(event: Event) -> list[tuple[str, str]]:
        return [(event.object, move.place) for move in way(event.object)] if event.object else []

    def question(stop: tuple[str, str]) -> Question | None:
        thing, place = stop
        # The last visit counts. None for the first place on the way: where it was before, the reader need not know.
        steps = [(before, move) for before, move in pairwise(way(thing)) if move.place == place]
        if not steps:
            return None
        before, move = steps[-1]
        supporting = (world.handled[thing][-1].line, move.line, before.line)
        return Question(f"Where was the {thing} before the {place}?", (before.place,), supporting)

    return tell(world, live(world, MOVES_GETS_DROPS, THERE), lambda: world.ask(stops, question))


def three_argument_relations(random: Random) -> Story:
    """Task 5: who gave what to whom; about the last time that an object was given.

    A third of the questions is for the object, a third for who gave it and a third for who received it. Unlike two
    questions in a thousand of the official files, none has a later gift that fits it as well.
    """
    world = World(random, GIVERS, objects=OBJECTS)

    def question(thing: str) -> Question:
        gift = next(event for event in reversed(world.handled[thing]) if event.is_gift)
        giver, receiver = gift.people
        forms = [
            (f"Who gave the {thing} to {receiver}?", giver),
            (f"Who gave the {thing}?", giver),
            (f"Who did {giver} give the {thing} to?", receiver),
            (f"Who received the {thing}?", receiver),
        ]
        between = [event for event in world.handled[giver] if event.people == gift.people]
        if between[-1] == gift:
            forms += [(f"What did {giver} give to {receiver}?", thing)] * 2
        text, answer = random.choice(forms)
        return Question(text, (answer,), (gift.line,))

    def given(event: Event) -> tuple[str, ...]:
        return (event.object,) if event.is_gift else ()

    return tell(world, live(world, WITH_GIFTS), lambda: world.ask(given, question))


def counting(random: Random) -> Story:
    """Task 7: how many objects somebody carries. All they ever got, dropped, gave or received supports the answer."""
    world = World(random, objects=OBJECTS)

    def question(actor: str) -> Question:
        answer = NUMBERS[len(world.carried(actor))]
        lines = tuple(event.line for event in world.handled[actor])
        return Question(f"How many objects is {actor} carrying?", (answer,), lines)

    return tell(world, live(world, WITH_GIFTS), lambda: world.ask(_handler, question))


def lists_sets(random: Random) -> Story:
    """Task 8: what somebody carries.

    Both the answer and the supporting facts list the objects in the order in which that person first got them; the
    facts about one object stand together.
    """
    world = World(random, objects=OBJECTS)

    def question(actor: str) -> Question:
        handled = world.handled[actor]
        # A dict keeps the order of first mention.
        things = dict.fromkeys(event.object for event in handled)
        carried = world.carried(actor)
        answer = tuple(thing for thing in things if thing in carried) or ("nothing",)
        lines = tuple(event.line for thing in things for event in handled if event.object == thing)
        return Question(f"What is {actor} carrying?", answer, lines)

    return tell(world, live(world, MOVES_GETS_DROPS), lambda: world.ask(_handler, question))


TASKS = (
    Task(2, "two-supporting-facts", two_supporting_facts),
    Task(3, "three-supporting-facts", three_supporting_facts),
    Task(5, "three-arg-relations", three_argument_relations),
    Task(7, "counting", counting),
    Task(8, "lists-sets", lists_sets),
)
