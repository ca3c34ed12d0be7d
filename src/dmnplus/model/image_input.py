"""Section 3.2, the image input module: regions of a grid as facts; the input fusion layer is that of text.

Shape legend: I distinct pictures, R regions, C channels, H hidden, S side in pixels.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from dmnplus.data.pictures import PictureFormat, snake_order
from dmnplus.model.initialisation import xavier, zeros


def place_vectors(count: int, hidden: int) -> nn.Parameter:
    # Smaller than what they are added to, which lies between -1 and 1.
    return nn.Parameter(torch.empty(count, hidden).uniform_(-0.3, 0.3))


class RegionReader(nn.Module):
    """One vector a region: a linear layer with tanh to the question's space, in snake order (section 3.2).

    With `places`, a vector learnt for each place in the grid is added; the paper leaves that to the input fusion layer.
    """

    def __init__(self, pictures: PictureFormat, channels: int, hidden: int, *, places: bool) -> None:
        super().__init__()
        self.snake = snake_order(pictures.rows, pictures.columns)
        self.weight = xavier(hidden, channels)
        self.bias = zeros(hidden)
        self.places_RH = place_vectors(len(self.snake), hidden) if places else None

    def forward(
        self, pictures_IYXC: Float[Tensor, "I Y X C"], dropout_IRC: Float[Tensor, "I R C"] | None
    ) -> Float[Tensor, "I R H"]:
        regions_IRC = rearrange(pictures_IYXC, "i y x c -> i (y x) c")[:, self.snake]
        if dropout_IRC is not None:
            regions_IRC = regions_IRC * dropout_IRC
        regions_IRH = torch.tanh(nn.functional.linear(regions_IRC, self.weight, self.bias))
        return regions_IRH if self.places_RH is None else regions_IRH + self.places_RH


class PixelReader(nn.Module):
    """A grid of regions from pixels: convolutions that each halve the side, trained with the network.

    Not in the paper, whose regions come from a backbone trained on ImageNet: for small and drawn pictures.
    """

    def __init__(self, pictures: PictureFormat, channels: int) -> None:
        super().__init__()
        halvings = round(math.log2(pictures.size / pictures.rows))
        # Few channels where there are many pixels.
        widths = [pictures.channels, *(max(channels // 2 ** max(halvings - 2 - i, 0), 8) for i in range(halvings))]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels_ICSS: Float[Tensor, "I 3 S S"]) -> Float[Tensor, "I Y X C"]:
        return rearrange(self.layers(pixels_ICSS - 0.5), "i c y x -> i y x c")


class SeriesEmbedding(nn.Module):
    """A vector for each place in a series of pictures, added to all regions of the picture there; none for sentences.

    Pictures beyond the `longest` series share its last place.
    """

    def __init__(self, longest: int, hidden: int) -> None:
        super().__init__()
        self.weight = place_vectors(longest + 1, hidden)
        with torch.no_grad():
            self.weight[0] = 0

    def forward(self, places_BF: Int[Tensor, "B F"]) -> Float[Tensor, "B F H"]:
        return nn.functional.embedding(places_BF.clamp(max=len(self.weight) - 1), self.weight, padding_idx=0)
