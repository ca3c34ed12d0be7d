"""One training start under the paper's protocol (section 4.1), resumable bit for bit on the CPU."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dmnplus.data.batching import Batch, Questions, drop_words, jitter_pictures, rare_words, shuffle_names
from dmnplus.data.example import DataError
from dmnplus.data.writing import write_whole
from dmnplus.model import DMN, DropoutMasks, attention_losses
from dmnplus.training.checkpoint import (
    CHECKPOINT,
    METRICS,
    WEIGHTS,
    read_tensors,
    write_tensors,
)
from dmnplus.training.metrics import loss_and_error

Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How questions are read."""

    last_facts: int = 70
    """Longer stories keep only their last facts (the paper: 70 sentences, task 3: 130)."""
    answers: int = 0
    """Train only on questions with one of so many most frequent answers; 0 takes all."""
    validation_share: float = 0.1
    """Share of the training file that validates: its end, as it stands."""
    test_share: float = 0.1
    """Share of own data that is kept to test on, where no split is given."""
    split_seed: int = 0
    """Which stories of own data, or photos of DAQUAR, validate and test."""
    anonymous_names: bool = False
    """Whether names are read as placeholders, others in every story, so that new ones are as good as known ones."""
    anonymous_words: int = 0
    """Words in at most so many training stories, and words never seen, are read as placeholders, too; 0: none are."""
    image_size: int = 64
    """Side in pixels to which pictures are scaled, for a model that reads pixels."""
    image_grid: int = 8
    """Regions a side that such a model makes of them: the size halved some times over."""

    def __post_init__(self) -> None:
        if self.last_facts < 1:
            raise ValueError(f"data.last_facts is {self.last_facts}; it must be at least 1")
        for name in ("answers", "anonymous_words"):
            if getattr(self, name) < 0:
                raise ValueError(f"data.{name} is {getattr(self, name)}; it must be at least 0")
        if self.image_grid < 1 or self.image_size not in (self.image_grid * 2**k for k in range(1, 9)):
            accepted = f"data.image_grid ({self.image_grid}) times 2, 4, 8, ..."
            raise ValueError(f"data.image_size is {self.image_size}; it must be {accepted}")
        if not 0 <= self.test_share < 1 - self.validation_share:
            accepted = "at least 0, and less than 1 together with data.validation_share"
            raise ValueError(f"data.test_share is {self.test_share}; it must be {accepted}")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"data.validation_share is {self.validation_share}; it must be between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a network is trained. The defaults are the paper's for text (section 4.1)."""

    rate: float = 0.001
    """Adam's learning rate."""
    schedule: Schedule = "constant"
    """constant, the paper's, or cosine: from `rate` along half a cosine to nothing after `epochs`."""
    rate_warmup: int = 0
    """Epochs over which the rate grows to the schedule's: small steps at first keep what a start holds."""
    batch: int = 128
    """Questions a step."""
    epochs: int = 256
    """At most so many times over the training questions."""
    patience: int = 20
    """Stop after so many epochs without a better validation loss."""
    enough: float = 0.0
    """Stop as soon as the validation loss is below this; 0 is never reached."""
    l2: float = 0.001
    """Weight decay in Adam's gradient, of all weights but biases."""
    l2_warmup: int = 0
    """L2 grows to its strength over so many epochs; the paper's is there from the start."""
    l2_embeddings: bool = True
    """Whether the embeddings of words are among the weights that decay."""
    by_length: bool = True
    """Whether a batch's questions are of like length, which spares padding; else they are drawn at random."""
    by_picture: bool = False
    """Whether questions about one picture share a batch: quicker, but a batch then shows few different pictures."""
    picture_shift: int = 0
    """Pixels by which pictures are moved at random in every direction; for models that read pixels."""
    picture_mirror: bool = False
    """Whether half of the pictures are mirrored, where no question asks for left or right; for models of pixels."""
    attention_weight: float = 0.0
    """Weight of the loss that draws the attention to labelled supporting facts; 0 leaves them unused."""
    attention_share: float = 1.0
    """Share of the training questions whose labels that loss may use."""
    focus: float = 1.0
    """From the second epoch on, question types of high training loss are shown up to so many times an epoch, and those
    of low loss as many times less; 1 shows every question once."""
    dropout_after: int = 0
    """Epochs without any dropout at first, in which what a start holds faintly can be found."""
    word_dropout: float = 0.0
    """A word that n distinct sentences and questions have is read as unknown with probability d / (d + n); 0: never."""

    def __post_init__(self) -> None:
        for name in ("batch", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name} is {getattr(self, name)}; it must be at least 1")
        if self.schedule not in get_args(Schedule):
            raise ValueError(f"training.schedule is {self.schedule!r}; it takes {', '.join(get_args(Schedule))}")
        if self.rate <= 0:
            raise ValueError(f"training.rate is {self.rate}; it must be above 0")
        for name in (
            "rate_warmup",
            "enough",
            "l2",
            "l2_warmup",
            "attention_weight",
            "dropout_after",
            "word_dropout",
            "picture_shift",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"training.{name} is {getattr(self, name)}; it must be at least 0")
        if self.focus < 1:
            raise ValueError(f"training.focus is {self.focus}; it must be at least 1")
        if not 0 <= self.attention_share <= 1:
            raise ValueError(f"training.attention_share is {self.attention_share}; it must be between 0 and 1")


