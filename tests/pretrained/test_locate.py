import builtins
import re
from pathlib import Path

import pytest

from dmnplus.data.example import DataError
from dmnplus.pretrained import SHIPPED, locate, shipped
from dmnplus.training.files import WEIGHTS


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_with_a_model_comes_before_a_shipped_name(empty: Path):
    assert locate("babi/2") == SHIPPED / "babi" / "2"
    # A folder of that name without a model, as of data, hides nothing.
    (empty / "babi" / "2").mkdir(parents=True)
    assert locate("babi/2") == SHIPPED / "babi" / "2"
    (empty / "babi" / "2" / WEIGHTS).touch()
    assert locate("babi/2") == Path("babi/2")


def test_names_are_in_the_order_of_tasks():
    numbers = [int(name.removeprefix("babi/")) for name in shipped() if re.fullmatch(r"babi/\d+", name)]
    assert numbers == sorted(numbers)
    assert 2 in numbers


@pytest.mark.parametrize("name", ["babi/21", "babi-2", "bab/2/", "../somewhere", ""])
def test_a_name_that_leads_nowhere_is_not_looked_for_outside(empty: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **options: pytest.fail("asked the Hub"))
    with pytest.raises(DataError, match="no trained model here"):
        locate(name)


def test_a_run_that_is_missing_is_not_looked_for_outside(empty: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **options: pytest.fail("asked the Hub"))
    (empty / "runs").mkdir()
    with pytest.raises(DataError, match="no trained model here"):
        locate("runs/first")


def test_a_near_name_is_offered(empty: Path):
    with pytest.raises(DataError, match="did you mean babi/2"):
        locate("babi2")


def test_a_name_on_the_hub_is_fetched(empty: Path, monkeypatch: pytest.MonkeyPatch):
    asked = {}

    def fetch(name: str, **options) -> str:
        asked.update(options, name=name)
        return str(SHIPPED / "babi" / "2")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert locate("someone/model", revision="v1", local_files_only=True) == SHIPPED / "babi" / "2"
    assert asked["name"] == "someone/model"
    assert asked["revision"] == "v1"
    assert asked["local_files_only"]
    assert WEIGHTS in asked["allow_patterns"]


def test_without_the_hub_the_extra_is_named(empty: Path, monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without_hub(name: str, *args, **options):
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_hub)
    with pytest.raises(DataError, match=r"pip install 'dmnplus\[hub\]'"):
        locate("someone/model")
    assert locate("babi/2") == SHIPPED / "babi" / "2"


def test_what_the_hub_says_is_said(empty: Path):
    with pytest.raises(DataError, match="on the Hugging Face Hub neither"):
        locate("someone/model", local_files_only=True, cache_dir=empty)
