import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dmnplus.data.example import DataError
from dmnplus.vision.backbones import load_backbone
from dmnplus.vision.image import read_pixels
from tests.vision.conftest import SQUEEZENET

torchvision = pytest.importorskip("torchvision", reason='needs pip install "dmnplus[vision]"')


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [
        (SQUEEZENET, 240, [14, 14, 512]),
        (SQUEEZENET, 448, [27, 27, 512]),
        ("torchvision/resnet18", 64, [2, 2, 512]),
        ("torchvision/densenet121", 64, [2, 2, 1024]),
        ("torchvision/mobilenet_v3_small", 64, [2, 2, 576]),
        ("torchvision/regnet_y_400mf", 64, [2, 2, 440]),
        ("timm/resnet18", 64, [2, 2, 512]),
        ("timm/vit_tiny_patch16_224", 64, [4, 4, 192]),
        # With registers, and tokens that are no part of the grid.
        ("timm/vit_small_patch14_reg4_dinov2.lvd142m", 56, [4, 4, 384]),
        ("timm/swin_tiny_patch4_window7_224", 224, [7, 7, 768]),
    ],
)
def test_the_grid_of_each_kind_of_network(name: str, size: int, shape: list[int]):
    pytest.importorskip(name.partition("/")[0], reason='needs pip install "dmnplus[vision]"')
    backbone = load_backbone(name, size=size, weights="random")
    assert [*backbone.description["grid"], backbone.description["channels"]] == shape
    pixels = torch.randint(0, 255, (2, size, size, 3), dtype=torch.uint8)
    assert list(backbone(pixels).shape) == [2, *shape]


def test_vgg19_gives_the_regions_of_the_paper():
    # As in section 3.2, but without the weights and time of the real network: its trunk alone, of one picture.
    from dmnplus.vision.backbones import _torchvision_trunk

    with torch.device("meta"):
        model = torchvision.models.vgg19()
        regions = _torchvision_trunk("torchvision/vgg19", model)(torch.zeros(1, 3, 448, 448))
    assert list(regions.shape) == [1, 512, 14, 14]


