"""By keyboard, on a phone, in the dark."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serving.page.actions import STORY, answer_word, ask, switch_off
from tests.serving.page.conftest import Open


def test_everything_works_by_keyboard(visit: Open):
    page, _ = visit()
    page.wait_for_selector("#model:not([disabled])")
    focused = "document.activeElement.id || document.activeElement.textContent.trim()"
    ring = "getComputedStyle(document.activeElement).outlineStyle"
    order = []
    for _ in range(8):
        page.keyboard.press("Tab")
        order.append(page.evaluate(focused))
        if order[-1] != "files":
            assert page.evaluate(ring) != "none", order
        if order[-1] == "story":
            page.keyboard.type("Mary went to the kitchen.\nJohn went to the garden.")
        elif order[-1] == "question":
            page.keyboard.type("Where is John?")
            page.keyboard.press("Enter")
            page.wait_for_selector(".answer-word")
    assert order[:6] == ["Skip to the answer", "model", "story", "files", "question", "submit"]
    assert answer_word(page) == "garden"
    while page.evaluate(focused) != "fact-0":
        page.keyboard.press("Tab")
    assert page.evaluate(ring) != "none"
    page.keyboard.press("Space")
    page.wait_for_selector(".before")
    # The switch keeps the focus, though all around it is drawn anew.
    assert page.evaluate(focused) == "fact-0"
    page.keyboard.press("Space")
    page.wait_for_selector(".before", state="detached")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#result[aria-busy=false]")
    assert answer_word(page) == "garden"
    while page.evaluate(focused) != "leave-out":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".without")
    assert page.evaluate(focused) == "leave-out"


def test_what_is_missing_is_said_where_it_is_missing(visit: Open):
    page, _ = visit()
    page.wait_for_selector("#model:not([disabled])")
    page.get_by_role("button", name="Ask").click()
    assert "Write a story first" in page.get_by_role("alert").inner_text()
    assert page.evaluate("document.activeElement.id") == "story"
    page.get_by_label("Story", exact=True).fill(STORY)
    page.get_by_role("button", name="Ask").click()
    assert page.get_by_role("alert").inner_text() == "Write a question."
    assert page.evaluate("document.activeElement.id") == "question"


WIDTH = "[document.documentElement.scrollWidth, innerWidth]"


def test_a_phone_needs_no_scrolling_sideways(visit: Open):
    page, _ = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.wait_for_selector("#model:not([disabled])")
    assert page.evaluate(WIDTH) == [390, 390]
    ask(page, STORY + "\n" + "a" * 300, "b" * 300)
    page.get_by_role("button", name="Leave each fact out in turn").click()
    page.wait_for_selector(".without")
    switch_off(page, 0)
    assert page.evaluate(WIDTH) == [390, 390]
    # What there is to touch is large enough to be touched (WCAG 2.2, 2.5.8).
    for box in page.locator("button:visible, select:visible, label.button, .facts label").all():
        assert box.bounding_box()["height"] >= 24
    # The answer was brought into view.
    assert page.locator(".answer-word").bounding_box()["y"] < 844


SPILT = """() => [...document.querySelectorAll('.share, .ranked li, .sure')].filter((row) => {
  const words = document.createRange();
  words.selectNodeContents(row);
  return Math.max(...[...words.getClientRects()].map(({ right }) => right)) > row.getBoundingClientRect().right + .5;
}).map((row) => row.innerText)"""
BROKEN = """() => [...document.querySelectorAll('.ranked-word, .number, .pass-name')].filter((word) => {
  const letters = document.createRange();
  letters.selectNodeContents(word);
  return new Set([...letters.getClientRects()].map(({ top }) => top)).size > 1;
}).map((word) => word.innerText)"""


@pytest.mark.parametrize("passes", [3, 4, 12])
def test_on_the_narrowest_phone_words_and_numbers_have_room(visit: Open, passes: int):
    def answer(route: Any) -> None:
        facts = route.request.post_data_json["facts"]
        best, next_best = ("hallway", "bathroom") if len(facts) == 3 else ("bathroom", "hallway")
        content = {
            "answer": best,
            "probability": 0.9999,
            "ranked": [{"answer": best, "probability": 0.9999}, {"answer": next_best, "probability": 0.0001}],
            "facts": [{"kind": "sentence", "text": fact} for fact in facts],
            "attention": [[1.0] * len(facts)] * passes,
            "regions": {},
            "unknown_words": [],
            "model": {"name": "babi/1", "version": "0", "data": "babi/1"},
            "timing": {"queue_ms": 0, "compute_ms": 0, "batch": 1},
        }
        route.fulfill(json=content)

    page, _ = visit(routes={"**/v1/answer": answer})
    ask(page)
    switch_off(page, 2)
    assert page.locator(".ranked-word").count() == 3
    assert page.locator(".share").count() == 2 * passes
    lefts = "[...document.querySelectorAll('.share')].map((cell) => cell.getBoundingClientRect().left)"
    for width in (320, 360, 390, 430, 560):
        page.set_viewport_size({"width": width, "height": 640})
        assert page.evaluate(SPILT) == []
        assert page.evaluate(BROKEN) == []
        assert page.evaluate(WIDTH) == [width, width]
        # Up to four passes stand side by side, those of one fact below those of another.
        assert passes > 4 or len(set(page.evaluate(lefts))) == passes


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (front, back) => [0, 1, 2].map((i) => front[i] * front[3] + back[i] * (1 - front[3]));
  const behind = (element) => {
    const back = element.parentElement ? behind(element.parentElement) : [0, 0, 0];
    return over(parse(getComputedStyle(element).backgroundColor), back);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const has = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!(has || element.matches('input:not([type=checkbox]), textarea')) || !element.checkVisibility()) continue;
    const back = behind(element), text = over(parse(getComputedStyle(element).color), back);
    const [low, high] = [light(back), light(text)].sort((a, b) => a - b);
    found.push([(high + .05) / (low + .05), `${element.tagName} ${element.className}: ${element.textContent}`]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(visit: Open, scheme: str):
    page, _ = visit(color_scheme=scheme, reduced_motion="reduce")
    ask(page, STORY + " Mary went to the zeppelin.")
    switch_off(page, 3)
    page.get_by_role("button", name="Leave each fact out in turn").click()
    page.wait_for_selector(".without")
    page.locator("#fact-0").uncheck()
    page.wait_for_selector("#result[aria-busy=false] .off")
    found = page.evaluate(CONTRAST)
    assert len(found) > 40
    low = [(ratio, what) for ratio, what in found if ratio < 4.5]
    assert low == [], low
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    channels = [int(c) for c in back[4:-1].split(",")]
    assert max(channels) < 64 if scheme == "dark" else min(channels) > 192
    assert page.evaluate("getComputedStyle(document.querySelector('.bar'), '::before').transitionDuration") == "0s"
