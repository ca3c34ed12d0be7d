"""The page and the figure: everything is in them, and nothing that was asked does anything in them."""

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from dmnplus.data.example import DataError
from dmnplus.explain import explain
from dmnplus.explain.page import page, write_page
from dmnplus.explain.trace import attention_table, changes_table

HOSTILE = [
    "<script>alert(1)</script> mary went to the garden.",
    '"><img src=x onerror=alert(1)> & {{ 7 * 7 }} {% raise %}',
    "$\\frac{1}$ [bold]john[/] [/] \x1b[31mleft\x07 \u202eback\u202c \ud800 \x00.",
]
QUESTION = "where is <b>$mary$</b> [/]?"


class Reader(HTMLParser):
    """Tags with their attributes, and the text between."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_what_is_hostile_is_only_text(reads_text, tmp_path: Path):
    path = tmp_path / "page.html"
    write_page(explain(reads_text, HOSTILE, QUESTION), path)
    read = Reader(path.read_text())
    for tag in ("script", "img", "b", "link", "iframe"):
        assert not read.all(tag)
    for fact in HOSTILE[:2]:
        assert fact in read.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]", path.read_text())
    assert not [a for _, a in read.tags for name in a if name.startswith("on")]


def test_the_page_asks_for_nothing_from_outside(reads_pictures, cards):
    text = page(explain(reads_pictures, [cards[0], "mary left.", cards[1]], QUESTION, regions=True))
    read = Reader(text)
    policies = [a["content"] for a in read.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    sources = [value or "" for _, a in read.tags for name, value in a.items() if name in ("href", "src", "xlink:href")]
    assert {source.partition(":")[0] for source in sources if not source.startswith("#")} == {"data"}
    # Each picture once, however often it is shown.
    assert len(read.all("image")) == 2
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert Path(cards[0].path).parent.as_posix() not in text


def test_tables_and_drawings_can_be_heard(reads_pictures, cards):
    read = Reader(page(explain(reads_pictures, [cards[0], "mary left."], QUESTION)))
    assert all(attributes.get("scope") in ("col", "row") for attributes in read.all("th"))
    assert len(read.all("caption")) == 2
    drawings = [a for a in read.all("svg") if a.get("aria-hidden") != "true"]
    assert drawings
    assert all(a.get("role") == "img" and a.get("aria-label") for a in drawings)
    assert [a["lang"] for a in read.all("html")] == ["en"]
    # Every shade has its number beside it.
    assert read.text.count("%") > 10


def test_a_page_that_cannot_be_written_says_so(reads_text, tmp_path: Path):
    with pytest.raises(DataError, match="cannot be written"):
        write_page(explain(reads_text, HOSTILE, QUESTION), tmp_path / "missing" / "page.html")


def test_the_terminal_obeys_nothing_in_a_story(reads_text):
    explanation = explain(reads_text, HOSTILE, QUESTION)
    written = io.StringIO()
    console = Console(width=80, file=written)
    console.print(attention_table(explanation.answer))
    console.print(changes_table(explanation, every=True))
    text = written.getvalue()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]john[/]" in text.replace("\n", " ")
    assert max(map(len, text.splitlines())) <= 80


def test_figures_are_drawn(reads_text, reads_pictures, cards, tmp_path: Path):
    pytest.importorskip("matplotlib", reason='needs pip install "dmnplus[vision]"')
    from dmnplus.explain.figure import draw

    draw(explain(reads_text, HOSTILE * 40, QUESTION), tmp_path / "hostile.png")
    with Image.open(tmp_path / "hostile.png") as drawn:
        assert drawn.height > 1000
    draw(explain(reads_pictures, [cards[0], "mary left."], QUESTION, regions=True), tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text().count("<image") >= 5
    with pytest.raises(ValueError, match=r"written as \.png, \.pdf, \.svg"):
        draw(explain(reads_text, ["mary left."], QUESTION), tmp_path / "a.gif")
    with pytest.raises(DataError, match="cannot be written"):
        draw(explain(reads_text, ["mary left."], QUESTION), tmp_path / "missing" / "a.png")
