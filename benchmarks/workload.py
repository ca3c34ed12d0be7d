"""What the benchmarks run: questions of a given size, and our network and the baseline with the same weights.

Shape legend: N questions, F facts, S distinct sentences, W words per sentence, Q question words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.baseline import Baseline, BaselineBatch, Fusion, baseline_batch, copy_weights
from dmnplus import DMN, NetworkConfig
from dmnplus.data.batching import Batch, Questions
from dmnplus.training.trainer import TrainingConfig, adam

# The sizes of bAbI's task 2: about so many words, answers and different sentences, of 5 or 6 words each.
WORDS, ANSWERS, SENTENCES, SENTENCE_WORDS, QUESTION_WORDS = 36, 6, 200, 6, 4


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One size to measure."""

    facts: int
    batch: int = 128
    hidden: int = 80
    passes: int = 3

    def __str__(self) -> str:
        return f"{self.facts} facts, batch {self.batch}, hidden {self.hidden}, {self.passes} passes"


def questions(count: int, facts: int, *, ragged: bool = False, seed: int = 0) -> Questions:
    """Random questions over stories of `facts` facts, or with `ragged` of 1 to `facts`."""
    draw = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=draw)

    sentences_SW = integers(2, WORDS, SENTENCES + 1, SENTENCE_WORDS)
    # Every second sentence is one word shorter.
    sentences_SW[::2, -1] = 0
    sentences_SW[0] = 0
    lengths_N = integers(1, facts + 1, count) if ragged else torch.full((count,), facts)
    # The longest stays, so that shapes do not depend on the draw.
    lengths_N[0] = facts
    facts_NF = integers(1, SENTENCES + 1, count, facts) * (torch.arange(facts) < lengths_N[:, None])
    answers_N = integers(0, ANSWERS, count)
    questions_NQ = integers(2, WORDS, count, QUESTION_WORDS)
    if ragged:
        questions_NQ[1::2, -1] = 0
    return Questions(
        sentences_SW=sentences_SW,
        facts_NF=facts_NF,
        lengths_N=lengths_N,
        questions_NQ=questions_NQ,
        answers_N=answers_N,
        answer_words_NL=torch.stack([answers_N + 1, torch.zeros_like(answers_N)], dim=1),
        supporting_NK=torch.full((count, 1), -1),
        steps_NK=torch.full((count, 1), -1),
        kinds_N=torch.zeros_like(answers_N),
    )


def our_network(shape: Shape, device: torch.device | str = "cpu", *, seed: int = 0) -> DMN:
    torch.manual_seed(seed)
    config = NetworkConfig(hidden=shape.hidden, passes=shape.passes)
    return DMN(config, words=WORDS, answers=ANSWERS, answer_words=ANSWERS + 1).to(device)


def baseline_network(shape: Shape, device: torch.device | str = "cpu", *, fusion: Fusion = "cell") -> Baseline:
    network = Baseline(words=WORDS, answers=ANSWERS, hidden=shape.hidden, passes=shape.passes, fusion=fusion)
    return network.to(device)


def batch_of(shape: Shape, device: torch.device | str = "cpu", *, ragged: bool = False) -> Batch:
    return questions(shape.batch, shape.facts, ragged=ragged).batch(torch.arange(shape.batch)).to(device)


def our_step(model: DMN, batch: Batch) -> Callable[[], None]:
    """One training step as `dmnplus.training.Trainer` makes it: dropout, forward, loss, backward, Adam."""
    optimizer = adam(model.named_parameters(), TrainingConfig())
    generator = torch.Generator(batch.facts_BF.device).manual_seed(0)

    def step() -> None:
        output = model(batch, model.draw_dropout(batch, generator))
        loss = model.losses(output, batch).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def baseline_step(model: Baseline, batch: BaselineBatch) -> Callable[[], None]:
    """One training step as people write it."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.001, weight_decay=0.001)
    model.train()

    def step() -> None:
        output = model(batch.stories_BFW, batch.questions_BQ)
        loss = nn.functional.cross_entropy(output.logits_BA, batch.answers_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def our_inference(model: DMN, batch: Batch) -> Callable[[], Tensor]:
    def infer() -> Tensor:
        with torch.inference_mode():
            return model(batch).logits

    return infer


def baseline_inference(model: Baseline, batch: BaselineBatch) -> Callable[[], Tensor]:
    def infer() -> Tensor:
        model.eval()
        with torch.inference_mode():
            return model(batch.stories_BFW, batch.questions_BQ).logits_BA

    return infer


@dataclass(frozen=True)
class Pair:
    """Ours and the baseline at one size, with the same weights and the same questions."""

    ours: DMN
    baseline: Baseline
    batch: Batch
    baseline_batch: BaselineBatch

    @classmethod
    def of(cls, shape: Shape, device: torch.device, fusion: Fusion) -> Pair:
        ours, baseline = our_network(shape, device), baseline_network(shape, device, fusion=fusion)
        copy_weights(ours, baseline)
        batch = batch_of(shape, device)
        return cls(ours, baseline, batch, baseline_batch(batch))

    def runs(self, what: str) -> dict[str, Callable[[], object]]:
        """What to time: `training` or `inference`, by the name of its network."""
        if what == "training":
            steps = our_step(self.ours, self.batch), baseline_step(self.baseline, self.baseline_batch)
        else:
            steps = our_inference(self.ours, self.batch), baseline_inference(self.baseline, self.baseline_batch)
        return dict(zip(("ours", "baseline"), steps, strict=True))
