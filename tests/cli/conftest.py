from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from dmnplus.cli import main
from dmnplus.data.babi import write_babi
from tests.model.examples import moves


class Result(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def dmnplus(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command with these arguments, in this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Result:
        monkeypatch.setattr("sys.argv", ["dmnplus", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return Result(int(stop.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def story_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty questions in bAbI's format."""
    path = tmp_path_factory.mktemp("stories") / "qa1_moves_train.txt"
    write_babi(moves(60), path)
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, story_file: Path) -> Path:
    """A run that has learnt `story_file`."""
    from dmnplus.config import resolve
    from dmnplus.data.example import Splits
    from dmnplus.training.run import Job, train_runs

    folder = tmp_path_factory.mktemp("trained")
    config = resolve(settings=["model.hidden=16", "training.epochs=25", "training.batch=16", "training.rate=0.01"])
    examples = moves(60)
    train_runs([Job(folder, config, Splits("babi/1 (moves)", examples, examples, examples), 0, 1)])
    return folder
