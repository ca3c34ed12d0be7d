"""Pictures a second of `extract_features`, beside a plain loop over torchvision with the same threads.

    python -m benchmarks.features [--images FOLDER] [--count 24] [--backbone torchvision/vgg19] [--threads N]

From files to regions: the plain loop opens a picture, transforms it and runs the network on it, one at a time, and
keeps the result in memory; ours also writes its store. Both have the same random weights, and nothing is timed before
they give the same regions. Without --images, JPEG pictures of 640 x 480 with smooth noise are made.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchvision import models

from benchmarks.run import _machine, _write
from benchmarks.timing import Spread
from dmnplus.data.example import Picture
from dmnplus.vision.backbones import load_backbone
from dmnplus.vision.extract import extract_features
from dmnplus.vision.image import find_images

SIZE = 448
BACKBONES = ("torchvision/squeezenet1_1", "torchvision/vgg19")


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    console = Console(width=140)
    machine = {**_machine(torch.device("cpu")), "torchvision": torchvision.__version__, "pillow": PIL.__version__}
    console.print(" · ".join(f"{key} {value}" for key, value in machine.items()), highlight=False)
    options = {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()}
    report: dict[str, Any] = {"machine": machine, "options": options, "backbones": {}}
    table = Table("backbone", "regions", "plain loop, pictures/s", "ours, pictures/s", "ours / plain", box=None)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.images or _made_up(Path(scratch) / "pictures", arguments.count)
        names = find_images(folder)[: arguments.count]
        for name in arguments.backbone or BACKBONES:
            figures = _compare(name, folder, names, Path(scratch), arguments)
            report["backbones"][name] = figures
            shape = " x ".join(str(side) for side in figures["regions"])
            speeds = [f"{figures[way].median:.2f} ({figures[way].low:.2f}-{figures[way].high:.2f})" for way in _WAYS]
            table.add_row(name, shape, *speeds, f"{figures['ratio'].median:.2f}")
    console.print(table)
    console.print(
        f"{len(names)} pictures at {SIZE} pixels, float32, {arguments.threads} threads of the network, "
        f"batch {arguments.batch}, {arguments.workers} threads that read; medians and quartiles of {arguments.rounds}",
        highlight=False,
    )
    _write(arguments.out, report)
    console.print(f"all figures in {arguments.out}", highlight=False)


_WAYS = ("plain", "ours")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of pictures; default: made up")
    parser.add_argument("--count", type=int, default=24, help="how many pictures")
    parser.add_argument("--backbone", action="append", help="of torchvision, with .features; may be repeated")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=4, help="threads of ours that read pictures")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-features.json"))
    return parser.parse_args()


def _made_up(folder: Path, count: int) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(random.integers(0, 255, (60, 80, 3), dtype=np.uint8))
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{i:05}.jpg", quality=90)
    return folder


def _compare(name: str, folder: Path, names: list[str], scratch: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    pictures = {picture: Picture(str(folder / picture)) for picture in names}
    backbone = load_backbone(name, size=SIZE, weights="random")
    transform, model = _plain(name)
    model.load_state_dict(backbone.trunk.state_dict())
    plain = partial(_loop, [folder / picture for picture in names], transform, model)

    def ours() -> Tensor:
        with tempfile.TemporaryDirectory(dir=scratch) as out:
            store = extract_features(
                pictures,
                backbone,
                Path(out) / "store",
                batch=arguments.batch,
                workers=arguments.workers,
                precision="single",
            )
            return store.read(range(len(names)))

    # Speed counts only where the results agree; this is the warm-up, too.
    expected = plain()
    scale = float(expected.abs().max())
    torch.testing.assert_close(ours() / scale, expected / scale, rtol=1e-3, atol=1e-4)
    seconds: dict[str, list[float]] = {way: [] for way in _WAYS}
    for _ in range(arguments.rounds):
        for way, run in (("plain", plain), ("ours", ours)):
            seconds[way].append(_timed(run))
    speeds = {way: [len(names) / s for s in seconds[way]] for way in _WAYS}
    ratios = [ours / plain for ours, plain in zip(speeds["ours"], speeds["plain"], strict=True)]
    return {
        **{way: Spread.of(speeds[way]) for way in _WAYS},
        "ratio": Spread.of(ratios),
        "seconds": seconds,
        "regions": list(expected.shape[1:]),
        "description": backbone.description,
    }


def _plain(name: str) -> tuple[Callable[[Image.Image], Tensor], torch.nn.Module]:
    """torchvision as its documentation uses it, up to the last grid."""
    from torchvision.transforms import v2

    network = name.partition("/")[2]
    transform = v2.Compose(
        [
            v2.Resize((SIZE, SIZE)),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    model: Any = models.get_model(network, weights=None)
    return transform, model.eval().features


@torch.inference_mode()
def _loop(paths: list[Path], transform: Callable[[Image.Image], Tensor], model: torch.nn.Module) -> Tensor:
    regions = []
    for path in paths:
        with Image.open(path) as image:
            regions.append(model(transform(image.convert("RGB"))[None]))
    return torch.cat(regions).permute(0, 2, 3, 1)


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
