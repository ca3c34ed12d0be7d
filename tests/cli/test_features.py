import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dmnplus.vision.store import FeatureStore

pytest.importorskip("torchvision", reason='needs pip install "dmnplus[vision]"')
SMALL = ("--backbone", "torchvision/squeezenet1_1", "--weights", "random", "--size", "32", "--batch", "2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(5):
        Image.new("RGB", (30, 20), (i, 0, 0)).save(folder / f"{i}.jpg")
    return folder


def test_it_makes_a_store_and_running_it_again_changes_nothing(dmnplus, folder: Path, tmp_path: Path):
    arguments = ("features", folder, "--out", tmp_path / "store", *SMALL, "--device", "auto")
    for _ in range(2):
        result = dmnplus(*arguments)
        assert result.status == 0, result.err
        assert "5 pictures in" in result.out
        assert "1 x 1 regions of 512 channels, torchvision/squeezenet1_1 at 32 pixels" in result.out
    assert FeatureStore.open(tmp_path / "store").read([4]).shape == (1, 1, 1, 512)


def test_one_file(dmnplus, folder: Path, tmp_path: Path):
    assert dmnplus("features", folder / "3.jpg", "--out", tmp_path / "store", *SMALL).status == 0
    assert FeatureStore.open(tmp_path / "store").names == ["3.jpg"]


def test_a_bad_picture_stops_it_or_is_named(dmnplus, folder: Path, tmp_path: Path):
    (folder / "4.jpg").write_bytes(b"no picture")
    arguments = ("features", folder, "--out", tmp_path / "store", *SMALL)
    result = dmnplus(*arguments)
    assert result.status == 2
    assert "4.jpg: is not a picture" in result.err
    assert "4 of 5 pictures are in" in result.err
    result = dmnplus(*arguments, "--skip-bad")
    assert result.status == 0
    assert "skipped 4.jpg: " in result.out
    assert "4 pictures in" in result.out
    result = dmnplus("features", folder / "0.jpg", "--out", tmp_path / "other", *SMALL, "--max-pixels", "599")
    assert (
        "30 x 20 is 600 pixels, more than the limit of 599; make it smaller, or raise the limit (--max-pixels)"
        in result.err
    )


def test_an_animation_stops_it_or_is_named(dmnplus, folder: Path, tmp_path: Path):
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "4.gif", save_all=True, append_images=frames[1:])
    arguments = ("features", folder, "--out", tmp_path / "store", *SMALL)
    result = dmnplus(*arguments)
    assert result.status == 2
    assert "4.gif: is an animation or has several pages (2 frames)" in result.err
    assert "run again to go on, or add --skip-bad" in result.err
    result = dmnplus(*arguments, "--skip-bad")
    assert f"skipped 4.gif: {folder / '4.gif'}: is an animation" in result.out
    assert "5 pictures in" in result.out


def test_wrong_arguments(dmnplus, folder: Path, tmp_path: Path):
    for more, message in (
        (("--device", "cuda:99"), "device is 'cuda:99'; it takes auto, cpu, cuda or cuda:N ("),
        (("--device", "abacus"), "device is 'abacus'; it takes auto, cpu, cuda or cuda:N\n"),
        (("--precision", "double"), "--precision"),
        (("--weights", "nowhere.pth"), "check the path given with --weights, or --weights random to test the speed"),
    ):
        result = dmnplus("features", folder, "--out", tmp_path / "store", *SMALL, *more)
        assert result.status == 2
        assert message in result.err
    assert "no such file or folder" in dmnplus("features", tmp_path / "nowhere", "--out", tmp_path / "store").err


@pytest.mark.skipif(os.name == "nt", reason="signals of this kind are POSIX")
def test_ctrl_c_leaves_a_store_that_goes_on(tmp_path: Path):
    folder, store = tmp_path / "pictures", tmp_path / "store"
    folder.mkdir()
    Image.fromarray(np.zeros((400, 400, 3), np.uint8)).save(folder / "0.png")
    for i in range(1, 2000):
        os.link(folder / "0.png", folder / f"{i}.png")
    command = [sys.executable, "-m", "dmnplus", "features", str(folder), "--out", str(store), *SMALL]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        while process.poll() is None and not ((store / "regions.npy").exists() and _rows(store) > 0):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "the same command goes on from there" in err
    assert (store / "progress.jsonl").exists()
    assert not (store / "store.json").exists()


def _rows(store: Path) -> int:
    return ((store / "regions.npy").stat().st_size - 128) // 1024
