from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dmnplus.data.batching import encode, jitter_pictures
from dmnplus.data.example import DataError, Example, Picture, iter_sentences
from dmnplus.data.pictures import PictureFormat, regions_in, snake_order
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.model import DMN, VARIANTS, NetworkConfig, attention_losses
from dmnplus.model.image_input import PixelReader, RegionReader, SeriesChanges
from tests.model.examples import whole
from tests.model.pictures import Noise, mixtures

CONFIGS = {name: replace(config, hidden=16, pixel_channels=16) for name, config in VARIANTS.items()}

# The readers of pixels and of regions meet the same network; one variant shows it.
CASES = {
    **{name: (config, "regions") for name, config in CONFIGS.items()},
    "pixels": (replace(CONFIGS["dmn+"], region_places=True, series_changes=True), "pixels"),
}


def encoded(kind: str = "regions"):
    examples = mixtures()
    vocabulary = Vocabulary.build(iter_sentences(examples), (example.answer for example in examples))
    return vocabulary, encode(examples, vocabulary, pictures=Noise(kind))


def network(vocabulary: Vocabulary, config: NetworkConfig, kind: str = "regions") -> DMN:
    torch.manual_seed(0)
    sizes = {name: len(getattr(vocabulary, name)) for name in ("words", "answers", "answer_words")}
    return DMN(config, **sizes, pictures=Noise(kind).format)


def test_snake_order_turns_round_at_every_row():
    assert snake_order(3, 3) == [0, 1, 2, 5, 4, 3, 6, 7, 8]


def test_regions_in_a_box_are_numbered_as_the_snake_reads():
    assert regions_in((0, 0, 0.5, 1), rows=2, columns=2) == [0, 3]
    assert regions_in((0.6, 0.6, 0.62, 0.62), rows=2, columns=2) == [2]


def test_region_reader_is_linear_and_tanh_in_snake_order():
    noise = Noise()
    reader = RegionReader(noise.format, 5, 4, places=False)
    grid = noise.read(torch.tensor([0]))
    by_hand = [torch.tanh(reader.weight @ grid[0, y, x] + reader.bias) for y, x in ((0, 0), (0, 2), (1, 2), (1, 0))]
    torch.testing.assert_close(reader(grid, None)[0, [0, 2, 3, 5]], torch.stack(by_hand))


def test_scaled_regions_do_not_depend_on_how_large_a_backbones_numbers_are():
    noise = Noise()
    reader = RegionReader(noise.format, 5, 4, places=False, norm=True)
    grid = noise.read(torch.tensor([0]))
    torch.testing.assert_close(reader(1000 * grid, None), reader(grid, None), atol=1e-4, rtol=1e-4)
    first = grid[0, 0, 0] / grid[0, 0, 0].square().mean().sqrt()
    torch.testing.assert_close(reader(grid, None)[0, 0], torch.tanh(reader.weight @ first + reader.bias))


def test_a_picture_is_as_many_facts_as_it_has_regions():
    _, questions = encoded()
    batch = whole(questions)
    assert questions.lengths_N.tolist() == [6, 6, 12, 12, 7, 7, 14, 2]
    assert batch.mask_BF.sum(dim=1).tolist() == questions.lengths_N.tolist()
    assert batch.places_BF[2].tolist() == [1] * 6 + [2] * 6 + [0, 0]
    assert batch.places_BF[6].tolist() == [1] * 6 + [0] + [2] * 6 + [0]
    # The same picture in two questions is read once: its regions have the same numbers.
    torch.testing.assert_close(batch.facts_BF[0, :6], batch.facts_BF[4, 1:7])
    torch.testing.assert_close(batch.facts_BF[2, :6], batch.facts_BF[3, 6:12])


