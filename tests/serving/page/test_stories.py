"""Stories, as a person asks about them: type, ask, read, switch a fact off, share."""

from __future__ import annotations

import pytest

from tests.serving.page.actions import HELD, QUESTION, SENTENCES, STORY, answer_word, ask, percent, shares, switch_off
from tests.serving.page.conftest import Open, Site


def read_percent(text: str) -> float:
    """Of `98.2%`, `>99.9%` or `<0.1%`."""
    return float(text.strip().strip("<>%")) / 100


def test_a_story_is_typed_asked_and_every_pass_is_shown(visit: Open, site: Site):
    page, _ = visit()
    ask(page)
    expected = site.models["babi/1"].answerer.answer(SENTENCES, QUESTION)
    assert expected.answer == "office"
    assert answer_word(page) == "office"
    assert read_percent(page.locator(".sure").inner_text()) == pytest.approx(expected.probability, abs=0.001)
    assert page.locator(".ranked-word").all_inner_texts() == [text for text, _ in expected.ranked[1:]]
    runners_up = [read_percent(text) for text in page.locator(".ranked .number").all_inner_texts()]
    assert runners_up == pytest.approx([p for _, p in expected.ranked[1:]], abs=0.001)
    assert page.locator(".fact-text").all_inner_texts() == SENTENCES
    assert shares(page) == [[percent(gates[i]) for gates in expected.attention] for i in range(3)]
    # The bar and the tint say the same as the number.
    widths = page.locator(".share").evaluate_all(
        "cells => cells.map(c => parseFloat(getComputedStyle(c.querySelector('.bar'), '::before').width) /"
        " c.querySelector('.bar').clientWidth)"
    )
    assert widths == pytest.approx([gates[i] for i in range(3) for gates in expected.attention], abs=0.02)
    alphas = page.locator(".share").evaluate_all(
        "cells => cells.map(c => Number(/[,/] *([\\d.]+)\\)$/.exec(getComputedStyle(c).backgroundColor)[1]))"
    )
    assert alphas == pytest.approx([0.26 * width for width in widths], abs=0.02)
    # Said to those who do not see it.
    assert page.locator("#status").inner_text().startswith("Answer: office, ")
    assert "pass 1 at fact 3" in page.locator("#status").inner_text()


def test_a_fact_switched_off_changes_the_answer_and_on_again_restores_it(visit: Open, site: Site):
    page, _ = visit()
    ask(page)
    switch_off(page, 2)
    expected = site.models["babi/1"].answerer.answer(SENTENCES[:2], QUESTION)
    assert answer_word(page) == expected.answer == "kitchen"
    before = page.locator(".before")
    assert before.locator(".before-title").inner_text() == "The answer changed"
    assert before.locator(".ranked-word").all_inner_texts() == ["office", "kitchen"]
    assert before.locator(".small").all_inner_texts() == ["with every fact", "without fact 3"]
    assert page.locator(".facts > li.off").inner_text().endswith("left out")
    assert shares(page)[2] == []
    # The second of two switches in a row does not undo the first.
    page.evaluate("() => ['#fact-1', '#fact-2'].forEach((id) => document.querySelector(id).click())")
    page.get_by_text("without fact 2").wait_for()
    page.locator("#fact-1").check()
    page.wait_for_selector(".before", state="detached")
    assert answer_word(page) == "office"
    # Something has to be left to read.
    for place in (0, 1):
        page.locator(f"#fact-{place}").uncheck()
        page.wait_for_selector("#result[aria-busy=false]")
    page.locator("#fact-2").click()
    assert "Nothing would be left" in page.get_by_role("alert").inner_text()
    assert page.locator("#fact-2").is_checked()


def test_each_fact_is_left_out_in_turn_by_one_request(visit: Open, site: Site):
    page, _ = visit()
    ask(page)
    with page.expect_request("**/v1/answers") as asked:
        page.get_by_role("button", name="Leave each fact out in turn").click()
    assert [len(one["facts"]) for one in asked.value.post_data_json["questions"]] == [2, 2, 2]
    page.wait_for_selector(".without")
    answerer = site.models["babi/1"].answerer
    for i, text in enumerate(page.locator(".without").all_inner_texts()):
        expected = answerer.answer([s for j, s in enumerate(SENTENCES) if j != i], QUESTION).answer
        assert f": {expected} " in text
        assert ("the same" in text) == (expected == "office")
    assert page.locator(".without.changed").count() >= 1


