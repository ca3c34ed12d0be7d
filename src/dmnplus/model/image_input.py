"""Section 3.2, the image input module: regions of a grid as facts; the input fusion layer is that of text.

Shape legend: I distinct pictures, R regions, C channels, H hidden, S side in pixels, B batch, F facts.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dmnplus.data.pictures import PictureFormat, snake_order
from dmnplus.model.initialisation import xavier, zeros

# Of channels that are scaled together.
_GROUPS = 8


def place_vectors(places_RD: Tensor, hidden: int) -> nn.Parameter:
    """A vector to learn for each of R places, given by their D coordinates from -1 to 1.

    They start on a straight line along each coordinate, so that what lies between two places is their difference.
    """
    return nn.Parameter(places_RD @ torch.empty(places_RD.shape[1], hidden).uniform_(-0.5, 0.5))


class RegionReader(nn.Module):
    """One vector a region: a linear layer with tanh to the question's space, in snake order (section 3.2).

    With `places`, a vector learnt for each place in the grid is added; the paper leaves that to the input fusion layer.
    `norm` scales each region's numbers to a root mean square of one before: those of some backbones are so large that
    the tanh is flat.
    """

    def __init__(
        self, pictures: PictureFormat, channels: int, hidden: int, *, places: bool, norm: bool = False
    ) -> None:
        super().__init__()
        self.norm = norm
        self.snake = snake_order(pictures.rows, pictures.columns)
        self.weight = xavier(hidden, channels)
        self.bias = zeros(hidden)
        cells_RD = torch.cartesian_prod(torch.linspace(-1, 1, pictures.rows), torch.linspace(-1, 1, pictures.columns))
        self.places_RH = place_vectors(cells_RD[self.snake], hidden) if places else None

    def forward(
        self, pictures_IYXC: Float[Tensor, "I Y X C"], dropout_IRC: Float[Tensor, "I R C"] | None
    ) -> Float[Tensor, "I R H"]:
        regions_IRC = rearrange(pictures_IYXC, "i y x c -> i (y x) c")[:, self.snake]
        if self.norm:
            regions_IRC = nn.functional.rms_norm(regions_IRC, regions_IRC.shape[-1:])
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
        # Few channels where there are many pixels, in whole groups.
        shares = (channels // 2 ** max(halvings - 2 - i, 0) for i in range(halvings))
        widths = [pictures.channels, *(max(share // _GROUPS * _GROUPS, 2 * _GROUPS) for share in shares)]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(_GROUPS, after), nn.ReLU()]
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


class SeriesChanges(nn.Module):
    """What differs in a region from the same place in the picture before it and in the one after it, added to it.

    Not in the paper: the chain of the input fusion layer would have to carry a whole picture to the next one.
    """

    def __init__(self, regions: int, hidden: int) -> None:
        super().__init__()
        self.distance = regions
        self.weight = xavier(hidden, 2 * hidden)

    def forward(
        self, facts_BFH: Float[Tensor, "B F H"], places_BF: Int[Tensor, "B F"], mask_BF: Bool[Tensor, "B F"]
    ) -> Float[Tensor, "B F H"]:
        before_BFH = self._difference(facts_BFH, places_BF, mask_BF, -self.distance)
        after_BFH = self._difference(facts_BFH, places_BF, mask_BF, self.distance)
        return facts_BFH + torch.tanh(nn.functional.linear(torch.cat([before_BFH, after_BFH], dim=-1), self.weight))

    def _difference(self, facts_BFH: Tensor, places_BF: Tensor, mask_BF: Tensor, distance: int) -> Tensor:
        """Each region without the one `distance` regions on; zero for sentences and where there is no such region.

        A masked region keeps its place in the count.
        """
        is_region_BF = places_BF > 0
        number_BF = is_region_BF.cumsum(dim=1) - 1 + distance
        # Sentences may stand between two pictures: the n-th region of a question is looked up.
        facts_of_BF = torch.argsort(is_region_BF.logical_not().long(), dim=1, stable=True)
        there_BF = is_region_BF & (number_BF >= 0) & (number_BF < is_region_BF.sum(dim=1, keepdim=True))
        other_BF = facts_of_BF.gather(1, number_BF.clamp(0, number_BF.shape[1] - 1))
        other_BFH = facts_BFH.gather(1, other_BF[..., None].expand_as(facts_BFH))
        return (facts_BFH - other_BFH) * (there_BF & mask_BF.gather(1, other_BF))[..., None]
