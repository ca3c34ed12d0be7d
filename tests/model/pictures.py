"""Small questions about pictures, series and mixtures, for the tests of the network."""

from __future__ import annotations

import torch
from torch import Tensor

from dmnplus.data.example import Example, Picture, Region
from dmnplus.data.pictures import PictureFormat


class Noise:
    """Pictures of fixed noise, one for each number from 0; picture `n` has the path str(n)."""

    def __init__(self, kind: str = "regions", *, count: int = 6, rows: int = 2, columns: int = 3) -> None:
        draw = torch.Generator().manual_seed(7)
        if kind == "pixels":
            self.format = PictureFormat(kind="pixels", size=8, rows=2, columns=2, channels=3)
            self.content = torch.rand(count, 3, 8, 8, generator=draw)
        else:
            self.format = PictureFormat(kind="regions", size=16, rows=rows, columns=columns, channels=5)
            self.content = torch.rand(count, rows, columns, 5, generator=draw)

    def index(self, picture: Picture) -> int:
        return int(picture.path)

    def read(self, indices: Tensor) -> Tensor:
        return self.content[indices]


def mixtures() -> list[Example]:
    """Questions about one picture, a series, and sentences with pictures between them."""
    p = [Picture(str(n)) for n in range(6)]
    asked = [
        ((p[0],), "What is it?", "cat"),
        ((p[1],), "What is it?", "dog"),
        ((p[2], p[3]), "What changed?", "colour"),
        ((p[3], p[2]), "What changed?", "shape"),
        (("Cats are cold.", p[0]), "Is it cold?", "yes"),
        (("Dogs are cold.", p[0]), "Is it cold?", "no"),
        ((p[4], "It is late.", p[5], "It rains."), "What is it?", "rain"),
        (("It is late.", "It rains."), "What is it?", "dog"),
    ]
    return [
        Example(
            facts=facts,
            question=question,
            answer=(answer,),
            supporting=tuple(i for i, fact in enumerate(facts) if isinstance(fact, str)),
            regions=tuple(Region(i, (0.0, 0.0, 0.4, 1.0)) for i, f in enumerate(facts) if isinstance(f, Picture)),
        )
        for facts, question, answer in asked
    ]
