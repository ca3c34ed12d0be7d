"""The simulated world of tasks 1 to 3 and 5 to 13: actors move between places, and get, drop and give objects.

Weston et al. 2015, https://arxiv.org/abs/1502.05698, section 4. The rules were found by replaying the official files
(en-10k); the docstrings say which hold for every question there. Answers are read from the state of the world and
supporting facts from the lines that brought it about, never from a template.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import NamedTuple, TypeAlias, TypeVar

from dmnplus.data.generate.story import Question, Statement, Story

# In the order in which a receiver is chosen; objects likewise.
ACTORS = ("John", "Mary", "Sandra", "Daniel")
PLACES = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
OBJECTS = ("apple", "football", "milk")

MOVED = ("journeyed to", "moved to", "travelled to", "went back to", "went to")
GOT = ("got", "grabbed", "picked up", "took")
DROPPED = ("discarded", "dropped", "left", "put down")
GAVE = ("gave", "handed", "passed")

QUESTIONS_PER_STORY = 5
STATEMENTS_BETWEEN_QUESTIONS = 2
# A question is about something in the last five events: so it is in every official file. Two people who move together
# are two events.
RECENT = 5

# How often a drop is told with "there"; so is a get in task 3, and every get in the other tasks.
THERE = 0.2

Subject = TypeVar("Subject")


class Event(NamedTuple):
    """What the statement on `line` of the story tells: `people` (the one who acts first) moved to `place`, or handled
    `object` there. A giver is followed by who receives."""

    line: int
    people: tuple[str, ...]
    place: str
    object: str = ""

    @property
    def actor(self) -> str:
        return self.people[0]

    @property
    def is_gift(self) -> bool:
        return bool(self.object) and len(self.people) == 2


class World:
    """Where everyone and everything is, and which statements a reader knows it from.

    People and objects start at hidden places, which no statement tells; so an object can be got in a place that no
    question may ask for yet.
    """

    def __init__(
        self,
        random: Random,
        actors: tuple[str, ...] = ACTORS,
        places: tuple[str, ...] = PLACES,
        objects: tuple[str, ...] = (),
    ) -> None:
        self.random = random
        self.actors = actors
        self.places = places
        self.objects = objects
        self.place = {actor: random.choice(places) for actor in actors}
        self.lying = {thing: random.choice(places) for thing in objects}
        self.holder: dict[str, str] = {}
        # The line of the story that the next event will be told on.
        self.line = 0
        self.recent: deque[Event] = deque(maxlen=RECENT)
        self.moves: dict[str, list[Event]] = {actor: [] for actor in actors}
        self.handled: dict[str, list[Event]] = {thing: [] for thing in (*actors, *objects)}

    def place_of(self, thing: str) -> str:
        return self.place[self.holder[thing]] if thing in self.holder else self.lying[thing]

    def arrival(self, actor: str, before: int) -> Event | None:
        """The last told move of `actor` above line `before`."""
        return next((move for move in reversed(self.moves[actor]) if move.line < before), None)

    def go(self, people: tuple[str, ...]) -> str:
        """All of `people` move to a place where none of them is, which is returned."""
        place = self.random.choice(self.places)
        while any(self.place[actor] == place for actor in people):
            place = self.random.choice(self.places)
        for actor in people:
            event = Event(self.line, (actor,), place)
            self.place[actor] = place
            self.moves[actor].append(event)
            self.recent.append(event)
        return place

    # Each of these is None where `actor` cannot do it, which `act` answers with another draw.

    def move(self, actor: str) -> Event | None:
        # The place is drawn before it is known to be a new one: without it moves are a fifth too frequent.
        if self.random.choice(self.places) == self.place[actor]:
            return None
        self.go((actor,))
        return self.recent[-1]

    def get(self, actor: str) -> Event | None:
        here = [thing for thing, place in self.lying.items() if place == self.place[actor]]
        if not here:
            return None
        thing = self.random.choice(here)
        del self.lying[thing]
        self.holder[thing] = actor
        return self._handle((actor,), thing)

    def drop(self, actor: str) -> Event | None:
        held = self.carried(actor)
        if not held:
            return None
        thing = self.random.choice(held)
        del self.holder[thing]
        self.lying[thing] = self.place[actor]
        return self._handle((actor,), thing)

    def give(self, _: str) -> Event | None:
        """The first object whose holder has company is given to the first of that company.

        Whoever was drawn, the same person gives: in the official files who gives what to whom follows from the state.
        """
        for thing in self.objects:
            if thing not in self.holder:
                continue
            giver = self.holder[thing]
            for receiver in self.actors:
                if receiver != giver and self.place[receiver] == self.place[giver]:
                    self.holder[thing] = receiver
                    return self._handle((giver, receiver), thing)
        return None

    def carried(self, actor: str) -> list[str]:
        return [thing for thing in self.objects if self.holder.get(thing) == actor]

    def _handle(self, people: tuple[str, ...], thing: str) -> Event:
        event = Event(self.line, people, self.place[people[0]], thing)
        for name in (*people, thing):
            self.handled[name].append(event)
        self.recent.append(event)
        return event

    def act(self, actions: tuple[Action, ...]) -> Event:
        """Somebody does one of `actions`; actor and action are drawn evenly until they go together."""
        while True:
            event = self.random.choice(actions)(self, self.random.choice(self.actors))
            if event is not None:
                return event

    def ask(
        self, subjects: Callable[[Event], Iterable[Subject]], question: Callable[[Subject], Question | None]
    ) -> Question | None:
        """A question about one of the subjects of the recent events, each mention as likely as another.

        `question` gives None for a subject of which the reader does not know enough. None if that is so for all.
        """
        mentioned = [subject for event in self.recent for subject in subjects(event)]
        self.random.shuffle(mentioned)
        return next((asked for subject in mentioned if (asked := question(subject)) is not None), None)


Action: TypeAlias = Callable[[World, str], Event | None]
MOVES_GETS_DROPS: tuple[Action, ...] = (World.move, World.get, World.drop)
WITH_GIFTS: tuple[Action, ...] = (*MOVES_GETS_DROPS, World.give)


def live(world: World, actions: tuple[Action, ...], there_after_get: float = 1.0) -> Iterator[str]:
    """The sentences of people who act at random, one by one."""
    random = world.random
    while True:
        event = world.act(actions)
        if not event.object:
            yield f"{event.actor} {random.choice(MOVED)} the {event.place}."
        elif event.is_gift:
            yield f"{event.actor} {random.choice(GAVE)} the {event.object} to {event.people[1]}."
        else:
            got = event.object in world.holder
            there = " there" if random.random() < (there_after_get if got else THERE) else ""
            yield f"{event.actor} {random.choice(GOT if got else DROPPED)} the {event.object}{there}."


def tell(world: World, sentences: Iterator[str], ask: Callable[[], Question | None]) -> Story:
    """A story of five questions: after every second statement one is asked, if `ask` finds any."""
    story: Story = []
    asked = 0
    while asked < QUESTIONS_PER_STORY:
        for _ in range(STATEMENTS_BETWEEN_QUESTIONS):
            story.append(Statement(next(sentences)))
            world.line = len(story)
        if (question := ask()) is not None:
            story.append(question)
            world.line = len(story)
            asked += 1
    return story


def movers(event: Event) -> tuple[str, ...]:
    return () if event.object else event.people


def yes_no_question(actor: str, place: str, answer: str, line: int) -> Question:
    return Question(f"Is {actor} in the {place}?", (answer,), (line,))