@dataclass(frozen=True)
class Step:
    """Where training is: `step` of `steps` in `epoch` (from 1) begins."""

    epoch: int
    step: int
    steps: int


@dataclass(frozen=True)
class Epoch:
    """A line of `metrics.jsonl`: losses are mean cross-entropy a question, errors shares, seconds of this epoch."""

    epoch: int
    training_loss: float
    validation_loss: float
    validation_error: float
    rate: float
    seconds: float
    best: bool


@dataclass(frozen=True)
class Fit:
    """How a start ended: its best epoch by validation loss, and what was spent."""

    best_epoch: int
    validation_loss: float
    validation_error: float
    epochs: int
    seconds: float


class Trainer:
    """Trains one network in one folder, which holds the best weights and the last state after every epoch."""

    def __init__(
        self, model: DMN, config: TrainingConfig, folder: Path, *, seed: int, metadata: dict[str, Any] | None = None
    ) -> None:
        """`metadata` goes into the header of the weights' file; `seed` decides order and dropout, not the start."""
        self.model, self.config, self.folder, self.metadata = model, config, folder, metadata or {}
        self.optimizer = adam(model.named_parameters(), config)
        # Everything random in an epoch, order and dropout, comes from this one generator.
        self.generator = torch.Generator(model.device).manual_seed(seed)
        self.order = torch.Generator().manual_seed(seed)
        self.history: list[Epoch] = []
        self.best: dict[str, Tensor] = {}
        # Mean training loss of each question type when it was last shown.
        self.kind_losses_K: Tensor | None = None

    def fit(
        self, training: Questions, validation: Questions, report: Callable[[Step | Epoch], None] = lambda event: None
    ) -> Fit:
        """Train until the validation loss is good `enough` or has not improved for `patience` epochs; the best weights
        end in the model.

        Raises `DataError` if the loss stops being a number, and `ValueError` for settings of pixels without pixels.
        Interrupted at any point, the folder holds the best weights of the finished epochs, and `resume` goes on from
        there.
        """
        _check_pictures(training, self.config)
        labelled_N = labelled(training, self.config)
        while not self.finished:
            self._run_epoch(training, validation, labelled_N, report)
            report(self.history[-1])
        self.model.load_state_dict(read_tensors(self.folder / WEIGHTS)[0])
        return self.result

    @property
    def finished(self) -> bool:
        done = len(self.history)
        if done == 0:
            return False
        best = self.result
        waited = done - best.best_epoch
        return done >= self.config.epochs or waited >= self.config.patience or best.validation_loss < self.config.enough

    @property
    def result(self) -> Fit:
        best = min(self.history, key=lambda epoch: epoch.validation_loss)
        seconds = sum(epoch.seconds for epoch in self.history)
        return Fit(best.epoch, best.validation_loss, best.validation_error, len(self.history), seconds)

    def resume(self) -> bool:
        """Go on from the last finished epoch in the folder; False if there is none."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return False
        tensors, state = read_tensors(path)
        # The generators of devices differ, and so would the rest of the training.
        if (was := state.get("device", "cpu")) != self.model.device.type:
            raise DataError(f"{path}: was trained on {was}; resume there, or start anew")
        # A setting that is younger than the checkpoint had its default.
        if {**asdict(TrainingConfig()), **state["config"]} != asdict(self.config):
            raise DataError(f"{path}: was trained with other settings; resume with the same ones, or start anew")
        self.model.load_state_dict(_part(tensors, "model."))
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        for name, parameter in self.model.named_parameters():
            self.optimizer.state[parameter] = {
                # Fused Adam counts its steps where the weights are.
                key: tensors[f"adam.{key}.{name}"].to(parameter.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        self.generator.set_state(tensors["generator"])
        self.order.set_state(tensors["order"])
        self.kind_losses_K = tensors.get("kind_losses")
        # A kill between the two writes leaves the weights one epoch ahead; the best ones are in the checkpoint too.
        self.best = _part(tensors, "best.")
        write_tensors(self.folder / WEIGHTS, self.best, self.metadata)
        self._write_metrics()
        return True

    def _run_epoch(
        self, training: Questions, validation: Questions, labelled_N: Tensor, report: Callable[[Step], None]
    ) -> None:
        start = time.perf_counter()
        loss = self._train(training, labelled_N, report)
        self.finish_epoch(loss, *loss_and_error(self.model, validation), time.perf_counter() - start)

    def finish_epoch(self, loss: float, validation_loss: float, validation_error: float, seconds: float) -> None:
        """Note an epoch that the model and the optimizer have been through, and save it.

        Raises `DataError` if a loss is no number.
        """
        number = len(self.history) + 1
        rate = rate_after(self.config, number - 1)
        if not (loss < float("inf") and validation_loss < float("inf")):
            # Where an epoch has ended, its model stays, and belongs to this rate.
            place = ", and give another --out" if self.history else ""
            raise DataError(
                f"the loss is no longer a number in epoch {number}; lower training.rate (now {rate:g}){place}"
            )
        best = not self.history or validation_loss < self.result.validation_loss
        self.history.append(Epoch(number, loss, validation_loss, validation_error, rate, seconds, best))
        self._save(best)

    def _train(self, training: Questions, labelled_N: Tensor, report: Callable[[Step], None]) -> float:
        set_rates(self.optimizer, self.config, len(self.history))
        rare_V = rare_words(training, self.config.word_dropout) if self.config.word_dropout else None
        jitter = self.config.picture_shift or self.config.picture_mirror
        device = self.model.device
        repeats_K = self._repeats(training)
        # Losses and questions of each type.
        total_2K = torch.zeros(2, int(training.kinds_N.max()) + 1, device=device)
        batches = list(
            training.batches(
                self.config.batch,
                shuffle=self.order,
                by_length=self.config.by_length,
                by_picture=self.config.by_picture,
                repeats_K=repeats_K,
            )
        )
        for step, rows in enumerate(batches):
            report(Step(len(self.history) + 1, step, len(batches)))
            batch = shuffle_names(training.batch(rows), self.order)
            if rare_V is not None:
                batch = drop_words(batch, rare_V, self.order)
            if jitter:
                shift, mirror = self.config.picture_shift, self.config.picture_mirror
                batch = jitter_pictures(batch, self.order, shift=shift, mirror=mirror)
            batch = batch.to(device)
            output = self.model(batch, self.draw_dropout(batch))
            losses = self.model.losses(output, batch)
            shown_2B = torch.stack([losses.detach(), torch.ones_like(losses)])
            total_2K.index_add_(1, training.kinds_N[rows].to(device), shown_2B)
            loss = losses.mean()
            if self.config.attention_weight:
                missed = attention_losses(output.attention_PBF, batch.supporting_BK, batch.steps_BK)
                loss = loss + self.config.attention_weight * (missed * labelled_N[rows].to(device)).mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        loss_K, shown_K = total_2K.cpu()
        self.kind_losses_K = loss_K / shown_K
        return float(loss_K.sum() / shown_K.sum())

    def draw_dropout(self, batch: Batch) -> DropoutMasks | None:
        """What this epoch's step on `batch` drops."""
        if len(self.history) < self.config.dropout_after:
            return None
        return self.model.draw_dropout(batch, self.generator)

    def _repeats(self, training: Questions) -> Tensor | None:
        """How many times this epoch shows each question type: its share of the last epoch's loss, within `focus`."""
        if self.config.focus == 1 or self.kind_losses_K is None:
            return None
        mean = self.kind_losses_K[training.kinds_N].mean()
        return (self.kind_losses_K / mean).clamp(1 / self.config.focus, self.config.focus)

    def _save(self, best: bool) -> None:
        weights = self.model.state_dict()
        if best:
            # Clones: the next step writes to the live tensors.
            self.best = {name: tensor.clone() for name, tensor in weights.items()}
            write_tensors(self.folder / WEIGHTS, self.best, self.metadata)
        adam = {
            f"adam.{key}.{name}": value
            for name, parameter in self.model.named_parameters()
            for key, value in self.optimizer.state[parameter].items()
        }
        tensors = {
            **{f"model.{name}": tensor for name, tensor in weights.items()},
            **adam,
            **{f"best.{name}": tensor for name, tensor in self.best.items()},
            "generator": self.generator.get_state(),
            "order": self.order.get_state(),
        }
        if self.kind_losses_K is not None:
            tensors["kind_losses"] = self.kind_losses_K
        state: dict[str, Any] = {
            "config": asdict(self.config),
            "device": self.model.device.type,
            "history": [asdict(epoch) for epoch in self.history],
        }
        write_tensors(self.folder / CHECKPOINT, tensors, state)
        self._write_metrics()

    def _write_metrics(self) -> None:
        lines = (json.dumps(asdict(epoch)) for epoch in self.history)
        write_whole(self.folder / METRICS, "".join(f"{line}\n" for line in lines))


