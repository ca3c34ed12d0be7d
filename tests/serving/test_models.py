"""What a server is given by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dmnplus.data.example import DataError
from dmnplus.data.pictures import PictureFormat
from dmnplus.pretrained import locate
from dmnplus.serving import models as serving_models
from dmnplus.serving.models import load_models
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


def test_a_backbone_that_is_missing_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip("torchvision", reason='needs pip install "dmnplus[vision]"')
    backbone = {"backbone": "torchvision/squeezenet1_1", "weights": "0"}
    pictures = PictureFormat(kind="regions", size=64, rows=2, columns=2, channels=512, **backbone)
    monkeypatch.setattr(serving_models, "load", lambda folder, weights: served("x", pictures).answerer)
    with pytest.raises(DataError, match=r"none\.pth"):
        load_models(["babi/1"], weights=tmp_path / "none.pth")
