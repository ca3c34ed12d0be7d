"""Section 3.3, the episodic memory module: attention gate, episode, memory update, pass after pass.

Shape legend: B batch, F facts, H hidden, P passes, K first-layer width of the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dmnplus.kernels import attention_gate, attention_gate_half, attention_gru, episodes, linear, takes_cpu
from dmnplus.model.initialisation import xavier, zeros

Episode = Literal["attention_gru", "soft_attention", "sum", "sum_and_mean"]
Update = Literal["relu", "gru", "residual", "product"]
Compared = Literal["question", "memory"]
GateFeature = Literal["fact", "plain", "product", "absolute", "squared", "cosine", "bilinear"]

# Independent gates that are all closed have no share of anything.
NO_GATE = 1e-30


def product(f_BFH: Tensor, x_BH: Tensor) -> Tensor:
    return f_BFH * rearrange(x_BH, "b h -> b 1 h")


def absolute(f_BFH: Tensor, x_BH: Tensor) -> Tensor:
    return (f_BFH - rearrange(x_BH, "b h -> b 1 h")).abs()


def squared(f_BFH: Tensor, x_BH: Tensor) -> Tensor:
    return (f_BFH - rearrange(x_BH, "b h -> b 1 h")).square()


def plain(f_BFH: Tensor, x_BH: Tensor) -> Tensor:
    return rearrange(x_BH, "b h -> b 1 h").expand_as(f_BFH)


def cosine(f_BFH: Tensor, x_BH: Tensor) -> Tensor:
    similarity_BF = nn.functional.cosine_similarity(f_BFH, rearrange(x_BH, "b h -> b 1 h"), dim=-1)
    return rearrange(similarity_BF, "b f -> b f 1")


class Bilinear(nn.Module):
    """f' W x, a feature of the original gate (Kumar et al. 2015, equation 6)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = xavier(hidden, hidden)

    def forward(self, f_BFH: Tensor, x_BH: Tensor) -> Tensor:
        return torch.einsum("bfh,hk,bk->bf", f_BFH, self.weight, x_BH)[..., None]


_ELEMENTWISE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "product": product,
    "absolute": absolute,
    "squared": squared,
    "plain": plain,
    "cosine": cosine,
}


