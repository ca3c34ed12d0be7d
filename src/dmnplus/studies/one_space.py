"""Question 12: sentences and pictures in one memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dmnplus.data.batching import encode
from dmnplus.studies.figures import bars
from dmnplus.studies.scenes import Scenes
from dmnplus.studies.study import THAN, Arm, Column, Results, Study, Trained
from dmnplus.training.metrics import EVALUATION_BATCH, labelled_facts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OWNER, CHANGE = "Who owns the circle?", "What colour did the circle have at first?"
BOTH, SENTENCES, PICTURE = "picture and sentences", "sentences alone", "picture alone"
SERIES, LAST = "series of pictures", "its last picture alone"
# The labels are used: what is asked here is not how the network finds the facts, but whether one memory holds both.
SETTINGS = (
    "model.image_dropout=0",
    "model.episode=soft_attention",
    "training.attention_weight=1",
)


@torch.no_grad()
def measure(trained: Trained) -> Mapping[str, float]:
    """Where the test questions have a region and a sentence that are labelled: how near they are."""
    if trained.pictures is None:
        return {}
    facts: list[Tensor] = []

    def keep(memory: nn.Module, inputs: tuple[Any, ...]) -> None:
        facts.append(inputs[0])

    handle = trained.model.memory.register_forward_pre_hook(keep)
    questions = encode(trained.splits.test, trained.vocabulary, pictures=trained.pictures)
    nearest, chance, across, sentences, on_sentences = [], [], [], [], []
    try:
        for rows in questions.batches(EVALUATION_BATCH):
            batch = questions.batch(rows)
            output = trained.model(batch)
            f_BFH = nn.functional.normalize(facts.pop(), dim=-1)
            told_BF, seen_BF = batch.mask_BF & (batch.places_BF == 0), batch.places_BF > 0
            labels_BF = labelled_facts(batch)
            for f_FH, told_F, seen_F, labels_F in zip(f_BFH, told_BF, seen_BF, labels_BF, strict=True):
                if not (told_F & labels_F).any() or not (seen_F & labels_F).any():
                    continue
                cosine_S = f_FH[told_F] @ f_FH[seen_F & labels_F].mean(dim=0)
                nearest.append(float(labels_F[told_F][cosine_S.argmax()]))
                chance.append(1 / int(told_F.sum()))
                across.append(float((f_FH[told_F] @ f_FH[seen_F].T).mean()))
                each_SS = f_FH[told_F] @ f_FH[told_F].T
                # With itself a sentence has 1.
                sentences.append(float((each_SS.sum() - each_SS.trace()) / (each_SS.numel() - len(each_SS))))
            on_sentences.append((output.attention_PBF * told_BF).sum(dim=-1))
    finally:
        handle.remove()
    if not nearest:
        return {}
    on_P = torch.cat(on_sentences, dim=1).mean(dim=1)
    means = {"nearest": nearest, "chance": chance, "across": across, "sentences": sentences}
    return {
        **{name: sum(values) / len(values) for name, values in means.items()},
        **{f"pass {t}": float(share) for t, share in enumerate(on_P, 1)},
    }


def draw(figure: Figure, results: Results) -> None:
    left, right = figure.subplots(1, 2)
    bars(left, {arm: {"": results[arm, "error"]} for arm in (BOTH, SENTENCES, PICTURE, SERIES, LAST)}, "test error, %")
    bars(
        right,
        {f"pass {t}": {"": results[BOTH, f"pass {t}"]} for t in (1, 2, 3)},
        "attention on sentences beside a picture, %",
    )


def answer(results: Results) -> tuple[str, str, str]:
    error = {arm: results[arm, "error"] for arm in (BOTH, SENTENCES, PICTURE, SERIES, LAST)}
    holds = (
        "One memory holds both"
        if error[BOTH].below(error[SENTENCES]) and error[BOTH].below(error[PICTURE])
        else ("That one memory holds both is not shown")
    )
    series = error[SERIES].compared(
        error[LAST],
        "so that it uses the earlier pictures of a series, too",
        "so that a series confuses it",
        "no clear difference",
    )
    nearest, chance = results[BOTH, "nearest"], results[BOTH, "chance"]
    across, within = results[BOTH, "across"], results[BOTH, "sentences"]
    space = (
        "They do not share a space"
        if nearest.below(chance)
        else "That they share a space is not shown"
        if not chance.below(nearest)
        else "They share a space in part"
        if across.below(within)
        else "They share a space"
    )
    return (
        f"{holds}: asked who owns a thing, when the picture shows its colour and a sentence says whose that colour "
        f"is, the network is wrong in {error[BOTH]:.1%} of the questions, with the sentences alone in "
        f"{error[SENTENCES]:.1%} and with the picture alone in {error[PICTURE]:.1%}.",
        f"Asked what colour a thing had at first, it is wrong in {error[SERIES]:.1%} with the series of pictures and "
        f"in {error[LAST]:.1%} with the last of them, {series}.",
        f"{space}: the region of the thing is nearest to the sentence about it, of those in the story, in "
        f"{nearest:.0%} of the questions, "
        f"{nearest.compared(chance, *THAN)} the {chance:.0%} of chance, "
        f"and the mean cosine of sentences with each other is {within:.2f}, with regions {across:.2f} "
        f"({across.compared(within)}).",
    )


STUDY = Study(
    name="one_space",
    question="Do text facts and image regions live in one space? Can one memory hold both, and a series of images "
    "before one question?",
    arms=(
        Arm(name=BOTH, data=Scenes(OWNER), settings=SETTINGS),
        Arm(name=SENTENCES, data=Scenes(OWNER, "sentences alone"), settings=SETTINGS),
        Arm(name=PICTURE, data=Scenes(OWNER, "picture alone"), settings=SETTINGS),
        Arm(name=SERIES, data=Scenes(CHANGE, questions=2000), settings=SETTINGS),
        Arm(name=LAST, data=Scenes(CHANGE, "last picture alone", questions=2000), settings=SETTINGS),
    ),
    columns=(
        Column("nearest", "nearest sentence is the right one", ".0%"),
        Column("chance", "by chance", ".0%"),
        Column("across", "cosine of sentences and regions", ".2f"),
        Column("sentences", "of sentences", ".2f"),
        *(Column(f"pass {t}", f"pass {t}: attention on sentences", ".0%") for t in (1, 2, 3)),
    ),
    measure=measure,
    draw=draw,
    answer=answer,
    method="The pictures are told outright, a region a cell with its size, colour and shape as ones and zeros, so that "
    "seeing has not to be learnt. Facts are compared as the gate sees them, after the fusion layer.",
)
