from pathlib import Path

import pytest

from dmnplus.config import resolve
from dmnplus.data.example import Splits
from dmnplus.training import spread
from dmnplus.training.checkpoint import CHECKPOINT, RUN, WEIGHTS, write_json
from dmnplus.training.run import Job, Progress, Start, starts_of, train_start
from tests.model.examples import moves

SPLITS = Splits("moves", moves(40), moves(20, seed=1), moves(20, seed=2))
CONFIG = resolve(settings=["model.hidden=8", "training.epochs=3", "training.batch=16"])


class News(list):
    """As a queue of Ray takes what workers report."""

    put = list.append


def start_in(folder: Path) -> Start:
    (start,) = starts_of(Job(folder, CONFIG, SPLITS, 0, 1), threads=1, resume=True)
    return start


@pytest.fixture
def trained(tmp_path: Path) -> bytes:
    """The weights of the start, trained here."""
    train_start(start_in(tmp_path / "here"), lambda news: None)
    return (tmp_path / "here" / WEIGHTS).read_bytes()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(spread, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "starts"


def test_a_worker_on_a_shared_disk_trains_in_the_folder(tmp_path: Path, trained: bytes, cache: Path):
    start = start_in(tmp_path / "shared")
    start.folder.mkdir()
    write_json(start.folder / RUN, start.record)
    assert spread._on_worker(train_start, start, News()) == (None, {})
    assert (start.folder / WEIGHTS).read_bytes() == trained
    assert not cache.exists()


def test_a_worker_elsewhere_sends_the_model(tmp_path: Path, trained: bytes, cache: Path):
    start, news = start_in(tmp_path / "not here"), News()
    error, files = spread._on_worker(train_start, start, news)
    assert error is None
    assert files[WEIGHTS] == trained
    assert RUN in files
    assert CHECKPOINT not in files
    # What it reports is of the folder that the sender knows, and nothing is left behind.
    assert {one.folder for one in news} == {start.folder}
    assert not start.folder.exists()
    assert [*cache.iterdir()] == []


def test_a_worker_elsewhere_goes_on_from_its_checkpoint(tmp_path: Path, trained: bytes):
    start, epochs = start_in(tmp_path / "not here"), list[int]()

    def killed(start: Start, report) -> None:
        def after_two(news: Progress) -> None:
            if news.event.epoch == 3:
                raise KeyboardInterrupt

        train_start(start, after_two)

    with pytest.raises(KeyboardInterrupt):
        spread._on_worker(killed, start, News())
    news = News()
    _, files = spread._on_worker(train_start, start, news)
    epochs = [one.event.epoch for one in news]
    assert set(epochs) == {3}
    assert files[WEIGHTS] == trained


def test_another_start_in_the_folder_is_not_gone_on_with(tmp_path: Path, trained: bytes):
    start = start_in(tmp_path / "shared")
    start.folder.mkdir()
    write_json(start.folder / RUN, {**start.record, "seed": 1})
    _, files = spread._on_worker(train_start, start, News())
    assert files[WEIGHTS] == trained


def test_a_worker_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    start = start_in(tmp_path / "run")
    monkeypatch.setattr(spread, "versions", lambda: {"torch": "0.1"})
    error, _ = spread._on_worker(train_start, start, News())
    assert error
    assert "0.1" in error
