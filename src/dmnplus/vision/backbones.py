"""Convolutional and transformer networks of torchvision and timm as readers of regions.

Shape legend: B batch, S side in pixels, R rows of the grid, K columns of the grid, C channels.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dmnplus.data.example import DataError

OFFICIAL, RANDOM = "official", "random"


class NoWeightsError(DataError):
    """A network's weights are not there."""


class Backbone(nn.Module):
    """The layers of a network up to its last grid of features, with the normalisation of its weights.

    `description` is what features and a model that reads them must agree on: name, sha256 of the weights, side of the
    picture in pixels, grid (rows and columns) and channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        trunk: nn.Module,
        read: Callable[[Tensor], Tensor],
        mean: Any,
        std: Any,
        size: int,
        grid: tuple[int, int] | None = None,
    ):
        super().__init__()
        self.grid = grid
        # Channels last, as the pixels come, is what convolutions run fastest in.
        self.trunk = trunk.to(memory_format=torch.channels_last).eval().requires_grad_(False)
        self.read = read
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        try:
            _, rows, columns, channels = self(torch.zeros(1, size, size, 3, dtype=torch.uint8)).shape
        except (RuntimeError, AssertionError, ValueError) as error:
            raise DataError(f"{name} does not take pictures of {size} pixels (--size): {error}") from error
        self.description: dict[str, Any] = {
            "backbone": name,
            "weights": weights_hash(trunk),
            "size": size,
            "grid": [rows, columns],
            "channels": channels,
        }

    @torch.inference_mode()
    def forward(self, pixels_BSS3: Tensor) -> Tensor:
        """Regions [B, R, K, C] of pictures in eight-bit RGB [B, S, S, 3]."""
        pixels_B3SS = pixels_BSS3.to(self.mean.device).permute(0, 3, 1, 2).float() / 255
        regions_BRKC = self.read((pixels_B3SS - self.mean) / self.std)
        return regions_BRKC if self.grid is None else _averaged(regions_BRKC, self.grid)


def _averaged(regions_BRKC: Tensor, grid: tuple[int, int]) -> Tensor:
    """The means of neighbouring regions, as many of them as a `grid` of rows and columns has."""
    rows, columns = regions_BRKC.shape[1:3]
    if grid[0] > rows or grid[1] > columns:
        raise ValueError(f"it gives {rows} x {columns} regions, and {grid[0]} x {grid[1]} are wanted (--grid)")
    return nn.functional.adaptive_avg_pool2d(regions_BRKC.permute(0, 3, 1, 2), grid).permute(0, 2, 3, 1)


def load_backbone(
    name: str,
    *,
    size: int = 448,
    weights: str | Path = OFFICIAL,
    grid: tuple[int, int] | None = None,
    seed: int = 0,
) -> Backbone:
    """`torchvision/NAME` or `timm/NAME` for pictures of `size` pixels a side.

    The grid is what the last pooling or stage of layers gives: for VGG-19 the output of the last max-pooling, 14 x 14
    regions of 512 channels at 448 pixels (paper, section 3.2); for ResNets the last stage; for vision transformers the
    tokens of the patches. `grid` averages neighbouring regions to fewer rows and columns.

    `weights` are "official" (downloaded once by torchvision or timm), "random" (drawn from `seed`; for tests of speed),
    or a file of tensors by the names of the network's parameters, .safetensors or .pth; nothing but tensors is
    unpickled. A file may lack the classifier. Raises DataError if the network, the size or the weights are not usable.
    """
    library, _, network = name.partition("/")
    builders = {"torchvision": _torchvision, "timm": _timm}
    if library not in builders or not network:
        raise DataError(f"backbone {name!r} is not torchvision/NAME or timm/NAME, as in torchvision/vgg19")
    if size < 1:
        raise DataError(f"size {size} is not a number of pixels above 0")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return builders[library](name, network, size, weights, grid)


def weights_hash(module: nn.Module) -> str:
    """sha256 over the tensors by name, in single precision: the same for every kind of file they came in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a .safetensors file or a PyTorch file. Raises DataError if it is neither, or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise NoWeightsError(f"{path}: there is no such file of weights; check the path given with --weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # weights_only: a pickle may otherwise run whatever it names.
        content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise DataError(f"{path}: damaged, or no safetensors file ({error})") from None
    # torch.load raises nearly anything for a damaged or foreign file.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: not readable as a PyTorch file of tensors ({reason})") from error
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise DataError(f"{path}: does not hold tensors by name; save the network's state_dict() alone")
    return dict(content)


def _torchvision(name: str, network: str, size: int, weights: str | Path, grid: tuple[int, int] | None) -> Backbone:
    try:
        from torchvision import models
    except ImportError:
        raise _not_installed("torchvision") from None
    known = models.list_models(models)
    if network not in known:
        raise _unknown(name, network, known)
    official = models.get_model_weights(network)["DEFAULT"]
    try:
        model = models.get_model(network, weights=official if weights == OFFICIAL else None)
    # No network, no space, or a broken download, which fails its checksum.
    except (OSError, RuntimeError) as error:
        raise _no_download(name, str(error), official.url) from error
    trunk = _torchvision_trunk(name, model)
    _load(name, model, trunk, weights)
    usual = official.transforms()
    return Backbone(name, trunk, lambda x: trunk(x).permute(0, 2, 3, 1), usual.mean, usual.std, size, grid)


def _torchvision_trunk(name: str, model: nn.Module) -> nn.Module:
    """The layers up to the last grid, sharing the model's parameters."""
    from torchvision import models

    match model:
        case models.DenseNet():
            return nn.Sequential(model.features, nn.ReLU())
        case (
            models.VGG()
            | models.SqueezeNet()
            | models.AlexNet()
            | models.MobileNetV2()
            | models.MobileNetV3()
            | models.EfficientNet()
            | models.ConvNeXt()
        ):
            return model.features
        case models.ResNet():
            return nn.Sequential(*(layer for part, layer in model.named_children() if part not in ("avgpool", "fc")))
        case models.RegNet():
            return nn.Sequential(model.stem, model.trunk_output)
        case _:
            raise DataError(f"{name}: which of its layers is the grid is not known here; many more work as timm/NAME")


def _timm(name: str, network: str, size: int, weights: str | Path, grid: tuple[int, int] | None) -> Backbone:
    try:
        import timm
        from timm.data.config import resolve_model_data_config
    except ImportError:
        raise _not_installed("timm") from None
    if not timm.is_model(network):
        raise _unknown(name, network, timm.list_models(pretrained=True))
    try:
        model: Any = timm.create_model(network, pretrained=weights == OFFICIAL, num_classes=0)
    # What the hub raises without a network depends on its version.
    except Exception as error:
        if weights != OFFICIAL:
            raise DataError(f"{name}: cannot be built: {error}") from error
        address = timm.get_pretrained_cfg_value(network, "hf_hub_id")
        raise _no_download(
            name, str(error), f"huggingface.co/{address}" if address else "no address is known"
        ) from error
    _load(name, model, model, weights)
    # Networks with position embeddings fit them to the grid.
    if hasattr(model, "set_input_size"):
        model.set_input_size(img_size=(size, size))
    config = resolve_model_data_config(model)
    return Backbone(name, model, lambda x: _timm_grid(model, x), config["mean"], config["std"], size, grid)


def _timm_grid(model: Any, pixels_B3SS: Tensor) -> Tensor:
    features = model.forward_features(pixels_B3SS)
    if features.ndim == 4:
        channels_last = str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")
        return features if channels_last else features.permute(0, 2, 3, 1)
    if features.ndim != 3 or not hasattr(model, "patch_embed"):
        raise ValueError(f"its features of shape {list(features.shape)} are no grid")
    # Tokens for the class and registers come before those of the patches.
    tokens = features[:, getattr(model, "num_prefix_tokens", 0) :]
    rows, columns = model.patch_embed.grid_size
    return tokens.reshape(len(tokens), rows, columns, -1)


def _load(name: str, model: nn.Module, trunk: nn.Module, weights: str | Path) -> None:
    """Fills the trunk, part of `model`, from a file; the classifier's tensors may be there or not."""
    if weights in (OFFICIAL, RANDOM):
        return
    path = Path(weights)
    given = read_weights(path)
    within = {id(tensor) for tensor in trunk.state_dict(keep_vars=True).values()}
    known = model.state_dict(keep_vars=True)
    # Counters of batch normalisation are not in old files, and not used.
    wanted = {key: t for key, t in known.items() if id(t) in within and not key.endswith("num_batches_tracked")}
    missing = [key for key in wanted if key not in given]
    unexpected = [key for key in given if key not in known and not _of_classifier(model, key)]
    if missing or unexpected:
        parts = [f"{what} {_some(keys)}" for what, keys in (("lacks", missing), ("has unknown", unexpected)) if keys]
        raise DataError(f"{path}: is not for {name}: {'; '.join(parts)}; use the names that its library gives them")
    for key, tensor in wanted.items():
        if tensor.shape != given[key].shape:
            raise DataError(
                f"{path}: is not for {name}: {key} is {list(given[key].shape)} and not {list(tensor.shape)}"
            )
        tensor.data.copy_(given[key])


def _of_classifier(model: nn.Module, key: str) -> bool:
    """Whether timm, which builds the model without its classifier, would have it under this name."""
    heads = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    return key.startswith(tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads)))


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _not_installed(library: str) -> DataError:
    return DataError(f'{library} is not installed; it comes with: pip install "dmnplus[vision]"')


def _unknown(name: str, network: str, known: list[str]) -> DataError:
    near = difflib.get_close_matches(network, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {len(known)}, such as {_some(known)}"
    return DataError(f"{name}: there is no such network; {hint}")


def _no_download(name: str, reason: str, address: str) -> NoWeightsError:
    return NoWeightsError(
        f"the official weights of {name} could not be downloaded ({reason}); load them elsewhere ({address}) and give "
        "the file with --weights FILE"
    )
