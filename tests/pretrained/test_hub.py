import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

import dmnplus
from dmnplus.data.example import DataError
from dmnplus.pretrained import SHIPPED
from dmnplus.training.checkpoint import CONFIG, RUN, VOCABULARY, WEIGHTS

STORY, QUESTION = "Mary got the milk. Mary went to the office.", "Where is the milk?"


def test_a_name_and_a_folder_load_by_the_same_call(tmp_path: Path):
    model = dmnplus.DMN.from_pretrained("babi/2")
    assert isinstance(model, dmnplus.DMN)
    assert not model.training
    assert model.vocabulary is not None
    assert "milk" in model.vocabulary.words
    model.save_pretrained(tmp_path / "copy")
    again = dmnplus.DMN.from_pretrained(tmp_path / "copy")
    assert all(torch.equal(again.state_dict()[key], tensor) for key, tensor in model.state_dict().items())
    assert dmnplus.load(tmp_path / "copy").answer(STORY, QUESTION) == dmnplus.load("babi/2").answer(STORY, QUESTION)


def test_the_card_goes_along_only_with_the_weights_it_is_about(tmp_path: Path):
    model = dmnplus.DMN.from_pretrained("babi/2")
    model.save_pretrained(tmp_path / "same")
    assert ModelCard.load(tmp_path / "same" / "README.md").data.eval_results
    assert (tmp_path / "same" / RUN).read_bytes() == (SHIPPED / "babi" / "2" / RUN).read_bytes()
    with torch.no_grad():
        model.answer.bias.add_(1)
    model.save_pretrained(tmp_path / "other")
    card = ModelCard.load(tmp_path / "other" / "README.md")
    assert card.data.library_name == "dmnplus"
    assert not card.data.eval_results
    assert not (tmp_path / "other" / RUN).exists()
    assert torch.equal(dmnplus.load(tmp_path / "other").model.answer.bias, model.answer.bias)


def test_pushing_uploads_a_folder_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = {}

    class Api:
        def __init__(self, token: str | None = None) -> None:
            pass

        def create_repo(self, repo_id: str, **options):
            asked["repo"] = repo_id
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, folder_path: Path, **options) -> str:
            shutil.copytree(folder_path, tmp_path / "uploaded")
            return "the address"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    assert dmnplus.DMN.from_pretrained("babi/1").push_to_hub("someone/model") == "the address"
    assert asked == {"repo": "someone/model"}
    assert json.loads((tmp_path / "uploaded" / "config.json").read_text())["hidden"] > 0
    assert dmnplus.load(tmp_path / "uploaded").answer("Mary went to the office.", "Where is Mary?").answer == "office"


def test_a_network_made_by_hand_says_what_it_lacks(tmp_path: Path):
    model = dmnplus.DMN(dmnplus.NetworkConfig(hidden=4), words=5, answers=2, answer_words=3)
    with pytest.raises(DataError, match="no settings or no vocabulary"):
        model.save_pretrained(tmp_path / "model")
    known = dmnplus.DMN.from_pretrained("babi/2")
    assert known.settings is not None
    assert known.vocabulary is not None
    words = known.vocabulary
    model = dmnplus.DMN(
        known.settings.model, words=len(words.words), answers=len(words.answers), answer_words=len(words.answer_words)
    )
    model.settings, model.vocabulary = known.settings, words
    model.save_pretrained(tmp_path / "model")
    assert dmnplus.load(tmp_path / "model").answer(STORY, QUESTION).answer in words.answers


@pytest.mark.parametrize("name", [VOCABULARY, CONFIG])
def test_files_of_another_model_are_refused(tmp_path: Path, name: str):
    shutil.copytree(SHIPPED / "babi" / "2", tmp_path / "model")
    text = (tmp_path / "model" / name).read_text()
    changed = text.replace('"milk"', '"wine"') if name == VOCABULARY else text.replace("passes = 3", "passes = 4")
    assert changed != text
    (tmp_path / "model" / name).write_text(changed)
    with pytest.raises(DataError, match="fingerprints differ"):
        dmnplus.DMN.from_pretrained(tmp_path / "model")


WITHOUT_HUB = """
import sys
sys.modules["huggingface_hub"] = None
import dmnplus
model = dmnplus.DMN.from_pretrained("babi/2")
model.save_pretrained(sys.argv[1])
print(dmnplus.load(sys.argv[1]).answer("Mary got the milk. Mary went to the office.", "Where is the milk?").answer)
try:
    model.push_to_hub("someone/model")
except dmnplus.DataError as error:
    print(error)
"""


def test_without_huggingface_hub_folders_and_shipped_names_load(tmp_path: Path):
    command = [sys.executable, "-W", "error", "-c", WITHOUT_HUB, tmp_path / "copy"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert out[0] == "office"
    assert "pip install 'dmnplus[hub]'" in out[1]
    assert (tmp_path / "copy" / WEIGHTS).is_file()
