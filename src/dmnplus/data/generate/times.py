"""Task 14: where people were before. Weston et al. 2015, https://arxiv.org/abs/1502.05698, "time reasoning"."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from dmnplus.data.generate.actors import PEOPLE_IN_TOWN, PLACES_IN_TOWN
from dmnplus.data.generate.story import Question, Statement, Story, Task
from dmnplus.data.generate.world import MOVED, QUESTIONS_PER_STORY, RECENT, STATEMENTS_BETWEEN_QUESTIONS

TIMES = ("yesterday", "this morning", "this afternoon", "this evening")


class Visit(NamedTuple):
    """Where `actor` went at `TIMES[time]`."""

    actor: str
    time: int
    place: str


def time_reasoning(random: Random) -> Story:
    """Task 14: people move as time goes by, each at their own pace; what happened since the last question is told out
    of order, so that no statement stands where it would by time.

    A question names the place of one of the last five visits and asks for the one before.
    """
    story: Story = []
    visits: dict[str, list[Visit]] = {actor: [] for actor in PEOPLE_IN_TOWN}
    happened: list[Visit] = []
    untold: list[Visit] = []
    line_of: dict[Visit, int] = {}
    asked = 0
    while asked < QUESTIONS_PER_STORY:
        for _ in range(STATEMENTS_BETWEEN_QUESTIONS):
            actor = random.choice([name for name in PEOPLE_IN_TOWN if len(visits[name]) < len(TIMES)])
            earlier = visits[actor]
            places = [place for place in PLACES_IN_TOWN if not earlier or place != earlier[-1].place]
            visit = Visit(actor, len(earlier), random.choice(places))
            for visited in (earlier, happened, untold):
                visited.append(visit)
        recent = [visit for visit in happened[-RECENT:] if visit.time > 0]
        if not recent:
            continue
        _disorder(random, untold)
        for visit in untold:
            line_of[visit] = len(story)
            story.append(_told(random, visit))
        untold.clear()
        actor, _, place = random.choice(recent)
        # Whoever went to a place twice is asked about the last time.
        last = max(visit for visit in visits[actor] if visit.place == place)
        before = visits[actor][last.time - 1]
        supporting = (line_of[last], line_of[before])
        story.append(Question(f"Where was {actor} before the {place}?", (before.place,), supporting))
        asked += 1
    return story


def _disorder(random: Random, items: list[Visit]) -> None:
    """Permutes `items` in one random cycle, which leaves none in its place (Sattolo 1986), as the official files do."""
    for index in range(len(items) - 1, 0, -1):
        other = random.randrange(index)
        items[index], items[other] = items[other], items[index]


def _told(random: Random, visit: Visit) -> Statement:
    time = TIMES[visit.time]
    moved = f"{visit.actor} {random.choice(MOVED)} the {visit.place}"
    return Statement(f"{time.capitalize()} {moved}." if random.random() < 0.5 else f"{moved} {time}.")


TASKS = (Task(14, "time-reasoning", time_reasoning),)
