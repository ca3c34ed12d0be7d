"""Which facts the network used in which pass, drawn in the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from dmnplus.answering import Answer

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BAR_CELLS = 8


def attention_table(answer: Answer, *, supporting: frozenset[int] = frozenset()) -> Table:
    """The story, a fact a row, with the attention of each pass as a bar and a percentage beside it.

    `supporting` facts (0-based) are marked, where they are known.
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", justify="right", style="dim")
    table.add_column("fact", overflow="fold")
    for t in range(len(answer.attention)):
        table.add_column(f"pass {t + 1}", min_width=_BAR_CELLS + 5, no_wrap=True)
    for i, fact in enumerate(answer.facts):
        shares = [gates[i] for gates in answer.attention]
        style = "bold" if max(shares) >= 0.1 else "dim"
        mark = f"{'*' if i in supporting else ' '}{i + 1}"
        table.add_row(mark, Text(str(fact), style=style), *(Text(_bar(share), style="green") for share in shares))
    return table


def answer_line(answer: Answer) -> Text:
    """The answer with its probability, then the runners-up."""
    line = Text.assemble((answer.answer, "bold"), f"  {answer.probability:.1%}")
    others = ", ".join(f"{text} {probability:.1%}" for text, probability in answer.ranked[1:] if probability >= 0.001)
    return line.append(f"   then {others}", style="dim") if others else line


def _bar(share: float) -> str:
    eighths = round(share * _BAR_CELLS * 8)
    full, part = divmod(eighths, 8)
    bar = "█" * full + (_EIGHTHS[part] if part else "")
    return f"{bar:<{_BAR_CELLS}} {share:4.0%}"
