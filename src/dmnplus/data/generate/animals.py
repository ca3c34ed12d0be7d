"""Tasks 15 and 16: what an animal fears, or its colour, follows from its kind.

Weston et al. 2015, https://arxiv.org/abs/1502.05698, tasks "basic deduction" and "basic induction". What each docstring
says of the official files was measured on all 11,000 questions of a task (en-10k, train and test).
"""

from __future__ import annotations

from random import Random

from dmnplus.data.generate.story import Question, Statement, Story, Task

PLURAL = {"cat": "cats", "mouse": "mice", "sheep": "sheep", "wolf": "wolves"}
FEARFUL = ("Emily", "Gertrude", "Jessica", "Winona")

COLOURED_KINDS = ("frog", "lion", "rhino", "swan")
COLOURS = ("gray", "green", "white", "yellow")
COLOURED = ("Bernhard", "Brian", "Greg", "Julius", "Lily")


def basic_deduction(random: Random) -> Story:
    """Task 15: each of four kinds fears one of the others; four animals are of some kind; four questions.

    An animal is introduced only once the fear of its kind has been told; several may be of one kind. Questions may
    repeat. Supported by the animal's kind, then the kind's fear. This holds for all official questions.
    """
    kinds, names = list(PLURAL), list(FEARFUL)
    # What is feared, or the kind, and the line which tells it.
    fear_of: dict[str, tuple[str, int]] = {}
    kind_of: dict[str, tuple[str, int]] = {}
    story: Story = []
    while len(story) < len(kinds) + len(names):
        kind = random.choice(kinds)
        if random.random() < 0.5:
            if kind not in fear_of:
                feared = random.choice([other for other in kinds if other != kind])
                fear_of[kind] = feared, len(story)
                story.append(Statement(f"{PLURAL[kind].capitalize()} are afraid of {PLURAL[feared]}."))
        else:
            name = random.choice(names)
            if name not in kind_of and kind in fear_of:
                kind_of[name] = kind, len(story)
                story.append(Statement(f"{name} is a {kind}."))
    for name in random.choices(names, k=4):
        kind, introduced = kind_of[name]
        feared, told = fear_of[kind]
        story.append(Question(f"What is {name.lower()} afraid of?", (feared,), (introduced, told)))
    return story


def basic_induction(random: Random) -> Story:
    """Task 16: five animals of some kind, the colours of four of them, and the colour of the fifth.

    The rule of the official files: the fifth has the colour of the animal of its kind that was introduced last, before
    or after itself ("Lily is a frog", not "Lily is green", counts as introduction); the supporting facts are its own
    kind, that animal's kind, that animal's colour. This explains all 11,000 questions. In 89% of them only one other
    animal is of the kind; in 7.4% there are more and their colours differ. The colour most of them share, in
    contrast, is wrong or undecided in 3.4% of all questions.

    Two more regularities hold throughout. A kind takes on a new colour with each introduction, the fifth's own
    included, and an animal is told with the colour its kind has at that time. And never are exactly two others of the
    fifth's kind.
    """
    while True:
        colour_now: dict[str, str] = {}
        # The kind or colour, and the line which tells it.
        kind_of: dict[str, tuple[str, int]] = {}
        colour_of: dict[str, tuple[str, int]] = {}
        story: Story = []
        pending = list(COLOURED)
        while len(story) < 2 * len(COLOURED) - 1:
            name = random.choice(pending)
            if name not in kind_of:
                kind = random.choice(COLOURED_KINDS)
                colour_now[kind] = random.choice(COLOURS)
                kind_of[name] = kind, len(story)
                story.append(Statement(f"{name} is a {kind}."))
            else:
                colour = colour_now[kind_of[name][0]]
                colour_of[name] = colour, len(story)
                story.append(Statement(f"{name} is {colour}."))
                pending.remove(name)
        (asked,) = pending
        kind, introduced = kind_of[asked]
        # Both are in the order of introduction.
        others = [name for name in kind_of if name != asked and kind_of[name][0] == kind]
        if len(others) in (1, 3, 4):
            break
    colour, told = colour_of[others[-1]]
    support = introduced, kind_of[others[-1]][1], told
    return [*story, Question(f"What color is {asked}?", (colour,), support)]


TASKS = (
    Task(15, "basic-deduction", basic_deduction),
    Task(16, "basic-induction", basic_induction),
)