def _check_pictures(training: Questions, config: TrainingConfig) -> None:
    if not (config.picture_shift or config.picture_mirror):
        return
    if training.pictures is None or training.pictures.format.kind != "pixels":
        raise ValueError("training.picture_shift and training.picture_mirror move pixels; these questions have none")


def adam(named: Iterable[tuple[str, Tensor]], config: TrainingConfig) -> torch.optim.Adam:
    """The optimizer of parameters by name; biases do not decay, nor, if so configured, embeddings."""
    parameters = list(named)

    def decays(name: str) -> bool:
        return not is_bias(name) and (config.l2_embeddings or not name.startswith("embedding."))

    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in parameters if decays(name)], "weight_decay": config.l2},
        {"params": [p for name, p in parameters if not decays(name)], "weight_decay": 0.0},
    ]
    return torch.optim.Adam(groups, lr=config.rate, fused=True)


def rate_after(config: TrainingConfig, epochs: int) -> float:
    """The learning rate of the epoch after `epochs` finished ones."""
    rate = config.rate * min(1.0, (epochs + 1) / (config.rate_warmup + 1))
    if config.schedule == "constant":
        return rate
    return rate * (1 + math.cos(math.pi * epochs / config.epochs)) / 2


def set_rates(optimizer: torch.optim.Adam, config: TrainingConfig, epochs: int) -> None:
    """Set learning rate and weight decay (`l2_warmup`) to those of the epoch after `epochs` finished ones."""
    for group in optimizer.param_groups:
        group["lr"] = rate_after(config, epochs)
    grown = min(1.0, epochs / config.l2_warmup) if config.l2_warmup else 1.0
    weights, _ = optimizer.param_groups
    weights["weight_decay"] = grown * config.l2


def labelled(training: Questions, config: TrainingConfig) -> Tensor:
    """Which questions' labels the loss of the attention may use, [N]; the same for every seed."""
    return torch.rand(len(training), generator=torch.Generator().manual_seed(0)) < config.attention_share


def is_bias(name: str) -> bool:
    """Whether the parameter called `name` is a bias (`b`, `b1`, `input_bias`, ...)."""
    leaf = name.rpartition(".")[2]
    return "bias" in leaf or leaf in ("b", "b1", "b2")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
