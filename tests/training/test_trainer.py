import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dmnplus.data.batching import Batch, Questions, encode
from dmnplus.data.example import DataError, Example, Splits, iter_sentences
from dmnplus.data.vocabulary import UNKNOWN, Vocabulary
from dmnplus.model import DMN, NetworkConfig, Output
from dmnplus.training.checkpoint import CHECKPOINT, METRICS, WEIGHTS, read_tensors
from dmnplus.training.run import build_vocabulary
from dmnplus.training.trainer import (
    Epoch,
    Step,
    Trainer,
    TrainingConfig,
    is_bias,
    labelled,
    rate_after,
    set_rates,
)
from tests.model.examples import encoded, moves, network
from tests.model.pictures import Noise, mixtures

CONFIG = TrainingConfig(batch=16, epochs=6, rate=0.01, l2_warmup=5)
VOCABULARY, TRAINING = encoded(moves(60))
VALIDATION = TRAINING
TWO_KINDS = replace(TRAINING, kinds_N=(torch.arange(60) >= 40).long())


def trainer(folder: Path, config: TrainingConfig = CONFIG, seed: int = 1) -> Trainer:
    folder.mkdir(exist_ok=True)
    return Trainer(network(VOCABULARY, NetworkConfig(hidden=8)), config, folder, seed=seed)


def weights(model: DMN) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


class Killed(BaseException):
    pass


def kill_at(epoch: int, step: int):
    def report(event: Step | Epoch) -> None:
        if isinstance(event, Step) and (event.epoch, event.step) == (epoch, step):
            raise Killed

    return report


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, focus=2, dropout_after=3)])
@pytest.mark.parametrize("step", [0, 2])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, step: int, config: TrainingConfig):
    whole = trainer(tmp_path / "whole", config)
    whole.fit(TWO_KINDS, VALIDATION)
    broken = trainer(tmp_path / "broken", config)
    with pytest.raises(Killed):
        broken.fit(TWO_KINDS, VALIDATION, kill_at(4, step))
    # Another process: another start, another state of the global generator.
    torch.manual_seed(99)
    resumed = trainer(tmp_path / "broken", config, seed=7)
    assert resumed.resume()
    resumed.fit(TWO_KINDS, VALIDATION)
    for name, tensor in weights(whole.model).items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    files = [(tmp_path / which / WEIGHTS).read_bytes() for which in ("whole", "broken")]
    assert files[0] == files[1]
    lines = [(tmp_path / which / METRICS).read_text().splitlines() for which in ("whole", "broken")]
    without_time = [[{**json.loads(line), "seconds": 0} for line in run] for run in lines]
    assert without_time[0] == without_time[1]


def test_so_it_is_on_the_matrix_unit(tmp_path: Path, matrix_unit):
    test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, 2, CONFIG)


def test_resume_undoes_weights_saved_before_a_kill(tmp_path: Path):
    first = trainer(tmp_path / "run")
    with pytest.raises(Killed):
        first.fit(TRAINING, VALIDATION, kill_at(3, 0))
    kept = (tmp_path / "run" / WEIGHTS).read_bytes()
    # A kill between the two writes of an epoch leaves weights that the checkpoint does not know.
    (tmp_path / "run" / WEIGHTS).write_bytes(b"half")
    assert trainer(tmp_path / "run").resume()
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == kept


def test_nothing_to_resume(tmp_path: Path):
    assert not trainer(tmp_path / "new").resume()


def test_resume_refuses_other_settings(tmp_path: Path):
    with pytest.raises(Killed):
        trainer(tmp_path / "run").fit(TRAINING, VALIDATION, kill_at(2, 0))
    with pytest.raises(DataError, match="other settings"):
        trainer(tmp_path / "run", TrainingConfig(batch=16, epochs=6, rate=0.02)).resume()


def test_a_damaged_checkpoint_is_named(tmp_path: Path):
    run = trainer(tmp_path / "run")
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"checkpoint\.safetensors"):
        run.resume()


