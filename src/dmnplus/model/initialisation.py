"""How weights start (paper section 4.1: Xavier, embeddings uniform in +-sqrt(3))."""

from __future__ import annotations

import torch
from torch import nn


def xavier(*shape: int) -> nn.Parameter:
    """A stack of matrices [..., out, in], each with Xavier's uniform start for its own fan-in and fan-out."""
    bound = (6 / (shape[-1] + shape[-2])) ** 0.5
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))


def zeros(*shape: int) -> nn.Parameter:
    """A bias."""
    return nn.Parameter(torch.zeros(*shape))


@torch.no_grad()
def start_uniform(model: nn.Module, bound: float = 0.08) -> None:
    """Draw all weights anew, uniform in +-`bound` (the paper's start for images); what is zero, biases and the vector
    of padding, stays so."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            zero = parameter == 0
            parameter.uniform_(-bound, bound).masked_fill_(zero, 0)


@torch.no_grad()
def start_stacked(model: nn.Module) -> None:
    """Start gated units as libraries do that keep their matrices in one.

    Xavier's bound is then that of a matrix twice as large, 1/sqrt(2) of the single ones'; and the update gates of a
    `GRU` start with a bias that keeps the state.
    """
    for name, parameter in model.named_parameters():
        leaf = name.rpartition(".")[2]
        if leaf in ("input_weight", "recurrent_weight"):
            parameter.mul_(2**-0.5)
        elif name.endswith(".gru.input_bias"):
            # Of every direction, the first third: the update gate, whose sigmoid is the share of what is new.
            parameter[:, : parameter.shape[1] // 3] = -1.0
