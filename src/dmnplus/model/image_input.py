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


def place_vectors(places_RD: Tensor, hidden: int) -> nn.Parameter:
    """A vector to learn for each of R places, given by their D coordinates from -1 to 1.

    They start on a straight line along each coordinate, so that what lies between two places is their difference.
    """
    return nn.Parameter(places_RD @ torch.empty(places_RD.shape[1], hidden).uniform_(-0.5, 0.5))


class RegionReader(nn.Module):
    """One vector a region: a linear layer with tanh to the question's space, in snake order (section 3.2).

    With `places`, a vector learnt for each place in the grid is added; the paper leaves that to the input fusion layer.
    """

    def __init__(self, pictures: PictureFormat, channels: int, hidden: int, *, places: bool) -> None:
        super().__init__()
        self.snake = snake_order(pictures.rows, pictures.columns)
        self.weight = xavier(hidden, channels)
        self.bias = zeros(hidden)
        cells_RD = torch.cartesian_prod(torch.linspace(-1, 1, pictures.rows), torch.linspace(-1, 1, pictures.columns))
        self.places_RH = place_vectors(cells_RD[self.snake], hidden) if places else None

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
        widths = [pictures.channels, *(max(channels // 2 ** max(halvings - 2 - i, 0), 16) for i in range(halvings))]
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
        self.weight = place_vectors(torch.linspace(-1, 1, longest + 1)[:, None], hidden)
        with torch.no_grad():
            self.weight[0] = 0

    def forward(self, places_BF: Int[Tensor, "B F"]) -> Float[Tensor, "B F H"]:
        return nn.functional.embedding(places_BF.clamp(max=len(self.weight) - 1), self.weight, padding_idx=0)