def test_the_best_epoch_is_kept_not_the_last(tmp_path: Path):
    # At this rate the loss jumps about, so that best and last differ.
    run = trainer(tmp_path / "run", TrainingConfig(batch=16, epochs=30, patience=4, rate=0.1))
    fit = run.fit(TRAINING, VALIDATION)
    losses = [epoch.validation_loss for epoch in run.history]
    assert fit.best_epoch == 1 + losses.index(min(losses))
    assert fit.epochs == len(losses) > fit.best_epoch
    saved, _ = read_tensors(tmp_path / "run" / WEIGHTS)
    assert all(torch.equal(saved[name], tensor) for name, tensor in run.model.state_dict().items())
    from dmnplus.training.metrics import loss_and_error

    assert loss_and_error(run.model, VALIDATION)[0] == pytest.approx(fit.validation_loss, rel=1e-5)


def test_training_stops_after_patience_without_a_better_epoch(tmp_path: Path):
    run = trainer(tmp_path / "run", TrainingConfig(batch=16, epochs=50, patience=3, rate=0.1))
    fit = run.fit(TRAINING, VALIDATION)
    assert fit.epochs == fit.best_epoch + 3 < 50


def test_training_stops_when_the_loss_is_good_enough(tmp_path: Path):
    run = trainer(tmp_path / "run", TrainingConfig(batch=16, epochs=50, rate=0.01, enough=1.0))
    fit = run.fit(TRAINING, VALIDATION)
    losses = [epoch.validation_loss for epoch in run.history]
    assert fit.best_epoch == fit.epochs == len(losses) < 50
    assert losses[-1] < 1.0 <= min(losses[:-1])


def test_a_loss_that_is_no_number_stops_with_advice(tmp_path: Path):
    run = trainer(tmp_path / "run")
    with torch.no_grad():
        run.model.answer.bias.fill_(float("nan"))
    with pytest.raises(DataError, match=r"lower training\.rate"):
        run.fit(TRAINING, VALIDATION)


def test_a_loss_that_stops_being_a_number_later_names_the_model_that_stays(tmp_path: Path):
    run = trainer(tmp_path / "run")

    def spoil(event: object) -> None:
        if isinstance(event, Epoch):
            run.model.answer.bias.data.fill_(float("nan"))

    with pytest.raises(DataError, match=r"in epoch 2; lower training\.rate .*, and give another --out"):
        run.fit(TRAINING, VALIDATION, spoil)


def test_l2_decays_weights_and_not_biases_nor_embeddings_if_so_set(tmp_path: Path):
    run = trainer(tmp_path / "run", TrainingConfig(l2=0.5))
    names = {id(p): name for name, p in run.model.named_parameters()}
    decayed = {names[id(p)] for g in run.optimizer.param_groups if g["weight_decay"] == 0.5 for p in g["params"]}
    biases = set(names.values()) - decayed
    assert biases == {
        name for name in names.values() if name.rpartition(".")[2] in ("b", "b1", "b2", "input_bias", "bias")
    }
    run = trainer(tmp_path / "other", TrainingConfig(l2=0.5, l2_embeddings=False))
    names = {id(p): name for name, p in run.model.named_parameters()}
    without = {names[id(p)] for g in run.optimizer.param_groups if g["weight_decay"] == 0.5 for p in g["params"]}
    assert decayed - without == {"embedding.weight"}
    assert not is_bias("memory.gate.W1_question")
    assert is_bias("answer.cell.bias_ih")


def test_l2_grows_over_its_warmup(tmp_path: Path):
    config = TrainingConfig(l2=0.5, l2_warmup=4)
    run = trainer(tmp_path / "run", config)
    strengths = []
    for epochs in (0, 1, 4, 9):
        set_rates(run.optimizer, config, epochs)
        strengths.append([group["weight_decay"] for group in run.optimizer.param_groups])
    assert strengths == [[0, 0], [0.125, 0], [0.5, 0], [0.5, 0]]


def test_the_rate_falls_along_a_cosine(tmp_path: Path):
    config = TrainingConfig(rate=0.01, schedule="cosine", epochs=4, patience=9, batch=16)
    run = trainer(tmp_path / "run", config)
    run.fit(TRAINING, VALIDATION)
    # Angles of 0, 45, 90 and 135 degrees.
    expected = [0.01, 0.01 * (1 + 0.5**0.5) / 2, 0.005, 0.01 * (1 - 0.5**0.5) / 2]
    assert [epoch.rate for epoch in run.history] == pytest.approx(expected)
    assert [group["lr"] for group in run.optimizer.param_groups] == pytest.approx([expected[-1]] * 2)


