import json
import shutil
from pathlib import Path

import pytest

import dmnplus as package
from dmnplus.data.babi import write_babi
from dmnplus.pretrained import SHIPPED, read_card, read_examples, shipped
from dmnplus.training.checkpoint import RUN, WEIGHTS, write_json
from tests.model.examples import moves


@pytest.fixture(scope="module")
def test_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tested") / "qa1_moves_test.txt"
    write_babi(moves(40, seed=5), path)
    return path


@pytest.fixture
def added(dmnplus, trained: Path, test_file: Path, tmp_path: Path) -> Path:
    result = dmnplus("models", "add", trained, "--data", test_file, "--into", tmp_path / "models", "--name", "my/moves")
    assert result.status == 0, result.err
    assert "my/moves: test error" in result.out
    return tmp_path / "models" / "my" / "moves"


def test_every_shipped_model_is_listed(dmnplus):
    result = dmnplus("models")
    assert result.status == 0
    lines = result.out.splitlines()
    for name in shipped():
        card = read_card(SHIPPED / name)
        assert any(name in line.split() and f"{card.error:.1%}" in line for line in lines)


def test_names_are_whole_on_a_narrow_terminal(dmnplus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "40")
    words = dmnplus("models").out.split()
    assert set(shipped()) <= set(words)
    assert "…" not in "".join(words)


def test_a_card_is_printed(dmnplus, trained: Path):
    assert "dmnplus train babi --task 2" in dmnplus("models", "card", "babi/2").out
    result = dmnplus("models", "card", trained)
    assert result.status == 2
    assert "has no card" in result.err


def test_a_run_becomes_a_model_with_its_card(added: Path, trained: Path):
    card, record = read_card(added), json.loads((added / RUN).read_text())
    assert (added / WEIGHTS).stat().st_size < 0.7 * (trained / WEIGHTS).stat().st_size
    assert card.name == "my/moves"
    assert card.questions == 40
    assert card.error == record["test"]["error"]
    assert card.command == (
        "dmnplus train babi --task 1 --language moves --set model.hidden=16 --set training.rate=0.01 "
        "--set training.batch=16 --set training.epochs=25"
    )
    examples, answerer = read_examples(added), package.load(added)
    assert 1 <= len(examples) <= 3
    for example in examples:
        assert answerer.answer(example.facts, example.question).answer == example.answer_text


def test_the_command_names_what_a_run_was_trained_with(dmnplus, trained: Path, test_file: Path, tmp_path: Path):
    shutil.copytree(trained, tmp_path / "run")
    record = json.loads((tmp_path / "run" / RUN).read_text())
    sources = {"train": ["generated:90:0", "official:en:train"], "valid": ["official:en-valid:valid"]}
    start = {"seed": 7, "finished": True}
    more = {"data": "babi/1 (generated:90:0, official:en:train)", "sources": sources, "starts": {"start-1": start}}
    write_json(tmp_path / "run" / RUN, {**record, **more, "seed": 7})
    assert dmnplus("models", "add", tmp_path / "run", "--data", test_file, "--into", tmp_path).status == 0
    command = read_card(tmp_path / "babi" / "1").command
    assert "--train generated:90:0 --train official:en:train --valid official:en-valid:valid" in command
    assert command.endswith("--starts 1 --seed 7")


def test_what_cannot_be_added_is_refused(dmnplus, trained: Path, test_file: Path, tmp_path: Path):
    options = "--data", test_file, "--into", tmp_path / "models"
    result = dmnplus("models", "add", trained, trained, "--name", "one", *options)
    assert result.status == 2
    assert "2 runs were given" in result.err
    for name in ("../out", "/out"):
        assert "is no name for a model" in dmnplus("models", "add", trained, "--name", name, *options).err
    shutil.copytree(trained, tmp_path / "run")
    record = json.loads((tmp_path / "run" / RUN).read_text())
    write_json(tmp_path / "run" / RUN, {**record, "finished": False})
    result = dmnplus("models", "add", tmp_path / "run", *options)
    assert "--resume" in result.err
    assert not (tmp_path / "models" / "babi").exists()


def test_ask_and_eval_take_a_name(dmnplus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, babi_archive: Path):
    story = tmp_path / "story.txt"
    story.write_text("Mary got the milk.\nMary went to the office.\nWhere is the milk?\n")
    for arguments in (["--model", "babi/2"], ["babi/2"]):
        result = dmnplus("ask", *arguments, "--story", story)
        assert result.status == 0, result.err
        assert "office" in result.out
    outputs = [dmnplus("eval", *named, babi_archive).out for named in (["-m", "babi/1"], ["babi/1"])]
    assert outputs[0] == outputs[1]
    assert "1000 questions" in outputs[0]


def test_a_model_is_named_once(dmnplus):
    assert "two models were named" in dmnplus("ask", "babi/1", "--model", "babi/2").err
    assert "no model was named" in dmnplus("ask").err
    assert "did you mean babi/2" in dmnplus("ask", "--model", "babi2").err


def test_export_writes_a_file(dmnplus, tmp_path: Path):
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    result = dmnplus("export", "babi/2", tmp_path / "model.onnx")
    assert result.status == 0, result.err
    assert (tmp_path / "model.onnx").stat().st_size > 100_000
    assert dmnplus("export", "babi/2", tmp_path / "model.pt").status == 2


def test_a_push_that_fails_says_why(dmnplus, monkeypatch: pytest.MonkeyPatch):
    def fail(*arguments, **options):
        raise OSError("no token")

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi.create_repo", fail)
    result = dmnplus("models", "push", "babi/2", "someone/model")
    assert result.status == 2
    assert "someone/model: cannot be pushed: no token" in result.err


def test_a_model_of_drawn_scenes_takes_its_pictures_along(dmnplus, tmp_path: Path):
    scenes, quick = tmp_path / "scenes", ["--set=model.hidden=8", "--set=training.epochs=1", "--set=data.image_grid=4"]
    assert dmnplus("data", "scenes", scenes, "--questions", "40", "--test", "20", "--kinds", "existence").status == 0
    assert dmnplus("train", "pictures", "scenes", "--data", scenes, *quick, "--out", tmp_path / "run").status == 0
    result = dmnplus("models", "add", tmp_path / "run", "--data", scenes, "--into", tmp_path / "models")
    assert result.status == 0, result.err
    shutil.rmtree(scenes)
    folder = tmp_path / "models" / "scenes"
    assert read_card(folder).reads_pictures
    examples, answerer = read_examples(folder), package.load(folder)
    # Half of the answers are yes, and half no: one of both is right.
    assert examples
    for example in examples:
        assert answerer.answer(example.facts, example.question).answer == example.answer_text
