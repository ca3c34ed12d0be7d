import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from dmnplus.data.example import DataError, Picture
from dmnplus.vision import store as store_module
from dmnplus.vision.extract import BadPictureError, extract_features
from dmnplus.vision.image import find_images, read_pixels
from dmnplus.vision.opening import open_pictures
from dmnplus.vision.store import PLAN, PROGRESS, REGIONS, STORE, FeatureStore, StoreWriter
from tests.vision.averages import SIZE, Averages, Loud

NAMES = ["0.png", "1.png", "2.png", "3.png", "4.png", "more/5.png", "more/6.png"]


def extract(folder: Path, out: Path, backbone: Any = None, **options: Any) -> FeatureStore:
    pictures = {name: Picture(str(folder / name)) for name in find_images(folder)}
    return extract_features(pictures, backbone or Averages(), out, **{"batch": 2, "workers": 2, **options})


def content(store: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in store.iterdir() if file.name != ".lock"}


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "store"
    extract(pictures, out)
    return out


@pytest.fixture
def with_a_bad_one(pictures: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "bad"
    shutil.copytree(pictures, folder)
    (folder / "3.png").write_bytes(b"nothing")
    return folder


def stop_after(count: int):
    def progress(done: int, total: int) -> None:
        if done >= count:
            raise KeyboardInterrupt

    return progress


def test_it_holds_what_the_network_gives(pictures: Path, whole: Path):
    store = FeatureStore.open(whole)
    assert (store.names, store.grid, store.channels, len(store)) == (NAMES, (2, 3), 3, 7)
    assert store.description == Averages().description
    pixels = np.stack([read_pixels(pictures / name, SIZE) for name in NAMES])
    expected = Averages()(torch.from_numpy(pixels))
    found = store.read(range(7))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert np.load(whole / REGIONS).dtype == np.float16


def test_single_precision_holds_it_exactly(pictures: Path, tmp_path: Path):
    store = extract(pictures, tmp_path / "store", precision="single")
    pixels = torch.from_numpy(read_pixels(pictures / NAMES[4], SIZE))[None]
    assert torch.equal(store.read([4]), Averages()(pixels))


def test_rows_are_read_in_any_order_and_shape(whole: Path):
    store = FeatureStore.open(whole)
    everything = store.read(range(7))
    assert torch.equal(store.read([5, 0, 5]), everything[[5, 0, 5]])
    indices = torch.tensor([[1, 2], [6, 0]])
    assert torch.equal(store.read(indices), everything[indices])
    assert store.read([]).shape == (0, 2, 3, 3)
    for bad in ([7], [-1]):
        with pytest.raises(IndexError):
            store.read(bad)
    # What is read is the reader's own.
    store.read([0]).zero_()
    assert torch.equal(store.read([0]), everything[:1])


def test_a_picture_is_found_by_its_path_or_file_name(whole: Path):
    store = FeatureStore.open(whole)
    for path in ("more/5.png", "/anywhere/images/more/5.png", "5.png", "elsewhere/5.png", "./more/5.png"):
        assert store.index(Picture(path)) == 5
    for path in ("7.png", "5.jpg", ""):
        with pytest.raises(DataError, match="does not hold it"):
            store.index(Picture(path))
    part = Picture("0.png", (0, 0, 0.5, 1))
    with pytest.raises(DataError, match=r"0\.png\[0,0,0\.5,1\].*does not hold this part of it"):
        store.index(part)
    # Before anything is read.
    with pytest.raises(DataError, match="leave --features out"):
        open_pictures([Picture("1.png"), part], size=16, grid=2, store=whole)


def test_a_file_name_that_several_have_needs_its_folder(pictures: Path, tmp_path: Path):
    for folder in ("train", "test"):
        (tmp_path / "two" / folder).mkdir(parents=True)
        shutil.copy(pictures / "0.png", tmp_path / "two" / folder / "a.png")
    store = extract(tmp_path / "two", tmp_path / "store")
    assert store.index(Picture("train/a.png")) == 1
    with pytest.raises(DataError, match=r"holds several: test/a\.png, train/a\.png"):
        store.index(Picture("a.png"))


def test_a_store_of_one_folder_is_none_of_another_with_the_same_names(pictures: Path, whole: Path, tmp_path: Path):
    """Found before a training, which would learn from, or be measured on, the wrong ones."""
    here, there = Picture(str(pictures / "0.png")), Picture(str(tmp_path / "0.png"))
    with pytest.raises(DataError, match=r"has 0\.png for both; make it of the folder that both are in"):
        open_pictures([here, there], size=16, grid=2, store=whole)
    # One picture by two ways.
    (tmp_path / "link").symlink_to(pictures)
    assert open_pictures([here, Picture(str(tmp_path / "link" / "0.png"))], size=16, grid=2, store=whole)
    with pytest.raises(DataError, match=r"8\.png: the store .* does not hold it"):
        open_pictures([here, Picture("8.png")], size=16, grid=2, store=whole)


def test_a_picture_by_its_whole_path_is_no_other_of_the_same_name(pictures: Path, tmp_path: Path):
    """As regions are kept that are made on the way."""
    paths = [str(pictures / "0.png"), str(tmp_path / "0.png")]
    shutil.copy(paths[0], paths[1])
    store = extract_features({path: Picture(path) for path in paths}, Averages(), tmp_path / "store")  # pyright: ignore[reportArgumentType]
    assert [store.index(Picture(path)) for path in paths] == [0, 1]


def test_parts_of_pictures_have_rows_of_their_own(pictures: Path, tmp_path: Path):
    boxes = [Picture(str(pictures / "0.png"), box) for box in ((0, 0, 1, 1), (0, 0, 0.5, 1), (0.5, 0, 1, 1))]
    named = {str(picture).removeprefix(f"{pictures}/"): picture for picture in boxes}
    store = extract_features(named, Averages(), tmp_path / "store")  # pyright: ignore[reportArgumentType]
    assert [store.index(picture) for picture in boxes] == [0, 1, 2]


def test_workers_open_it_themselves(whole: Path):
    store = FeatureStore.open(whole)
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    assert torch.equal(pickle.loads(sent).read([3]), store.read([3]))


@pytest.mark.parametrize("count", [0, 2, 4, 7])
def test_a_resumed_store_is_that_of_an_uninterrupted_run(pictures: Path, whole: Path, tmp_path: Path, count: int):
    with pytest.raises(KeyboardInterrupt):
        extract(pictures, tmp_path / "store", progress=stop_after(count))
    with pytest.raises(DataError, match="not finished; run `dmnplus features` again"):
        FeatureStore.open(tmp_path / "store")
    seen: list[int] = []
    extract(pictures, tmp_path / "store", progress=lambda done, total: seen.append(done))
    assert seen[0] == count
    assert content(tmp_path / "store") == content(whole)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
def test_a_killed_run_resumes_to_the_same_store(pictures: Path, whole: Path, tmp_path: Path):
    code = f"""
import os, signal
from pathlib import Path
from dmnplus.vision import store
from tests.vision.test_store import extract
store._SYNC_SECONDS = -1
def kill(done, total):
    if done == 4:
        os.kill(os.getpid(), signal.SIGKILL)
extract(Path({str(pictures)!r}), Path({str(tmp_path / "store")!r}), progress=kill)
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    seen: list[int] = []
    extract(pictures, tmp_path / "store", progress=lambda done, total: seen.append(done))
    assert seen[0] == 4
    assert content(tmp_path / "store") == content(whole)


def test_what_a_crash_tore_off_is_done_again(pictures: Path, whole: Path, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        extract(pictures, tmp_path / "store", progress=stop_after(4))
    with (tmp_path / "store" / REGIONS).open("ab") as file:
        file.write(b"half a row")
    with (tmp_path / "store" / PROGRESS).open("ab") as file:
        file.write(b'{"done": 6, "fai')
    with pytest.raises(KeyboardInterrupt):
        extract(pictures, tmp_path / "store", progress=stop_after(6))
    extract(pictures, tmp_path / "store")
    assert content(tmp_path / "store") == content(whole)


def test_a_finished_store_is_left_as_it_is(pictures: Path, whole: Path, tmp_path: Path):
    shutil.copytree(whole, tmp_path / "store")
    before = (tmp_path / "store" / REGIONS).stat().st_mtime_ns
    assert extract(pictures, tmp_path / "store").names == NAMES
    assert (tmp_path / "store" / REGIONS).stat().st_mtime_ns == before


@pytest.mark.parametrize("finished", [True, False])
def test_a_store_made_in_another_way_is_not_gone_on_with(pictures: Path, tmp_path: Path, finished: bool):
    out = tmp_path / "store"
    if finished:
        extract(pictures, out)
    else:
        with pytest.raises(KeyboardInterrupt):
            extract(pictures, out, progress=stop_after(4))
    before = content(out)
    with pytest.raises(DataError, match=r"grid \[2, 3\] there, \[3, 3\] asked for.*--out"):
        extract(pictures, out, Averages(3, 3))
    other = Averages()
    other.description["weights"] = "others"
    with pytest.raises(DataError, match="weights none there, others asked for"):
        extract(pictures, out, other)
    with pytest.raises(DataError, match="precision float16 there, float32 asked for"):
        extract(pictures, out, precision="single")
    with pytest.raises(
        DataError, match=r"2 pictures not in it yet \(such as 8\.png\); 1 pictures no longer in the folder"
    ):
        extract_features({name: Picture(name) for name in [*NAMES[1:], "8.png", "9.png"]}, Averages(), out)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="in another order"):
        extract_features({name: Picture(name) for name in reversed(NAMES)}, Averages(), out)  # pyright: ignore[reportArgumentType]
    assert content(out) == before


def test_a_bad_picture_stops_the_run_which_goes_on_once_it_is_gone(
    with_a_bad_one: Path, pictures: Path, whole: Path, tmp_path: Path
):
    with pytest.raises(BadPictureError, match=r"3\.png: is not a picture") as stop:
        extract(with_a_bad_one, tmp_path / "store")
    assert stop.value.done == 2
    shutil.copy(pictures / "3.png", with_a_bad_one / "3.png")
    extract(with_a_bad_one, tmp_path / "store")
    assert content(tmp_path / "store") == content(whole)


def test_bad_pictures_are_skipped_and_named(with_a_bad_one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = extract(with_a_bad_one, tmp_path / "store", skip_bad=True)
    assert list(store.failed) == ["3.png"]
    with pytest.raises(DataError, match=r"3\.png: was skipped when .* is not a picture"):
        store.index(Picture("3.png"))
    assert store.index(Picture("4.png")) == 4
    assert store.read([3]).count_nonzero() == 0
    # Interrupted right after it, or when more lines of progress have followed, the reason is not forgotten.
    monkeypatch.setattr(store_module, "_SYNC_SECONDS", -1)
    for count in (4, 6):
        again = tmp_path / f"again{count}"
        with pytest.raises(KeyboardInterrupt):
            extract(with_a_bad_one, again, skip_bad=True, progress=stop_after(count))
        extract(with_a_bad_one, again, skip_bad=True)
        assert content(again) == content(tmp_path / "store")


def test_all_pictures_may_be_bad(tmp_path: Path):
    (tmp_path / "bad").mkdir()
    for i in range(3):
        (tmp_path / "bad" / f"{i}.jpg").touch()
    assert len(extract(tmp_path / "bad", tmp_path / "store", skip_bad=True).failed) == 3


def test_a_full_disk_is_a_clear_error_and_the_store_goes_on(
    pictures: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rooms = iter(range(2))
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        # The plan, and the rows of the first batch; the line that counts them is too much.
        if next(rooms, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(store_module, "_SYNC_SECONDS", -1)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DataError, match=r"the disk is full; what was written is kept.*run again"):
        extract(pictures, tmp_path / "store")
    monkeypatch.undo()
    extract(pictures, tmp_path / "store")
    assert content(tmp_path / "store") == content(whole)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this system")
def test_a_disk_that_is_full_for_rows(pictures: Path, whole: Path, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        extract(pictures, tmp_path / "store", progress=stop_after(4))
    writer = StoreWriter(tmp_path / "store", Averages().description, NAMES)
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(DataError, match="the disk is full"), writer:  # noqa: PT012
        os.dup2(full, writer._file.fileno())
        writer.append(torch.zeros(3, 2, 3, 3))
    os.close(full)
    extract(pictures, tmp_path / "store")
    assert content(tmp_path / "store") == content(whole)


def test_too_little_space_is_said_before_the_work(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(DataError, match=r"more are needed and 0.0 GB are free"):
        extract(pictures, tmp_path / "store")


def test_numbers_beyond_half_precision(pictures: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"too large for half precision.*--precision single"):
        extract(pictures, tmp_path / "half", Loud())
    assert extract(pictures, tmp_path / "single", Loud(), precision="single").read([0]).max() == 1e6


def test_one_writer_at_a_time(pictures: Path, tmp_path: Path):
    (tmp_path / "store").mkdir()
    with FileLock(tmp_path / "store" / ".lock"), pytest.raises(DataError, match="another process is writing"):
        extract(pictures, tmp_path / "store")


def test_a_second_writer_may_wait(pictures: Path, whole: Path, tmp_path: Path):
    (tmp_path / "store").mkdir()
    with ThreadPoolExecutor(1) as pool:
        with FileLock(tmp_path / "store" / ".lock"):
            store = pool.submit(extract, pictures, tmp_path / "store", wait=True)
            with pytest.raises(TimeoutError):
                store.result(timeout=0.3)
        assert store.result(timeout=60).names == FeatureStore.open(whole).names


def test_a_folder_with_other_files_is_left_alone(pictures: Path, tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"holds other files \(thesis\.txt\)"):
        extract(pictures, tmp_path)
    with pytest.raises(DataError, match=r"thesis\.txt: cannot be written"):
        extract(pictures, tmp_path / "thesis.txt")


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (STORE, None, "no store of features is there"),
        (STORE, b"", r"store\.json: damaged"),
        (STORE, b"[]", r"store\.json: damaged"),
        (STORE, b'{"format": 1}', r"store\.json: damaged"),
        (STORE, b'{"format": 99}', "has format 99, this version of dmnplus reads 1"),
        (REGIONS, None, r"regions\.npy: damaged"),
        (REGIONS, b"", r"regions\.npy: damaged"),
        (REGIONS, b"nonsense" * 99, r"regions\.npy: damaged"),
    ],
)
def test_a_damaged_store_is_named(whole: Path, tmp_path: Path, file: str, damage: bytes | None, message: str):
    shutil.copytree(whole, tmp_path / "store")
    path = tmp_path / "store" / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    with pytest.raises(DataError, match=message):
        FeatureStore.open(tmp_path / "store")


def test_a_store_cut_short_or_of_another_shape(whole: Path, tmp_path: Path):
    shutil.copytree(whole, tmp_path / "store")
    path = tmp_path / "store" / REGIONS
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"regions\.npy: damaged"):
        FeatureStore.open(tmp_path / "store")
    np.save(path, np.zeros((7, 2, 2, 3), np.float16))
    with pytest.raises(
        DataError, match=r"it holds \(7, 2, 2, 3\) float16, and store\.json says \(7, 2, 3, 3\) float16"
    ):
        FeatureStore.open(tmp_path / "store")


def test_an_unfinished_store_that_lost_its_rows(pictures: Path, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        extract(pictures, tmp_path / "store", progress=stop_after(4))
    (tmp_path / "store" / REGIONS).unlink()
    with pytest.raises(DataError, match="shorter than the 4 rows"):
        extract(pictures, tmp_path / "store")
    (tmp_path / "store" / PLAN).write_text("{")
    with pytest.raises(DataError, match=r"plan\.json: damaged"):
        extract(pictures, tmp_path / "store")


def test_store_json_says_everything(whole: Path):
    assert json.loads((whole / STORE).read_text()) == {
        "format": 1,
        "description": Averages().description,
        "dtype": "float16",
        "names": NAMES,
        "failed": {},
    }
