"""Times the recurrences beside their step-by-step references and beside torch.nn.GRU.

    python benchmarks/kernels.py [--threads N] [--repeat N]

Each number is the fastest of several short bursts, as others may use the machine. "limit" is the time that the
recurrence's matrix products alone would take at the rate of a large matrix product measured in the same run.

Shape legend: G groups, B batch, F facts, H hidden.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from dmnplus import kernels

B, H = 128, 80


def fastest(run: Callable[[], object], repeat: int) -> float:
    """Seconds of the fastest of `repeat` calls, in bursts with a pause between them."""
    best = float("inf")
    for i in range(repeat):
        if i % 5 == 0:
            time.sleep(0.05)
            run()
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def matmul_rate(repeat: int) -> float:
    """Floating-point operations per second of a large matrix product."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2 * 1024**3 / fastest(lambda: a @ b, repeat)


def forward_and_both(forward: Callable[[], Tensor], leaves: list[Tensor], repeat: int) -> tuple[float, float]:
    """Seconds of the forward pass alone and of forward with backward."""
    with torch.no_grad():
        grad = torch.randn_like(forward())
        alone = fastest(forward, repeat)

    def both() -> None:
        torch.autograd.grad(forward(), leaves, grad)

    return alone, fastest(both, repeat)


def check(forward: Callable[[], Tensor]) -> None:
    """Speed counts only where the results agree."""
    with torch.no_grad(), kernels.backend("cpu"):
        found = forward()
    with torch.no_grad(), kernels.backend("reference"):
        torch.testing.assert_close(found, forward(), rtol=1e-4, atol=1e-5)


def show(name: str, times: tuple[float, float], limits: tuple[float, float] | None = None) -> None:
    cells = [f"{time * 1e3:8.2f} ms" for time in times]
    if limits:
        cells = [f"{c} {limit / t:4.0%} of limit" for c, t, limit in zip(cells, times, limits, strict=True)]
    print(f"  {name:<28}" + "".join(f"{cell:<30}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeat", type=int, default=40)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    rate = matmul_rate(arguments.repeat)
    print(
        f"float32, {arguments.threads} threads, torch {torch.__version__}, {platform.processor() or platform.machine()}"
    )
    print(f"large matrix product: {rate / 1e9:.0f} GFLOP/s; B={B}, H={H}, no padding")
    for F in (10, 40, 130):
        repeat = max(arguments.repeat * 10 // F, 10)
        slow = max(repeat // 4, 5)
        mask = torch.ones(1, B, F, dtype=torch.bool)
        for gates, op in ((3, "gru"), (2, "attention_gru")):
            x = torch.randn(1, B, F, gates * H, requires_grad=True)
            weight = (torch.randn(1, gates * H, H) / H**0.5).requires_grad_()
            gate = torch.rand(1, B, F, requires_grad=True)

            run = kernels.gru if op == "gru" else kernels.attention_gru
            inputs = (x, weight, mask, [False]) if op == "gru" else (x, weight, gate, mask)
            forward = partial(run, *inputs)
            check(forward)
            leaves = [x, weight] if op == "gru" else [x, weight, gate]
            limit = 2 * B * F * gates * H * H / rate
            print(f"{op}, F={F}{'':<22}forward{'':<23}forward and backward")
            with kernels.backend("cpu"):
                show("ours", forward_and_both(forward, leaves, repeat), (limit, 3 * limit))
            with kernels.backend("reference"):
                show("step by step", forward_and_both(forward, leaves, slow))
            if op == "gru":
                # It also projects its inputs: at the same width, which the limit counts.
                other = torch.nn.GRU(H, H, batch_first=True)
                facts = torch.randn(B, F, H, requires_grad=True)
                states = partial(lambda module, facts: module(facts)[0], other, facts)
                times = forward_and_both(states, [facts, *other.parameters()], slow)
                show("torch.nn.GRU + projection", times, (2 * limit, 6 * limit))


if __name__ == "__main__":
    main()
