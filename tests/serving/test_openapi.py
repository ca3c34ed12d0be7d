"""The server does what its OpenAPI document says, for requests that fit it and requests that do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from dmnplus.serving.settings import ServerConfig
from tests.serving.conftest import running

schemathesis = pytest.importorskip("schemathesis", reason="needs pip install 'dmnplus[test]'")


@pytest.fixture(scope="module")
def schema(models) -> Iterator[Any]:
    with running(models, ServerConfig(port=0)) as address:
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


# By its strategies and not its own marks: those ask pytest for what its next version no longer has.
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_route_keeps_to_its_description(schema, mode):
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 7
    for operation in operations:

        @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=mode))
        def keeps(case):
            # That a file is a picture, no schema can say.
            free = [positive_data_acceptance] if case.path.endswith("/pictures") else []
            case.call_and_validate(excluded_checks=free)

        # What has no parameters cannot be asked wrongly.
        if mode == schemathesis.GenerationMode.POSITIVE or operation.body:
            keeps()
