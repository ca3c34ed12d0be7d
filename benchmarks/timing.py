"""Time of several ways to do the same, in turns, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Spread:
    """The median of some figures, and the quartiles around it."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        low, median, high = (float(q) for q in np.quantile(np.asarray(figures), (0.25, 0.5, 0.75)))
        return cls(median, low, high, len(figures))


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""What a call on the CPU is timed by: the clock on the wall, or the processor's time, for busy machines."""


def timed(run: Callable[[], object], device: torch.device, clock: str = "wall") -> float:
    """Seconds of one call, on a GPU until its last kernel has finished."""
    if device.type == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize(device)
        begin.record()
        run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3
    now = CLOCKS[clock]
    start = now()
    run()
    return now() - start


def in_turns(
    runs: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    seconds: float,
    least: int = 3,
    most: int = 200,
    clock: str = "wall",
) -> dict[str, list[float]]:
    """Seconds of a call of each run: all to warm up, then round after round for about `seconds`.

    In every round a run is called twice and the second call is timed: the first finds caches and memory as the other
    run left them, which is not how a training or a server goes on.
    """
    for run in runs.values():
        # Twice: the first call may compile, the second is the first with its memory in place.
        if timed(run, device) < seconds / 4:
            timed(run, device)
    times: dict[str, list[float]] = {name: [] for name in runs}
    with _no_garbage_collection():
        start = time.perf_counter()
        for done in range(most):
            if done >= least and time.perf_counter() - start > seconds:
                break
            for name, run in runs.items():
                run()
                times[name].append(timed(run, device, clock))
    return times


def ratio(times: Mapping[str, Sequence[float]], above: str, below: str) -> Spread:
    """`above` over `below`, round by round."""
    return Spread.of([a / b for a, b in zip(times[above], times[below], strict=True)])


def large_product(device: torch.device) -> tuple[Callable[[], object], int]:
    """A product of large square matrices, and its floating-point operations."""
    n = 8192 if device.type == "cuda" else 1536
    a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    out = torch.empty(n, n, device=device)
    return lambda: torch.matmul(a, b, out=out), 2 * n**3


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """x of seconds = c * size^x, by least squares on the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
