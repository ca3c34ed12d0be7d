"""All passes of the paper's episodic memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dmnplus.kernels._backend import takes_cpu
from dmnplus.kernels._checks import check_gate_shapes, check_half, check_shapes
from dmnplus.kernels.episodes import cpu, reference


def episodes(
    facts_GBFH: Tensor,
    question_GBH: Tensor,
    asked_GBH: Tensor,
    question_half_GBFK: Tensor,
    projected_GBF2H: Tensor,
    mask_GBF: Tensor,
    gate_weight_GK2H: Tensor,
    w2_GK: Tensor,
    recurrent_G2HH: Tensor,
    updates: Sequence[Tensor],
    biases: Sequence[Tensor],
) -> tuple[Tensor, Tensor]:
    """The last memory [G, B, H] and the attention [P, G, B, F] of every pass (paper section 3.3, equations 8-11, 13).

    A pass scores the facts by `attention_gate`, shares out attention by a softmax over the real facts, makes a context
    by `attention_gru`, and a new memory m' = relu(W [m; c; q] + b). `updates` are W [GH, 3H] and `biases` b [GH], one
    for each pass, those of the groups one after the other. The first memory is `question_GBH`; `asked_GBH` is q of the
    updates. A masked fact has no attention, and where all are masked the context is 0.

    Without gradients and on the CPU it is one compiled operator; elsewhere each step is one. Raises `ValueError` where
    the shapes disagree, and as `set_backend` where a backend asked for by name is missing.
    """
    check_gate_shapes(facts_GBFH, question_GBH, gate_weight_GK2H, w2_GK, mask_GBF)
    check_shapes(2, projected_GBF2H, recurrent_G2HH, mask_GBF)
    check_half(question_half_GBFK, w2_GK, mask_GBF)
    G, _, H = question_GBH.shape
    if asked_GBH.shape != question_GBH.shape:
        raise ValueError(f"q of the updates must be {[*question_GBH.shape]}, not {[*asked_GBH.shape]}")
    if {W.shape for W in updates} != {(G * H, 3 * H)} or [b.shape for b in biases] != [(G * H,)] * len(updates):
        found = ", ".join(f"{[*tensor.shape]}" for tensor in (*updates, *biases))
        raise ValueError(f"each pass needs an update {[G * H, 3 * H]} and a bias {[G * H]}, not {found}")
    arguments = facts_GBFH, question_GBH, asked_GBH, question_half_GBFK, projected_GBF2H, mask_GBF
    weights = gate_weight_GK2H, w2_GK, recurrent_G2HH, [*updates], [*biases]
    fits = not torch.is_grad_enabled() and takes_cpu(*arguments[:-1], *weights[:3], *updates, *biases)
    return (cpu.episodes if fits else reference.episodes)(*arguments, *weights)


__all__ = ["episodes"]
