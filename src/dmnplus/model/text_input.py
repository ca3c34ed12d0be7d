"""Section 3.1, the text input module: sentence reader (position encoding), input fusion layer, and the original's GRU.

Shape legend: S distinct sentences, N regions of pictures, B batch, F facts, W words per sentence, H hidden.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dmnplus.model.gru import GRU


class WordEmbedding(nn.Module):
    """Vectors of words, shared by facts and questions; padding (0) is the zero vector (section 3.1)."""

    def __init__(self, words: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(words, hidden).uniform_(-(3**0.5), 3**0.5))
        with torch.no_grad():
            self.weight[0] = 0

    def forward(self, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape H"]:
        return nn.functional.embedding(ids, self.weight, padding_idx=0)


def position_encoding(
    words_SWH: Float[Tensor, "S W H"], mask_SW: Bool[Tensor, "S W"], scale: float = 1.0
) -> Float[Tensor, "S H"]:
    """f = sum_j l_j o w_j with l_jd = (1 - j/M) - (d/D)(1 - 2j/M) (section 3.1, after Sukhbaatar et al. 2015).

    j = 1..M is the word's place in its own sentence of M words, never the padded length; d = 1..D the embedding index.
    All is multiplied by `scale`, which the paper has not.
    """
    # l splits into a part that knows only the word's place and one scaled by d/D, so that no [S, W, H] tensor of
    # weights is needed: f = sum_j (1 - j/M) w_j - d/D o sum_j (1 - 2j/M) w_j.
    M_S1 = mask_SW.sum(dim=1, keepdim=True).clamp(min=1)
    _, W, D = words_SWH.shape
    j_W = torch.arange(1, W + 1, device=words_SWH.device)
    place_SW = (j_W / M_S1).to(words_SWH.dtype)
    weights_S2W = torch.stack([1 - place_SW, 1 - 2 * place_SW], dim=1) * mask_SW[:, None]
    if scale != 1:
        weights_S2W = scale * weights_S2W
    by_place_SH, by_index_SH = torch.bmm(weights_S2W, words_SWH).unbind(dim=1)
    d_D = torch.arange(1, D + 1, device=words_SWH.device, dtype=words_SWH.dtype) / D
    return by_place_SH - d_D * by_index_SH


class PositionEncoding(nn.Module):
    """A sentence as the position encoding of its words (section 3.1)."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, words_SWH: Float[Tensor, "S W H"], mask_SW: Bool[Tensor, "S W"]) -> Float[Tensor, "S H"]:
        return position_encoding(words_SWH, mask_SW, self.scale)


class OrderedEncoding(nn.Module):
    """Position encoding plus the last states of a GRU over the words in each direction; not in the paper.

    Which word comes before which hardly shows in a weighted sum, and tells "A is left of B" from "B is left of A".
    """

    def __init__(self, hidden: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.gru = GRU(hidden, hidden, reverse=(False, True))

    def forward(self, words_SWH: Float[Tensor, "S W H"], mask_SW: Bool[Tensor, "S W"]) -> Float[Tensor, "S H"]:
        forwards, backwards = self.gru(words_SWH, mask_SW)
        return position_encoding(words_SWH, mask_SW, self.scale) + forwards[:, -1] + backwards[:, 0]


class SentenceReader(nn.Module):
    """One vector a fact: the encoding of its words (section 3.1), or the region that it is.

    `facts_BF` numbers the sentences, then the regions of pictures.
    """

    def __init__(self, encode: nn.Module) -> None:
        """`encode` makes [S, H] of a sentence's words [S, W, H] and their mask [S, W]."""
        super().__init__()
        self.encode = encode

    def forward(
        self,
        words_SWH: Float[Tensor, "S W H"],
        word_mask_SW: Bool[Tensor, "S W"],
        regions_NH: Float[Tensor, "N H"],
        facts_BF: Int[Tensor, "B F"],
        mask_BF: Bool[Tensor, "B F"],
    ) -> Float[Tensor, "B F H"]:
        return nn.functional.embedding(facts_BF, self.distinct(words_SWH, word_mask_SW, regions_NH))

    def distinct(
        self, words_SWH: Float[Tensor, "S W H"], word_mask_SW: Bool[Tensor, "S W"], regions_NH: Float[Tensor, "N H"]
    ) -> Float[Tensor, "S+N H"]:
        """Each distinct sentence, read once however often it occurs in the batch, and the regions."""
        sentences_SH = self.encode(words_SWH, word_mask_SW)
        return torch.cat([sentences_SH, regions_NH]) if len(regions_NH) else sentences_SH


class WordGRU(nn.Module):
    """The original DMN's input: one GRU over all words, its states at the sentence ends (Kumar et al. 2.1)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.gru = GRU(hidden, hidden)

    def forward(
        self,
        words_SWH: Float[Tensor, "S W H"],
        word_mask_SW: Bool[Tensor, "S W"],
        regions_NH: Float[Tensor, "N H"],
        facts_BF: Int[Tensor, "B F"],
        mask_BF: Bool[Tensor, "B F"],
    ) -> Float[Tensor, "B F H"]:
        W = words_SWH.shape[1]
        # A region reads as a sentence of one word.
        words_SWH = torch.cat([words_SWH, nn.functional.pad(regions_NH[:, None], (0, 0, 0, W - 1))])
        word_mask_SW = torch.cat([word_mask_SW, torch.arange(W, device=facts_BF.device).expand(len(regions_NH), W) < 1])
        S, W, H = words_SWH.shape
        words_BFWH = nn.functional.embedding(facts_BF, words_SWH.reshape(S, W * H))
        word_mask_BFW = word_mask_SW[facts_BF] & mask_BF[:, :, None]
        states = self.gru(
            rearrange(words_BFWH, "b f (w h) -> b (f w) h", w=W), rearrange(word_mask_BFW, "b f w -> b (f w)")
        )
        # Padding after a sentence's last word carries its state on to the sentence's last place.
        return rearrange(states[0], "b (f w) h -> b f w h", w=W)[:, :, -1]


class InputFusion(nn.Module):
    """The input fusion layer: a bidirectional GRU over the facts, both directions added (equation 7).

    `bidirectional=False` leaves the one that reads backwards out, so that a fact knows those before it alone.
    """

    def __init__(self, hidden: int, *, bidirectional: bool = True) -> None:
        super().__init__()
        self.gru = GRU(hidden, hidden, reverse=(False, True) if bidirectional else (False,))

    def forward(self, facts_BFH: Float[Tensor, "B F H"], mask_BF: Bool[Tensor, "B F"]) -> Float[Tensor, "B F H"]:
        return _added(self.gru(facts_BFH, mask_BF))

    def of_distinct(
        self, distinct_NH: Float[Tensor, "N H"], facts_BF: Int[Tensor, "B F"], mask_BF: Bool[Tensor, "B F"]
    ) -> Float[Tensor, "B F H"]:
        """The same where fact `i` of a question is row `facts_BF[b, i]`: each row is projected once."""
        x_BFK = nn.functional.embedding(facts_BF, self.gru.project(distinct_NH))
        return _added(self.gru.scan(x_BFK, mask_BF))


def _added(states_GBFH: Float[Tensor, "G B F H"]) -> Float[Tensor, "B F H"]:
    return torch.add(*states_GBFH) if len(states_GBFH) == 2 else states_GBFH[0]
