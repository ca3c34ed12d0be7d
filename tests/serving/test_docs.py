"""docs/serving.md is true."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dmnplus.pretrained import SHIPPED
from dmnplus.serving.models import load_models
from tests.serving.conftest import Start

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.skipif(not (SHIPPED / "babi/1").exists(), reason="needs the shipped model babi/1")
def test_its_commands_answer(start: Start):
    [commands] = re.findall(r"<!-- run by tests/serving/test_docs.py -->\n```\n(.*?)```", PAGE, re.DOTALL)
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands.replace("curl", "echo; curl")],
        env={**os.environ, "DMNPLUS": start(load_models(["babi/1"]))},
        capture_output=True,
        text=True,
        check=True,
    )
    models, story, facts, both = map(json.loads, result.stdout.strip().splitlines())
    assert models["default"] == "babi/1"
    assert models["models"][0]["test_error"] is not None
    assert models["models"][0]["examples"]
    assert story["answer"] == "kitchen"
    assert (facts["answer"], len(facts["ranked"])) == ("garden", 2)
    assert [answer["answer"] for answer in both["answers"]] == ["kitchen", "office"]


def test_it_names_every_route_and_counter(client):
    schema = client.get("/openapi.json").json()
    assert set(re.findall(r"`(?:GET|POST) (/\S*)`", PAGE)) == {*schema["paths"], "/openapi.json", "/"}
    metrics = re.findall(r"^# TYPE (dmnplus_\w+)", client.get("/metrics").text, re.MULTILINE)
    named = set(re.findall(r"`(dmnplus_\w+)", PAGE))
    assert named == {name for name in metrics if not name.endswith("_created")}
