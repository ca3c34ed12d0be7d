"""Pictures as pixels, for a model whose own convolutions read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from dmnplus.data.example import DataError, Picture
from dmnplus.data.pictures import PictureFormat
from dmnplus.vision.image import crop, read_image, squeeze

# Hands out the files to be read, one by one, and may show how far they are.
Watch: TypeAlias = Callable[[Sequence[str]], Iterable[str]]


class Pixels:
    """Small pictures, scaled to a square, all in memory: a byte a number, 12 KB a picture of 64 x 64."""

    def __init__(self, pictures: Iterable[Picture], *, size: int, grid: int, watch: Watch = iter) -> None:
        """Reads every distinct one of `pictures`; raises `DataError` for one that cannot be read."""
        self.format = PictureFormat(kind="pixels", size=size, rows=grid, columns=grid, channels=3)
        self._rows = {picture: row for row, picture in enumerate(dict.fromkeys(pictures))}
        content = torch.empty(len(self._rows), 3, size, size, dtype=torch.uint8)
        # A file with several boxes is decoded once.
        boxes: dict[str, list[Picture]] = {}
        for picture in self._rows:
            boxes.setdefault(picture.path, []).append(picture)
        for path in watch([*boxes]):
            image = read_image(path)
            for picture in boxes[path]:
                content[self._rows[picture]] = torch.from_numpy(squeeze(crop(image, picture), size)).permute(2, 0, 1)
        self._content_I3SS = content

    def index(self, picture: Picture) -> int:
        if picture not in self._rows:
            raise DataError(f"{picture}: is not among the pictures that were read")
        return self._rows[picture]

    def read(self, indices: Tensor) -> Tensor:
        return self._content_I3SS[indices].float() / 255