class GateFeatures(nn.Module):
    """How facts are compared with one vector x, the question or the memory: one half of z in equation 8.

    `product` is f o x, `absolute` |f - x|, `squared` (f - x)^2, `plain` x itself, `cosine` and `bilinear` (f' W x) a
    number each.
    """

    def __init__(self, names: Sequence[str], hidden: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = sum(1 if name in ("cosine", "bilinear") else hidden for name in self.names)
        if "bilinear" in self.names:
            self.bilinear = Bilinear(hidden)

    def forward(self, f_BFH: Float[Tensor, "B F H"], x_BH: Float[Tensor, "B H"]) -> Float[Tensor, "B F K"]:
        compare = [self.bilinear if name == "bilinear" else _ELEMENTWISE[name] for name in self.names]
        return torch.cat([feature(f_BFH, x_BH) for feature in compare], dim=-1)


class AttentionGate(nn.Module):
    """Equations 8-10: g = softmax over the real facts of W2 tanh(W1 z + b1) + b2, z comparing facts with q and m.

    `features` names what z is made of; ("product", "absolute") is the paper's [f o q; f o m; |f - q|; |f - m|]. With
    "fact", z holds f itself as well, as the original DMN's does. `compares` may leave q or m out; without m, all passes
    attend alike. `independent` puts a sigmoid in the place of the softmax, so that each fact is used or not whatever
    the others are.
    """

    def __init__(
        self,
        hidden: int,
        features: Sequence[str],
        compares: Sequence[str] = ("question", "memory"),
        *,
        independent: bool = False,
    ) -> None:
        super().__init__()
        self.independent = independent
        # The paper's features have an operator that never writes z.
        self.fused = tuple(features) == ("product", "absolute")
        self.with_fact = "fact" in features
        compared = [name for name in features if name != "fact"]
        self.question_features = GateFeatures(compared, hidden) if "question" in compares else None
        self.memory_features = GateFeatures(compared, hidden) if "memory" in compares else None
        question_width = (self.question_features.width if self.question_features else 0) + hidden * self.with_fact
        memory_width = self.memory_features.width if self.memory_features else 0
        # One Xavier start for the whole of W1, then cut in two: the half that meets q is the same in every pass.
        W1 = xavier(hidden, memory_width + question_width).detach()
        self.W1_memory = nn.Parameter(W1[:, :memory_width].clone()) if memory_width else None
        self.W1_question = nn.Parameter(W1[:, memory_width:].clone()) if question_width else None
        self.b1 = zeros(hidden)
        self.W2 = xavier(1, hidden)
        # Independent gates start nearer to closed, or a pass would begin with the sum of nearly all facts.
        self.b2 = nn.Parameter(torch.full((1,), -1.0 if independent else 0.0))

    def question_half(
        self, f_BFH: Float[Tensor, "B F H"], q_BH: Float[Tensor, "B H"], mask_BF: Bool[Tensor, "B F"]
    ) -> Float[Tensor, "B F H"]:
        """The part of W1 z + b1 that depends on q alone; what it holds for masked facts is not defined."""
        if self.W1_question is None:
            return self.b1 + torch.zeros_like(f_BFH)
        if self.fused:
            return attention_gate_half(f_BFH[None], q_BH[None], self.W1_question[None], self.b1[None], mask_BF[None])[0]
        z = [self.question_features(f_BFH, q_BH)] if self.question_features else []
        z_BFK = torch.cat([*z, f_BFH] if self.with_fact else z, dim=-1)
        return nn.functional.linear(z_BFK, self.W1_question, self.b1)

    def forward(
        self,
        f_BFH: Float[Tensor, "B F H"],
        question_half_BFH: Float[Tensor, "B F H"],
        m_BH: Float[Tensor, "B H"],
        mask_BF: Bool[Tensor, "B F"],
    ) -> Float[Tensor, "B F"]:
        Z_BF = self._scores(f_BFH, question_half_BFH, m_BH, mask_BF) + self.b2
        Z_BF = Z_BF.masked_fill(~mask_BF, float("-inf"))
        return torch.sigmoid(Z_BF) if self.independent else torch.softmax(Z_BF, dim=-1)

    def _scores(self, f_BFH: Tensor, half_BFH: Tensor, m_BH: Tensor, mask_BF: Tensor) -> Tensor:
        if self.memory_features is None or self.W1_memory is None:
            return nn.functional.linear(torch.tanh(half_BFH), self.W2)[..., 0]
        if self.fused:
            # A group of one; W2 is one row already.
            f, m, half, mask = f_BFH[None], m_BH[None], half_BFH[None], mask_BF[None]
            return attention_gate(f, m, half, self.W1_memory[None], self.W2, mask)[0]
        half_BFH = half_BFH + nn.functional.linear(self.memory_features(f_BFH, m_BH), self.W1_memory)
        return nn.functional.linear(torch.tanh(half_BFH), self.W2)[..., 0]


class AttentionGRU(nn.Module):
    """Equation 11: the context is the last state of a GRU whose update gate is the attention gate."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.input_weight = nn.Parameter(xavier(2, hidden, hidden).flatten(0, 1).detach())
        self.input_bias = zeros(2 * hidden)
        self.recurrent_weight = nn.Parameter(xavier(2, hidden, hidden).flatten(0, 1).detach())

    def project(self, f_BFH: Float[Tensor, "B F H"]) -> Float[Tensor, "B F _"]:
        """What the recurrence needs of the facts, the same in every pass."""
        return linear(f_BFH, self.input_weight, self.input_bias)

    def forward(
        self, x_BF2H: Float[Tensor, "B F _"], g_BF: Float[Tensor, "B F"], mask_BF: Bool[Tensor, "B F"]
    ) -> Float[Tensor, "B H"]:
        return attention_gru(x_BF2H[None], self.recurrent_weight[None], g_BF[None], mask_BF[None])[0]


class SoftAttention(nn.Module):
    """The context is the mean of the facts weighted by the gate, c = sum_i g_i f_i (equation before 11).

    With an independent gate it is a sum, which grows with the number of facts used: what counting needs.
    """

    def project(self, f_BFH: Float[Tensor, "B F H"]) -> Float[Tensor, "B F H"]:
        return f_BFH

    def forward(
        self, f_BFH: Float[Tensor, "B F H"], g_BF: Float[Tensor, "B F"], mask_BF: Bool[Tensor, "B F"]
    ) -> Float[Tensor, "B H"]:
        return torch.einsum("bf,bfh->bh", g_BF, f_BFH)


class SumAndMean(SoftAttention):
    """The context is linear in the sum of the facts by independent gates and in their mean, W [s; s / sum_i g_i].

    Not in the paper. The sum counts, and grows with all that is read besides; the mean tells what was read.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.W = xavier(hidden, 2 * hidden)

    def forward(
        self, f_BFH: Float[Tensor, "B F H"], g_BF: Float[Tensor, "B F"], mask_BF: Bool[Tensor, "B F"]
    ) -> Float[Tensor, "B H"]:
        sum_BH = super().forward(f_BFH, g_BF, mask_BF)
        mean_BH = super().forward(f_BFH, shares(g_BF), mask_BF)
        return nn.functional.linear(torch.cat([sum_BH, mean_BH], dim=-1), self.W)


def shares(g_BF: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
    """Independent gates as attention, which sums to one."""
    return g_BF / g_BF.sum(dim=-1, keepdim=True).clamp(min=NO_GATE)


class ReLUUpdate(nn.Module):
    """Equation 13: m_t = ReLU(W_t [m_{t-1}; c_t; q] + b)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.W = xavier(hidden, 3 * hidden)
        self.b = zeros(hidden)

    def forward(
        self, m_BH: Float[Tensor, "B H"], c_BH: Float[Tensor, "B H"], q_BH: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B H"]:
        return torch.relu(nn.functional.linear(torch.cat([m_BH, c_BH, q_BH], dim=-1), self.W, self.b))


class ResidualUpdate(ReLUUpdate):
    """m_t = m_{t-1} + ReLU(W_t [m_{t-1}; c_t; q] + b): the readers' question 3, not in the paper."""

    def forward(
        self, m_BH: Float[Tensor, "B H"], c_BH: Float[Tensor, "B H"], q_BH: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B H"]:
        return m_BH + super().forward(m_BH, c_BH, q_BH)


class ProductUpdate(nn.Module):
    """m_t = ReLU(W_t x + (U_t x) o (V_t x) + b) with x = [m_{t-1}; c_t; q]: not in the paper.

    Products let a question choose what of two facts is compared, which sums alone learn slowly.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.W = xavier(hidden, 3 * hidden)
        self.U = xavier(hidden, 3 * hidden)
        # Products of products grow from pass to pass; at the start this is nearly the ReLU update.
        self.V = nn.Parameter(0.1 * xavier(hidden, 3 * hidden).detach())
        self.b = zeros(hidden)

    def forward(
        self, m_BH: Float[Tensor, "B H"], c_BH: Float[Tensor, "B H"], q_BH: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B H"]:
        x_BK = torch.cat([m_BH, c_BH, q_BH], dim=-1)
        products_BH = nn.functional.linear(x_BK, self.U) * nn.functional.linear(x_BK, self.V)
        return torch.relu(nn.functional.linear(x_BK, self.W, self.b) + products_BH)


class GRUUpdate(nn.Module):
    """Equation 12: m_t = GRU(c_t, m_{t-1})."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.input_weight = nn.Parameter(xavier(3, hidden, hidden).flatten(0, 1).detach())
        self.recurrent_weight = nn.Parameter(xavier(3, hidden, hidden).flatten(0, 1).detach())
        self.bias = zeros(3 * hidden)

    def forward(
        self, m_BH: Float[Tensor, "B H"], c_BH: Float[Tensor, "B H"], q_BH: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B H"]:
        x_u, x_r, x_h = nn.functional.linear(c_BH, self.input_weight, self.bias).chunk(3, dim=-1)
        U_u, U_r, U_h = self.recurrent_weight.chunk(3)
        u = torch.sigmoid(x_u + m_BH @ U_u.T)
        r = torch.sigmoid(x_r + m_BH @ U_r.T)
        candidate = torch.tanh(x_h + r * (m_BH @ U_h.T))
        return u * candidate + (1 - u) * m_BH


class EpisodicMemory(nn.Module):
    """`passes` episodes over the facts, from m_0 = q; each attends by the memory that the one before left.

    `tied` shares one memory update among the passes; untied, each has its own (section 3.3). Gate and episode are
    the same in every pass. Without `update_question` the updates are given no q.
    """

    def __init__(
        self,
        hidden: int,
        *,
        passes: int,
        gate: Sequence[str],
        gate_compares: Sequence[str] = ("question", "memory"),
        episode: Episode,
        update: Update,
        update_question: bool = True,
        tied: bool,
    ) -> None:
        super().__init__()
        self.passes = passes
        self.update_question = update_question
        self.gate = AttentionGate(hidden, gate, gate_compares, independent=episode in ("sum", "sum_and_mean"))
        match episode:
            case "attention_gru":
                self.episode = AttentionGRU(hidden)
            case "soft_attention" | "sum":
                self.episode = SoftAttention()
            case "sum_and_mean":
                self.episode = SumAndMean(hidden)
        kind = {"relu": ReLUUpdate, "gru": GRUUpdate, "residual": ResidualUpdate, "product": ProductUpdate}[update]
        self.updates = nn.ModuleList(kind(hidden) for _ in range(1 if tied else passes))
        # The paper's passes are one operator where no gradient is wanted.
        self.fused = self.gate.fused and len(gate_compares) == 2 and episode == "attention_gru" and update == "relu"

    def forward(
        self,
        f_BFH: Float[Tensor, "B F H"],
        q_BH: Float[Tensor, "B H"],
        mask_BF: Bool[Tensor, "B F"],
        dropout_PB1H: Float[Tensor, "P B 1 H"] | None = None,
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "P B F"]]:
        """The last memory, and the attention of every pass, which sums to one; contexts are multiplied by
        `dropout_PB1H`."""
        m = q_BH
        # To a linear layer zeros are nothing.
        q_update = q_BH if self.update_question else torch.zeros_like(q_BH)
        question_half = self.gate.question_half(f_BFH, q_BH, mask_BF)
        projected = self.episode.project(f_BFH)
        if self.at_once and dropout_PB1H is None:
            return self._at_once(f_BFH, q_BH, q_update, question_half, projected, mask_BF)
        attention = []
        for t in range(self.passes):
            g = self.gate(f_BFH, question_half, m, mask_BF)
            c = self.episode(projected, g, mask_BF)
            if dropout_PB1H is not None:
                c = c * dropout_PB1H[t, :, 0]
            m = self.updates[t % len(self.updates)](m, c, q_update)
            attention.append(shares(g) if self.gate.independent else g)
        return m, torch.stack(attention)

    @property
    def at_once(self) -> bool:
        """Whether all passes are one compiled call now, to which every row is alone, down to a batch of one."""
        if not self.fused or torch.is_grad_enabled() or not takes_cpu(self.gate.W2):
            return False
        # Who watches a step, or changes it, is to see it.
        return not any(
            part._forward_hooks or part._forward_pre_hooks for part in (self.gate, self.episode, *self.updates)
        )

    def _at_once(
        self,
        f_BFH: Tensor,
        q_BH: Tensor,
        q_update_BH: Tensor,
        half_BFH: Tensor,
        projected_BF2H: Tensor,
        mask_BF: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """All passes by one operator, as a group of one. The softmax does not see the bias of the scores."""
        gate, episode = self.gate, self.episode
        assert gate.W1_memory is not None
        assert isinstance(episode, AttentionGRU)
        updates = [update for update in self.updates if isinstance(update, ReLUUpdate)]
        updates = [updates[t % len(updates)] for t in range(self.passes)]
        m_GBH, attention_PGBF = episodes(
            f_BFH[None],
            q_BH[None],
            q_update_BH[None],
            half_BFH[None],
            projected_BF2H[None],
            mask_BF[None],
            gate.W1_memory[None],
            gate.W2,
            episode.recurrent_weight[None],
            [update.W for update in updates],
            [update.b for update in updates],
        )
        return m_GBH[0], attention_PGBF[:, 0]


GATE_FEATURES: tuple[str, ...] = get_args(GateFeature)
GATE_COMPARES: tuple[str, ...] = get_args(Compared)
