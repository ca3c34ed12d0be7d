"""Drawn scenes with questions: as many as wanted, the same ones for the same seed, on pictures, series and sentences.

Answers are read from the scene, never from a template, and are even within each wording. Inspired by CLEVR (Johnson et
al. 2017, https://arxiv.org/abs/1612.06890); small enough to learn in minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random

from dmnplus.data.example import DataError, Example, Picture, Region, Source
from dmnplus.data.scenes import questions as still
from dmnplus.data.scenes.changes import change
from dmnplus.data.scenes.files import new_folder, read_scenes, write_scenes
from dmnplus.data.scenes.mixed import mixed
from dmnplus.data.scenes.question import Asked, Balance
from dmnplus.data.scenes.scene import Scene, draw_scene, draw_series, scenes_of

__all__ = ["KINDS", "SPLITS", "as_example", "compose", "generate_scenes", "read_scenes", "write_scenes"]

_STILL = {
    "existence": still.existence,
    "attribute": still.attribute,
    "counting": still.counting,
    "comparing": still.comparing,
    "spatial": still.spatial,
}
KINDS = (*_STILL, "change", "mixed")
SPLITS = ("train", "valid", "test")
QUESTIONS_PER_PICTURE = 4


def generate_scenes(
    folder: Path, *, questions: int, seed: int = 0, kinds: Sequence[str] = KINDS, split: str = "train"
) -> list[Example]:
    """`questions` questions spread evenly over `kinds`, about four a picture or series, whose PNG files go to `folder`.

    A kind that is named twice gets twice the questions. Always the same for the same arguments, and the first of more;
    `split` only makes the splits differ for one seed. Facts are pictures, in order of time, and in kind `scenes/mixed`
    sentences before and after the picture. The steps of regions are as in `Asked.look`; where a sentence says what to
    look for, they come after it.

    Raises ValueError for an unknown kind or split and for less than one question; DataError where Pillow is missing or
    `folder` holds a finished data set or cannot be made; OSError.
    """
    scenes = compose(questions, seed, kinds, split)
    try:
        from dmnplus.data.scenes.drawing import BACKGROUND_BYTES, draw
    except ModuleNotFoundError as error:
        raise DataError(f"drawing scenes needs the package Pillow ({error}); install it: pip install pillow") from error
    new_folder(folder)
    backgrounds = Random(f"scenes/background/{split}/{seed}")
    examples: list[Example] = []
    for number, (pictures, asked) in enumerate(scenes, 1):
        background = backgrounds.randbytes(BACKGROUND_BYTES)
        names = [f"{number:06}-{place}.png" for place in range(1, len(pictures) + 1)]
        paths = [folder / (name if len(pictures) > 1 else f"{number:06}.png") for name in names]
        for scene, path in zip(pictures, paths, strict=True):
            # Twice as fast as the default, and a quarter larger.
            draw(scene, background).save(path, compress_level=1)
        facts = [Picture(str(path)) for path in paths]
        for kind, question in asked:
            source = Source(f"generated scenes {split} (seed {seed})", len(examples) + 1, f"scenes/{kind}")
            examples.append(as_example(question, facts, source))
    return examples


def compose(
    questions: int, seed: int = 0, kinds: Sequence[str] = KINDS, split: str = "train"
) -> Iterator[tuple[tuple[Scene, ...], list[tuple[str, Asked]]]]:
    """The scenes of each picture or series, and the questions on it with their kinds, `questions` in all.

    Raises ValueError as `generate_scenes`, before the first scene.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    if not kinds:
        raise ValueError(f"kinds is empty; name at least one of {', '.join(KINDS)}")
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    if questions < 1:
        raise ValueError(f"questions {questions!r} is less than 1; ask for at least one question")
    # A text as seed is hashed with SHA-512: the same stream on every machine and in every run.
    return _compose(questions, Random(f"scenes/{split}/{seed}"), Counter(kinds))


def _compose(
    questions: int, random: Random, kinds: Counter[str]
) -> Iterator[tuple[tuple[Scene, ...], list[tuple[str, Asked]]]]:
    balance = Balance(random)
    asked_of = Counter(dict.fromkeys(kinds, 0))
    left = questions
    while left:
        if min(asked_of, key=lambda kind: asked_of[kind] / kinds[kind]) == "change":
            tracks = draw_series(random)
            scenes = scenes_of(tracks)
            askers: Mapping[str, Callable[[], Iterator[Asked]]] = {"change": partial(change, tracks)}
        else:
            scene = draw_scene(random)
            scenes = (scene,)
            askers = {kind: partial(_STILL[kind], scene) for kind in kinds if kind in _STILL}
            if "mixed" in kinds:
                askers["mixed"] = partial(mixed, random, scene)
        chosen = _choose(balance, askers, kinds, asked_of, min(left, QUESTIONS_PER_PICTURE))
        if chosen:
            left -= len(chosen)
            yield scenes, chosen


def _choose(
    balance: Balance,
    askers: Mapping[str, Callable[[], Iterator[Asked]]],
    kinds: Counter[str],
    asked_of: Counter[str],
    most: int,
) -> list[tuple[str, Asked]]:
    """Up to `most` questions on one picture, no text twice, first of the kinds that were asked least."""
    chosen: list[tuple[str, Asked]] = []
    texts: set[str] = set()
    open_kinds = list(askers)
    # A kind comes more often on one picture than it is named only where there are too few others.
    turns = Counter(dict.fromkeys(askers, 0))
    while open_kinds and len(chosen) < most:
        kind = min(open_kinds, key=lambda kind: (turns[kind] // kinds[kind], asked_of[kind] / kinds[kind]))
        asked = balance.choose(asked for asked in askers[kind]() if asked.text not in texts)
        if asked is None:
            open_kinds.remove(kind)
            continue
        texts.add(asked.text)
        turns[kind] += 1
        asked_of[kind] += 1
        chosen.append((kind, asked))
    return chosen


def as_example(asked: Asked, pictures: Sequence[Picture], source: Source) -> Example:
    """A question about `pictures`, those of its scenes in order, with its sentences around them."""
    before = asked.told_before
    facts = (*asked.sentences[:before], *pictures, *asked.sentences[before:])
    return Example(
        facts=facts,
        question=asked.text,
        answer=(asked.answer,),
        supporting=tuple(index if index < before else index + len(pictures) for index in asked.supporting),
        regions=tuple(
            Region(fact=before + picture, box=thing.box, step=step)
            for step, things in enumerate(asked.look, asked.first)
            for picture, thing in things
        ),
        source=source,
    )
