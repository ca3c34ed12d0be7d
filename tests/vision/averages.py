"""A backbone that needs no library: the mean colours of a grid."""

import torch
from torch import Tensor, nn

SIZE = 12


class Averages(nn.Module):
    def __init__(self, rows: int = 2, columns: int = 3) -> None:
        super().__init__()
        self.grid = rows, columns
        self.description = {
            "backbone": "averages",
            "weights": "none",
            "size": SIZE,
            "grid": [rows, columns],
            "channels": 3,
        }

    def forward(self, pixels: Tensor) -> Tensor:
        regions = nn.functional.adaptive_avg_pool2d(pixels.permute(0, 3, 1, 2).float() / 255, self.grid)
        return regions.permute(0, 2, 3, 1)


class Loud(Averages):
    """Beyond the range of half precision."""

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.full((len(pixels), *self.grid, 3), 1e6)
