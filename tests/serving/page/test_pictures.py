"""Pictures: dropped, chosen, pasted, and drawn with what each pass looked at."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.serving.page.actions import HELD, answer_word, percent, shares
from tests.serving.page.conftest import Open, Site

if TYPE_CHECKING:
    from playwright.sync_api import Page


def drop(page: Page, *files: tuple[str, bytes], type: str = "image/png", how: str = "drop", text: str = "") -> bool:
    """Whether the page leaves it to the browser."""
    return page.evaluate(
        """([files, type, how, text]) => {
          const data = new DataTransfer();
          for (const [name, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name, { type }));
          if (text) data.setData('text/plain', text);
          const options = { bubbles: true, cancelable: true };
          return document.querySelector('#story').dispatchEvent(how === 'drop'
            ? new DragEvent('drop', { ...options, dataTransfer: data })
            : new ClipboardEvent('paste', { ...options, clipboardData: data }));
        }""",
        [[(name, list(content)) for name, content in files], type, how, text],
    )


def drawn_pixels(page: Page, canvas: int, cells: int) -> np.ndarray:
    """The colour in each cell, under its number and inside its frame."""
    return np.array(
        page.locator("canvas")
        .nth(canvas)
        .evaluate(
            """(canvas, cells) => {
              const { width, height } = canvas, at = (i, share, side) => Math.round((i + share) * side / cells);
              const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
              return Array.from({ length: cells }, (_, row) => Array.from({ length: cells }, (_, column) => {
                const start = 4 * (at(row, .7, height) * width + at(column, .5, width));
                return [...data.slice(start, start + 3)];
              }));
            }""",
            cells,
        )
    )


def test_a_dropped_picture_is_drawn_with_what_each_pass_looked_at(visit: Open, site: Site):
    scene = site.scenes[0]
    (picture,) = scene.facts
    expected = site.models["scenes"].answerer.answer([picture], scene.question)
    page, _ = visit()
    drop(page, ("scene.png", Path(picture.path).read_bytes()))
    page.wait_for_selector("#pictures img")
    assert page.get_by_label("Story", exact=True).input_value() == "[picture 1]\n"
    # The first model reads no pictures, so the page has turned to one that does.
    assert page.get_by_label("Model").input_value() == "scenes"
    page.get_by_label("Question", exact=True).fill(scene.question)
    page.get_by_role("button", name="Ask").click()
    page.wait_for_selector("canvas")
    assert answer_word(page) == expected.answer
    assert page.locator("canvas").count() == len(expected.attention)
    pixels = np.array(Image.open(picture.path).convert("RGB"), dtype=float)
    centres = ((np.arange(4) + 0.5) * 16).astype(int)
    lower = ((np.arange(4) + 0.7) * 16).astype(int)
    for t in range(len(expected.attention)):
        regions = np.array(expected.regions[0][t])
        light = 1 - 0.75 * (1 - regions / regions.max())
        drawn = drawn_pixels(page, t, 4)
        assert drawn == pytest.approx(pixels[lower][:, centres] * light[..., None], abs=4)
        row, column = np.unravel_index(regions.argmax(), regions.shape)
        label = page.locator("canvas").nth(t).get_attribute("aria-label")
        assert label.endswith(f"most at row {row + 1} of 4, column {column + 1} of 4 ({percent(regions.max())})")
    page.get_by_role("button", name="Copy link").click()
    page.get_by_text("Pictures cannot go into a link").wait_for()


def test_pictures_and_sentences_are_mixed_and_removed(visit: Open, site: Site):
    scene = next(s for s in site.scenes if s.source.kind == "scenes/mixed")
    picture = next(fact for fact in scene.facts if not isinstance(fact, str))
    expected = site.models["scenes"].answerer.answer(scene.facts, scene.question)
    content = Path(picture.path).read_bytes()
    page, _ = visit()
    page.get_by_label("Model").select_option("scenes")
    page.locator("#files").set_input_files([{"name": "one.png", "mimeType": "image/png", "buffer": content}] * 2)
    page.wait_for_selector("#pictures li:nth-child(2)")
    page.get_by_role("button", name="Remove picture 1, one.png").click()
    story = page.get_by_label("Story", exact=True)
    assert story.input_value().split() == ["[picture", "1]"]
    story.fill("\n".join("[picture 1]" if fact is picture else str(fact) for fact in scene.facts))
    page.get_by_label("Question", exact=True).fill(scene.question)
    with page.expect_request("**/v1/answer/pictures"):
        page.keyboard.press("Control+Enter")
    page.wait_for_selector("canvas")
    assert answer_word(page) == expected.answer
    assert [row for row in shares(page) if row] == [
        [percent(gates[i]) for gates in expected.attention] for i in range(len(scene.facts))
    ]
    page.get_by_role("button", name="Leave each fact out in turn").click()
    page.wait_for_selector(".without")
    assert page.locator(".without").count() == len(scene.facts)
    # Pasted as from another program.
    drop(page, ("", content), how="paste")
    page.wait_for_selector("#pictures li:nth-child(2)")
    # As from a file manager, which gives the name, too.
    drop(page, ("star.png", content), how="paste", text="star.png")
    page.wait_for_selector("#pictures li:nth-child(3)")
    # As from a spreadsheet, which gives a picture of the text, too.
    assert drop(page, ("image.png", content), how="paste", text="Mary went home.")
    assert page.get_by_role("alert").inner_text() == ""
    assert page.locator("#pictures li").count() == 3


def test_a_picture_is_dropped_before_the_models_are_there(visit: Open, site: Site):
    page, _ = visit()
    page.add_init_script(HELD)
    page.reload()
    drop(page, ("scene.png", Path(site.scenes[0].facts[0].path).read_bytes()))
    page.evaluate("modelsCome()")
    page.wait_for_selector("#pictures img")
    assert page.get_by_label("Model").input_value() == "scenes"


def test_what_is_not_a_picture_is_refused(visit: Open):
    page, _ = visit()
    drop(page, ("broken.png", b"not a picture"))
    page.get_by_text("“broken.png” is not a picture that this browser can open").wait_for()
    drop(page, ("notes.txt", b"Mary went"), type="text/plain")
    page.get_by_text("Only pictures can be added here").wait_for()
    assert page.locator("#pictures li").count() == 0
    page.get_by_label("Story", exact=True).fill("[picture 3]")
    page.get_by_role("button", name="Ask").click()
    assert "[picture 3], which is not here" in page.get_by_role("alert").inner_text()


def test_a_picture_larger_than_the_screen_and_half_transparent(visit: Open, site: Site):
    page, _ = visit(viewport={"width": 390, "height": 844})
    buffer = BytesIO()
    Image.new("RGBA", (3000, 1000), (0, 0, 0, 0)).save(buffer, "PNG")
    drop(page, ("wide.png", buffer.getvalue()))
    page.wait_for_selector("#pictures img")
    page.get_by_label("Question", exact=True).fill("Is there a star?")
    page.get_by_role("button", name="Ask").click()
    page.wait_for_selector("canvas")
    # As the network sees it, where nothing is drawn is white.
    assert drawn_pixels(page, 0, 4).max() == 255
    assert page.evaluate("document.querySelector('canvas').width / document.querySelector('canvas').height") == 3
    assert page.evaluate("document.documentElement.scrollWidth") == 390
