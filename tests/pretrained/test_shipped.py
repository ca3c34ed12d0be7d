"""Every model that ships: it loads, answers, and is as good as its card says."""

import shlex
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import dmnplus
from dmnplus.config import resolve
from dmnplus.data.babi import TASKS, read_babi
from dmnplus.data.batching import encode
from dmnplus.pretrained import SHIPPED, read_card, read_examples, shipped
from dmnplus.pretrained.card import README
from dmnplus.training.checkpoint import WEIGHTS, read_tensors
from dmnplus.training.metrics import evaluate

NAMES = shipped()
BABI = [name for name in NAMES if name.startswith("babi/")]


def test_all_models_together_are_small():
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 11_000_000


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_its_examples(name: str):
    answerer = dmnplus.load(name)
    examples = read_examples(SHIPPED / name)
    assert examples
    for example in examples:
        assert answerer.answer(example.facts, example.question).answer == answerer.vocabulary.join(example.answer)


@pytest.mark.parametrize("name", NAMES)
def test_its_weights_are_halves_and_as_many_as_the_card_says(name: str):
    tensors, _ = read_tensors(SHIPPED / name / WEIGHTS)
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.float16"}
    assert sum(tensor.numel() for tensor in tensors.values()) == read_card(SHIPPED / name).weights
    assert all(parameter.dtype.itemsize == 4 for parameter in dmnplus.load(name).model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_its_card_is_one_that_the_hub_reads(name: str):
    card, shown = read_card(SHIPPED / name), ModelCard.load(SHIPPED / name / README)
    assert card.name == name
    assert shown.data.library_name == "dmnplus"
    assert shown.data.eval_results[0].metric_value == pytest.approx(1 - card.error)
    assert card.command in shown.text
    assert f"Test error {card.error:.1%}" in shown.text


@pytest.mark.parametrize("name", BABI)
def test_the_command_of_its_card_gives_its_settings(name: str):
    # A model that began with another one's weights has that one's command first.
    words = shlex.split(read_card(SHIPPED / name).command.rpartition(" && ")[2])
    pairs = [word for word in words if word != "--joint"]
    given = [(pairs[i], pairs[i + 1]) for i in range(3, len(pairs), 2)]
    options = dict(given)
    assert words[:3] == ["dmnplus", "train", "babi"]
    joint = "--joint" in words
    assert name == ("babi/all" if joint else f"babi/{options['--task']}")
    settings = [value for option, value in given if option == "--set"]
    task = None if joint else int(options["--task"])
    config = resolve(variant=options.get("--variant", "dmn+"), task=task, settings=settings)
    assert config == dmnplus.load(name).config


@pytest.mark.parametrize("name", BABI)
def test_the_real_test_file_gives_the_error_of_its_card(name: str, babi_archive: Path):
    card, answerer = read_card(SHIPPED / name), dmnplus.load(name)
    tasks = TASKS if name == "babi/all" else [int(name.removeprefix("babi/"))]
    examples = [example for task in tasks for example in read_babi(babi_archive, task, "test")]
    questions = encode(examples, answerer.vocabulary, last_facts=answerer.config.data.last_facts)
    result = evaluate(answerer.model, questions, examples)
    assert result.questions == card.questions == 1000 * len(tasks)
    # A question at the border of two answers may fall to the other on another processor.
    assert result.error == pytest.approx(card.error, abs=0.001)
