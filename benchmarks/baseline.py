"""A DMN+ in plain PyTorch, as people write it: what the speed of this package is compared with.

The mathematics is that of `dmnplus.DMN` with its defaults (Xiong, Merity and Socher 2016), mistakes of public
implementations left out: position encoding by the word's place in its own sentence, masks on padded facts, untied
memory weights. With the same weights it gives the same logits and gradients, see `assert_parity`. The ways of computing
are the usual ones:

- the words of every sentence of every story are looked up in a padded [B, F, W, H] tensor, and weighed by broadcasting;
- the input fusion layer is a Python loop over the facts of an `nn.GRUCell`, masked, once in each direction.
  `fusion="library"` takes a packed bidirectional `nn.GRU` instead, which some public implementations use;
- the gate concatenates its four features to [B, F, 4H] in every pass;
- the attention GRU is a Python loop over the facts of a cell module, which projects the fact anew in every pass.

Shape legend: B batch, F facts, W words per fact, Q question words, P passes, H hidden, A answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dmnplus import DMN
from dmnplus.data.batching import Batch

Fusion = Literal["cell", "library"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)


class BaselineOutput(NamedTuple):
    logits_BA: Tensor
    attention_PBF: Tensor


def position_encoding(words_BFWH: Tensor, mask_BFW: Tensor) -> Tensor:
    """f = sum_j l_j o w_j, l_jd = (1 - j/M) - (d/D)(1 - 2j/M) (section 3.1)."""
    W, H = words_BFWH.shape[2:]
    M_BF11 = mask_BFW.sum(dim=-1).clamp(min=1)[..., None, None]
    j_W1 = torch.arange(1, W + 1, device=words_BFWH.device)[:, None]
    d_H = torch.arange(1, H + 1, device=words_BFWH.device)
    l_BFWH = (1 - j_W1 / M_BF11) - (d_H / H) * (1 - 2 * j_W1 / M_BF11)
    # The vector of padding is zero, so its weight does not matter.
    return (words_BFWH * l_BFWH).sum(dim=2)


class CellFusion(nn.Module):
    """A GRU cell over the facts in each direction, the states added (equation 7)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.forwards = nn.GRUCell(hidden, hidden)
        self.backwards = nn.GRUCell(hidden, hidden)

    def forward(self, facts_BFH: Tensor, mask_BF: Tensor) -> Tensor:
        steps = range(facts_BFH.shape[1])
        there = self._scan(self.forwards, facts_BFH, mask_BF, steps)
        return there + self._scan(self.backwards, facts_BFH, mask_BF, reversed(steps))

    @staticmethod
    def _scan(cell: nn.GRUCell, facts_BFH: Tensor, mask_BF: Tensor, steps: Iterable[int]) -> Tensor:
        h = torch.zeros_like(facts_BFH[:, 0])
        states = [h] * facts_BFH.shape[1]
        for i in steps:
            h = torch.where(mask_BF[:, i, None], cell(facts_BFH[:, i], h), h)
            states[i] = h
        return torch.stack(states, dim=1)


class LibraryFusion(nn.Module):
    """A packed bidirectional `nn.GRU`, the directions added (equation 7)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)

    def forward(self, facts_BFH: Tensor, mask_BF: Tensor) -> Tensor:
        lengths = mask_BF.sum(dim=1).cpu()
        packed = pack_padded_sequence(facts_BFH, lengths, batch_first=True, enforce_sorted=False)
        both_BFK, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=facts_BFH.shape[1])
        there, back = both_BFK.chunk(2, dim=-1)
        return there + back


class AttentionGRUCell(nn.Module):
    """One step of equation 11."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.W_r = nn.Linear(hidden, hidden)
        self.U_r = nn.Linear(hidden, hidden, bias=False)
        self.W = nn.Linear(hidden, hidden)
        self.U = nn.Linear(hidden, hidden, bias=False)

    def forward(self, fact_BH: Tensor, h_BH: Tensor, g_B1: Tensor) -> Tensor:
        r = torch.sigmoid(self.W_r(fact_BH) + self.U_r(h_BH))
        candidate = torch.tanh(self.W(fact_BH) + r * self.U(h_BH))
        return g_B1 * candidate + (1 - g_B1) * h_BH


