import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from dmnplus.cli.evaluate import _large_kinds
from dmnplus.cli.sources import babi_splits
from dmnplus.cli.train import descriptions
from dmnplus.data.babi import write_babi
from dmnplus.data.generate import generate
from dmnplus.data.scenes import read_scenes
from dmnplus.model import VARIANTS, NetworkConfig
from dmnplus.training.metrics import Evaluation
from dmnplus.training.trainer import DataConfig, TrainingConfig
from tests.model.examples import moves

COMMANDS = [
    "train",
    "train babi",
    "eval",
    "ask",
    "demo",
    "settings",
    "data",
    "data get",
    "data get babi",
    "data generate",
    "data scenes",
    "data statements",
    "data check",
    "data compare",
    "features",
    "results",
    "report",
    "reproduce",
    "reproduce babi",
    "train own",
    "train pictures",
    "demo-images",
]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_has_help(dmnplus, command: str):
    result = dmnplus(*command.split(), "--help")
    assert result.status == 0
    assert "Usage: dmnplus" in result.out


def test_help_and_errors_need_no_pytorch():
    code = "import sys; from dmnplus.cli import main; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_help_names_every_variant(dmnplus):
    help_text = dmnplus("train", "babi", "--help").out
    assert ", ".join(VARIANTS) in help_text