def test_the_rate_grows_over_its_warmup():
    constant = TrainingConfig(rate=0.01, rate_warmup=4, epochs=10)
    rates = [rate_after(constant, epochs) for epochs in (0, 1, 4, 5, 9)]
    assert rates == pytest.approx([0.002, 0.004, 0.01, 0.01, 0.01])
    cosine = replace(constant, schedule="cosine")
    assert [rate_after(cosine, epochs) for epochs in (0, 5)] == pytest.approx([0.002, 0.005])


def test_question_types_of_high_loss_are_shown_more_often(tmp_path: Path):
    run = trainer(tmp_path / "run", TrainingConfig(batch=16, epochs=1, rate=0.01, focus=2))
    # Rows are told apart by their number in the place of a label that is not used.
    numbered = replace(TWO_KINDS, steps_NK=torch.arange(60)[:, None])
    # The mean over the questions is 0.4.
    run.kind_losses_K = torch.tensor([0.1, 1.0])
    shown: Counter[int] = Counter()
    forward = run.model.forward

    def watch(batch: Batch, *rest: Any) -> Output:
        if torch.is_grad_enabled():
            shown.update(batch.steps_BK[:, 0].tolist())
        return forward(batch, *rest)

    run.model.forward = watch
    run.fit(numbered, VALIDATION)
    assert sum(shown[row] for row in range(40)) == 20
    assert {shown[row] for row in range(40)} == {0, 1}
    assert {shown[row] for row in range(40, 60)} == {2}
    # The losses that the next epoch goes by are those of this one.
    assert run.kind_losses_K.tolist() != pytest.approx([0.1, 1.0])


def test_dropout_begins_after_the_epochs_without(tmp_path: Path):
    def losses(name: str, dropout: float, **settings: int) -> list[float]:
        folder = tmp_path / name
        folder.mkdir()
        config = TrainingConfig(batch=16, epochs=3, rate=0.01, **settings)
        model = network(VOCABULARY, NetworkConfig(hidden=8, fact_dropout=dropout, answer_dropout=dropout))
        run = Trainer(model, config, folder, seed=1)
        run.fit(TRAINING, VALIDATION)
        return [epoch.training_loss for epoch in run.history]

    never, later = losses("never", 0.0), losses("later", 0.5, dropout_after=2)
    assert later[:2] == pytest.approx(never[:2], rel=1e-4)
    assert later[2] != pytest.approx(never[2], rel=1e-2)


@pytest.mark.parametrize(("name", "value"), [("focus", 0.5), ("dropout_after", -1)])
def test_settings_out_of_range_are_named(name: str, value: float):
    with pytest.raises(ValueError, match=rf"training\.{name} is {value}; it must be at least"):
        TrainingConfig(**{name: value})


def test_moving_pictures_needs_pixels(tmp_path: Path):
    for setting in ({"picture_shift": 2}, {"picture_mirror": True}):
        with pytest.raises(ValueError, match="move pixels; these questions have none"):
            trainer(tmp_path / "run", TrainingConfig(**setting)).fit(TRAINING, VALIDATION)


def test_supervised_attention_finds_the_labelled_facts(tmp_path: Path):
    from dmnplus.training.metrics import evaluate

    mass = {}
    for weight in (0.0, 1.0):
        run = trainer(tmp_path / str(weight), TrainingConfig(batch=16, epochs=12, rate=0.01, attention_weight=weight))
        run.fit(TRAINING, VALIDATION)
        attention = evaluate(run.model, TRAINING, moves(60)).attention
        assert attention is not None
        mass[weight] = attention.passes[-1].mass
    assert mass[1.0] > mass[0.0] + 0.2


def test_no_labels_are_used_at_a_share_of_zero(tmp_path: Path):
    runs = [
        trainer(tmp_path / name, TrainingConfig(batch=16, epochs=2, attention_weight=weight, attention_share=0.0))
        for name, weight in (("with", 1.0), ("without", 0.0))
    ]
    for run in runs:
        run.fit(TRAINING, VALIDATION)
    for name, tensor in weights(runs[0].model).items():
        torch.testing.assert_close(tensor, runs[1].model.state_dict()[name])


def seen_in_training(run: Trainer, questions: Questions) -> list[Batch]:
    """What the network is shown with gradients, batch by batch."""
    seen: list[Batch] = []
    forward = run.model.forward

    def watch(batch: Batch, *rest: Any) -> Output:
        if torch.is_grad_enabled():
            seen.append(batch)
        return forward(batch, *rest)

    run.model.forward = watch
    run.fit(questions, questions)
    return seen


