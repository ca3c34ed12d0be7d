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
