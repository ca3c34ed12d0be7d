"""Task 20: people act as they feel. Weston et al. 2015, https://arxiv.org/abs/1502.05698, "agent's motivations"."""

from __future__ import annotations

from random import Random

from dmnplus.data.generate.story import Question, Statement, Story, Task

PEOPLE = ("Antoine", "Jason", "Sumit", "Yann")
# Where each feeling leads and what is taken there.
AIMS = {
    "bored": ("garden", "football"),
    "hungry": ("kitchen", "apple"),
    "thirsty": ("kitchen", "milk"),
    "tired": ("bedroom", "pajamas"),
}
GOES = ("journeyed to", "moved to", "travelled to", "went back to", "went to")
TAKES = ("got", "grabbed", "picked up", "took")


def agents_motivations(random: Random) -> Story:
    """Each of four people feels something, goes where that leads and takes what it needs, if nobody has taken it.

    All can feel the same. Each step is one of those open to somebody, drawn evenly, until none is open; after each
    comes one question, supported by the statement of the feeling. This holds for all 11,000 official questions.
    """
    # The feeling, and the line which tells it.
    feeling_of: dict[str, tuple[str, int]] = {}
    waiting, there, taken = list(PEOPLE), set[str](), set[str]()
    story: Story = []
    while waiting:
        name = random.choice(waiting)
        if name not in feeling_of:
            feeling, told = random.choice(list(AIMS)), len(story)
            feeling_of[name] = feeling, told
            place, thing = AIMS[feeling]
            statement, question = f"{name} is {feeling}.", f"Where will {name.lower()} go?"
            answer = place
        else:
            feeling, told = feeling_of[name]
            place, thing = AIMS[feeling]
            answer = feeling
            if name not in there:
                there.add(name)
                statement = f"{name} {random.choice(GOES)} the {place}."
                question = f"Why did {name.lower()} go to the {place}?"
            else:
                taken.add(thing)
                statement = f"{name} {random.choice(TAKES)} the {thing} there."
                question = f"Why did {name.lower()} get the {thing}?"
        story += [Statement(statement), Question(question, (answer,), (told,))]
        waiting = [person for person in PEOPLE if person not in there or AIMS[feeling_of[person][0]][1] not in taken]
    return story


TASKS = (Task(20, "agents-motivations", agents_motivations),)