def test_word_dropout_reads_words_as_unknown_in_training_alone(tmp_path: Path):
    # So strong that no word is left.
    run = trainer(tmp_path / "run", TrainingConfig(batch=16, epochs=1, word_dropout=1e9))
    for batch in seen_in_training(run, TRAINING):
        assert set(batch.sentences_SW.unique().tolist()) == {0, UNKNOWN}
        assert set(batch.questions_BQ.unique().tolist()) <= {0, UNKNOWN}
    assert UNKNOWN not in TRAINING.sentences_SW


def test_names_have_other_placeholders_in_every_batch(tmp_path: Path):
    people = ("Anna", "Ben", "Clara")
    examples = [
        Example(facts=(f"{a} met {b}.",), question="Who met?", answer=(a,)) for a in people for b in people if a != b
    ]
    vocabulary = build_vocabulary(Splits("own", examples, [], []), anonymous=True)
    questions = encode(examples, vocabulary)
    (tmp_path / "run").mkdir()
    model = network(vocabulary, NetworkConfig(hidden=8))
    seen = seen_in_training(Trainer(model, TrainingConfig(batch=6, epochs=3), tmp_path / "run", seed=1), questions)
    assert len({tuple(sorted(batch.answers_B.tolist())) for batch in seen}) == 3


@pytest.mark.parametrize("setting", [{"picture_shift": 2}, {"picture_mirror": True}])
def test_pictures_are_moved_in_training_alone(tmp_path: Path, setting: dict[str, Any]):
    examples = mixtures()
    vocabulary = Vocabulary.build(iter_sentences(examples), (example.answer for example in examples))
    noise = Noise("pixels")
    questions = encode(examples, vocabulary, pictures=noise)
    sizes = {name: len(getattr(vocabulary, name)) for name in ("words", "answers", "answer_words")}
    model = DMN(NetworkConfig(hidden=8, pixel_channels=16), **sizes, pictures=noise.format)
    shown: list[torch.Tensor] = []
    pixels = model.pixels.forward

    def watch(pictures: torch.Tensor) -> torch.Tensor:
        shown.append(pictures)
        return pixels(pictures)

    model.pixels.forward = watch
    (tmp_path / "run").mkdir()
    Trainer(model, TrainingConfig(batch=8, epochs=1, **setting), tmp_path / "run", seed=1).fit(questions, questions)
    training, validation = shown
    assert torch.equal(validation, noise.content)
    assert training.shape == validation.shape
    assert not torch.equal(training, validation)


def test_questions_about_one_picture_share_a_batch_if_so_set(tmp_path: Path):
    asked = [replace(mixtures()[0], facts=(fact,), regions=()) for _ in range(4) for fact in mixtures()[2].facts]
    vocabulary = Vocabulary.build(iter_sentences(asked), (example.answer for example in asked))
    noise = Noise()
    questions = encode(asked, vocabulary, pictures=noise)
    sizes = {name: len(getattr(vocabulary, name)) for name in ("words", "answers", "answer_words")}
    most = {}
    for together in (True, False):
        folder = tmp_path / str(together)
        folder.mkdir()
        model = DMN(NetworkConfig(hidden=8), **sizes, pictures=noise.format)
        config = TrainingConfig(batch=4, epochs=3, by_picture=together)
        seen = seen_in_training(Trainer(model, config, folder, seed=1), questions)
        most[together] = max(len(batch.pictures) for batch in seen if batch.pictures is not None)
    assert most == {True: 1, False: 2}


def test_a_validation_loss_that_is_no_number_stops_with_advice(tmp_path: Path):
    run = trainer(tmp_path / "run")
    with pytest.raises(DataError, match=r"the loss is no longer a number in epoch 1; lower training\.rate"):
        run.finish_epoch(0.5, float("nan"), 0.5, 1.0)
    assert run.history == []


def test_the_labels_that_may_be_used_are_the_same_for_every_seed_and_most_of_a_larger_share():
    few, many = (labelled(TRAINING, TrainingConfig(attention_share=share)) for share in (0.2, 0.6))
    assert not (few & ~many).any()
    assert 0 < few.sum() < many.sum() < len(TRAINING)
    torch.manual_seed(5)
    assert torch.equal(labelled(TRAINING, TrainingConfig(attention_share=0.2)), few)