def test_version(dmnplus):
    assert dmnplus("--version").out.startswith("dmnplus 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "babi", "--task", "21"], "it takes numbers from 1 to 20"),
        (["settings", "--task", "21"], "--task"),
        (["settings", "--task", "0"], "--task"),
        (["eval", "nowhere", "--task", "33"], "--task"),
        (
            ["train", "babi", "--task", "1", "--train", "generated:5"],
            "no answer to validate on is among those of training",
        ),
        (["train", "babi", "--task", "two"], "it takes numbers from 1 to 20"),
        (["train", "babi", "--task", "3-1"], "it takes numbers from 1 to 20"),
        (["train", "babi", "--task", "1", "--variant", "dmn4"], "there are odmn, dmn2, dmn3, dmn+"),
        (["train", "babi", "--task", "1", "--set", "training.rates=1"], "did you mean training.rate?"),
        (["train", "babi", "--task", "1", "--data", "nowhere"], "nowhere"),
        (["train", "babi", "--task", "1", "--train", "nowhere.txt"], "nowhere.txt"),
        (["train", "babi", "--task", "1", "--train", "generated:many"], "generated:QUESTIONS[:SEED]"),
        (["train", "babi", "--task", "1", "--starts", "0"], "--starts"),
        (["train", "babi"], "--task"),
        (["eval", "nowhere"], "dmnplus train"),
        (["ask", "nowhere"], "dmnplus train"),
        (["data", "generate", "out", "--task", "0"], "it takes numbers from 1 to 20"),
        (["data", "scenes", "out", "--kinds", "counting,size"], "kind 'size' is not one of existence"),
        (["settings", "--set", "model.hidden=none"], "model.hidden is 'none'"),
        (["nonsense"], "nonsense"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(
    dmnplus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    monkeypatch.chdir(tmp_path)
    result = dmnplus(*arguments)
    assert result.status == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_compiler_is_one_clear_error(
    dmnplus, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, story_file: Path
):
    for name, value in (("CXX", "nowhere"), ("DMNPLUS_CACHE", str(tmp_path))):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("dmnplus.kernels._build._library", None)
    monkeypatch.setattr("dmnplus.kernels._backend._chosen", "cpu")
    result = dmnplus("eval", trained, story_file)
    assert result.status == 2
    assert "the CPU kernels need a C++17 compiler" in result.err


def test_settings_prints_a_recipe(dmnplus, tmp_path: Path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(dmnplus("settings", "--variant", "odmn", "--task", "3").out)
    assert "last_facts = 130" in recipe.read_text()
    assert dmnplus("settings", "--recipe", recipe).out == recipe.read_text()


def test_settings_say_what_each_does(dmnplus):
    for section in (NetworkConfig, DataConfig, TrainingConfig):
        assert [*descriptions(section)] == [field.name for field in fields(section)]
    assert "# Adam's learning rate.\nrate = 0.001\n" in dmnplus("settings").out


def test_train_eval_and_ask(dmnplus, tmp_path: Path, story_file: Path, monkeypatch: pytest.MonkeyPatch):
    run = tmp_path / "run"
    sources = [f"--{split}={story_file}" for split in ("train", "valid", "test")]
    quick = ["--set=model.hidden=8", "--set=training.epochs=2"]
    result = dmnplus("train", "babi", "--task", "1", *sources, *quick, "--out", run, "--starts", "2")
    assert result.status == 0, result.err
    # The output is no terminal: a plain line an epoch, and no control characters.
    lines = [line for line in result.out.splitlines() if line.startswith("task 1 start ")]
    assert len(lines) == 4
    assert "validation" in lines[0]
    assert "\x1b" not in result.out
    assert str(run) in result.out
    assert dmnplus("train", "babi", "--task", "1", *sources, *quick, "--out", run).status == 2
    figures = json.loads(dmnplus("eval", run, story_file, "--json").out)
    assert figures["questions"] == 60
    assert dmnplus("eval", run, story_file).out.count("pass") >= 1


@pytest.mark.parametrize("starts", [1, 2])
def test_a_run_that_fails_in_its_first_epoch_leaves_no_folder(dmnplus, tmp_path: Path, story_file: Path, starts: int):
    sources = [f"--{split}={story_file}" for split in ("train", "valid", "test")]
    quick = ["--set=model.hidden=8", "--set=training.epochs=1", "--starts", starts, "--out", tmp_path / "run"]
    result = dmnplus("train", "babi", "--task", "1", *sources, *quick, "--set=training.rate=1e30")
    assert result.status == 2
    assert "the loss is no longer a number in epoch 1; lower training.rate" in result.err
    assert "--out" not in result.err
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").touch()
    assert dmnplus("train", "babi", "--task", "1", *sources, *quick, "--set=training.rate=1e30").status == 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]
    result = dmnplus("train", "babi", "--task", "1", *sources, *quick)
    assert result.status == 0, result.err


def test_a_path_is_printed_as_it_is(dmnplus, tmp_path: Path, story_file: Path):
    sources = [f"--{split}={story_file}" for split in ("train", "valid", "test")]
    quick = ["--set=model.hidden=8", "--set=training.epochs=1"]
    out = tmp_path / "o [bold] 1"
    assert f"model in {out}\n" in dmnplus("train", "babi", "--task", "1", *sources, *quick, "--out", out).out


def test_ctrl_c_before_the_first_epoch_has_ended_promises_no_model(
    dmnplus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dmnplus.training.run.train_start", stop)
    result = dmnplus("train", "babi", "--task", "1", "--train", "generated:40", "--out", tmp_path / "run")
    assert result.status == 130
    assert "there is no model yet, and --resume begins again" in result.err


def test_several_tasks_get_a_folder_each(dmnplus, tmp_path: Path, story_file: Path):
    sources = [f"--{split}={story_file}" for split in ("train", "valid", "test")]
    quick = ["--set=model.hidden=8", "--set=training.epochs=1"]
    assert dmnplus("train", "babi", "--task", "1,6", *sources, *quick, "--out", tmp_path).status == 0
    assert {path.name for path in tmp_path.iterdir()} == {"babi-1", "babi-6"}


def test_one_model_for_several_tasks(dmnplus, tmp_path: Path):
    sources = ["--train", "generated:40", "--valid", "generated:20:1", "--test", "generated:10:2"]
    quick = ["--set", "model.hidden=8", "--set", "training.epochs=1"]
    result = dmnplus("train", "babi", "--task", "1,15", "--joint", *sources, *quick, "--out", tmp_path / "run")
    assert result.status == 0, result.err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data"] == "babi/1,15, one model (generated:40)"
    assert record["questions"] == {"training": 80, "validation": 40, "test": 20}
    assert {kind: figures["questions"] for kind, figures in record["test"]["by_kind"].items()} == {
        "babi/1 where": 10,
        "babi/15 what": 10,
    }
    assert "| babi/15 | 10 |" in dmnplus("results", tmp_path / "run", "--by-type").out.replace("dmn+ | ", "")
    for more, kinds in (((), {"babi/1 where", "babi/15 what"}), (("--task", "15"), {"babi/15 what"})):
        measured = dmnplus("eval", tmp_path / "run", "generated:10:2", *more, "--json")
        assert json.loads(measured.out)["by_kind"].keys() == kinds, measured.err
    folder = tmp_path / "made"
    dmnplus("data", "generate", folder, "--task", "1,15", "--questions", "10", "--test", "10")
    assert json.loads(dmnplus("eval", tmp_path / "run", folder, "--json").out)["questions"] == 20
    assert json.loads(dmnplus("eval", tmp_path / "run", folder, "--task", "1", "--json").out)["questions"] == 10


def test_a_model_is_measured_in_the_language_it_was_trained_in(dmnplus, tmp_path: Path, trained: Path):
    shutil.copytree(trained, tmp_path / "run")
    record = json.loads((trained / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "data": "babi/1 (shuffled-10k)"}))
    for language, count in (("shuffled-10k", 1010), ("en-10k", 1000)):
        (tmp_path / "data" / language).mkdir(parents=True)
        write_babi(moves(count), tmp_path / "data" / language / "qa1_moves_test.txt")
    measure = ("eval", tmp_path / "run", tmp_path / "data")
    assert "bAbI task 1, shuffled-10k, test file\n1010 questions" in dmnplus(*measure).out
    assert "bAbI task 1, en-10k, test file\n1000 questions" in dmnplus(*measure, "--language", "en-10k").out


def test_generated_stories_are_others_for_each_part():
    named = ["generated:40"]
    splits = babi_splits(1, None, "en-10k", 0.1, named, named, named)
    parts = [{example.facts for example in part} for part in (splits.training, splits.validation, splits.test)]
    assert len(set.union(*parts)) == sum(map(len, parts))


def test_one_file_does_not_train_and_test(dmnplus, tmp_path: Path, story_file: Path):
    unofficial = tmp_path / "stories.txt"
    unofficial.write_bytes(story_file.read_bytes())
    quick = ["--set=model.hidden=8", "--set=training.epochs=1", "--out", tmp_path / "run"]
    for file in (story_file, unofficial):
        result = dmnplus("train", "babi", "--task", "1", "--data", file, *quick)
        assert result.status == 2
        assert "is one file, and what is trained on cannot test; give --test" in result.err
    assert not (tmp_path / "run").exists()
    result = dmnplus("train", "babi", "--task", "1", "--data", story_file, "--test", "generated:20", *quick)
    assert result.status == 0, result.err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["questions"] == {"training": 54, "validation": 6, "test": 20}


def test_eval_prints_accuracy_types_and_attention(dmnplus, trained: Path, story_file: Path):
    result = dmnplus("eval", trained, story_file)
    assert result.status == 0, result.err
    assert "accuracy 100.00%" in result.out
    assert "where" in result.out
    assert "precision" in result.out
    assert "recall" in result.out
    # The file does not say which task it is, the run's record does.
    assert "babi/1 where" in result.out
    assert "babi/6 where" in dmnplus("eval", trained, story_file, "--task", 6).out
    figures = json.loads(dmnplus("eval", trained, story_file, "--json").out)
    assert figures["accuracy"] == 1
    assert figures["attention"]["recall"] > 0.5
    assert len(figures["attention"]["passes"]) == 3


def test_eval_on_generated_stories_counts_answers_never_seen(dmnplus, trained: Path):
    result = dmnplus("eval", trained, "generated:50:3")
    assert result.status == 0, result.err
    assert "of them with answers never seen in training" in result.out
    assert ", loss " in result.out
    result = dmnplus("eval", trained, "generated:20:3", "--task", 16)
    assert "20 of them with answers never seen in training" in result.out
    assert ", loss " not in result.out
    result = dmnplus("eval", trained, "generated:50:3", "--split", "valid", "--images", ".")
    assert result.status == 2
    assert "--images, --split: without effect here" in result.err
    assert "generated:50:3 is read whole" in result.err


def test_ask_reads_a_story_and_explains(dmnplus, trained: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "sys.stdin", io.StringIO("1 Mary went to the office.\n2 John went to the moon.\n3 Where is Mary?\toffice\t1\n")
    )
    result = dmnplus("ask", trained, "--explain")
    assert result.status == 0
    assert "office" in result.out
    assert "%" in result.out
    assert [f"pass {t}" in result.out for t in (1, 2, 3)] == [True] * 3
    assert "John went to the moon." in result.out
    assert "never seen in training: moon" in result.err


def test_ask_reads_a_file_with_several_stories(dmnplus, trained: Path, tmp_path: Path):
    story = tmp_path / "story.txt"
    story.write_text("Mary went to the office. Where is Mary?\n\nJohn went to the garden.\nWhere is John?\n")
    result = dmnplus("ask", trained, "--story", story)
    assert "office" in result.out
    assert "garden" in result.out
    assert "Mary went" not in result.out


def test_ask_tells_numbered_lines_from_sentences_that_begin_with_a_number(
    dmnplus, trained: Path, monkeypatch: pytest.MonkeyPatch
):
    # The second story begins where the numbers do.
    lines = "1 Mary went to the office.\n2 Where is Mary?\toffice\t1\n1 John went to the garden.\n2 Where is John?\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    result = dmnplus("ask", trained, "--explain")
    assert result.status == 0
    first, second = result.out.split("Where is John?")
    assert "Mary went to the office." in first
    assert "Mary went to the office." not in second
    monkeypatch.setattr(
        "sys.stdin", io.StringIO("Mary went to the office.\n2 men went to the garden.\nWhere is Mary?\n")
    )
    assert "2 men went to the garden." in dmnplus("ask", trained, "--explain").out


def test_ask_names_facts_that_are_not_read(dmnplus, trained: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Mary went to the office.\n" * 72 + "Where is Mary?\n"))
    result = dmnplus("ask", trained)
    assert "the first 2 of 72 facts were not read: the model reads the last 70" in result.err


def test_ask_names_the_line_in_another_encoding(dmnplus, trained: Path, tmp_path: Path):
    story = tmp_path / "story.txt"
    story.write_bytes("Mary went to the office.\nJosé went home.\n".encode("latin-1"))
    result = dmnplus("ask", trained, "--story", story)
    assert result.status == 2
    assert "story.txt:2: is not UTF-8 text" in result.err


def test_ask_decodes_what_is_piped_in_as_it_does_a_file(dmnplus, trained: Path, monkeypatch: pytest.MonkeyPatch):
    for story, problem in (
        ("Mary went to the office.\nWhere is Mary?\n".encode("utf-16"), "1: is not UTF-8 text (looks like UTF-16)"),
        ("Mary went to the office.\nJosé went home.\n".encode("latin-1"), "2: is not UTF-8 text"),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(story), errors="surrogateescape"))
        result = dmnplus("ask", trained)
        assert result.status == 2
        assert f"standard input:{problem}" in result.err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfMary left.\r\nWhere is Mary?\r\n")))
    assert dmnplus("ask", trained).out.startswith("Where is Mary?")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_of_few_characters_gets_marks(
    dmnplus, trained: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
):
    shown = io.BytesIO()
    monkeypatch.setattr("sys.stdin", io.StringIO("Mary went to the office.\nWhere is Mary?\n"))
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(shown, encoding=encoding, write_through=True))
    assert dmnplus("ask", trained, "--explain").status == 0
    assert b"???????? 100%" in shown.getvalue()


def test_an_output_that_cannot_be_is_one_clear_error(dmnplus, tmp_path: Path, story_file: Path):
    (tmp_path / "file").touch()
    result = dmnplus(
        "train", "babi", "--task=1", "--train", story_file, "--test", story_file, "--out", tmp_path / "file"
    )
    assert result.status == 2
    assert "file: File exists" in result.err


def test_ask_without_a_question_or_a_story_says_so(dmnplus, trained: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Mary went to the office.\n"))
    result = dmnplus("ask", trained)
    assert result.status == 2
    assert "no question was asked" in result.err
    monkeypatch.setattr("sys.stdin", io.StringIO("Where is Mary?\n"))
    result = dmnplus("ask", trained)
    assert result.status == 1
    assert "no story yet" in result.err


def test_demo_trains_and_explains(dmnplus):
    result = dmnplus("demo", "--questions", "200", "--set", "model.hidden=8", "--set", "training.epochs=1")
    assert result.status == 0, result.err
    assert "Test accuracy" in result.out
    assert "pass 3" in result.out
    assert "true answer" in result.out


def test_where_the_archive_is_stands_alone_on_the_output(dmnplus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def get(folder: Path, progress: Callable[[int, int], None]) -> Path:
        progress(5, 10)
        return folder / "archive"

    monkeypatch.setattr("dmnplus.cli.data.get_babi", get)
    result = dmnplus("data", "get", "babi", "--out", tmp_path)
    assert result.out == f"{tmp_path / 'archive'}\n"
    assert "bAbI" in result.err


def test_generated_files_can_be_trained_on(dmnplus, tmp_path: Path):
    result = dmnplus("data", "generate", tmp_path / "made", "--task", "1,15", "--questions", "40", "--test", "10")
    assert result.status == 0
    assert len(result.out.splitlines()) == 4
    assert "write over it with --force" in dmnplus("data", "generate", tmp_path / "made", "--task", "15").err
    quick = ["--set=model.hidden=8", "--set=training.epochs=1"]
    out = tmp_path / "run"
    assert dmnplus("train", "babi", "--task", "15", "--data", tmp_path / "made", *quick, "--out", out).status == 0


def test_scenes_are_drawn_for_training_and_test(dmnplus, tmp_path: Path):
    pytest.importorskip("PIL", reason="Pillow is not installed")
    result = dmnplus(
        "data", "scenes", tmp_path / "made", "--questions", "60", "--test", "20", "--kinds", "change, mixed, mixed"
    )
    assert result.status == 0, result.err
    training, test = (read_scenes(Path(line)) for line in result.out.splitlines())
    # Named twice, trained on twice as much; tests are of one measure for all.
    for examples, total, mixed in ((training, 60, 40), (test, 20, 10)):
        assert len(examples) == total
        assert abs(sum(example.source.kind == "scenes/mixed" for example in examples) - mixed) <= 4


def test_statements_are_made_trained_on_and_measured(dmnplus, tmp_path: Path):
    pytest.importorskip("PIL", reason="Pillow is not installed")
    made, run = tmp_path / "made", tmp_path / "run"
    assert dmnplus("data", "statements", made, "--statements", "60", "--test", "20").status == 0
    quick = ["--recipe=statements", "--set=model.hidden=8", "--set=model.pixel_channels=16", "--set=training.epochs=1"]
    result = dmnplus("train", "pictures", "scenes", "--data", made, *quick, "--out", run)
    assert result.status == 0, result.err
    assert "20 questions" in dmnplus("eval", run, made).out


def test_compare_prints_ours_beside_the_real_ones(dmnplus, babi_archive: Path):
    result = dmnplus("data", "compare", "--data", babi_archive, "--task", "1", "--language", "hn")
    assert result.status == 2
    assert "generated stories are in English" in result.err
    result = dmnplus("data", "compare", "--data", babi_archive, "--task", "1", "--questions", "500")
    assert result.status == 0
    assert "generated" in result.out
    assert "real" in result.out
    assert "vocabulary" in result.out


def test_rare_types_of_question_share_a_row():
    kinds = {
        "vqa/other what": {"questions": 297, "error": 0.5},
        "vqa/other is": {"questions": 2, "error": 1.0},
        "vqa/other why": {"questions": 1, "error": 0.0},
        "scenes": {"questions": 1, "error": 0.0},
    }
    result = Evaluation(questions=301, loss=1.0, accuracy=0.5, error=0.5, unanswerable=0, by_kind=kinds, attention=None)
    rows = _large_kinds(result)
    assert rows == {"vqa/other what": (297, 148.5), "vqa/other (other words)": (3, 2.0), "scenes": (1, 0.0)}


def test_training_may_begin_with_a_trained_model(dmnplus: Callable, trained: Path, story_file: Path, tmp_path: Path):
    sources = [f"--{role}={story_file}" for role in ("train", "valid", "test")]
    quick = ["--set", "model.hidden=16", "--set", "training.epochs=1", "--threads=1"]
    begin = ["train", "babi", "--task=1", *sources, *quick]
    result = dmnplus(*begin, "--from", trained, "--out", tmp_path / "second")
    assert result.status == 0, result.err
    assert json.loads((tmp_path / "second" / "run.json").read_text())["origin"]["name"] == str(trained)
    result = dmnplus(*begin, "--from", "babi/21", "--out", tmp_path / "third")
    assert result.status == 2
    assert "babi/21: no trained model here" in result.err
    assert not (tmp_path / "third").exists()


def test_a_run_on_generated_stories_alone_is_tested_on_others():
    splits = babi_splits(15, None, "en-10k", 0.1, ["generated:40"], None, None)
    assert splits.test == generate(15, 1000, 0, "test")
    assert not {e.facts for e in splits.test} & {e.facts for e in (*splits.training, *splits.validation)}
