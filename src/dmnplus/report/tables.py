"""The Markdown tables of the report: ours beside the published figures, with what is not as in the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

from dmnplus.config import differences, plain, resolve
from dmnplus.report.published import TASKS, Column, published, published_daquar
from dmnplus.report.records import Cell, DaquarStart, Joint, Start, best_cell, cells, paper_cells

ABLATION = ("odmn", "dmn2", "dmn3", "dmn+")
MISSING = "-"
UNSTATED = "unstated"
"""The recipe that chooses otherwise what the paper does not state."""


def percent(share: float | None) -> str:
    return MISSING if share is None else f"{share * 100:.1f}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def spread(cell: Cell) -> str:
    """Mean and standard deviation over starts."""
    return f"{percent(cell.mean)} ± {percent(cell.deviation)} ({len(cell.starts)})" if len(cell.starts) > 1 else ""


def sweep_table(ours: Mapping[int, Cell]) -> str:
    """One setting task by task: the chosen start, and mean and spread over starts; empty if none was trained."""
    if not ours:
        return ""
    rows = []
    for task, cell in sorted(ours.items()):
        errors = [start.test_error for start in cell.starts]
        rows.append(
            [
                f"{task}{'*' * bool(cell.starts[0].data)}",
                percent(cell.best.test_error),
                spread(cell),
                percent(max(errors)),
                f"{cell.best.best_epoch} of {cell.best.epochs}",
                str(len(errors)),
            ]
        )
    count = len(ours)
    rows.append(
        [
            f"mean of {count}",
            f"{100 * mean(cell.best.test_error for cell in ours.values()):.2f}",
            f"{100 * mean(cell.mean for cell in ours.values()):.2f}",
            "",
            "",
            str(sum(len(cell.starts) for cell in ours.values())),
        ]
    )
    return markdown(["task", "chosen start", "over starts", "worst start", "best epoch", "starts"], rows)


def max_cells(starts: Sequence[Start]) -> dict[int, Cell]:
    """The cells of the preset dmn-max by task, of the paper's data where it was trained on that."""
    return _by_task([start for start in starts if start.variant == "dmn-max" and not start.changed])


def unstated_cells(starts: Sequence[Start]) -> dict[int, Cell]:
    """The cells of DMN+ with the recipe `unstated` by task, of the paper's data where it was trained on that."""

    def changed(task: int) -> tuple[str, ...]:
        return tuple(differences(plain(resolve(task=task, recipe=Path(UNSTATED))), task)[1])

    wanted = {task: changed(task) for task in {start.task for start in starts}}
    return _by_task([start for start in starts if start.variant == "dmn+" and start.changed == wanted[start.task]])


def _by_task(starts: Sequence[Start]) -> dict[int, Cell]:
    found: dict[int, Cell] = {}
    for cell in cells(starts):
        # Those of the paper's data come first.
        found.setdefault(cell.starts[0].task, cell)
    return found


def summary_table(starts: Sequence[Start]) -> str:
    """A row a task: the paper, public code, ours with the paper's settings, ours with the best settings.

    Between them, where they were trained, DMN+ with the recipe `unstated`, and dmn-max.
    """
    columns, code, _ = published()
    ours, paper = paper_cells(starts), columns["dmn+"]
    sweeps = {f"DMN+, {UNSTATED}": unstated_cells(starts), "dmn-max": max_cells(starts)}
    sweeps = {name: found for name, found in sweeps.items() if found}
    best = {task: best_cell(starts, task) for task in TASKS}
    rows = []
    for task in TASKS:
        cell, chosen = ours.get((task, "dmn+")), best[task]
        public = code.errors.get(task)
        rows.append(
            [
                str(task),
                percent(paper.errors[task]),
                f"{percent(public[0])} to {percent(public[1])}" if public else MISSING,
                percent(cell.best.test_error) if cell else MISSING,
                *(percent(found[task].best.test_error) if task in found else MISSING for found in sweeps.values()),
                percent(chosen.best.test_error) if chosen else MISSING,
                next((name for name, found in sweeps.items() if chosen in found.values()), _settings(chosen)),
            ]
        )
    papers = [cell.best.test_error for task in TASKS if (cell := ours.get((task, "dmn+")))]
    bests = [cell.best.test_error for cell in best.values() if cell]
    rows.append(
        [
            "mean of 20",
            percent(paper.mean),
            percent(min(code.means)),
            _whole_mean(papers),
            *(_whole_mean([cell.best.test_error for cell in found.values()]) for found in sweeps.values()),
            _whole_mean(bests),
            "",
        ]
    )
    header = ["task", "paper, DMN+", "best public code", "ours, paper's settings"]
    return markdown([*header, *(f"ours, {name}" for name in sweeps), "ours, best", "settings of the best"], rows)


