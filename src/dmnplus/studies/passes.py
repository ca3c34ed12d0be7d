"""Question 1: how many passes, and what each attends to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dmnplus.studies.figures import bars, lines
from dmnplus.studies.reading import read
from dmnplus.studies.scenes import picture_arm
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import Arm, Column, Results, Study, Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PASSES = (1, 2, 3)
ALONE, SHOWN = "answers alone", "labels shown"
TRAINED_ON = {ALONE: (), SHOWN: ("training.attention_weight=1",)}


def name(trained_on: str, passes: int) -> str:
    return f"{trained_on}, {passes} pass{'es' * (passes > 1)}"


def measure(trained: Trained) -> Mapping[str, float]:
    reading = read(trained)
    return {
        f"pass {t}, fact {step + 1}": share
        for step in range(2)
        for t, share in enumerate(reading.on_step(step).tolist(), 1)
    }


def draw(figure: Figure, results: Results) -> None:
    left, middle, right = figure.subplots(1, 3)
    errors = {how: [results[name(how, p), "error"] for p in PASSES] for how in TRAINED_ON}
    lines(left, PASSES, errors, "test error, %", "passes")
    for axes, how in ((middle, ALONE), (right, SHOWN)):
        attention = {
            f"pass {t}": {f"fact {step}": results[name(how, 3), f"pass {t}, fact {step}"] for step in (1, 2)}
            for t in PASSES
        }
        bars(axes, attention, f"attention, %: {how}")


def answer(results: Results) -> tuple[str, str, str]:
    sentences = []
    for how in TRAINED_ON:
        errors = {p: results[name(how, p), "error"] for p in PASSES}
        one, two, three = errors.values()
        word = two.compared(one, "less than with one", "more than with one", "no clear difference")
        more = three.compared(two, "less than with two", "more than with two", "no clear difference from two")
        needed = next(p for p in PASSES if not any(errors[q].below(errors[p]) for q in PASSES if q > p))
        verdict = ("one pass is enough", "it takes two passes", "it takes three passes")[needed - 1]
        sentences.append(
            f"{verdict}: with one {one:.1%} of the questions are wrong, with two {two:.1%} ({word}), with three "
            f"{three:.1%} ({more})"
        )
    on = {
        (how, step): [results[name(how, 3), f"pass {t}, fact {step}"] for t in PASSES]
        for how in TRAINED_ON
        for step in (1, 2)
    }
    looks = [
        f"{', '.join(f'{share.mean:.0%}' for share in on[how, 1])} to the fact that names the thing asked for and "
        f"{', '.join(f'{share.mean:.0%}' for share in on[how, 2])} to the one that gives the place"
        for how in TRAINED_ON
    ]
    return (
        f"Trained on answers alone, where an answer takes two facts, {sentences[0]}.",
        f"Shown in training which facts are needed, {sentences[1]}.",
        f"Pass by pass, three passes trained on answers alone give on the mean {looks[0]}; shown the facts, "
        f"{looks[1]}.",
    )


def on_pictures(results: Results) -> str:
    one, two, three = (results[f"pictures, {p} pass{'es' * (p > 1)}", "error"] for p in PASSES)
    word = two.compared(one)
    more = three.compared(two, "less than with two", "more than with two", "no clear difference")
    return (
        f"where a region and then a sentence are needed, and the labels are shown, {one:.1%} of the questions are "
        f"wrong with one pass, {two:.1%} with two ({word}) and {three:.1%} with three ({more})."
    )


STUDY = Study(
    name="passes",
    question="How many passes are needed, and what does each pass attend to?",
    arms=(
        *(
            Arm(name=name(how, passes), data=Stories(2), settings=(*settings, f"model.passes={passes}"))
            for how, settings in TRAINED_ON.items()
            for passes in PASSES
        ),
        *(picture_arm(f"{p} pass{'es' * (p > 1)}", f"model.passes={p}") for p in PASSES),
    ),
    columns=(
        *(Column(f"pass {t}, fact {step}", f"pass {t} on fact {step}", ".0%") for t in PASSES for step in (1, 2)),
        Column("parameters", "weights", ",.0f"),
    ),
    measure=measure,
    draw=draw,
    answer=answer,
    on_pictures=on_pictures,
    method='"Where is the football?" takes the fact that names the football (fact 1) and the one that says where its '
    "holder went (fact 2). Attention is the mean over the test questions. The input fusion layer reads the facts in "
    "their order before the first pass. The labels of a single pass are those of both facts, and it has done what they "
    "ask once it attends to one of them.",
)
