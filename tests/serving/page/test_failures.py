"""A server that is busy, gone, wrong, or asks for a token."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from dmnplus.serving.settings import ServerConfig
from tests.serving.conftest import running
from tests.serving.page.actions import QUESTION, STORY, answer_word, ask
from tests.serving.page.conftest import Open, Site


def error(code: str, message: str) -> str:
    return json.dumps({"error": {"code": code, "message": message}})


def busy(refusals: list[int], *, seconds: int) -> Callable[[Any], None]:
    """A route that refuses as often as `refusals`, which it empties, is long, and says when to come again."""

    def answer(route: Any) -> None:
        if refusals:
            refusals.pop()
            route.fulfill(status=503, headers={"Retry-After": str(seconds)}, body=error("busy", "ask again"))
        else:
            route.continue_()

    return answer


def test_a_busy_server_is_asked_again_when_it_says(visit: Open):
    refusals = [1, 1]
    page, problems = visit(routes={"**/v1/answer": busy(refusals, seconds=1)})
    page.get_by_label("Story", exact=True).fill(STORY)
    page.get_by_label("Question", exact=True).fill(QUESTION)
    page.get_by_role("button", name="Ask").click()
    page.get_by_text("The server is busy with other questions. Trying again in 1 s.").wait_for()
    page.get_by_role("button", name="Try now").click()
    # The second time nobody clicks.
    page.wait_for_selector(".answer-word")
    assert refusals == []
    assert page.get_by_role("alert").inner_text() == ""
    assert len(problems) == 2
    assert all("503" in problem for problem in problems)
    problems.clear()


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (422, error("too_many_facts", "3 facts are more than 2"), "3 facts are more than 2"),
        (413, error("too_large", "the body is too large"), "the body is too large"),
        (504, error("timeout", "no answer within 30 seconds"), "no answer within 30 seconds"),
        (502, "<html>Bad gateway", "no readable answer (status 502)"),
        (200, "{", "no readable answer (status 200)"),
    ],
)
def test_errors_are_shown_and_can_be_tried_again(visit: Open, status: int, body: str, shown: str):
    failures = [1]

    def fail(route: Any) -> None:
        if failures:
            failures.pop()
            route.fulfill(status=status, body=body)
        else:
            route.continue_()

    page, problems = visit(routes={"**/v1/answer": fail})
    page.get_by_label("Story", exact=True).fill(STORY)
    page.get_by_label("Question", exact=True).fill(QUESTION)
    page.get_by_role("button", name="Ask").click()
    page.get_by_role("alert").get_by_text(shown).wait_for()
    page.get_by_role("button", name="Try again").press("Enter")
    page.wait_for_selector(".answer-word")
    # The button is gone; what it was in has the focus.
    assert page.evaluate("document.activeElement.id") == "result"
    assert len(problems) == (status != 200)
    problems.clear()


def test_a_server_that_is_gone_and_comes_back(visit: Open, site: Site):
    with running(site.models, ServerConfig(port=0)) as url:
        page, problems = visit(url)
        ask(page)
    page.locator("#fact-2").click()
    page.get_by_text("The server does not answer.").wait_for()
    # The answer and the switches are still those of before.
    assert page.locator("#fact-2").is_checked()
    assert answer_word(page) == "office"
    with running(site.models, ServerConfig(port=int(url.rstrip("/").rpartition(":")[2]))):
        page.get_by_role("button", name="Try again").click()
        page.wait_for_selector(".before")
        assert answer_word(page) == "kitchen"
    assert len(problems) == 1
    assert "ERR_CONNECTION_REFUSED" in problems[0]
    problems.clear()


def test_a_server_with_a_token_asks_for_it(visit: Open, site: Site):
    with running(site.models, ServerConfig(port=0, token="right-token")) as url:
        page, problems = visit(url)
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Token").fill("wrong-token")
        dialog.get_by_label("Token").press("Enter")
        dialog.get_by_text("That token was refused.").wait_for()
        # Copied from a web page, with a space of no width.
        dialog.get_by_label("Token").fill("right-token\u200b")
        dialog.get_by_label("Token").press("Enter")
        dialog.get_by_text("type it by hand").wait_for()
        assert len(problems) == 2
        dialog.get_by_label("Token").fill(" right-token ")
        dialog.get_by_role("button", name="Use it").click()
        page.wait_for_selector("#model:not([disabled])")
        ask(page)
        assert answer_word(page) == "office"
        # Nothing is kept: the next visit asks anew.
        stored = page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])")
        assert stored == '[{},{},""]'
        page.reload()
        page.wait_for_selector("#token-dialog[open]")
        assert "refused" not in dialog.inner_text()
        dialog.get_by_role("button", name="Cancel").click()
        page.get_by_role("alert").filter(has_text="answers only with its token").wait_for()
        assert all("401" in problem for problem in problems)
        problems.clear()


def test_a_list_of_models_that_was_refused_is_asked_for_again_with_the_question(visit: Open):
    page, problems = visit()
    page.route("**/v1/models", busy([1], seconds=600))
    page.reload()
    page.get_by_text("The server is busy with other questions.").wait_for()
    ask(page)
    assert answer_word(page) == "office"
    assert page.get_by_label("Model").is_enabled()
    assert len(problems) == 1
    problems.clear()


@pytest.mark.parametrize("queue", [1, 5])
def test_a_server_that_takes_few_questions_at_once(visit: Open, site: Site, queue: int):
    story = [f"Mary went to the {room}." for room in ("kitchen", "office", "garden", "hallway")] * 3
    link = urlencode({"story": "\n".join(story), "question": QUESTION, "model": "babi/1", "off": "12"})
    with running(site.models, ServerConfig(port=0, queue=queue)) as url:
        page, problems = visit(f"{url.rstrip('/')}/#{link}")
        page.wait_for_selector("#result[aria-busy=false] .before")
        assert answer_word(page) == "garden"
        page.get_by_role("button", name="Leave each fact out in turn").click()
        page.wait_for_selector(".without")
        answerer = site.models["babi/1"].answerer
        for i, text in enumerate(page.locator(".without").all_inner_texts()):
            assert f": {answerer.answer([s for j, s in enumerate(story) if j != i], QUESTION).answer} " in text
        assert page.locator(".without").count() == 12
        # What was refused is remembered.
        assert len(problems) == {1: 1, 5: 2}[queue]
        assert all("422" in problem for problem in problems)
        problems.clear()
        page.get_by_role("button", name="Ask").click()
        page.wait_for_selector("#result[aria-busy=false] .before", state="detached")
        page.get_by_role("button", name="Leave each fact out in turn").click()
        page.wait_for_selector(".without")
