"""How good a network is on a set of questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from dmnplus.data.batching import NO_ANSWER, Batch, Questions
from dmnplus.data.example import Example
from dmnplus.data.vocabulary import Vocabulary, tokenize
from dmnplus.model import DMN, Output

EVALUATION_BATCH = 500


def correct(output: Output, batch: Batch) -> torch.Tensor:
    """Whether each question's most probable answer is the right one, [B]; of several words, all of them in order."""
    best = output.logits.argmax(dim=-1)
    if best.ndim == 1:
        return best == batch.answers_B
    # Greedy decoding agrees with the true words at every place exactly if it decodes the true answer.
    wanted = batch.answer_words_BL
    return ((best == wanted) | (wanted == NO_ANSWER)).all(dim=1) & (wanted[:, 0] != NO_ANSWER)


def answered(model: DMN, output: Output, batch: Batch) -> torch.Tensor:
    """Whether each question's answer is the right one, [B], as the network answers: with all its beams."""
    if model.config.answer == "class" or model.config.beams == 1:
        return correct(output, batch)
    wanted = [tuple(word for word in words if word > 0) for words in batch.answer_words_BL.tolist()]
    found = [ranked[0].answer for ranked in model.ranked(output, 1)]
    same_B = torch.tensor([one == other for one, other in zip(found, wanted, strict=True)])
    return same_B.to(batch.answers_B.device) & (batch.answer_words_BL[:, 0] != NO_ANSWER)


@torch.no_grad()
def loss_and_error(model: DMN, questions: Questions) -> tuple[float, float]:
    """Mean cross-entropy of the answers, and the share of wrong ones."""
    loss, right = 0.0, 0
    for rows in questions.batches(EVALUATION_BATCH):
        batch = questions.batch(rows).to(model.device)
        output = model(batch)
        loss += float(model.losses(output, batch).sum())
        right += int(correct(output, batch).sum())
    return loss / len(questions), 1 - right / len(questions)


@dataclass(frozen=True)
class PassScore:
    """The attention of one pass beside the labelled supporting facts."""

    top_fact: float
    """Share of the labelled questions whose most attended fact is a labelled one."""
    mass: float
    """Mean attention on labelled facts."""


@dataclass(frozen=True)
class AttentionScore:
    """Attention beside the labelled supporting facts, over the questions that have labels.

    A fact counts as used if any pass gives it at least `USED` of its attention.
    """

    questions: int
    precision: float
    """Share of the used facts that are labelled."""
    recall: float
    """Share of the labelled facts that are used."""
    passes: list[PassScore]


USED = 0.1


@dataclass(frozen=True)
class Evaluation:
    """A model on a data set."""

    questions: int
    loss: float
    accuracy: float
    error: float
    unanswerable: int
    """Questions whose answer training never saw; they count as wrong."""
    by_kind: dict[str, dict[str, float]]
    """Number of questions and error for each kind of question."""
    attention: AttentionScore | None
    """None if no question has labelled facts."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def evaluate(model: DMN, questions: Questions, examples: Sequence[Example]) -> Evaluation:
    """Everything `dmnplus eval` prints; `examples` are those that `questions` encodes, in their order."""
    loss, unanswerable = 0.0, 0
    kinds: dict[str, list[bool]] = defaultdict(list)
    used = labelled = both = 0
    top, mass, with_labels = torch.zeros(model.config.passes), torch.zeros(model.config.passes), 0
    for rows in questions.batches(EVALUATION_BATCH):
        batch = questions.batch(rows).to(model.device)
        output = model(batch)
        loss += float(model.losses(output, batch).sum())
        unanswerable += int((answers_of(model, batch) == NO_ANSWER).sum())
        for row, right in zip(rows.tolist(), answered(model, output, batch).tolist(), strict=True):
            kinds[kind_of(examples[row])].append(right)
        labels_BF = labelled_facts(batch)
        has_B = labels_BF.any(dim=1)
        used_BF = (output.attention_PBF.amax(dim=0) >= USED) & has_B[:, None]
        used, labelled = used + int(used_BF.sum()), labelled + int(labels_BF.sum())
        both += int((used_BF & labels_BF).sum())
        with_labels += int(has_B.sum())
        best_PB1 = output.attention_PBF.argmax(dim=-1, keepdim=True)
        top += labels_BF.expand_as(output.attention_PBF).gather(-1, best_PB1)[..., 0].sum(dim=-1).cpu()
        mass += (output.attention_PBF * labels_BF).sum(dim=(1, 2)).cpu()
    right = sum(map(sum, kinds.values()))
    attention = None
    if with_labels:
        passes = [PassScore(float(t) / with_labels, float(m) / with_labels) for t, m in zip(top, mass, strict=True)]
        attention = AttentionScore(with_labels, both / max(used, 1), both / labelled, passes)
    return Evaluation(
        questions=len(questions),
        loss=loss / len(questions),
        accuracy=right / len(questions),
        error=1 - right / len(questions),
        unanswerable=unanswerable,
        by_kind={kind: {"questions": len(r), "error": 1 - sum(r) / len(r)} for kind, r in sorted(kinds.items())},
        attention=attention,
    )


@torch.no_grad()
def predictions(
    model: DMN, questions: Questions, vocabulary: Vocabulary, examples: Sequence[Example]
) -> list[tuple[str, ...]]:
    """The words of the most probable answer to each question; `examples` are those that `questions` encodes."""
    answers: list[tuple[str, ...]] = [()] * len(questions)
    for rows in questions.batches(EVALUATION_BATCH):
        best = model.ranked(model(questions.batch(rows).to(model.device)), 1)
        for row, ranked in zip(rows.tolist(), best, strict=True):
            words = vocabulary.answer_of(ranked[0].answer, by_word=model.config.answer == "words")
            answers[row] = vocabulary.cast(examples[row].facts, examples[row].question).restore(words)
    return answers


def labelled_facts(batch: Batch) -> torch.Tensor:
    """True on the supporting facts, [B, F]."""
    places_BKF = batch.supporting_BK[..., None] == torch.arange(batch.mask_BF.shape[1], device=batch.mask_BF.device)
    return places_BKF.any(dim=1)


def kind_of(example: Example) -> str:
    """The question's type: its source's kind and its first word ("babi/5 who")."""
    words = tokenize(example.question)
    return " ".join([example.source.kind, *words[:1]]).strip()


def answers_of(model: DMN, batch: Batch) -> torch.Tensor:
    """What marks a question's answer as never seen (-1), for the model's kind of answer, [B]."""
    return batch.answers_B if model.config.answer == "class" else batch.answer_words_BL[:, 0]
