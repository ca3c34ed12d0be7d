"""Questions about pictures on the command line: train, eval, ask, figure."""

import json
from pathlib import Path

import pytest
from PIL import Image

from dmnplus.data.example import DataError, Example, Picture
from dmnplus.data.scenes import generate_scenes, write_scenes
from tests.data.pictures import vqa_annotation, vqa_question, write_json

SMALL = (
    *("--set", "data.image_size=16", "--set", "data.image_grid=2", "--set", "model.pixel_channels=16"),
    *("--set", "model.hidden=8", "--set", "training.epochs=1", "--threads", "1"),
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for split, questions in (("train", 60), ("test", 20)):
        kinds = ("existence", "mixed", "change")
        write_scenes(generate_scenes(folder / split, questions=questions, kinds=kinds, split=split), folder / split)
    return folder


@pytest.fixture(scope="module")
def daquar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of one colour each, in the official layout: twelve to train on, one to test on."""
    folder = tmp_path_factory.mktemp("daquar")
    (folder / "images").mkdir()
    lines = []
    for number in range(1, 14):
        colour = ("red", "blue")[number % 2]
        Image.new("RGB", (56, 42), colour).save(folder / "images" / f"image{number}.jpg")
        lines += [f"what colour is the wall in the image{number} ?", colour]
    lines = [*lines[:-2], "what is in the image2 ?", "chair, table"]
    (folder / "qa.894.raw.train.txt").write_text("".join(f"{line}\n" for line in lines))
    lines = ["what colour is the wall in the image13 ?", "blue", "what is in the image13 ?", "table, chair"]
    (folder / "qa.894.raw.test.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_scenes_are_trained_on_evaluated_and_asked(dmnplus, scenes: Path, tmp_path: Path):
    run = tmp_path / "run"
    result = dmnplus("train", "pictures", "scenes", "--data", scenes, "--out", run, *SMALL)
    assert result.status == 0, result.err
    assert "most frequent answer: accuracy" in result.out
    assert json.loads((run / "pictures.json").read_text())["kind"] == "pixels"
    result = dmnplus("eval", run, scenes)
    assert f"questions of scenes in {scenes / 'test' / 'questions.jsonl'}\n20 questions" in result.out
    assert "60 questions" in dmnplus("eval", run, scenes, "--split", "train").out
    result = dmnplus("eval", run, scenes, "--images", scenes, "--language", "en")
    assert "--images, --language: without effect here, as the run was trained on scenes; leave it out" in result.err
    result = dmnplus("eval", run, scenes, "--json")
    assert result.status == 0, result.err
    kinds = {kind.partition(" ")[0] for kind in json.loads(result.out)["by_kind"]}
    assert kinds == {"scenes/existence", "scenes/mixed", "scenes/change"}
    story = tmp_path / "story.txt"
    story.write_text("The red things are hot.\nIs the circle hot?\n")
    pictures = sorted((scenes / "test").glob("*.png"))[:2]
    figure = tmp_path / "figure.png"
    shown = [word for picture in pictures for word in ("--image", picture)]
    result = dmnplus("ask", run, *shown, "--story", story, "--figure", figure, "--explain")
    assert result.status == 0, result.err
    assert "Is the circle hot?" in result.out
    with Image.open(figure) as drawn:
        assert drawn.width > 300
        # Pictures in bright colours and the darkened parts of them are both there.
        darkest, brightest = drawn.convert("L").getextrema()
    assert darkest < 80
    assert brightest == 255


def test_the_question_alone_is_a_baseline(dmnplus, scenes: Path, tmp_path: Path):
    result = dmnplus("train", "pictures", "scenes", "--data", scenes, "--blind", "--out", tmp_path / "run", *SMALL)
    assert result.status == 0, result.err
    assert not (tmp_path / "run" / "pictures.json").exists()
    assert dmnplus("eval", tmp_path / "run", scenes).status == 0


def test_daquar_is_evaluated_on_photos_never_seen(dmnplus, daquar: Path, tmp_path: Path, monkeypatch):
    torchvision = pytest.importorskip("torchvision", reason='needs pip install "dmnplus[vision]"')
    import torch

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights = tmp_path / "squeezenet.pth"
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), weights)
    made = ("--backbone", "torchvision/squeezenet1_1", "--size", 64, "--grid", 2, "--weights", weights)
    assert dmnplus("features", daquar / "images", "--out", tmp_path / "store", *made).status == 0
    run = tmp_path / "run"
    arguments = ("train", "pictures", "daquar", "--data", daquar, "--features", tmp_path / "store", "--out", run)
    result = dmnplus(*arguments, "--hold-out", 0.2, "--starts", 2, "--ensemble", *SMALL)
    assert result.status == 0, result.err
    assert "2 starts" in result.out
    assert "dmn+, 2 as an ensemble" in dmnplus("results", run).out
    new = tmp_path / "new"
    new.mkdir()
    Image.new("RGB", (56, 42), "red").save(new / "image99.png")
    (new / "qa.txt").write_text("what colour is the wall in th eimage99 ?\nred\n")
    asked = ("eval", run, "--questions", new / "qa.txt", "--images", new)
    result = dmnplus(*asked, "--weights", weights)
    assert result.status == 0, result.err
    assert "1 questions" in result.out
    story = tmp_path / "story.txt"
    story.write_text("What colour is the wall?\n")
    result = dmnplus("ask", run, "--image", new / "none.png", "--story", story, "--weights", weights)
    assert result.status == 2
    assert "none.png: cannot be read (No such file or directory)" in result.err
    # Advice is of options that the command has.
    (new / "image98.png").write_bytes(b"nothing")
    (new / "bad.txt").write_text("what colour is the wall in the image98 ?\nred\n")
    result = dmnplus("eval", run, "--questions", new / "bad.txt", "--images", new, "--weights", weights)
    assert "image98.png: is not a picture" in result.err
    assert "--skip-bad" not in result.err
    (new / "image98.png").unlink()
    (new / "bad.txt").write_text("what colour is the wall in the image99 ?\nred\n")
    # Weights other than those the model was trained with are refused.
    other = tmp_path / "other.pth"
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), other)
    result = dmnplus(*asked, "--weights", other)
    assert result.status == 2
    assert "with other weights" in result.err
    # So is a store of other regions.
    large = ("--backbone", "torchvision/squeezenet1_1", "--size", 48, "--weights", weights)
    assert dmnplus("features", new, "--out", tmp_path / "large", *large).status == 0
    result = dmnplus(*asked, "--features", tmp_path / "large")
    assert result.status == 2
    assert "the model was trained on" in result.err


@pytest.mark.parametrize("answer", ["class", "words"])
def test_daquar_is_evaluated_on_its_test_questions(dmnplus, daquar: Path, tmp_path: Path, answer: str):
    train = ("train", "pictures", "daquar", "--data", daquar, *SMALL, "--set", f"model.answer={answer}")
    result = dmnplus(*train, "--out", tmp_path / "one")
    assert result.status == 0, result.err
    assert "1 questions with answers of several words are left out; --several-words takes them in" in result.out
    assert f"1 pictures that no question here asks about are ignored (first: {daquar}/images/image13.jpg)" in result.out
    result = dmnplus("eval", tmp_path / "one", daquar)
    assert "qa.894.raw.test.txt but for 1 with answers of several words (--several-words)\n1 questions" in result.out
    assert "2 questions" in dmnplus("eval", tmp_path / "one", daquar, "--several-words").out
    result = dmnplus("eval", tmp_path / "one", daquar, "--split", "train")
    assert "qa.894.raw.train.txt but for 1 with answers of several words (--several-words)\n12 questions" in result.out
    result = dmnplus("eval", tmp_path / "one", daquar / "qa.894.raw.test.txt", "--split", "train")
    assert "is a file, and read whole; leave --split out" in result.err
    # A run with such answers is measured on such.
    result = dmnplus(*train, "--several-words", "--out", tmp_path / "several")
    assert result.status == 0, result.err
    assert "left out" not in result.out
    assert "2 questions" in dmnplus("eval", tmp_path / "several", daquar).out
    assert "1 questions" in dmnplus("eval", tmp_path / "several", daquar, "--single-word").out


def test_the_ablation_on_daquar(dmnplus, daquar: Path, tmp_path: Path):
    arguments = ("reproduce", "daquar", "--data", daquar, "--variants=dmn2,dmn+", "--divisions=2", *SMALL)
    places = ("--out", tmp_path / "results" / "daquar", "--work", tmp_path / "runs")
    result = dmnplus(*arguments, *places)
    assert result.status == 2
    assert "or --blind to hide the photos" in result.err
    result = dmnplus(*arguments, *places, "--blind")
    assert result.status == 0, result.err
    assert "division 1 dmn2 seed 0  done" in result.out
    records = [json.loads(path.read_text()) for path in sorted((tmp_path / "results").rglob("*.json"))]
    assert [record["config"]["data"]["split_seed"] for record in records] == [0, 1, 0, 1]
    assert {record["data"] for record in records} == {"daquar without pictures"}


def test_vqa_is_trained_blind_and_its_answers_are_written(dmnplus, tmp_path: Path):
    data, run, results = tmp_path / "vqa", tmp_path / "run", tmp_path / "results.json"
    for split in ("train", "val"):
        numbers = range(1, 41)
        rare = {7: ["maybe"] * 10}
        questions = {"questions": [vqa_question(n, image=n, question="Is it red?") for n in numbers]}
        people = {n: rare.get(n, ["yes"] * 6 + ["no"] * 4) for n in numbers}
        write_json(data / f"questions_{split}.json", questions)
        write_json(data / f"annotations_{split}.json", {"annotations": [vqa_annotation(n, people[n]) for n in numbers]})
    result = dmnplus("train", "pictures", "vqa", "--data", data, "--out", run, *SMALL)
    assert result.status == 2
    assert "has no photos for its train questions" in result.err
    assert "or give --blind" in result.err
    trained = ("train", "pictures", "vqa", "--data", data, "--blind", "--out", run, *SMALL)
    result = dmnplus(*trained, "--set", "data.answers=1")
    assert result.status == 0, result.err
    assert json.loads((run / "vocabulary.json").read_text())["answers"] == ["yes"]
    result = dmnplus("eval", run, data, "--results", results, "--json")
    assert result.status == 0, result.err
    # Six of ten say what the model says: fully right; of question 7, nobody does.
    assert json.loads(result.out)["vqa"]["overall"] == pytest.approx(39 / 40)
    assert json.loads(results.read_text())[0] == {"question_id": 1, "answer": "yes"}
    result = dmnplus("eval", run, data)
    assert "VQA accuracy: 97.50% (yes/no 97.50%)" in result.out
    assert ["is", "it", "40", "97.50%"] in [line.split() for line in result.out.splitlines()]
    questions = data / "questions_val.json"
    result = dmnplus("eval", run, "--questions", questions)
    assert result.status == 2
    assert "give --annotations, or --results" in result.err
    results.unlink()
    assert dmnplus("eval", run, "--questions", questions, "--results", results).status == 0
    assert len(json.loads(results.read_text())) == 40


def test_the_demo_replaces_its_own_folder_and_no_other(dmnplus, tmp_path: Path):
    arguments = ("demo-images", "--questions", 100, *SMALL[:-2], "--out", tmp_path / "demo")
    for _ in range(2):
        result = dmnplus(*arguments)
        assert result.status == 0, result.err
        (tmp_path / "demo" / "notes.txt").touch()
    assert {"train", "test", "model", "attention.png", "notes.txt"} < {p.name for p in (tmp_path / "demo").iterdir()}
    (tmp_path / "other" / "train").mkdir(parents=True)
    for other in ("other", "demo/notes.txt"):
        result = dmnplus(*arguments[:-1], tmp_path / other)
        assert result.status == 2
        assert "give another --out" in result.err
    assert (tmp_path / "other" / "train").is_dir()


def test_options_of_daquar_alone_are_refused_elsewhere(dmnplus, scenes: Path):
    result = dmnplus("train", "pictures", "scenes", "--data", scenes, "--hold-out", 0.2, "--several-words")
    assert result.status == 2
    assert "--hold-out, --several-words: without effect on scenes" in result.err


def test_unknown_data_set(dmnplus, tmp_path: Path):
    result = dmnplus("train", "pictures", "clevr", "--data", tmp_path)
    assert result.status == 2
    assert "there are scenes, easy-vqa, daquar, nlvr" in result.err


def test_a_missing_picture_is_named(dmnplus, scenes: Path, tmp_path: Path):
    run = tmp_path / "run"
    assert dmnplus("train", "pictures", "scenes", "--data", scenes, "--out", run, *SMALL).status == 0
    story = tmp_path / "story.txt"
    story.write_text("Is there a circle?\n")
    result = dmnplus("ask", run, "--image", tmp_path / "none.png", "--story", story)
    assert result.status == 2
    assert "none.png: there is no such file" in result.err


def test_validation_shares_no_picture_with_training():
    from dmnplus.cli.picture_data import split_between_pictures

    examples = [Example(facts=(Picture(f"{i // 4}.png"),), question="What?", answer=("cat",)) for i in range(40)]
    training, validation = split_between_pictures(examples, 0.1)
    assert len(training) + len(validation) == 40
    assert not {e.facts for e in training} & {e.facts for e in validation}
    with pytest.raises(DataError, match="too few"):
        split_between_pictures(examples[:4], 0.1)