def test_a_region_is_compared_with_its_place_in_the_neighbouring_pictures():
    # H = 1; three pictures of two regions, a sentence after the first; a question with one picture beside it.
    changes = SeriesChanges(2, 1)
    with torch.no_grad():
        changes.weight.copy_(torch.tensor([[1.0, 10.0]]))
    places = torch.tensor([[1, 1, 0, 2, 2, 3, 3], [1, 1, 0, 0, 0, 0, 0]])
    f = torch.tensor([[0.1, 0.2, 7.0, 0.3, 0.5, 0.35, 0.45], [0.1, 0.2, 7.0, 0.0, 0.0, 0.0, 0.0]])
    mask = torch.ones(2, 7, dtype=torch.bool)

    def tell() -> Tensor:
        return (changes(f[..., None], places, mask)[..., 0] - f).atanh()

    told = tell()
    # From the picture before, and ten times from the one after.
    first, second, third = [-2.0, -3.0], [0.2 - 0.5, 0.3 + 0.5], [0.05, -0.05]
    assert told[0].tolist() == pytest.approx([*first, 0.0, *second, *third], abs=1e-4)
    assert told[1].tolist() == [0.0] * 7
    # Of a region that is left out, the others are told nothing, and they keep their places.
    mask[0, 3] = False
    told = tell()
    assert told[0, :3].tolist() == pytest.approx([0.0, -3.0, 0.0], abs=1e-4)
    assert told[0, 4:].tolist() == pytest.approx([second[1], 0.0, third[1]], abs=1e-4)


@pytest.mark.parametrize("channels", [16, 48, 80, 112])
def test_any_allowed_number_of_channels_is_read(channels: int):
    format = PictureFormat(kind="pixels", size=64, rows=4, columns=4, channels=3)
    assert PixelReader(format, channels)(torch.rand(1, 3, 64, 64)).shape == (1, 4, 4, channels)


@pytest.mark.parametrize(("step", "sentence"), [(0, 1), (1, 0)])
def test_sentences_take_the_places_in_the_chain_that_regions_leave(step: int, sentence: int):
    example = mixtures()[4]
    example = replace(example, regions=tuple(replace(region, step=step) for region in example.regions))
    vocabulary = Vocabulary.build(iter_sentences([example]), [example.answer])
    batch = whole(encode([example], vocabulary, pictures=Noise()))
    # "Cats are cold." is fact 0; the left column of the picture after it, in snake order, its first and last region.
    assert batch.supporting_BK[0].tolist() == [0, 1, 6]
    assert batch.steps_BK[0].tolist() == [sentence, step, step]


@pytest.mark.parametrize(("config", "kind"), CASES.values(), ids=CASES)
def test_what_shares_the_batch_changes_nothing(config: NetworkConfig, kind: str):
    vocabulary, questions = encoded(kind)
    model = network(vocabulary, config, kind)
    together = model(whole(questions))
    for i in range(len(questions)):
        alone = model(questions.batch(torch.tensor([i])))
        F = alone.attention_PBF.shape[2]
        torch.testing.assert_close(alone.logits[0], together.logits[i], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone.attention_PBF[:, 0], together.attention_PBF[:, i, :F], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("config", "kind"), CASES.values(), ids=CASES)
def test_pictures_series_and_mixtures_are_overfit(config: NetworkConfig, kind: str):
    vocabulary, questions = encoded(kind)
    model, batch = network(vocabulary, config, kind), whole(questions)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(300):
        loss = model.losses(model(batch), batch).mean()
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            without = [name for name, p in model.named_parameters() if p.grad is None]
            assert without == []
        optimizer.step()
        if loss < 0.05:
            break
    assert loss < 0.05


def test_attention_is_drawn_to_the_labelled_regions():
    vocabulary, questions = encoded()
    model, batch = network(vocabulary, CONFIGS["dmn+"]), whole(questions)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(100):
        loss = attention_losses(model(batch).attention_PBF, batch.supporting_BK, batch.steps_BK).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 3