def test_examples_are_clicked(visit: Open, site: Site):
    page, _ = visit()
    example = site.models["babi/1"].examples[0]
    page.locator(".example").first.click()
    page.wait_for_selector(".answer-word")
    assert page.get_by_label("Story", exact=True).input_value().splitlines() == list(example.facts)
    assert page.get_by_label("Question", exact=True).input_value() == example.question
    assert answer_word(page) == example.answer_text
    page.get_by_label("Model").select_option("scenes")
    page.get_by_role("button", name=site.scenes[0].question).click()
    page.wait_for_selector("canvas")
    assert page.locator("#pictures img").count() == 1


def test_a_link_brings_everything_back(visit: Open, site: Site):
    page, _ = visit(permissions=["clipboard-read", "clipboard-write"])
    ask(page)
    switch_off(page, 2)
    page.get_by_role("button", name="Copy link").click()
    page.get_by_text("Link copied.").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    # After the "#", which browsers keep to themselves.
    assert link.startswith(f"{site.url}#story=Mary+went")
    again, _ = visit(link)
    again.wait_for_selector(".before")
    assert again.get_by_label("Story", exact=True).input_value() == STORY
    assert again.get_by_label("Question", exact=True).input_value() == QUESTION
    assert not again.locator("#fact-2").is_checked()
    assert answer_word(again) == "kitchen"
    # The address follows what is asked, so that a reload loses nothing.
    assert again.url == page.url == link
    again.reload()
    again.wait_for_selector(".before")


def test_nothing_is_lost_that_is_done_before_the_models_are_there(visit: Open):
    page, _ = visit()
    ask(page)
    link = page.url
    page.add_init_script(HELD)
    # A link, and no patience.
    page.reload()
    page.keyboard.press("Control+Enter")
    page.evaluate("modelsCome()")
    page.wait_for_selector(".answer-word")
    assert answer_word(page) == "office"
    # A question of one's own, asked twice.
    page.reload()
    page.get_by_label("Story", exact=True).fill("Mary went to the garden.")
    page.get_by_label("Question", exact=True).fill(QUESTION)
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Control+Enter")
    page.evaluate("modelsCome()")
    page.wait_for_selector(".answer-word")
    assert answer_word(page) == "garden"
    assert page.get_by_label("Model").is_enabled()
    # A form that is cleared.
    page.reload()
    page.get_by_role("button", name="Clear").click()
    page.evaluate("modelsCome()")
    page.wait_for_selector("#model:not([disabled])")
    # A link that is opened where the page is open.
    page.reload()
    page.evaluate("link => { location.href = link; }", link)
    page.evaluate("modelsCome()")
    page.wait_for_selector(".answer-word")
    assert page.get_by_role("alert").inner_text() == ""


def test_a_page_that_may_not_use_the_clipboard_shows_the_link(visit: Open, site: Site):
    page, _ = visit()
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed')) }")
    ask(page)
    page.get_by_role("button", name="Copy link").click()
    shown = page.get_by_label("Link to this story and question")
    assert shown.input_value() == page.url


def test_unknown_words_are_named_and_an_old_answer_is_marked(visit: Open):
    page, _ = visit()
    ask(page, "Mary went to the zeppelin.", QUESTION)
    assert "zeppelin" in page.locator("#answer .notice").inner_text()
    assert page.locator("#result.stale").count() == 0
    page.get_by_label("Story", exact=True).press_sequentially(" ")
    assert page.locator("#result.stale").count() == 0
    page.get_by_label("Story", exact=True).press_sequentially("John left.")
    assert page.locator("#result.stale").count() == 1
    page.get_by_role("button", name="Clear").click()
    assert page.locator("#answer").inner_text() == ""
    assert "#" not in page.url


def test_of_a_long_story_what_is_too_far_back_is_shown_as_not_read(visit: Open, site: Site):
    page, _ = visit()
    limit = site.models["babi/1"].answerer.config.data.last_facts
    ask(page, "\n".join([*["John went to the garden."] * limit, "Mary went to the office."]))
    unread = page.locator(".facts > li", has_text="too far back")
    assert unread.count() == 1
    assert unread.locator(".fact-number").inner_text() == "1"
    assert page.locator(".facts > li").count() == limit + 1
    # More than a server takes in one request, so it comes in several.
    requests = []
    page.on("request", lambda request: requests.append(len(request.post_data_json["questions"])))
    page.get_by_role("button", name="Leave each fact out in turn").click()
    page.wait_for_selector(".without")
    assert len(requests) > 1
    assert sum(requests) == limit + 1
