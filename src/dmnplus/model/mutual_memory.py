"""The episodic memory of `dmn-max`: every fact has a memory of its own and asks the others, as the question does.

Not in the paper. In its episodic memory the question alone goes over the facts, and has to find a whole chain of them
before any of it pays. Here facts that belong together tell each other what they say, pass by pass, and the question
finds it there. docs/dmn_max.md says what made the difference.

Shape legend: B batch, F facts, R = F + 1 rows (the facts, then the question), H hidden, P passes, K inside the update.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dmnplus.model.initialisation import xavier, zeros

GateStart = Literal["identity", "xavier"]


class SimilarityGate(nn.Module):
    """g_ij = softmax over the real facts j of s x_i' W x_j / sqrt(H), for every row i; no fact attends to itself.

    With the start "identity", W starts as that: before any training a row attends to the facts that share words with
    it, and the chains that lead from fact to fact need not be found by chance. With "xavier" it starts at random.
    """

    SHARPNESS = 2.0

    def __init__(self, hidden: int, start: GateStart = "identity") -> None:
        super().__init__()
        self.W = nn.Parameter(torch.eye(hidden)) if start == "identity" else xavier(hidden, hidden)
        self.scale = self.SHARPNESS / hidden**0.5

    def forward(
        self, x_BRH: Float[Tensor, "B R H"], f_BFH: Float[Tensor, "B F H"], mask_BF: Bool[Tensor, "B F"]
    ) -> Float[Tensor, "B R F"]:
        """The rows `x_BRH` are the facts and then the question, or the question alone."""
        R, F = x_BRH.shape[1], f_BFH.shape[1]
        Z_BRF = torch.einsum("brh,hk,bfk->brf", x_BRH, self.W * self.scale, f_BFH)
        if R > F:
            itself_RF = torch.eye(R, F, dtype=torch.bool, device=mask_BF.device)
            # Finite, so that a fact that is alone attends to itself and never to padding.
            Z_BRF = Z_BRF.masked_fill(itself_RF, -1e9)
        return torch.softmax(Z_BRF.masked_fill(~mask_BF[:, None], float("-inf")), dim=-1)


class ContextUpdate(nn.Module):
    """x + V c, then x + W2 ReLU(W1 norm(x) + b1) + b2: a residual memory update, the same for every row."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        # A rotation: what a row was told can be matched in the next pass as well as what it said itself.
        self.V = nn.Parameter(nn.init.orthogonal_(torch.empty(hidden, hidden)))
        self.W1 = xavier(2 * hidden, hidden)
        self.b1 = zeros(2 * hidden)
        self.W2 = xavier(hidden, 2 * hidden)
        self.b2 = zeros(hidden)

    def forward(self, x_BRH: Float[Tensor, "B R H"], c_BRH: Float[Tensor, "B R H"]) -> Float[Tensor, "B R H"]:
        x_BRH = x_BRH + nn.functional.linear(c_BRH, self.V)
        inside_BRK = torch.relu(nn.functional.linear(_norm(x_BRH), self.W1, self.b1))
        return x_BRH + nn.functional.linear(inside_BRK, self.W2, self.b2)


class MutualMemory(nn.Module):
    """`passes` episodes in which every row, facts and question, attends to the facts and updates its memory.

    `tied` shares gate and update among the passes. In the last pass only the question's row is made.
    """

    def __init__(self, hidden: int, *, passes: int, tied: bool, gate_start: GateStart = "identity") -> None:
        super().__init__()
        self.passes = passes
        different = 1 if tied else passes
        self.gates = nn.ModuleList(SimilarityGate(hidden, gate_start) for _ in range(different))
        self.updates = nn.ModuleList(ContextUpdate(hidden) for _ in range(different))

    def forward(
        self,
        f_BFH: Float[Tensor, "B F H"],
        q_BH: Float[Tensor, "B H"],
        mask_BF: Bool[Tensor, "B F"],
        dropout_PBRH: Float[Tensor, "P B R H"] | None = None,
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "P B F"]]:
        """The question's last memory, and its attention in every pass; contexts are multiplied by `dropout_PBRH`."""
        F = mask_BF.shape[1]
        x = _norm(torch.cat([f_BFH, q_BH[:, None]], dim=1))
        attention = []
        for t in range(self.passes):
            gate, update = self.gates[t % len(self.gates)], self.updates[t % len(self.updates)]
            normed = _norm(x)
            f, asking = normed[:, :F], normed
            if t == self.passes - 1:
                x, asking = x[:, F:], normed[:, F:]
            g = gate(asking, f, mask_BF)
            c = torch.bmm(g, f)
            if dropout_PBRH is not None:
                c = c * dropout_PBRH[t][:, -x.shape[1] :]
            x = update(x, c)
            attention.append(g[:, -1])
        return x[:, -1], torch.stack(attention)


def _norm(x_BRH: Tensor) -> Tensor:
    """Layer normalisation without weights: the products that follow have their own."""
    return nn.functional.layer_norm(x_BRH, x_BRH.shape[-1:])