class Baseline(nn.Module):
    """DMN+ with one answer a question."""

    def __init__(
        self,
        *,
        words: int,
        answers: int,
        hidden: int = 80,
        passes: int = 3,
        dropout: float = 0.1,
        fusion: Fusion = "cell",
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, hidden, padding_idx=0)
        self.fusion = {"cell": CellFusion, "library": LibraryFusion}[fusion](hidden)
        self.question_gru = nn.GRU(hidden, hidden, batch_first=True)
        self.gate_1 = nn.Linear(4 * hidden, hidden)
        self.gate_2 = nn.Linear(hidden, 1)
        self.attention_cell = AttentionGRUCell(hidden)
        self.updates = nn.ModuleList(nn.Linear(3 * hidden, hidden) for _ in range(passes))
        self.answer = nn.Linear(2 * hidden, answers)
        self.dropout = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():
            # The paper's GRU has no bias on the recurrent product.
            if "bias_hh" in name:
                nn.init.zeros_(parameter)
                parameter.requires_grad_(False)

    def forward(self, stories_BFW: Tensor, questions_BQ: Tensor) -> BaselineOutput:
        words_mask_BFW = stories_BFW != 0
        mask_BF = words_mask_BFW.any(dim=-1)
        facts = self.dropout(position_encoding(self.embedding(stories_BFW), words_mask_BFW))
        facts = self.fusion(facts, mask_BF)
        q = self._question(questions_BQ)
        m, attention = q, []
        for update in self.updates:
            g = self._gate(facts, q, m, mask_BF)
            c = self._episode(facts, g, mask_BF)
            m = torch.relu(update(torch.cat([m, c, q], dim=-1)))
            attention.append(g)
        return BaselineOutput(self.answer(self.dropout(torch.cat([q, m], dim=-1))), torch.stack(attention))

    def _question(self, questions_BQ: Tensor) -> Tensor:
        states_BQH, _ = self.question_gru(self.embedding(questions_BQ))
        last_B = (questions_BQ != 0).sum(dim=1) - 1
        return states_BQH[torch.arange(len(last_B), device=last_B.device), last_B]

    def _gate(self, facts_BFH: Tensor, q_BH: Tensor, m_BH: Tensor, mask_BF: Tensor) -> Tensor:
        q, m = q_BH.unsqueeze(1), m_BH.unsqueeze(1)
        z = torch.cat(
            [facts_BFH * q, facts_BFH * m, torch.abs(facts_BFH - q), torch.abs(facts_BFH - m)],
            dim=-1,
        )
        Z_BF = self.gate_2(torch.tanh(self.gate_1(z)))[..., 0]
        return torch.softmax(Z_BF.masked_fill(~mask_BF, float("-inf")), dim=-1)

    def _episode(self, facts_BFH: Tensor, g_BF: Tensor, mask_BF: Tensor) -> Tensor:
        h = torch.zeros_like(facts_BFH[:, 0])
        for i in range(facts_BFH.shape[1]):
            new = self.attention_cell(facts_BFH[:, i], h, g_BF[:, i, None])
            h = torch.where(mask_BF[:, i, None], new, h)
        return h


class BaselineBatch(NamedTuple):
    """A batch as the baseline reads it: the words of every sentence of every story."""

    stories_BFW: Tensor
    questions_BQ: Tensor
    answers_B: Tensor


def baseline_batch(batch: Batch) -> BaselineBatch:
    """The same questions in the baseline's form."""
    return BaselineBatch(batch.sentences_SW[batch.facts_BF], batch.questions_BQ, batch.answers_B)


