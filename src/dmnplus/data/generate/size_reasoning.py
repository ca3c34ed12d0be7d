"""Task 18: things that fit into each other. Weston et al. 2015, https://arxiv.org/abs/1502.05698, "size reasoning"."""

from __future__ import annotations

from random import Random

from dmnplus.data.generate.story import Question, Statement, Story, Task

CONTENTS = ("chocolate", "box of chocolates")
CONTAINERS = ("box", "chest", "container", "suitcase")
STATEMENTS_PER_ROUND = QUESTIONS_PER_ROUND = 5
ATTEMPTS_PER_ROUND = 100
REPEAT_TAKEN = 2 / 3


def size_reasoning(random: Random) -> Story:
    """Rounds of five statements and up to five questions, until a round got its five.

    Sizes are strictly ordered: the chocolate, the box of chocolates, then the four containers in an order of their own
    for each story. Statements compare any two things and may repeat.

    A question links two statements which share a thing: the first is one that compares the thing claimed to be the
    larger, the second is the first other statement in the story that mentions the shared thing. That, and the order of
    the supporting facts, holds for all 11,000 official questions; it makes the answer depend a little on the order of
    the statements (with one thing larger than the shared one told twice in advance, for instance, only "no" is left).
    How often a repeated statement is taken for its last mention, and the number of attempts at a question, are fitted.
    """
    sizes = (*CONTENTS, *random.sample(CONTAINERS, len(CONTAINERS)))
    story: Story = []
    # (smaller, larger), and the line of each.
    known: list[tuple[str, str]] = []
    lines: list[int] = []
    while True:
        for _ in range(STATEMENTS_PER_ROUND):
            smaller, larger = sorted(random.sample(sizes, 2), key=sizes.index)
            known.append((smaller, larger))
            lines.append(len(story))
            fits = random.random() < 0.5
            text = f"The {smaller} fits inside the {larger}." if fits else f"The {larger} is bigger than the {smaller}."
            story.append(Statement(text))
        asked = 0
        for _ in range(ATTEMPTS_PER_ROUND):
            if (chain := _chain(random, known)) is None:
                continue
            claimed_larger, claimed_smaller, first, second = chain
            fits = random.random() < 0.5
            text = (
                f"Does the {claimed_smaller} fit in the {claimed_larger}?"
                if fits
                else f"Is the {claimed_larger} bigger than the {claimed_smaller}?"
            )
            answer = "yes" if claimed_larger == known[first][1] else "no"
            story.append(Question(text, (answer,), (lines[first], lines[second])))
            asked += 1
            if asked == QUESTIONS_PER_ROUND:
                return story


def _chain(random: Random, known: list[tuple[str, str]]) -> tuple[str, str, int, int] | None:
    """One attempt at two linked statements: both ends of the chain and the indices of the statements."""
    first = random.randrange(len(known))
    if random.random() < REPEAT_TAKEN:
        first = max(index for index, pair in enumerate(known) if pair == known[first])
    downwards = random.random() < 0.5
    middle, start = known[first] if downwards else known[first][::-1]
    second = next((index for index, pair in enumerate(known) if index != first and middle in pair), None)
    if second is None or known[second][downwards] != middle:
        return None
    return start, known[second][not downwards], first, second


TASKS = (Task(18, "size-reasoning", size_reasoning),)