def test_dropout_leaves_sentence_masks_off_regions():
    vocabulary, questions = encoded()
    model, batch = network(vocabulary, CONFIGS["dmn+"]), whole(questions)
    masks = model.draw_dropout(batch, torch.Generator().manual_seed(0))
    assert (masks.facts_BFH[batch.places_BF > 0] == 1).all()
    assert (masks.facts_BFH[batch.places_BF == 0] == 0).any()
    assert masks.regions_IRC is not None
    assert masks.regions_IRC.shape == (6, 6, 5)
    assert 0.3 < (masks.regions_IRC == 0).float().mean() < 0.7


def test_moved_and_mirrored_pictures_repeat_their_edges():
    _, questions = encoded("pixels")
    batch = whole(questions)
    assert batch.pictures is not None
    # Each pixel tells its row and column.
    content = 10 * torch.arange(8.0)[:, None] + torch.arange(8)
    batch = replace(batch, pictures=content.expand(400, 3, 8, 8))
    moved = jitter_pictures(batch, torch.Generator().manual_seed(0), shift=2, mirror=True).pictures
    assert moved is not None
    rows, columns = moved[:, 1, :, 0] // 10, moved[:, 2, 0] % 10
    wanted = {way: (torch.arange(8) + way).clamp(0, 7).tolist() for way in range(-2, 3)}
    assert {*map(tuple, rows.tolist())} == {tuple(row) for row in wanted.values()}
    both = [tuple(row) for row in wanted.values()]
    assert {*map(tuple, columns.tolist())} == {*both, *(row[::-1] for row in both)}
    torch.testing.assert_close(moved[:, 0], 10 * rows[:, :, None] + columns[:, None])


def test_questions_about_one_picture_can_share_a_batch():
    asked = [Example(facts=(Picture(str(i % 6)),), question="What is it?", answer=("cat",)) for i in range(24)]
    vocabulary = Vocabulary.build(iter_sentences(asked), (example.answer for example in asked))
    questions = encode(asked, vocabulary, pictures=Noise())
    batches = list(questions.batches(4, shuffle=torch.Generator().manual_seed(0), by_picture=True))
    assert sorted(torch.cat(batches).tolist()) == list(range(24))
    assert [len(questions.batch(rows).pictures) for rows in batches] == [1] * 6


def test_uniform_start_keeps_biases_and_padding_zero():
    vocabulary, _ = encoded()
    model = network(vocabulary, replace(CONFIGS["dmn+"], start="uniform"))
    assert model.embedding.weight[0].abs().max() == 0
    assert model.fusion is not None
    assert model.fusion.gru.input_bias.abs().max() == 0
    assert 0.07 < model.embedding.weight.abs().max() <= 0.08


def test_a_model_of_text_names_the_picture_that_it_cannot_read():
    example = Example(facts=(Picture("cat.png"),), question="What is it?", answer=("cat",))
    vocabulary = Vocabulary.build(iter_sentences([example]), [example.answer])
    with pytest.raises(DataError, match=r"cat\.png is a picture, and this model reads text only"):
        encode([example], vocabulary)


def test_dropped_regions_tell_nothing():
    vocabulary, questions = encoded()
    model, batch = network(vocabulary, CONFIGS["dmn+"]), whole(questions)
    masks = model.draw_dropout(batch, torch.Generator().manual_seed(0))
    assert masks.regions_IRC is not None
    kept = masks._replace(facts_BFH=torch.ones_like(masks.facts_BFH), answer_BK=torch.ones_like(masks.answer_BK))
    logits = model(batch, kept._replace(regions_IRC=torch.zeros_like(masks.regions_IRC))).logits
    # The first two questions are the same, about different pictures.
    torch.testing.assert_close(logits[0], logits[1])
    whole_logits = model(batch, kept._replace(regions_IRC=torch.ones_like(masks.regions_IRC))).logits
    assert not torch.allclose(whole_logits[0], whole_logits[1])
