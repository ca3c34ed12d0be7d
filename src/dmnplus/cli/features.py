"""`dmnplus features`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dmnplus.data.example import DataError, Picture

if TYPE_CHECKING:
    from dmnplus.vision.store import FeatureStore

# Where no terminal shows a bar that moves.
_SECONDS_BETWEEN_LINES = 10.0


def features(
    images: Annotated[Path, typer.Argument(help="A folder of pictures, with its folders, or one picture.")],
    out: Annotated[Path, typer.Option(help="Folder of the store.")],
    backbone: Annotated[
        str, typer.Option(help="torchvision/NAME or timm/NAME, as in timm/vit_small_patch14_dinov2.lvd142m.")
    ] = "torchvision/vgg19",
    size: Annotated[int, typer.Option(min=1, help="Side in pixels that pictures are brought to.")] = 448,
    grid: Annotated[
        int | None, typer.Option(min=1, help="Average neighbouring regions to so many rows and columns.")
    ] = None,
    weights: Annotated[
        str, typer.Option(metavar="FILE", help="A .pth or .safetensors file; or official (downloaded), or random.")
    ] = "official",
    batch: Annotated[int, typer.Option(min=1, help="Pictures that go through the network at once.")] = 16,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read pictures.")] = 4,
    threads: Annotated[int, typer.Option(min=0, help="Threads of the network; 0 is PyTorch's choice.")] = 0,
    precision: Annotated[Literal["half", "single"], typer.Option(help="Of the numbers on disk.")] = "half",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad/--stop-at-bad", help="Leave out pictures that cannot be read, or stop at one.")
    ] = False,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Larger pictures are refused undecoded. Default: 89,478,485.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, or auto for a GPU if there is one.")] = "cpu",
) -> None:
    """Write the grid of regions of every picture to a store, which training reads.

    Ctrl-C leaves a store that the same command goes on with.
    """
    # Here and not above: PyTorch takes seconds to import, and help should not wait for it.
    import torch

    from dmnplus.training.device import find_device
    from dmnplus.vision.backbones import NoWeightsError, load_backbone
    from dmnplus.vision.extract import BadPictureError, extract_features
    from dmnplus.vision.image import MAX_PIXELS, TooLargeError, find_images

    folder = images if images.is_dir() else images.parent
    pictures = {name: Picture(str(folder / name)) for name in find_images(images)}
    console = Console()
    if threads:
        torch.set_num_threads(threads)
    target = find_device(device)
    try:
        network = load_backbone(backbone, size=size, weights=weights, grid=(grid, grid) if grid else None).to(target)
    except NoWeightsError as error:
        raise DataError(f"{error}, or --weights random to test the speed") from error
    try:
        with _watching(console) as watch:
            store = extract_features(
                pictures,
                network,
                out,
                batch=batch,
                workers=workers,
                precision=precision,
                skip_bad=skip_bad,
                max_pixels=max_pixels or MAX_PIXELS,
                progress=watch,
            )
    except BadPictureError as error:
        limit = (
            ", or raise the limit (--max-pixels) if you trust it" if isinstance(error.__cause__, TooLargeError) else ""
        )
        kept = f"{error.done:,} of {len(pictures):,} pictures are in {out}"
        raise DataError(f"{error}{limit}\n{kept}; run again to go on, or add --skip-bad") from error
    except KeyboardInterrupt:
        Console(stderr=True).print(
            f"stopped; {out} keeps what is done, and the same command goes on from there",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
        raise typer.Exit(130) from None
    _print_summary(console, store)


def _print_summary(console: Console, store: FeatureStore) -> None:
    for name, reason in store.failed.items():
        console.print(f"skipped {name}: {reason}", highlight=False, soft_wrap=True, markup=False)
    rows, columns = store.grid
    skipped = f", {len(store.failed)} skipped" if store.failed else ""
    console.print(
        f"{len(store) - len(store.failed)} pictures in {store.path}{skipped}: {rows} x {columns} regions of "
        f"{store.channels} channels, {store.description['backbone']} at {store.description['size']} pixels",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


@contextmanager
def _watching(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A function to hand to `extract_features`."""
    pace = _Pace()
    if not console.is_terminal:
        last = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal last
            speed = pace(done)
            if time.monotonic() - last >= _SECONDS_BETWEEN_LINES or (done == total and speed):
                last = time.monotonic()
                left = f", {(total - done) / speed / 60:.0f} min left" if speed and done < total else ""
                console.print(f"{done} of {total} pictures, {speed:.1f} a second{left}", highlight=False)

        yield line
        return
    columns = (
        TextColumn("pictures"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]:.1f} a second"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("pictures", total=None, speed=0.0)
        yield lambda done, total: progress.update(bar, completed=done, total=total, speed=pace(done))


class _Pace:
    """Pictures a second of this run, without those that an earlier one did."""

    def __init__(self) -> None:
        self.first: tuple[float, int] | None = None

    def __call__(self, done: int) -> float:
        now = time.monotonic()
        if self.first is None:
            self.first = now, done
        start, before = self.first
        return (done - before) / (now - start) if now > start else 0.0
