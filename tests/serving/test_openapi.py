"""The server does what its OpenAPI document says, for requests that fit it and requests that do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dmnplus.data.words import tokenize
from dmnplus.serving.app import create_app
from dmnplus.serving.settings import ServerConfig
from tests.serving.conftest import running
from tests.serving.hostile import png

schemathesis = pytest.importorskip("schemathesis", reason="needs pip install 'dmnplus[test]'")

TOKEN = "se-cret"
PICTURES = st.lists(st.sampled_from([png(), png(1, 1, "blue"), png(40, 30, "white")]), min_size=1, max_size=3)
STORIES = st.lists(
    st.text() | st.builds(lambda image: {"image": image}, st.integers(0, 9)), min_size=1, max_size=5
).filter(lambda story: any(isinstance(fact, dict) or tokenize(fact) for fact in story))


@pytest.fixture(scope="module", params=["", TOKEN], ids=["open", "token"])
def schema(models, request: pytest.FixtureRequest) -> Iterator[Any]:
    # What it would send as a picture by itself is noise.
    schemathesis.openapi.media_type("image/png", PICTURES)
    with running(models, ServerConfig(port=0, token=request.param)) as address:
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        schema.headers = {"Authorization": f"Bearer {request.param}"} if request.param else {}
        yield schema


def told(case: Any, story: list[Any]) -> Any:
    """The request with `story` for its facts, which schemathesis makes any JSON, whatever their `contentSchema`."""
    if isinstance(case.body, dict) and case.body.get("facts") is not None and case.path.endswith("/pictures"):
        # That there is an image of such a number, no schema can say.
        images = len(case.body["images"])
        case.body["facts"] = json.dumps([{"image": f["image"] % images} if isinstance(f, dict) else f for f in story])
    return case


# By its strategies and not its own marks: those ask pytest for what its next version no longer has.
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_route_keeps_to_its_description(schema, mode):
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 7
    # Of what is a letter beyond ASCII it has its own idea when it makes texts without one.
    schema.config.generation.update(codec="utf-8" if mode == schemathesis.GenerationMode.POSITIVE else "ascii")
    for operation in operations:
        cases = operation.as_strategy(generation_mode=mode)
        if mode == schemathesis.GenerationMode.POSITIVE:
            cases = st.builds(told, cases, STORIES)

        @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(cases)
        def keeps(case):
            case.call_and_validate(headers=schema.headers)

        # What has no parameters cannot be asked wrongly.
        if mode == schemathesis.GenerationMode.POSITIVE or operation.body:
            keeps()


@pytest.mark.parametrize("token", ["", TOKEN])
def test_it_says_where_a_token_is_asked_for(models, token: str):
    document = create_app(models, ServerConfig(token=token)).app.openapi()
    schemes = document["components"].get("securitySchemes", {})
    assert [(scheme["type"], scheme["scheme"]) for scheme in schemes.values()] == [("http", "bearer")] * bool(token)
    operations = {path: operation for path, [operation] in ((p, o.values()) for p, o in document["paths"].items())}
    marked = {path for path, operation in operations.items() if "security" in operation}
    refusing = {path for path, operation in operations.items() if "401" in operation["responses"]}
    guarded = {path for path in operations if path.startswith("/v1/") or path == "/metrics"}
    assert marked == refusing == (guarded if token else set())
