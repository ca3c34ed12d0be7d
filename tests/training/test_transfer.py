"""Beginning with the weights of a trained model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dmnplus.config import Config, resolve
from dmnplus.data.example import DataError, Splits
from dmnplus.data.pictures import PictureFormat
from dmnplus.pretrained.readme import training_command
from dmnplus.training.run import Job, build, load_model, train_runs
from dmnplus.training.transfer import Origin, begun_with, transfer
from tests.model.examples import moves

SPLITS = Splits("babi/1 (en-10k)", moves(60), moves(30, seed=1), moves(30, seed=2))
SMALL = resolve(settings=["model.hidden=8", "training.epochs=2", "training.batch=16", "training.rate=0.01"])
# Steps too small to move a weight in single precision.
STILL = replace(SMALL, training=replace(SMALL.training, rate=1e-12, epochs=1))
RENAMED = [
    replace(example, facts=tuple(str(fact).replace("office", "attic") for fact in example.facts), answer=("attic",))
    if example.answer == ("office",)
    else example
    for example in moves(60)
]


def run(folder: Path, config: Config = SMALL, origin: Path | None = None, splits: Splits = SPLITS, **options) -> dict:
    begun = Origin("first", origin) if origin else None
    starts = options.pop("starts", 1)
    job = Job(folder, config, splits, 1, starts, ensemble=options.pop("ensemble", False), origin=begun)
    return train_runs([job], **options)[0]


@pytest.fixture
def first(tmp_path: Path) -> Path:
    run(tmp_path / "first")
    return tmp_path / "first"


@pytest.mark.parametrize("answer", ["class", "words"])
def test_training_begins_with_the_weights_of_words_and_answers_that_both_know(tmp_path: Path, answer: str):
    config, still = (replace(c, model=replace(c.model, answer=answer)) for c in (SMALL, STILL))
    run(tmp_path / "first", config)
    run(tmp_path / "random", still, splits=replace(SPLITS, training=RENAMED))
    run(tmp_path / "second", still, tmp_path / "first", replace(SPLITS, training=RENAMED))
    _, old, learnt = load_model(tmp_path / "first")
    _, new, begun = load_model(tmp_path / "second")
    _, _, random = load_model(tmp_path / "random")
    assert "attic" in new.words
    assert "attic" not in old.words
    for row, word in enumerate(new.words):
        same = learnt.embedding.weight[old.words.index(word)] if word in old.words else random.embedding.weight[row]
        assert torch.allclose(begun.embedding.weight[row], same, atol=1e-6)
    was, now = (v.answer_words if answer == "words" else v.answers for v in (old, new))
    weights, others = begun.state_dict(), learnt.state_dict()
    for row, name in enumerate(now):
        same = others["answer.weight"][was.index(name)] if name in was else random.state_dict()["answer.weight"][row]
        assert torch.allclose(weights["answer.weight"][row], same, atol=1e-6)
    rest = [name for name in weights if not name.startswith(("embedding.", "answer."))]
    assert rest
    assert all(torch.allclose(weights[name], others[name], atol=1e-6) for name in rest)


def test_the_record_says_with_what_it_began(tmp_path: Path, first: Path):
    record = run(tmp_path / "second", STILL, first)
    assert begun_with(record) == ["from first after 2 epochs"]
    assert begun_with(record["origin"]["run"]) == []
    before, _, after = training_command(record).partition(" && ")
    assert before.startswith("dmnplus train babi --task 1 --set model.hidden=8")
    assert before.endswith("--seed 1 --out runs/begun-1")
    assert after.endswith("--from runs/begun-1")
    record = run(tmp_path / "third", STILL, tmp_path / "second")
    assert begun_with(record) == ["from first after 3 epochs"]
    commands = training_command(record).split(" && ")
    assert len(commands) == 3
    assert commands[1].endswith("--from runs/begun-1 --out runs/begun-2")
    assert commands[2].endswith("--from runs/begun-2")


def test_dropout_may_be_another(tmp_path: Path, first: Path):
    run(tmp_path / "second", replace(STILL, model=replace(STILL.model, fact_dropout=0.5)), first)


def test_another_network_is_refused(tmp_path: Path, first: Path):
    other = replace(SMALL, model=replace(SMALL.model, passes=2, episode="soft_attention"))
    message = (
        r"first: is another network; give its --variant, or --set model\.episode=attention_gru --set model\.passes"
    )
    with pytest.raises(DataError, match=message):
        run(tmp_path / "second", other, first)
    assert not (tmp_path / "second").exists()


def test_other_pictures_are_refused(first: Path):
    config, vocabulary, learnt = load_model(first)
    pixels = PictureFormat(kind="pixels", size=32, rows=4, columns=4, channels=3)
    model = build(config, vocabulary, pixels)
    message = r"first: reads no pictures, and here are 32 x 32 pixels as 4 x 4 regions"
    with pytest.raises(DataError, match=message):
        transfer(Origin("first", first), (config, vocabulary, learnt), config, vocabulary, model)
    regions = replace(pixels, kind="regions", backbone="torchvision/vgg19", weights="0123456789abcdef")
    message = (
        r"first: reads 32 x 32 .*, and here are 4 x 4 regions of torchvision/vgg19 \(32 pixels, weights 0123456789ab\)"
    )
    with pytest.raises(DataError, match=message):
        transfer(
            Origin("first", first), (config, vocabulary, model), config, vocabulary, build(config, vocabulary, regions)
        )


def test_an_ensemble_is_refused_and_its_starts_are_not(tmp_path: Path):
    run(tmp_path / "both", starts=2, ensemble=True)
    with pytest.raises(DataError, match=r"first: is an ensemble.*name one of its starts"):
        run(tmp_path / "second", STILL, tmp_path / "both")
    run(tmp_path / "third", STILL, tmp_path / "both" / "start-1")


def test_resuming_from_other_weights_is_refused(tmp_path: Path, first: Path):
    run(tmp_path / "other", replace(SMALL, training=replace(SMALL.training, rate=0.02)))
    record = run(tmp_path / "second", SMALL, first)
    for origin in (None, tmp_path / "other"):
        with pytest.raises(DataError, match="began with the weights of first; give that with --from, or another --out"):
            run(tmp_path / "second", SMALL, origin, resume=True)
    with pytest.raises(DataError, match="began at random; give no --from"):
        run(first, SMALL, tmp_path / "other", resume=True)
    assert run(tmp_path / "second", SMALL, first, resume=True) == record
