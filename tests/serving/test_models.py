"""What a server is given by name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dmnplus.data.example import DataError, Example, Picture
from dmnplus.data.pictures import PictureFormat
from dmnplus.pretrained import locate
from dmnplus.serving import models as serving_models
from dmnplus.serving.models import load_models
from dmnplus.serving.schemas import ExamplePicture, model_out
from tests.serving.conftest import served


def test_models_by_folder_and_name(tmp_path: Path):
    folder = tmp_path / "rate=0.01"
    shutil.copytree(locate("babi/1"), folder)
    assert [*load_models([str(folder), f"mine={folder}", "babi/1", "first=babi/1"])] == [
        "rate=0.01",
        "mine",
        "babi/1",
        "first",
    ]
    with pytest.raises(DataError, match=r"two models are called 'mine'; tell them apart by NAME=babi/2"):
        load_models(["mine=babi/1", "mine=babi/2"])


@pytest.mark.parametrize(
    ("record", "where"),
    [
        ({"card": None}, "card"),
        ({"test": None}, "test"),
        ({"test": {"error": "no"}}, "test.error"),
        ({"data": 5}, "data"),
        ([], "all of it"),
    ],
    ids=str,
)
def test_a_record_of_another_shape_is_named(tmp_path: Path, record: object, where: str):
    folder = tmp_path / "model"
    shutil.copytree(locate("babi/1"), folder)
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=rf"model/run\.json: damaged: {where} is not what a run writes"):
        load_models([str(folder)])
    (folder / "run.json").unlink()
    assert load_models([str(folder)])["model"].test_error is None


def test_files_that_are_no_pictures_are_not_shown(tmp_path: Path):
    def shown(name: str) -> str:
        (tmp_path / name).write_bytes(b"secret")
        example = Example(facts=(Picture(str(tmp_path / name)),), question="What?", answer=("it",))
        [fact] = model_out(replace(served("x"), examples=[example])).examples[0].facts
        assert isinstance(fact, ExamplePicture)
        return fact.picture

    assert shown("a.png") == "data:image/png;base64,c2VjcmV0"
    for name in ("notes.txt", "shadow", "page.html"):
        with pytest.raises(DataError, match=rf"{name}: is no picture by its name"):
            shown(name)


def test_a_backbone_that_is_missing_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip("torchvision", reason='needs pip install "dmnplus[vision]"')
    backbone = {"backbone": "torchvision/squeezenet1_1", "weights": "0"}
    pictures = PictureFormat(kind="regions", size=64, rows=2, columns=2, channels=512, **backbone)
    monkeypatch.setattr(serving_models, "load", lambda folder, weights: served("x", pictures).answerer)
    with pytest.raises(DataError, match=r"none\.pth"):
        load_models(["babi/1"], weights=tmp_path / "none.pth")