def test_regions_are_those_of_torchvisions_own_way(squeezenet_weights: Path, tmp_path: Path):
    from torchvision.transforms import v2

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8))
    noise.save(tmp_path / "a.png")
    backbone = load_backbone(SQUEEZENET, size=64, weights=squeezenet_weights)
    found = backbone(torch.from_numpy(read_pixels(tmp_path / "a.png", 64))[None])
    model = torchvision.models.squeezenet1_1().eval()
    model.load_state_dict(load_file(squeezenet_weights))
    transform = v2.Compose(
        [
            v2.Resize((64, 64)),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with torch.inference_mode():
        expected = model.features(transform(noise)[None])
    torch.testing.assert_close(found, expected.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-4)


def test_regions_keep_their_place():
    pytest.importorskip("timm", reason='needs pip install "dmnplus[vision]"')
    for name, size in (("timm/vit_tiny_patch16_224", 64), ("torchvision/resnet18", 256)):
        backbone = load_backbone(name, size=size, weights="random")
        plain = torch.full((1, size, size, 3), 128, dtype=torch.uint8)
        marked = plain.clone()
        marked[0, : size // 8, -size // 8 :] = 255
        change = (backbone(marked) - backbone(plain)).abs().sum(-1)[0]
        side = len(change)
        row, column = divmod(int(change.argmax()), side)
        # The receptive field is wide, so the corner itself need not change most.
        assert row < side / 2 <= column, name


def test_both_kinds_of_file_hold_the_same_weights(squeezenet_weights: Path):
    first = load_backbone(SQUEEZENET, size=64, weights=squeezenet_weights)
    second = load_backbone(SQUEEZENET, size=64, weights=squeezenet_weights.with_suffix(".pth"))
    assert first.description == second.description
    other = load_backbone(SQUEEZENET, size=64, weights="random")
    assert other.description["weights"] != first.description["weights"]
    again = load_backbone(SQUEEZENET, size=64, weights="random")
    assert again.description == other.description


def test_random_weights_leave_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load_backbone(SQUEEZENET, size=64, weights="random")
    assert torch.equal(torch.rand(1), expected)


def test_the_classifier_may_be_absent_and_nothing_else(squeezenet_weights: Path, tmp_path: Path):
    weights = {k: v for k, v in load_file(squeezenet_weights).items() if not k.startswith("classifier.")}
    save_file(weights, tmp_path / "trunk.safetensors")
    load_backbone(SQUEEZENET, size=64, weights=tmp_path / "trunk.safetensors")
    del weights["features.0.weight"]
    weights["extra"] = torch.zeros(1)
    save_file(weights, tmp_path / "less.safetensors")
    with pytest.raises(
        DataError, match=r"less\.safetensors: is not for .*lacks features\.0\.weight; has unknown extra"
    ):
        load_backbone(SQUEEZENET, size=64, weights=tmp_path / "less.safetensors")


def test_weights_of_another_shape(squeezenet_weights: Path, tmp_path: Path):
    weights = load_file(squeezenet_weights) | {"features.0.weight": torch.zeros(64, 3, 5, 5)}
    save_file(weights, tmp_path / "a.safetensors")
    with pytest.raises(DataError, match=r"features\.0\.weight is \[64, 3, 5, 5\] and not \[64, 3, 3, 3\]"):
        load_backbone(SQUEEZENET, size=64, weights=tmp_path / "a.safetensors")


def test_weights_of_timm_from_a_file_are_fitted_to_the_size(tmp_path: Path):
    timm = pytest.importorskip("timm", reason='needs pip install "dmnplus[vision]"')
    save_file(timm.create_model("vit_tiny_patch16_224").state_dict(), tmp_path / "a.safetensors")
    backbone = load_backbone("timm/vit_tiny_patch16_224", size=64, weights=tmp_path / "a.safetensors")
    assert backbone.description["grid"] == [4, 4]


class Evil:
    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", {"a": 1}, [1, 2], Evil()])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_files_that_hold_no_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, ending: str):
    path = tmp_path / f"a.{ending}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(DataError, match=rf"a\.{ending}: (not readable|damaged|does not hold)"):
        load_backbone(SQUEEZENET, size=64, weights=path)
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vgg19", "is not torchvision/NAME or timm/NAME"),
        ("keras/vgg19", "is not torchvision/NAME or timm/NAME"),
        ("torchvision/vgg91", "did you mean vgg19"),
        ("torchvision/shufflenet_v2_x0_5", "which of its layers is the grid is not known"),
        ("timm/resnet81", "there is no such network"),
    ],
)
def test_networks_that_are_not_known(name: str, message: str):
    with pytest.raises(DataError, match=message):
        load_backbone(name, size=64, weights="random")


def test_neighbouring_regions_are_averaged_to_a_smaller_grid():
    whole = load_backbone(SQUEEZENET, size=112, weights="random")
    coarse = load_backbone(SQUEEZENET, size=112, weights="random", grid=(2, 3))
    assert whole.description["grid"] == [6, 6]
    assert coarse.description == {**whole.description, "grid": [2, 3]}
    pixels = torch.randint(0, 255, (1, 112, 112, 3), dtype=torch.uint8)
    wanted = whole(pixels).unflatten(1, (2, 3)).unflatten(3, (3, 2)).mean(dim=(2, 4))
    torch.testing.assert_close(coarse(pixels), wanted)
    with pytest.raises(DataError, match=r"it gives 6 x 6 regions, and 7 x 7 are wanted \(--grid\)"):
        load_backbone(SQUEEZENET, size=112, weights="random", grid=(7, 7))


def test_a_size_that_does_not_suit():
    with pytest.raises(DataError, match=r"does not take pictures of 3 pixels \(--size\)"):
        load_backbone(SQUEEZENET, size=3, weights="random")
    with pytest.raises(DataError, match="size 0"):
        load_backbone(SQUEEZENET, size=0, weights="random")


def test_a_missing_file_of_weights(tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere\.pth: there is no such file of weights"):
        load_backbone(SQUEEZENET, size=64, weights=tmp_path / "nowhere.pth")


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, library: str):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DataError, match=rf'{library} is not installed; .*pip install "dmnplus\[vision\]"'):
        load_backbone(f"{library}/resnet18", size=64, weights="random")


def test_official_weights_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def fail(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    with pytest.raises(DataError, match=r"no network.*https://.*squeezenet1_1.*--weights FILE"):
        load_backbone(SQUEEZENET, size=64)


def test_official_weights_of_timm_without_a_network(monkeypatch: pytest.MonkeyPatch):
    timm = pytest.importorskip("timm", reason='needs pip install "dmnplus[vision]"')

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(DataError, match=r"no network.*huggingface\.co/timm/resnet18.*--weights FILE"):
        load_backbone("timm/resnet18", size=64)
