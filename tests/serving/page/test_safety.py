"""Nothing that is shown can become part of the page."""

from __future__ import annotations

from typing import Any

from tests.serving.page.actions import answer_word, ask
from tests.serving.page.conftest import Open, Site

HOSTILE = '<img src=x onerror="hacked=1"><script>hacked=1</script>\'"`${hacked=1}&lt;'


def test_text_from_anywhere_is_never_read_as_html(visit: Open, site: Site):
    def models(route: Any) -> None:
        model = {
            "name": HOSTILE,
            "data": HOSTILE,
            "test_error": None,
            "pictures": True,
            "examples": [
                {"facts": [HOSTILE, {"picture": "javascript:hacked=1"}, {"picture": HOSTILE}], "question": HOSTILE}
            ],
        }
        route.fulfill(json={"models": [model], "default": HOSTILE})

    def answer(route: Any) -> None:
        one = {"answer": HOSTILE, "probability": 0.5}
        content = {
            **one,
            "ranked": [one, one],
            "facts": [{"kind": "sentence", "text": HOSTILE}],
            "attention": [[1.0]],
            "regions": {},
            "unknown_words": [HOSTILE],
            "model": {"name": HOSTILE, "version": HOSTILE, "data": HOSTILE},
            "timing": {"queue_ms": 0, "compute_ms": 0, "batch": 1},
        }
        route.fulfill(json=content)

    page, _ = visit(routes={"**/v1/models": models, "**/v1/answer": answer})
    page.get_by_role("button", name="<img").wait_for()
    ask(page, HOSTILE, HOSTILE)
    assert answer_word(page) == HOSTILE
    assert page.locator(".fact-text").first.inner_text() == HOSTILE
    assert page.locator(".asked").inner_text() == HOSTILE
    assert page.locator("#answer .notice strong").inner_text() == HOSTILE
    link = page.url
    again, _ = visit(link, routes={"**/v1/models": models, "**/v1/answer": answer})
    again.wait_for_selector(".answer-word")
    assert again.get_by_label("Story", exact=True).input_value() == HOSTILE
    broken, _ = visit(site.url + "#story=[picture 1]%FF&model=<img src=x onerror=hacked=1>&off=a.-1.1e9&__proto__=1")
    broken.get_by_text("This server has no model “<img").wait_for()
    for one in (page, again, broken):
        assert one.evaluate("typeof hacked") == "undefined"
        assert one.locator("script:not([src='static/app.js']), #result img, .example img").count() == 0


def test_the_policy_forbids_scripts_and_styles_written_into_the_page(visit: Open, site: Site):
    page, problems = visit()
    response = page.request.get(site.url)
    policy = dict(rule.strip().partition(" ")[::2] for rule in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    page.evaluate(
        """() => {
          const script = document.createElement('script');
          script.textContent = 'hacked = 1';
          const image = document.createElement('div');
          image.innerHTML = '<img src="icon.svg" onerror="hacked = 1" style="width: 3px">';
          document.body.append(script, image);
        }"""
    )
    page.locator("body > script").wait_for(state="attached")
    assert page.evaluate("typeof hacked") == "undefined"
    assert {problem for problem in problems if problem.startswith("policy: ")} >= {"policy: script-src-elem"}
    problems.clear()
