"""Several starts trained as one batched model, for devices that one small model leaves idle.

The parameters of the runs are stacked and the network is vmapped over them; the recurrences fold the runs into the
groups of their kernels. Adam works element by element, so one step on the stack is one step of every run.

Shape legend: R runs, B batch (of the longest run), N questions, F facts, H hidden, K = 2H.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from dmnplus.data.batching import Batch, Questions
from dmnplus.model import DMN, DropoutMasks, Output, attention_losses
from dmnplus.training.metrics import EVALUATION_BATCH, correct
from dmnplus.training.trainer import Epoch, Fit, Step, Trainer, adam, labelled, set_rates

# Everything of a batch that belongs to one run; the sentences are shared.
_OWN = tuple(field.name for field in fields(Batch) if field.name not in ("sentences_SW", "pictures", "names_BM"))


def train_together(
    trainers: Sequence[Trainer],
    training: Sequence[Questions],
    validation: Sequence[Questions],
    report: Callable[[int, Step | Epoch], None] = lambda run, event: None,
) -> list[Fit]:
    """Train every trainer to its end as its own `fit` would, all as one batched model; the best weights end in each.

    Trainer `r` learns `training[r]` and is validated on `validation[r]`; restarts give the same object R times. Each
    keeps its own seed, batches, dropout, history, patience and folder, and draws what it would draw alone, so the
    results equal those of training one after the other up to the rounding of sums. One that has finished leaves the
    stack, and one that was resumed behind the others catches up first. The seconds of an epoch are shared among its
    runs. `report` gets the run's number with its events.

    `answer = "words"` works, but PyTorch then runs the decoder's cell one run at a time. Raises `ValueError` for
    trainers whose networks, settings, vocabulary sizes or numbers of batches differ, and `DataError` as `Trainer.fit`.
    """
    _check(trainers, training, validation)
    learnt, checked = _Joint(training), _Joint(validation)
    while waiting := [r for r, trainer in enumerate(trainers) if not trainer.finished]:
        fewest = min(len(trainers[r].history) for r in waiting)
        runs = [r for r in waiting if len(trainers[r].history) == fewest]
        _Stack(runs, [trainers[r] for r in runs]).run_epoch(learnt, checked, report)
    # Finished, so that nothing is left for `fit` to do but to load the best weights.
    return [trainer.fit(t, v) for trainer, t, v in zip(trainers, training, validation, strict=True)]


class _Joint:
    """The questions of all runs as one set, so that a step builds one batch and its sentences are read once."""

    def __init__(self, parts: Sequence[Questions]) -> None:
        self.parts = list(parts)
        distinct = list({id(part): part for part in parts}.values())
        starts, sentences = {}, 0
        rows = 0
        moved: list[Questions] = []
        for part in distinct:
            starts[id(part)] = rows
            # Fact 0 is padding in every part, and stays 0.
            facts_NF = torch.where(part.facts_NF != 0, part.facts_NF + sentences, 0)
            moved.append(replace(part, facts_NF=facts_NF))
            rows, sentences = rows + len(part), sentences + len(part.sentences_SW) - 1
        self.starts = [starts[id(part)] for part in parts]
        self.questions = distinct[0] if len(distinct) == 1 else _concatenate(moved)

    def batch(self, runs: Sequence[int], rows: Sequence[Tensor], device: torch.device) -> tuple[Batch, Tensor]:
        """One batch over `rows[i]` of run `runs[i]`, its own tensors [R, B, ...], and which rows are real, [R, B].

        Shorter runs are filled up with their first row; what is padding changes nothing.
        """
        B = max(map(len, rows))
        rows_RB = torch.stack(
            [torch.cat([own, own[:1].expand(B - len(own))]) + self.starts[r] for r, own in zip(runs, rows, strict=True)]
        )
        real_RB = torch.arange(B) < torch.tensor([len(own) for own in rows])[:, None]
        flat = self.questions.batch(rows_RB.flatten()).to(device)
        own = {name: getattr(flat, name).unflatten(0, rows_RB.shape) for name in _OWN}
        return replace(flat, **own), real_RB.to(device)


def _concatenate(parts: Sequence[Questions]) -> Questions:
    """The parts after one another, each tensor padded to the widest; the first sentence, padding, is held once."""

    def join(name: str, padding: int) -> Tensor:
        tensors = [getattr(part, name) for part in parts]
        width = max(tensor.shape[1] for tensor in tensors)
        return torch.cat([torch.nn.functional.pad(t, (0, width - t.shape[1]), value=padding) for t in tensors])

    sentences_SW = join("sentences_SW", 0)
    first_of_part = torch.tensor([0, *(len(part.sentences_SW) for part in parts[:-1])]).cumsum(0)
    repeated = torch.zeros(len(sentences_SW), dtype=torch.bool)
    repeated[first_of_part[1:]] = True
    return Questions(
        sentences_SW=sentences_SW[~repeated],
        facts_NF=join("facts_NF", 0),
        lengths_N=torch.cat([part.lengths_N for part in parts]),
        questions_NQ=join("questions_NQ", 0),
        answers_N=torch.cat([part.answers_N for part in parts]),
        answer_words_NL=join("answer_words_NL", -1),
        supporting_NK=join("supporting_NK", -1),
        steps_NK=join("steps_NK", -1),
        kinds_N=torch.cat([part.kinds_N for part in parts]),
    )


class _Stack:
    """Runs that have been through equally many epochs, their parameters and Adam's state stacked for one more."""

    def __init__(self, runs: Sequence[int], trainers: Sequence[Trainer]) -> None:
        self.runs, self.trainers = list(runs), list(trainers)
        self.config = trainers[0].config
        # Only its structure is used; the parameters come from the stack.
        self.model: DMN = trainers[0].model
        self.parameters = {
            name: torch.stack([trainer.model.get_parameter(name).detach() for trainer in trainers]).requires_grad_()
            for name, _ in self.model.named_parameters()
        }
        self.device = next(iter(self.parameters.values())).device
        self.optimizer = adam(self.parameters.items(), self.config)
        for name, stacked in self.parameters.items():
            states = [trainer.optimizer.state[trainer.model.get_parameter(name)] for trainer in trainers]
            if all(states):
                # Equally many epochs are equally many steps.
                self.optimizer.state[stacked] = {
                    "step": states[0]["step"].clone(),
                    "exp_avg": torch.stack([state["exp_avg"] for state in states]),
                    "exp_avg_sq": torch.stack([state["exp_avg_sq"] for state in states]),
                }

    def run_epoch(self, training: _Joint, validation: _Joint, report: Callable[[int, Step | Epoch], None]) -> None:
        start = time.perf_counter()
        losses = self._train(training, report)
        checks = self._validate(validation)
        self._hand_back()
        seconds = (time.perf_counter() - start) / len(self.runs)
        for r, trainer, loss, (validation_loss, error) in zip(self.runs, self.trainers, losses, checks, strict=True):
            trainer.finish_epoch(loss, validation_loss, error, seconds)
            report(r, trainer.history[-1])

    def _train(self, joint: _Joint, report: Callable[[int, Step | Epoch], None]) -> list[float]:
        """One epoch; the mean loss of each run."""
        parts = [joint.parts[r] for r in self.runs]
        set_rates(self.optimizer, self.config, len(self.trainers[0].history))
        labels = [labelled(part, self.config) for part in parts]
        orders = [
            list(part.batches(self.config.batch, shuffle=trainer.order, by_length=self.config.by_length))
            for part, trainer in zip(parts, self.trainers, strict=True)
        ]
        total_R = torch.zeros(len(self.runs), device=self.device)
        for step, rows in enumerate(zip(*orders, strict=True)):
            for r, trainer in zip(self.runs, self.trainers, strict=True):
                report(r, Step(len(trainer.history) + 1, step, len(orders[0])))
            batch, real_RB = joint.batch(self.runs, rows, self.device)
            dropout = self._draw_dropout(batch, parts, rows)
            labelled_RB = torch.zeros_like(real_RB)
            for i, own in enumerate(rows):
                labelled_RB[i, : len(own)] = labels[i][own].to(self.device)
            loss_R, sum_R = vmap(self._losses, in_dims=(0, None, 0, 0, 0, 0))(
                self.parameters,
                batch.sentences_SW,
                _own_of(batch),
                {name: mask for name, mask in dropout._asdict().items() if mask is not None},
                real_RB,
                labelled_RB,
            )
            total_R += sum_R.detach()
            self.optimizer.zero_grad(set_to_none=True)
            # No run's loss depends on another's parameters.
            loss_R.sum().backward()
            self.optimizer.step()
        return [float(total) / len(part) for total, part in zip(total_R, parts, strict=True)]

    def _draw_dropout(self, batch: Batch, parts: Sequence[Questions], rows: Sequence[Tensor]) -> DropoutMasks:
        """Each run's own draws, of the shape that its batch has alone, padded with ones to the common shape."""
        R, B, F = batch.facts_BF.shape
        H = self.model.config.hidden
        facts = torch.ones(R, B, F, H, device=self.device)
        answer = torch.ones(R, B, 2 * H, device=self.device)
        contexts = []
        for i, (trainer, part, own) in enumerate(zip(self.trainers, parts, rows, strict=True)):
            longest = int(part.lengths_N[own].max())
            alone = replace(batch, facts_BF=batch.facts_BF[i, : len(own), :longest])
            masks = trainer.draw_dropout(alone)
            if masks is None:
                continue
            facts[i, : len(own), :longest] = masks.facts_BFH
            answer[i, : len(own)] = masks.answer_BK
            if (drawn := masks.contexts_PBAH) is not None:
                asking = F + 1 if drawn.shape[2] > 1 else 1
                context = torch.ones(len(drawn), B, asking, H, device=self.device)
                # The question's row comes last, behind the padding.
                context[:, : len(own), : drawn.shape[2] - 1] = drawn[:, :, :-1]
                context[:, : len(own), -1] = drawn[:, :, -1]
                contexts.append(context)
        return DropoutMasks(facts, answer, contexts_PBAH=torch.stack(contexts) if contexts else None)

    def _losses(
        self,
        parameters: dict[str, Tensor],
        sentences_SW: Tensor,
        own: dict[str, Tensor],
        dropout: dict[str, Tensor],
        real_B: Tensor,
        labelled_B: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """What one run minimises, and the sum of its answers' losses."""
        batch = Batch(sentences_SW=sentences_SW, **own)
        output = self._forward(parameters, batch, DropoutMasks(**dropout))
        sum_of_losses = torch.where(real_B, self.model.losses(output, batch), 0).sum()
        loss = sum_of_losses / real_B.sum()
        if self.config.attention_weight:
            missed_B = attention_losses(output.attention_PBF, batch.supporting_BK, batch.steps_BK) * labelled_B
            loss = loss + self.config.attention_weight * missed_B.sum() / real_B.sum()
        return loss, sum_of_losses

    def _forward(self, parameters: dict[str, Tensor], batch: Batch, dropout: DropoutMasks | None = None) -> Output:
        return functional_call(self.model, parameters, (batch, dropout))

    @torch.no_grad()
    def _validate(self, joint: _Joint) -> list[tuple[float, float]]:
        """Mean loss and share of wrong answers of each run."""

        def measure(
            parameters: dict[str, Tensor], sentences_SW: Tensor, own: dict[str, Tensor], real_B: Tensor
        ) -> tuple[Tensor, Tensor]:
            batch = Batch(sentences_SW=sentences_SW, **own)
            output = self._forward(parameters, batch)
            loss = torch.where(real_B, self.model.losses(output, batch), 0).sum()
            return loss, (correct(output, batch) & real_B).sum()

        parts = [joint.parts[r] for r in self.runs]
        loss_R = torch.zeros(len(parts), device=self.device, dtype=torch.float64)
        right_R = torch.zeros(len(parts), device=self.device, dtype=torch.long)
        for rows in zip(*(part.batches(EVALUATION_BATCH) for part in parts), strict=True):
            batch, real_RB = joint.batch(self.runs, rows, self.device)
            loss, right = vmap(measure, in_dims=(0, None, 0, 0))(
                self.parameters, batch.sentences_SW, _own_of(batch), real_RB
            )
            loss_R += loss
            right_R += right
        return [
            (loss / len(part), 1 - right / len(part))
            for loss, right, part in zip(loss_R.tolist(), right_R.tolist(), parts, strict=True)
        ]

    @torch.no_grad()
    def _hand_back(self) -> None:
        """Each run's parameters and Adam state into its own trainer."""
        for name, stacked in self.parameters.items():
            state = self.optimizer.state[stacked]
            for i, trainer in enumerate(self.trainers):
                parameter = trainer.model.get_parameter(name)
                parameter.copy_(stacked[i])
                trainer.optimizer.state[parameter] = {
                    "step": state["step"].clone(),
                    "exp_avg": state["exp_avg"][i].clone(),
                    "exp_avg_sq": state["exp_avg_sq"][i].clone(),
                }


def _own_of(batch: Batch) -> dict[str, Tensor]:
    return {name: getattr(batch, name) for name in _OWN}


def _check(trainers: Sequence[Trainer], training: Sequence[Questions], validation: Sequence[Questions]) -> None:
    if not trainers or not len(trainers) == len(training) == len(validation):
        found = f"{len(trainers)}, {len(training)} and {len(validation)}"
        raise ValueError(f"trainers, training and validation must be equally many and at least one, not {found}")
    if any(part.pictures is not None for part in (*training, *validation)):
        raise ValueError("models of pictures are not trained together; train them one after the other")
    first = trainers[0]
    if first.config.word_dropout or any(part.names_NM is not None for part in training):
        raise ValueError("runs with word dropout or anonymous names are not trained together; train them one by one")
    if first.config.focus != 1:
        raise ValueError("runs with training.focus show different questions; train them one by one")
    for trainer in trainers[1:]:
        if trainer.config != first.config or trainer.model.config != first.model.config:
            raise ValueError("runs trained together must have the same settings of network and training")
        shapes = [{name: p.shape for name, p in t.model.named_parameters()} for t in (first, trainer)]
        if shapes[0] != shapes[1]:
            raise ValueError("runs trained together must have vocabularies of the same size")
    for kind, parts, size in (("training", training, first.config.batch), ("validation", validation, EVALUATION_BATCH)):
        batches = [math.ceil(len(part) / size) for part in parts]
        if len(set(batches)) > 1:
            raise ValueError(f"runs trained together must have equally many {kind} batches, not {batches}")
