"""What a model's pictures are, and how their regions are numbered (paper section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from dmnplus.data.example import DataError, Picture

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PictureFormat:
    """What a model's pictures are: pixels, or a backbone's regions. A model reads no others than it was trained on."""

    kind: Literal["pixels", "regions"]
    size: int
    """Side in pixels to which pictures are scaled."""
    rows: int
    columns: int
    """The grid of regions."""
    channels: int
    """Numbers a region, or a pixel."""
    backbone: str = ""
    """What made the regions, as `torchvision/vgg19`."""
    weights: str = ""
    """SHA-256 of the backbone's weights."""

    def __str__(self) -> str:
        grid = f"{self.rows} x {self.columns} regions"
        if self.kind == "pixels":
            return f"{self.size} x {self.size} pixels as {grid}"
        return f"{grid} of {self.backbone} ({self.size} pixels, weights {self.weights[:12]})"


class Pictures(Protocol):
    """Where a data set's pictures are read from."""

    @property
    def format(self) -> PictureFormat: ...

    def index(self, picture: Picture) -> int:
        """The number of a picture. Raises `DataError` if it is not there."""
        ...

    def read(self, indices: Tensor) -> Tensor:
        """Pictures by number: pixels [I, 3, size, size], or regions [I, rows, columns, channels], from 0 to 1 or as
        the backbone gave them."""
        ...


class HeldPictures:
    """Pictures in memory, each as a model reads it."""

    def __init__(self, format: PictureFormat, content: Mapping[Picture, Tensor]) -> None:
        self.format = format
        self._numbers = {picture: number for number, picture in enumerate(content)}
        self._content = list(content.values())

    def index(self, picture: Picture) -> int:
        if picture not in self._numbers:
            raise DataError(f"{picture}: is not among the pictures that were read")
        return self._numbers[picture]

    def read(self, indices: Tensor) -> Tensor:
        # Here and not above: an exported network is run without PyTorch.
        import torch

        return torch.stack([self._content[number] for number in indices.tolist()])


def snake_order(rows: int, columns: int) -> list[int]:
    """The regions of a grid in reading order, every second row reversed, so that neighbours stay neighbours."""
    lines = [range(row * columns, (row + 1) * columns) for row in range(rows)]
    return [cell for row, line in enumerate(lines) for cell in (reversed(line) if row % 2 else line)]


def regions_in(box: Sequence[float], rows: int, columns: int) -> list[int]:
    """Places in snake order of the regions whose centres lie in `box`, or else of the one nearest to its centre.

    `box` is left, top, right, bottom as shares of the picture.
    """
    left, top, right, bottom = box
    cells = [divmod(cell, columns) for cell in snake_order(rows, columns)]
    centres = [((column + 0.5) / columns, (row + 0.5) / rows) for row, column in cells]
    inside = [place for place, (x, y) in enumerate(centres) if left <= x <= right and top <= y <= bottom]
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    nearest = min(range(len(centres)), key=lambda i: (centres[i][0] - middle_x) ** 2 + (centres[i][1] - middle_y) ** 2)
    return inside or [nearest]
