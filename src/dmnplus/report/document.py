"""The whole report as one Markdown file and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dmnplus.data.writing import write_whole
from dmnplus.report.figures import ablation_figure, svg, tasks_figure
from dmnplus.report.published import published
from dmnplus.report.records import Start
from dmnplus.report.tables import ablation_table, missing, order, other_table, paper_table, summary_table

FIGURES = {"figures/babi-tasks.svg": tasks_figure, "figures/babi-ablation.svg": ablation_figure}


def document(starts: Sequence[Start]) -> str:
    """The report on `starts`, whose figures lie beside it as `FIGURES` names them."""
    columns, code, protocol = published()
    public = ", ".join(f"{100 * mean:.1f}%" for mean in sorted(code.means))
    unchecked = ", ".join(column.title for column in columns.values() if not column.checked)
    sources = "\n".join(f"- {column.title}: {column.source}" for column in columns.values())
    return f"""\
<!-- Written by `dmnplus report` from the records in results/; do not edit. -->
# Results on bAbI

Test error in %, a model a task, on the {protocol.language} files: {protocol.training:,} questions to train on, the last
{protocol.validation:,} of the training file to validate on, {protocol.test:,} to test on.

- "Ours" is the start with the least validation loss. The test questions are measured afterwards and decide nothing.
- "Over starts" is the mean ± standard deviation of the test error (number of starts), where there is more than one.
- "Not as in the paper" names settings, data and numbers of starts that are not the paper's ({protocol.starts} starts).
- Every figure of ours is read from a record in `results/`; [reproduce.md](reproduce.md) says how records are made.

## Summary

"Best public code" is the least mean that public implementations of DMN+ state (they are {public}), and the range of a
task where it is known. "Ours, best" is, of all networks and settings recorded for a task, the one with the least
validation loss; its mean is not that of one recipe, and `training.attention_weight` uses the labelled supporting facts.

{summary_table(starts)}

## DMN+ with the paper's settings

{paper_table(starts)}

![Test error by task, network and start](figures/babi-tasks.svg)

## The ablation

Every network with the paper's settings; in brackets the number of starts, where there is more than one. (?) marks
figures that are quoted at second hand and not checked against the paper ({unchecked}); * marks training files made up.

{ablation_table(starts)}

{order(starts)}

![Mean test error of the networks](figures/babi-ablation.svg)

Not trained yet with the paper's settings:

{missing(starts)}

## Other settings and data

The last column is the same network with the paper's settings on the same task.

{other_table(starts)}

## Sources of the published figures

{sources}
"""


def write_report(starts: Sequence[Start], path: Path) -> list[Path]:
    """Write the report to `path` and its figures beside it; what was written."""
    drawn = {path.parent / name: svg(draw, starts) for name, draw in FIGURES.items()}
    for figure, content in drawn.items():
        figure.parent.mkdir(parents=True, exist_ok=True)
        write_whole(figure, content)
    write_whole(path, document(starts))
    return [path, *drawn]
