"""What a person does with the page, and reads from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

STORY = "Mary went to the kitchen. John moved to the garden.\nMary travelled to the office."
SENTENCES = ["Mary went to the kitchen.", "John moved to the garden.", "Mary travelled to the office."]
QUESTION = "Where is Mary?"
# A script that keeps back the list of models until `modelsCome()`.
HELD = """{
  const come = new Promise((come) => { window.modelsCome = come; }), real = window.fetch;
  window.fetch = async (path, ...rest) => {
    if (path === 'v1/models') await come;
    return real(path, ...rest);
  };
}"""


def ask(page: Page, story: str = STORY, question: str = QUESTION) -> None:
    page.get_by_label("Story", exact=True).fill(story)
    page.get_by_label("Question", exact=True).fill(question)
    page.get_by_role("button", name="Ask").click()
    page.wait_for_selector("#result[aria-busy=false] .answer-word")


def answer_word(page: Page) -> str:
    return page.locator(".answer-word").inner_text()


def shares(page: Page) -> list[list[str]]:
    """What the page says of every fact in each pass."""
    rows = page.locator(".facts > li")
    return [rows.nth(i).locator(".share .number").all_inner_texts() for i in range(rows.count())]


def switch_off(page: Page, place: int) -> None:
    page.locator(f"#fact-{place}").uncheck()
    page.wait_for_selector("#result[aria-busy=false] .before")


def percent(share: float) -> str:
    return f"{int(100 * share + 0.5)}%"