def paper_table(starts: Sequence[Start]) -> str:
    """DMN+ task by task beside the paper and the end-to-end memory network, with mean and spread over starts."""
    columns, _, _ = published()
    paper, other = columns["dmn+"], columns["memn2n"]
    ours = {task: cell for (task, variant), cell in paper_cells(starts).items() if variant == "dmn+"}
    rows = []
    for task in TASKS:
        cell = ours.get(task)
        rows.append(
            [
                str(task),
                percent(paper.errors[task]),
                percent(other.errors.get(task)),
                percent(cell.best.test_error) if cell else MISSING,
                spread(cell) if cell else "",
                f"{cell.best.best_epoch} of {cell.best.epochs}" if cell else "",
                ", ".join(cell.deviations) if cell else "not trained yet",
            ]
        )
    if ours and len(ours) < len(TASKS):
        known = [percent(mean(paper.errors[task] for task in ours)), MISSING]
        rows.append(
            [f"mean of these {len(ours)}", *known, percent(mean(c.best.test_error for c in ours.values())), *[""] * 3]
        )
    whole = _whole_mean([cell.best.test_error for cell in ours.values()])
    means = [cell.mean for cell in ours.values() if len(cell.starts) > 1]
    over = percent(mean(means)) if len(means) == len(TASKS) else ""
    rows.append(["mean of 20", percent(paper.mean), percent(other.mean), whole, over, "", ""])
    header = ["task", "paper", other.title, "ours", "over starts", "best epoch", "not as in the paper"]
    return markdown(header, rows)


def ablation_table(starts: Sequence[Start]) -> str:
    """The paper's ablation: each variant's published error and ours, and the means over the tasks all have."""
    ours, (columns, _, _) = paper_cells(starts), published()
    rows = []
    for task in TASKS:
        row = [str(task)]
        for variant in ABLATION:
            cell = ours.get((task, variant))
            row += [percent(columns[variant].errors.get(task)), _with_starts(cell)]
        rows.append(row)
    common = common_tasks(starts)
    if common:
        chosen, over = [f"mean of tasks {', '.join(map(str, common))}"], ["the same over starts"]
        for variant in ABLATION:
            known = [ours[task, variant] for task in common]
            chosen += [_mean_of(columns[variant], common), percent(mean(cell.best.test_error for cell in known))]
            over += ["", percent(mean(cell.mean for cell in known))]
        rows += [chosen, over]
    row = ["mean of 20"]
    for variant in ABLATION:
        errors = [ours[task, variant].best.test_error for task in TASKS if (task, variant) in ours]
        row += [percent(columns[variant].mean), _whole_mean(errors)]
    rows.append(row)
    header = ["task"]
    for variant in ABLATION:
        title = columns[variant].title
        header += [f"{title}, paper{'' if columns[variant].checked else ' (?)'}", f"{title}, ours"]
    return markdown(header, rows)


def order(starts: Sequence[Start]) -> str:
    """A sentence on whether the variants come in the paper's order, on the tasks all of them were trained on.

    The paper's order is that of its figures for these tasks; where some are unknown, that of its means of 20.
    """
    ours, common, (columns, _, _) = paper_cells(starts), common_tasks(starts), published()
    if not common:
        return "No task has been trained with all four networks yet."
    found = _chain({name: percent(mean(ours[task, name].best.test_error for task in common)) for name in ABLATION})
    over = _chain({name: percent(mean(ours[task, name].mean for task in common)) for name in ABLATION})
    published_means = {name: _mean_of(columns[name], common) for name in ABLATION}
    known = MISSING not in published_means.values()
    papers = _chain(published_means if known else {name: percent(columns[name].mean) for name in ABLATION})
    tasks = f"task{'s' * (len(common) > 1)} {', '.join(map(str, common))}"
    whose = "the paper's order on these" if known else "the paper's order of means of 20"
    verdict = whose if found == papers else f"{whose} is {papers}"
    return (
        f"Mean error on {tasks}, the ones all four networks were trained on, of the chosen starts: {found} ({verdict});"
        f" over starts: {over}."
    )


def _chain(shown: Mapping[str, str]) -> str:
    """The variants from most to least error; the figures as shown decide, and what rounds alike is alike."""
    chain = sorted(shown, key=lambda name: -float(shown[name]))
    signs = [" = " if shown[one] == shown[other] else " > " for one, other in pairwise(chain)]
    return "".join(f"{name}{sign}" for name, sign in zip(chain, [*signs, ""], strict=True))


def common_tasks(starts: Sequence[Start]) -> list[int]:
    """Tasks on which all four variants were trained with the paper's settings."""
    ours = paper_cells(starts)
    return [task for task in TASKS if all((task, variant) in ours for variant in ABLATION)]


