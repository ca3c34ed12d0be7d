"""Regions that are made on the way: kept, made again of a changed picture, and the same as those of a store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from dmnplus.data.example import Picture
from dmnplus.data.pictures import PictureFormat, Pictures
from dmnplus.vision import opening
from dmnplus.vision.opening import open_pictures, read_pictures
from tests.vision.averages import SIZE, Averages

WANTED = PictureFormat(kind="regions", size=SIZE, rows=2, columns=3, channels=3, backbone="averages", weights="none")


@pytest.fixture(autouse=True)
def made_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "backbone_of", lambda wanted, weights: Averages())
    monkeypatch.setattr(opening, "cache_folder", lambda: tmp_path / "cache")


def made(picture: Picture) -> Pictures:
    features = open_pictures([picture], size=SIZE, grid=2, wanted=WANTED)
    assert features is not None
    return features


def test_a_changed_picture_of_the_same_size_is_read_again(tmp_path: Path):
    path = tmp_path / "a.bmp"
    for time, colour in enumerate(((255, 0, 0), (0, 0, 255))):
        Image.new("RGB", (20, 20), colour).save(path)
        os.utime(path, ns=(time, time))
        regions_KC = made(Picture(str(path))).read(torch.tensor([0]))[0, 0]
        assert (regions_KC * 255).tolist() == [[*colour]] * 3
    # One that did not change is kept.
    made(Picture(str(path)))
    assert len([*(tmp_path / "cache" / "features").iterdir()]) == 2


def test_a_server_reads_the_regions_that_a_store_holds(pictures: Path):
    picture = Picture(str(pictures / "0.png"))
    stored_IRKC = made(picture).read(torch.tensor([0]))
    assert torch.equal(read_pictures([picture], WANTED)[picture], stored_IRKC[0])