def in_baseline_layout(ours: Mapping[str, Tensor], fusion: Fusion = "cell") -> dict[str, Tensor]:
    """Weights of `dmnplus.DMN` by the names and in the layout of `Baseline`; gradients likewise.

    Gradients go the same way as weights, since no more happens than reordering and changes of sign: PyTorch's GRU
    interpolates by z where the paper's does by u = 1 - z, and sigmoid(-x) = 1 - sigmoid(x).
    """

    def gru(prefix: str, direction: int, names: tuple[str, str, str]) -> dict[str, Tensor]:
        kinds = ("input_weight", "recurrent_weight", "input_bias")
        found = {}
        for kind, name in zip(kinds, names, strict=True):
            u, r, candidate = ours[f"{prefix}.{kind}"][direction].chunk(3)
            found[name] = torch.cat([r, -u, candidate])
        return found

    def names(prefix: str, suffix: str) -> tuple[str, str, str]:
        return f"{prefix}weight_ih{suffix}", f"{prefix}weight_hh{suffix}", f"{prefix}bias_ih{suffix}"

    if fusion == "cell":
        directions = [names("fusion.forwards.", ""), names("fusion.backwards.", "")]
    else:
        directions = [names("fusion.gru.", "_l0"), names("fusion.gru.", "_l0_reverse")]
    question_product, question_absolute = ours["memory.gate.W1_question"].chunk(2, dim=1)
    memory_product, memory_absolute = ours["memory.gate.W1_memory"].chunk(2, dim=1)
    W_r, W = ours["memory.episode.input_weight"].chunk(2)
    b_r, b = ours["memory.episode.input_bias"].chunk(2)
    U_r, U = ours["memory.episode.recurrent_weight"].chunk(2)
    passes = sum(name.startswith("memory.updates.") and name.endswith(".W") for name in ours)
    return {
        "embedding.weight": ours["embedding.weight"],
        **gru("fusion.gru", 0, directions[0]),
        **gru("fusion.gru", 1, directions[1]),
        **gru("question.gru", 0, names("question_gru.", "_l0")),
        "gate_1.weight": torch.cat([question_product, memory_product, question_absolute, memory_absolute], dim=1),
        "gate_1.bias": ours["memory.gate.b1"],
        "gate_2.weight": ours["memory.gate.W2"],
        "gate_2.bias": ours["memory.gate.b2"],
        "attention_cell.W_r.weight": W_r,
        "attention_cell.W_r.bias": b_r,
        "attention_cell.U_r.weight": U_r,
        "attention_cell.W.weight": W,
        "attention_cell.W.bias": b,
        "attention_cell.U.weight": U,
        **{f"updates.{t}.weight": ours[f"memory.updates.{t}.W"] for t in range(passes)},
        **{f"updates.{t}.bias": ours[f"memory.updates.{t}.b"] for t in range(passes)},
        "answer.weight": ours["answer.weight"],
        "answer.bias": ours["answer.bias"],
    }


def copy_weights(ours: DMN, baseline: Baseline) -> None:
    """Give the baseline the weights of our network."""
    fusion: Fusion = "cell" if isinstance(baseline.fusion, CellFusion) else "library"
    weights = in_baseline_layout({name: p.detach() for name, p in ours.named_parameters()}, fusion)
    trained = {name: parameter for name, parameter in baseline.named_parameters() if parameter.requires_grad}
    if weights.keys() != trained.keys():
        raise ValueError(f"the networks differ in {sorted(weights.keys() ^ trained.keys())}")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(weights[name])


# Of gradients through many steps, by what our products are made of.
TOLERANCES = {"float32": 1e-4, "bfloat16 x 3": 2e-4}


def assert_parity(ours: DMN, baseline: Baseline, batch: Batch, *, tolerance: float = 2e-5) -> None:
    """Raise `AssertionError` unless attention, logits, loss and all gradients agree, as they do after `copy_weights`.

    `tolerance` is relative to the largest value of each tensor. Both run without dropout; gradients are left at None.
    """
    training = baseline.training
    baseline.eval()
    inputs = baseline_batch(batch)
    found, expected = ours(batch), baseline(inputs.stories_BFW, inputs.questions_BQ)
    found_loss = ours.losses(found, batch).mean()
    expected_loss = nn.functional.cross_entropy(expected.logits_BA, inputs.answers_B)
    found_loss.backward()
    expected_loss.backward()
    fusion: Fusion = "cell" if isinstance(baseline.fusion, CellFusion) else "library"
    gradients = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    pairs = {
        "attention": (found.attention_PBF, expected.attention_PBF),
        "logits": (found.logits, expected.logits_BA),
        "loss": (found_loss, expected_loss),
    }
    for name, gradient in in_baseline_layout(gradients, fusion).items():
        pairs[f"gradient of {name}"] = (gradient, baseline.get_parameter(name).grad)
    ours.zero_grad(set_to_none=True)
    baseline.zero_grad(set_to_none=True)
    baseline.train(training)
    for name, (one, other) in pairs.items():
        assert other is not None, name
        # The gradient of b2 is rounding alone (the softmax takes the shift out), so a floor stands below the scale.
        scale = max(float(other.detach().abs().max()), 1e-3)
        message = f"{name} differs between ours and the baseline"
        torch.testing.assert_close(
            one, other, rtol=0, atol=tolerance * scale, msg=lambda text, m=message: f"{m}: {text}"
        )
