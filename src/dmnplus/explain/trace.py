"""Which facts the network used in which pass, and how the answer moves with them, drawn in the terminal."""

from __future__ import annotations

import re

from rich.table import Table
from rich.text import Text

from dmnplus.answering import Answer
from dmnplus.explain.what_if import Change, Explanation

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BAR_CELLS = 8
# A column with a bar, with what is between columns, and what the number and the start of a fact need beside them.
_BAR_COLUMN, _BESIDE = _BAR_CELLS + 7, 24
_FACT_CELLS = 16
# All columns of the changes.
_CHANGES = 64
# Control characters, which a terminal would obey; marks that turn the direction of what follows; halves of characters.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Moves below half a point of a percent, and the same answer, are not worth a row.
_SMALL = 0.005


def printable(text: str) -> str:
    """`text` with what is no character to see replaced by a mark."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def attention_table(answer: Answer, *, width: int | None = None, supporting: frozenset[int] = frozenset()) -> Table:
    """The story, a fact a row, with the attention of each pass as a bar and a percentage beside it.

    Where `width`, the terminal's, is too small for the bars, the percentages stand alone. `supporting` facts (0-based)
    are marked, where they are known.
    """
    passes = len(answer.attention)
    bars = width is None or width >= _BESIDE + _BAR_COLUMN * passes
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1) if bars else (0, 1, 0, 0))
    table.add_column("", justify="right", style="dim", no_wrap=True)
    table.add_column("fact", min_width=_FACT_CELLS, overflow="fold")
    for t in range(passes):
        if bars:
            table.add_column(f"pass {t + 1}", min_width=_BAR_CELLS + 5, no_wrap=True)
        else:
            table.add_column(f"pass\n{t + 1}", justify="right", no_wrap=True)
    for i, fact in enumerate(answer.facts):
        shares = [gates[i] for gates in answer.attention]
        style = "bold" if max(shares) >= 0.1 else "dim"
        mark = f"{'*' if i in supporting else ' '}{i + 1}"
        cells = (Text(_share(share) if bars else f"{share:.0%}", style="green") for share in shares)
        table.add_row(mark, Text(printable(str(fact)), style=style), *cells)
    return table


def changes_table(explanation: Explanation, *, width: int | None = None, every: bool = False) -> Table:
    """What the network answers to the changed stories, a change a row, and what is left of the answer's probability.

    Changes that hardly move it share one row at the end, unless `every` is wanted. `width` is as for `attention_table`.
    """
    original = explanation.answer.answer
    bars = width is None or width >= _CHANGES
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1) if bars else (0, 1, 0, 0))
    table.add_column("what if", no_wrap=bars, style="dim")
    table.add_column("", min_width=_FACT_CELLS if bars else None, overflow="fold")
    table.add_column("answer", overflow="fold")
    least, most = (_BAR_CELLS + 5, 2 * _BAR_CELLS) if bars else (len("100%"), len("at most"))
    table.add_column(Text(f"p({printable(original)})"), min_width=least, max_width=most, overflow="fold")
    table.add_column("points", min_width=len("points"), justify="right", no_wrap=True)
    quiet = [] if every else [c for c in explanation.changes if abs(c.move) < _SMALL and c.answer.answer == original]
    for change in explanation.changes:
        if change in quiet:
            continue
        differs = change.answer.answer != original
        table.add_row(
            change_name(change),
            Text(printable(facts_of(explanation, change)), style="bold" if differs else "dim"),
            Text(printable(change.answer.answer), style="bold red" if differs else ""),
            Text(_share(change.original) if bars else f"{change.original:.0%}", style="red" if differs else "green"),
            points(change.move),
        )
    if quiet:
        others = "each other" if len(quiet) < len(explanation.changes) else "each"
        most = max((c.move for c in quiet), key=abs)
        table.add_row(
            "without", Text(f"{others} fact", style="dim"), Text(printable(original)), "at most", points(most)
        )
    return table


def change_name(change: Change) -> str:
    """What a change does, with the numbers of its facts, from 1."""
    return f"{change.kind} {', '.join(str(place + 1) for place in change.facts)}"


def points(move: float) -> str:
    """A move of a probability in points of a percent, with its sign unless it rounds to nothing."""
    text = f"{100 * move:+.1f}"
    return "0.0" if text in ("-0.0", "+0.0") else text


def facts_of(explanation: Explanation, change: Change) -> str:
    """The facts that a change is about."""
    joined = " " if change.kind == "without" else " ⇄ "
    return joined.join(str(explanation.answer.facts[place]) for place in change.facts)


def answer_line(answer: Answer) -> Text:
    """The answer with its probability, then the runners-up."""
    line = Text.assemble((printable(answer.answer), "bold"), f"  {answer.probability:.1%}")
    others = ", ".join(f"{text} {probability:.1%}" for text, probability in answer.ranked[1:] if probability >= 0.001)
    return line.append(f"   then {printable(others)}", style="dim") if others else line


def _share(share: float) -> str:
    """A bar and its percentage."""
    full, part = divmod(round(share * _BAR_CELLS * 8), 8)
    bar = "█" * full + (_EIGHTHS[part] if part else "")
    return f"{bar:<{_BAR_CELLS}} {share:4.0%}"
