"""Starts trained together against the same starts trained one after the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dmnplus import kernels
from dmnplus.data.batching import encode
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.model import VARIANTS, NetworkConfig
from dmnplus.training.batched import train_together
from dmnplus.training.checkpoint import WEIGHTS, read_tensors
from dmnplus.training.trainer import Epoch, Step, Trainer, TrainingConfig
from tests.model.examples import encoded, moves, network

CONFIG = TrainingConfig(batch=16, epochs=2, rate=0.01, attention_weight=0.3, attention_share=0.5)
NETWORK = NetworkConfig(hidden=8)
# 40 questions in batches of 16: one batch of every epoch is smaller, at another place in every run.
VOCABULARY, TRAINING = encoded(moves(40))
VALIDATION = encode(moves(23, seed=5), VOCABULARY)
# A softmax does not see what is added to all: this bias has no true gradient, and Adam follows the rounding errors.
FREE = "memory.gate.b2"
# Sums in another order, over the steps of a few epochs.
RELATIVE, ABSOLUTE = 1e-4, 1e-5


def trainer(folder: Path, seed: int, config: TrainingConfig = CONFIG, model: NetworkConfig = NETWORK) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    return Trainer(network(VOCABULARY, model, seed=seed), config, folder, seed=seed)


def assert_same_run(found: Trainer, wanted: Trainer) -> None:
    """History, weights at the end, best weights on disk."""
    assert len(found.history) == len(wanted.history)
    for one, other in zip(found.history, wanted.history, strict=True):
        numbers = [[e.training_loss, e.validation_loss, e.validation_error] for e in (one, other)]
        assert numbers[0] == pytest.approx(numbers[1], rel=RELATIVE, abs=ABSOLUTE)
        assert one.best == other.best
    assert found.result.best_epoch == wanted.result.best_epoch
    for path in (found.folder / WEIGHTS, wanted.folder / WEIGHTS):
        saved = read_tensors(path)[0]
        for name, parameter in found.model.named_parameters():
            if name == FREE:
                continue
            torch.testing.assert_close(parameter.detach(), saved[name], rtol=RELATIVE, atol=ABSOLUTE, msg=name)
    assert torch.equal(found.generator.get_state(), wanted.generator.get_state())
    assert torch.equal(found.order.get_state(), wanted.order.get_state())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Trainer]:
    """Three starts trained one after the other, seeds 0 to 2."""
    folder = tmp_path_factory.mktemp("alone")
    runs = [trainer(folder / str(seed), seed) for seed in range(3)]
    for run in runs:
        run.fit(TRAINING, VALIDATION)
    return runs


@pytest.mark.parametrize("backend", ["reference", "auto"])
def test_restarts_together_equal_restarts_alone(tmp_path: Path, alone: list[Trainer], backend: str):
    with kernels.backend(backend):
        together = [trainer(tmp_path / str(seed), seed) for seed in range(3)]
        events: list[tuple[int, Step | Epoch]] = []
        found = train_together(together, [TRAINING] * 3, [VALIDATION] * 3, lambda *event: events.append(event))
    for one, other in zip(together, alone, strict=True):
        assert_same_run(one, other)
    assert [fit.best_epoch for fit in found] == [run.result.best_epoch for run in alone]
    assert len({fit.validation_loss for fit in found}) == 3
    for run in range(3):
        assert [event.epoch for r, event in events if r == run and isinstance(event, Epoch)] == [1, 2]
        assert sum(isinstance(event, Step) for r, event in events if r == run) == 2 * 3


@pytest.mark.parametrize(
    "model",
    [
        replace(VARIANTS["odmn"], hidden=8),
        replace(VARIANTS["dmn-max"], hidden=8, context_dropout=0.2),
        NetworkConfig(hidden=8, context_dropout=0.3),
    ],
)
def test_other_networks(tmp_path: Path, model: NetworkConfig):
    config = replace(CONFIG, epochs=1)
    alone = [trainer(tmp_path / f"alone{seed}", seed, config, model) for seed in (0, 1)]
    for run in alone:
        run.fit(TRAINING, VALIDATION)
    together = [trainer(tmp_path / f"together{seed}", seed, config, model) for seed in (0, 1)]
    train_together(together, [TRAINING] * 2, [VALIDATION] * 2)
    for one, other in zip(together, alone, strict=True):
        assert_same_run(one, other)


def test_each_run_stops_for_itself(tmp_path: Path):
    # At this rate the loss jumps about, so that the runs stop in different epochs.
    config = TrainingConfig(batch=16, epochs=8, patience=2, rate=0.05)
    together = [trainer(tmp_path / str(seed), seed, config) for seed in range(3)]
    fits = train_together(together, [TRAINING] * 3, [VALIDATION] * 3)
    assert len({fit.epochs for fit in fits}) > 1
    for run, fit in zip(together, fits, strict=True):
        losses = [epoch.validation_loss for epoch in run.history]
        assert fit.best_epoch == 1 + losses.index(min(losses))
        assert fit.epochs == min(fit.best_epoch + config.patience, config.epochs)
        saved, _ = read_tensors(run.folder / WEIGHTS)
        assert all(torch.equal(saved[name], tensor) for name, tensor in run.model.state_dict().items())


def test_runs_resumed_at_different_epochs(tmp_path: Path, alone: list[Trainer]):
    class Killed(BaseException):
        pass

    def kill(event: Step | Epoch) -> None:
        if isinstance(event, Step) and event.epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        trainer(tmp_path / "together0", 0).fit(TRAINING, VALIDATION, kill)
    together = [trainer(tmp_path / f"together{seed}", seed) for seed in (0, 1)]
    assert [run.resume() for run in together] == [True, False]
    train_together(together, [TRAINING] * 2, [VALIDATION] * 2)
    for one, other in zip(together, alone[:2], strict=True):
        assert_same_run(one, other)


def test_two_tasks_of_equal_shapes(tmp_path: Path, alone: list[Trainer]):
    # Longer stories over the same words, in other sentences.
    tasks = [TRAINING, encode(moves(40, longest=14, seed=9), VOCABULARY)]
    other_alone = trainer(tmp_path / "alone1", 1)
    other_alone.fit(tasks[1], VALIDATION)
    together = [trainer(tmp_path / f"together{seed}", seed) for seed in (0, 1)]
    train_together(together, tasks, [VALIDATION, VALIDATION])
    for one, other in zip(together, (alone[0], other_alone), strict=True):
        assert_same_run(one, other)


def test_what_cannot_be_trained_together(tmp_path: Path):
    one = trainer(tmp_path / "one", 0)
    other = trainer(tmp_path / "other", 0, replace(CONFIG, rate=0.1))
    with pytest.raises(ValueError, match="same settings"):
        train_together([one, other], [TRAINING] * 2, [VALIDATION] * 2)
    vocabulary = Vocabulary(
        words=(*VOCABULARY.words, "more"), answers=VOCABULARY.answers, answer_words=VOCABULARY.answer_words
    )
    larger = Trainer(network(vocabulary, NETWORK), CONFIG, tmp_path / "one", seed=0)
    with pytest.raises(ValueError, match="vocabularies of the same size"):
        train_together([one, larger], [TRAINING] * 2, [VALIDATION] * 2)
    with pytest.raises(ValueError, match=r"equally many training batches, not \[3, 2\]"):
        train_together([one, one], [TRAINING, encode(moves(20), VOCABULARY)], [VALIDATION] * 2)
    with pytest.raises(ValueError, match="equally many and at least one"):
        train_together([], [], [])