def missing(starts: Sequence[Start]) -> str:
    """Which tasks of which variant have no start with the paper's settings."""
    ours = paper_cells(starts)
    lines = []
    for variant in ABLATION:
        tasks = [task for task in TASKS if (task, variant) not in ours]
        lines += [f"- {variant}: {', '.join(map(str, tasks))}"] if tasks else []
    return "\n".join(lines) or "- none"


def fresh_table(starts: Sequence[Start]) -> str:
    """The chosen starts on the official test questions and on more, generated ones; empty if none was measured so."""
    rows, differences = [], []
    for cell in cells(starts):
        best = cell.best
        if best.fresh is None:
            continue
        questions, error = best.fresh
        differences.append(error - best.test_error)
        rows.append(
            [
                str(best.task),
                f"{best.variant}{_listed(best.changed)}",
                percent(best.test_error),
                f"{questions:,}",
                f"{100 * error:.2f}",
                f"{100 * differences[-1]:+.2f}",
            ]
        )
    if not rows:
        return ""
    rows.append(["mean", "", "", "", "", f"{100 * mean(differences):+.2f}"])
    header = ["task", "network", "official test", "generated questions", "their error", "difference"]
    return markdown(header, rows)


def joint_table(runs: Sequence[Joint]) -> str:
    """Models of all tasks: error by task of the start with the least validation loss, and what all starts reached."""
    tasks = sorted({task for run in runs for task in run.errors})
    rows = [[str(task), *(percent(run.errors.get(task)) for run in runs)] for task in tasks]
    # Of 20,000 questions one is 0.005%.
    rows.append(["mean", *(f"{100 * mean(run.errors.values()):.3f}" for run in runs)])
    rows.append(["all starts", *(", ".join(f"{100 * error:.3f}" for error in run.starts) for run in runs)])
    rows.append(["best epoch", *(f"{run.best_epoch} of {run.epochs}" for run in runs)])
    header = ["task", *(f"{run.variant}{_listed(run.changed)}" for run in runs)]
    return markdown(header, rows)


def daquar_table(starts: Sequence[DaquarStart]) -> str:
    """The ablation on DAQUAR beside the paper's: mean and spread over divisions of the photos and over starts."""
    papers, question_alone = published_daquar()
    groups: dict[tuple[bool, str, tuple[str, ...]], list[DaquarStart]] = {}
    for start in starts:
        groups.setdefault((not start.blind, start.variant, start.changed), []).append(start)
    rows = []
    for (seen, variant, changed), group in sorted(groups.items()):
        over = [start.accuracy for start in group]
        divisions = len({start.division for start in group})
        rows.append(
            [
                f"{variant}{_listed(changed)}" if seen else f"question alone, {variant}{_listed(changed)}",
                percent(papers.get(variant) if seen else question_alone),
                percent(mean(start.validation_accuracy for start in group)),
                percent(mean(over)) + (f" ± {percent(stdev(over))}" if len(over) > 1 else ""),
                f"{len(over)} of {divisions} division{'s' * (divisions > 1)}",
                f"{mean(start.questions for start in group):,.0f}",
            ]
        )
    header = ["network", "published (?), official test", "validation", "ours, photos kept back", "starts", "questions"]
    return markdown(header, rows)


def other_table(starts: Sequence[Start]) -> str:
    """Every cell of other settings or data, beside the paper's settings on the same task."""
    ours = paper_cells(starts)
    rows = []
    for cell in cells(starts):
        first = cell.starts[0]
        papers = ours.get((first.task, first.variant))
        if papers is not None and papers.starts == cell.starts:
            continue
        rows.append(
            [
                str(first.task),
                first.variant,
                ", ".join(cell.deviations),
                percent(cell.best.test_error),
                spread(cell),
                f"{cell.best.best_epoch} of {cell.best.epochs}",
                percent(papers.best.test_error) if papers else MISSING,
            ]
        )
    header = ["task", "network", "not as in the paper", "ours", "over starts", "best epoch", "paper's settings"]
    return markdown(header, rows)


def _with_starts(cell: Cell | None) -> str:
    if cell is None:
        return MISSING
    mark = "*" if cell.starts[0].data else ""
    return f"{percent(cell.best.test_error)}{mark}" + (f"; {spread(cell)}" if len(cell.starts) > 1 else "")


def _settings(cell: Cell | None) -> str:
    return f"{cell.starts[0].variant}{_listed(cell.starts[0].changed)}" if cell else ""


def _listed(changed: Sequence[str]) -> str:
    return f", {', '.join(changed)}" if changed else ""


def _mean_of(column: Column, tasks: Sequence[int]) -> str:
    errors = [column.errors[task] for task in tasks if task in column.errors]
    return percent(mean(errors)) if len(errors) == len(tasks) else MISSING


def _whole_mean(errors: Sequence[float]) -> str:
    return percent(mean(errors)) if len(errors) == len(TASKS) else MISSING
