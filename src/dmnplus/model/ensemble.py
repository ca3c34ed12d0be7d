"""Several starts of one network as one: each goes over the facts for itself, and their logits are averaged.

Shape legend: B batch, K size of one member's answer input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import nn

from dmnplus.data.batching import Batch
from dmnplus.model.answer import ClassAnswer
from dmnplus.model.network import DMN, DropoutMasks, Reading

NOT_CLASSES = "an ensemble averages answers that are classes; set model.answer=class, or keep one start"


class Ensemble(DMN):
    """The mean of the members' logits, which is one linear layer on all their answer inputs side by side.

    The attention is the members' mean. Made to answer; its members are trained one by one before.
    """

    def __init__(self, members: Sequence[DMN]) -> None:
        """`members` have one config and one vocabulary; they hand their answer modules over.

        Raises `ValueError` for a decoder of words, whose logits depend on the words it has said.
        """
        nn.Module.__init__(self)
        answers = [member.answer for member in members if isinstance(member.answer, ClassAnswer)]
        if not answers or len(answers) < len(members):
            raise ValueError(NOT_CLASSES)
        self.config, self.pictures = members[0].config, members[0].pictures
        A, K = answers[0].weight.shape
        self.answer = ClassAnswer(len(members) * K // 2, A)
        with torch.no_grad():
            self.answer.weight.copy_(torch.cat([answer.weight for answer in answers], dim=1) / len(members))
            self.answer.bias.copy_(torch.stack([answer.bias for answer in answers]).mean(dim=0))
        for member in members:
            del member.answer
        self.members = nn.ModuleList(members)

    def read(self, batch: Batch, dropout: DropoutMasks | None = None) -> Reading:
        readings = [member.read(batch, dropout) for member in self.networks()]
        attention_PBF = torch.stack([reading.attention_PBF for reading in readings]).mean(dim=0)
        qm_BK = torch.cat([reading.answer_input_BK for reading in readings], dim=-1)
        return Reading(attention_PBF, qm_BK, batch.names_BM)

    @property
    def rows_apart(self) -> bool:
        return all(member.rows_apart for member in self.networks())

    def networks(self) -> Iterator[DMN]:
        """The members, as what they are."""
        return (cast(DMN, member) for member in self.members)
