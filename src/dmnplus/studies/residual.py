"""Question 3: a residual memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dmnplus.studies.figures import bars, lines
from dmnplus.studies.scenes import picture_arm
from dmnplus.studies.stories import Stories
from dmnplus.studies.study import THAN, Arm, Column, Results, Study, Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UPDATES = {"ReLU": "relu", "residual": "residual", "GRU": "gru"}
DEEP = {"ReLU, 5 passes": "relu", "residual, 5 passes": "residual"}
EPOCHS = 12
EARLY = 4


def measure(trained: Trained) -> Mapping[str, float]:
    return {f"epoch {i}": error for i, error in enumerate(trained.validation_errors, 1)}


def draw(figure: Figure, results: Results) -> None:
    left, right = figure.subplots(1, 2)
    epochs = range(1, EPOCHS + 1)
    lines(
        left,
        epochs,
        {name: [results[name, f"epoch {i}"] for i in epochs] for name in UPDATES},
        "validation error, %",
        "epoch",
    )
    bars(right, {name: {"": results[name, "error"]} for name in (*UPDATES, *DEEP)}, "test error, %")


def answer(results: Results) -> tuple[str, str, str]:
    early = {name: results[name, f"epoch {EARLY}"] for name in UPDATES}
    final = {name: results[name, "error"] for name in (*UPDATES, *DEEP)}
    faster = early["residual"].compared(early["ReLU"], "It does at first", "It does not even at first", "Hardly")
    better = final["residual"].compared(final["ReLU"], *THAN)
    deep, deep_relu = final["residual, 5 passes"], final["ReLU, 5 passes"]
    return (
        f"{faster}: after {EARLY} epochs {early['residual']:.1%} of the validation questions are wrong with the "
        f"residual memory, {early['ReLU']:.1%} with the ReLU update and {early['GRU']:.1%} with the GRU.",
        f"In the end the residual memory leaves {final['residual']:.1%} of the test questions wrong, {better} the "
        f"{final['ReLU']:.1%} of the ReLU update; the GRU, tied in the paper and untied here, leaves "
        f"{final['GRU']:.1%}.",
        f"With five passes it is {deep:.1%} for the residual memory and {deep_relu:.1%} for the ReLU update, "
        f"{deep.compared(deep_relu, 'so depth speaks for it', 'so depth speaks against it', 'no clear difference')}.",
    )


def on_pictures(results: Results) -> str:
    early, final = ({name: results[f"pictures, {name}", m] for name in UPDATES} for m in (f"epoch {EARLY}", "error"))
    word = final["residual"].compared(final["ReLU"], *THAN)
    return (
        f"after {EARLY} epochs {early['residual']:.1%} are wrong with the residual memory, {early['ReLU']:.1%} with "
        f"the ReLU update and {early['GRU']:.1%} with the GRU ({early['GRU'].compared(early['ReLU'])}); in "
        f"the end {final['residual']:.1%}, {word} {final['ReLU']:.1%}; the GRU leaves "
        f"{final['GRU']:.1%}."
    )


STUDY = Study(
    name="residual",
    question="Would a residual memory train better than the ReLU update?",
    arms=(
        *(Arm(name=name, data=Stories(2), settings=(f"model.update={update}",)) for name, update in UPDATES.items()),
        *(
            Arm(name=name, data=Stories(2), settings=(f"model.update={update}", "model.passes=5"))
            for name, update in DEEP.items()
        ),
        *(picture_arm(name, f"model.update={update}") for name, update in UPDATES.items()),
    ),
    columns=(
        Column(f"epoch {EARLY}", f"validation error after {EARLY} epochs"),
        Column("best_epoch", "best epoch", ".0f"),
        Column("parameters", "weights", ",.0f"),
    ),
    measure=measure,
    draw=draw,
    answer=answer,
    on_pictures=on_pictures,
    method="Residual is m_t = m_{t-1} + ReLU(W_t [m_{t-1}; c_t; q] + b), ReLU the same without the first m_{t-1}.",
)
