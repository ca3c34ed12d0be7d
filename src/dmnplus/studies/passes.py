"""Question 1: how many passes, and what each attends to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dmnplus.studies.figures import bars, lines
from dmnplus.studies.reading import read
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import Arm, Column, Results, Study, Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PASSES = (1, 2, 3, 5)
FACTS = {1: "one fact", 2: "two facts"}


def name(task: int, passes: int) -> str:
    return f"{FACTS[task]} needed, {passes} pass{'es' * (passes > 1)}"


def measure(trained: Trained) -> Mapping[str, float]:
    reading = read(trained)
    return {
        f"pass {t + 1}, fact {step + 1}": share
        for step in range(2)
        for t, share in enumerate(reading.on_step(step).tolist())
    }


def draw(figure: Figure, results: Results) -> None:
    left, right = figure.subplots(1, 2)
    errors = {f"{FACTS[task]} needed": [results[name(task, p), "error"] for p in PASSES] for task in FACTS}
    lines(left, PASSES, errors, "test error, %", "passes")
    bars(
        right,
        {
            f"pass {t}": {f"fact {step} of the chain": results[name(2, 3), f"pass {t}, fact {step}"] for step in (1, 2)}
            for t in (1, 2, 3)
        },
        "attention, %, two facts needed, 3 passes",
    )


def answer(results: Results) -> tuple[str, str, str]:
    one, two = results[name(2, 1), "error"], results[name(2, 2), "error"]
    three, five = results[name(2, 3), "error"], results[name(2, 5), "error"]
    easy, easy_three = results[name(1, 1), "error"], results[name(1, 3), "error"]
    enough = "less than" if two.below(one) else "more than" if one.below(two) else "no clear difference from"
    best = {step: max((1, 2, 3), key=lambda t: results[name(2, 3), f"pass {t}, fact {step}"].mean) for step in (1, 2)}
    attention = {step: results[name(2, 3), f"pass {t}, fact {step}"] for step, t in best.items()}
    return (
        f"Where an answer takes two facts, two passes leave {two:.1%} of the questions wrong, {enough} the {one:.1%} "
        f"of one pass, and three leave {three:.1%}, five {five:.1%}.",
        f"Where it takes one fact, a single pass leaves {easy:.1%} wrong and three leave {easy_three:.1%}, "
        f"{easy_three.compared(easy, 'which is less', 'which is more', 'no clear difference')}.",
        f"Of three passes, pass {best[1]} looks most at the fact that names the thing asked for ({attention[1]:.0%} of "
        f"its attention), and pass {best[2]} most at the fact that gives the place ({attention[2]:.0%}).",
    )


STUDY = Study(
    name="passes",
    question="How many passes are needed, and what does each pass attend to?",
    arms=tuple(
        Arm(
            name=name(task, passes),
            data=Stories(task, questions=4000 if task == 2 else 2000),
            settings=(f"model.passes={passes}",),
        )
        for task in FACTS
        for passes in PASSES
    ),
    columns=tuple(
        Column(f"pass {t}, fact {step}", f"attention of pass {t} to fact {step}", ".0%")
        for t in (1, 2, 3)
        for step in (1, 2)
    ),
    measure=measure,
    draw=draw,
    answer=answer,
    method='"Where is the football?" takes the fact that names the football (fact 1) and the one that says where its '
    'holder went (fact 2); "Where is Mary?" takes one. Attention is the mean over the test questions.',
)
