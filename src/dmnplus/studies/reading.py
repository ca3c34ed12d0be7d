"""What trained networks attend to and answer, question by question, also with their attention interfered with.

Shape legend: N questions, B batch, F facts, P passes, K supporting facts, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dmnplus.data.batching import encode
from dmnplus.data.example import Example
from dmnplus.model import DMN
from dmnplus.model.episodic_memory import AttentionGate, EpisodicMemory
from dmnplus.studies.study import Trained
from dmnplus.training.metrics import EVALUATION_BATCH, answered


class Reading(NamedTuple):
    """Padded to the longest story of all."""

    attention_PNF: Tensor
    mask_NF: Tensor
    right_N: Tensor
    """Whether the answer is right."""
    answer_N: Tensor
    """Class of the answer."""
    steps_NF: Tensor
    """Place of a labelled fact in the chain that leads to the answer, from 0; -1 for the others."""

    @property
    def error(self) -> float:
        return 1 - float(self.right_N.float().mean())

    def on_step(self, step: int) -> Tensor:
        """Mean attention of each pass to the facts of a step of the chain, [P]."""
        return (self.attention_PNF * (self.steps_NF == step)).sum(dim=-1).mean(dim=-1)

    def top_step(self) -> Tensor:
        """The step of each pass's most attended fact, -1 where that is not labelled, [P, N]."""
        best_PN1 = self.attention_PNF.argmax(dim=-1, keepdim=True)
        return self.steps_NF.expand_as(self.attention_PNF).gather(-1, best_PN1)[..., 0]


@torch.no_grad()
def read(trained: Trained, examples: Sequence[Example] | None = None) -> Reading:
    """The network on its test questions, or on `examples`."""
    model = trained.model
    questions = encode(
        examples or trained.splits.test,
        trained.vocabulary,
        last_facts=trained.config.data.last_facts,
        pictures=trained.pictures,
    )
    N, F = len(questions), int(questions.lengths_N.max())
    attention_PNF = torch.zeros(model.config.passes, N, F)
    mask_NF, right_N = torch.zeros(N, F, dtype=torch.bool), torch.zeros(N, dtype=torch.bool)
    answer_N = torch.zeros(N, dtype=torch.long)
    steps_NF = torch.full((N, F + 1), -1)
    for rows in questions.batches(EVALUATION_BATCH):
        batch = questions.batch(rows)
        output = model(batch)
        width = batch.mask_BF.shape[1]
        attention_PNF[:, rows, :width] = output.attention_PBF
        mask_NF[rows, :width] = batch.mask_BF
        right_N[rows] = answered(model, output, batch)
        answer_N[rows] = output.logits.argmax(dim=-1)
        # What is not labelled lands in the column past the last.
        places_BK = torch.where(batch.supporting_BK < 0, F, batch.supporting_BK)
        steps_NF[rows] = steps_NF[rows].scatter(1, places_BK, batch.steps_BK)
    return Reading(attention_PNF, mask_NF, right_N, answer_N, steps_NF[:, :F])


@contextmanager
def gates(model: DMN, change: Callable[[list[Tensor], Tensor], Tensor]) -> Iterator[None]:
    """Within it, every pass attends by what `change` makes of its own attention [B, F] and those of the passes before.

    What `change` gives need not sum to one: what is taken from a fact goes to no other.
    """
    earlier: list[Tensor] = []

    def hook(gate: nn.Module, inputs: Any, g_BF: Tensor) -> Tensor:
        if len(earlier) == model.config.passes:
            earlier.clear()
        changed_BF = change(earlier, g_BF)
        earlier.append(changed_BF)
        return changed_BF

    handle = _gate(model).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def memories(model: DMN, change: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """Within it, every pass's gate sees what `change` makes of q and m, both [B, H], in the place of m."""
    calls: list[Tensor] = []

    def hook(gate: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        f_BFH, question_half_BFH, m_BH, mask_BF = inputs
        if len(calls) == model.config.passes:
            calls.clear()
        # The memory of the first pass is the question.
        calls.append(m_BH)
        return f_BFH, question_half_BFH, change(calls[0], m_BH), mask_BF

    handle = _gate(model).register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _gate(model: DMN) -> AttentionGate:
    if not isinstance(model.memory, EpisodicMemory):
        raise ValueError(f"model.memory is {model.config.memory!r}; only 'question' has a gate to interfere with")
    return model.memory.gate
