"""A server with a shipped model of stories and one of pictures, and a person's browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch

from dmnplus.answering import QuestionAnswerer
from dmnplus.config import Config
from dmnplus.data.example import Example, iter_sentences
from dmnplus.data.pictures import PictureFormat
from dmnplus.data.scenes import generate_scenes
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.model import NetworkConfig
from dmnplus.serving.models import ServedModel, load_models
from dmnplus.serving.settings import ServerConfig
from dmnplus.training.run import build
from tests.serving.conftest import running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

Open = Callable[..., "Visit"]

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Site(NamedTuple):
    """A running server."""

    url: str
    models: dict[str, ServedModel]
    scenes: list[Example]
    """Questions on pictures."""


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    folder = tmp_path_factory.mktemp("scenes")
    return generate_scenes(folder, questions=60, kinds=("existence", "spatial", "mixed"))


@pytest.fixture(scope="session")
def scenes_model(scenes: list[Example]) -> ServedModel:
    """A network with random weights: the page draws where it looks, whether that is of use or not."""
    vocabulary = Vocabulary.build(iter_sentences(scenes), [scene.answer for scene in scenes])
    config = Config(model=NetworkConfig(hidden=24))
    torch.manual_seed(0)
    network = build(config, vocabulary, PictureFormat(kind="pixels", size=64, rows=4, columns=4, channels=3))
    return ServedModel("scenes", QuestionAnswerer(config, vocabulary, network), data="scenes", examples=scenes[:1])


@pytest.fixture(scope="session")
def site(scenes: list[Example], scenes_model: ServedModel) -> Iterator[Site]:
    models = {**load_models(["babi/1"]), "scenes": scenes_model}
    with running(models, ServerConfig(port=0)) as url:
        yield Site(f"{url.rstrip('/')}/", models, scenes)


# Of a module and not of the session: while it is there, no other test can run an event loop of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested by playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"the page is tested in {CHROMIUM}, which is not here")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit(NamedTuple):
    """A page of a person, and what went wrong in it: errors, and requests to elsewhere."""

    page: Page
    problems: list[str]


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Open]:
    """Open the page in a browser of its own. In the end nothing may have gone wrong that a test has not taken out."""
    contexts, visits = [], []

    def open_page(url: str = "", *, routes: dict[str, Callable[..., Any]] | None = None, **options: Any) -> Visit:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(20_000)
        contexts.append(context)
        page, problems = context.new_page(), []
        visits.append(Visit(page, problems))
        url = url or site.url
        ours = (url.partition("#")[0], "blob:", "data:")

        def seen(request: Request) -> None:
            if not request.url.startswith(ours):
                problems.append(f"request to {request.url}")

        page.on("request", seen)
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective))"
        )
        for pattern, handler in (routes or {}).items():
            page.route(pattern, handler)
        page.goto(url)
        page.locator("#model:not([disabled]), dialog[open]").first.wait_for()
        return visits[-1]

    yield open_page
    for context in contexts:
        context.close()
    assert [problem for one in visits for problem in one.problems] == []
