"""Peak memory of one run in a process of its own, so that nothing measured before it counts.

    python -m benchmarks.memory --network ours --run training --facts 130

prints one line of JSON. On the CPU it is the process's resident memory as the system counts it: its peak during the run
less what was resident before. PyTorch's own allocation profiler would miss what the compiled kernels allocate, and what
the allocator keeps; this counts all. Before, a run of the same network over two facts brings libraries, weights and
gradients in; Adam's state, twice the weights, counts. On Linux the peak is reset after that (/proc/self/clear_refs);
elsewhere it is that of the process since its start. On a GPU it is the peak of PyTorch's allocator.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.baseline import FUSIONS, baseline_batch, copy_weights
from benchmarks.workload import (
    Shape,
    baseline_inference,
    baseline_network,
    baseline_step,
    batch_of,
    our_inference,
    our_network,
    our_step,
)
from dmnplus import kernels

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def measure(shape: Shape, *, network: str, run: str, threads: int, device: str, backend: str, fusion: str) -> Any:
    """Figures of one run in a process of its own: `bytes`, `seconds`, and how the bytes were counted.

    A process that fails gives `error` instead.
    """
    options = {"network": network, "run": run, "threads": threads, "device": device, "backend": backend}
    arguments = [f"--{key}={value}" for key, value in {**options, "fusion": fusion, **asdict(shape)}.items()]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=environment)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [
            f"the process ended with {done.returncode}, for want of memory"
        ]
        return {"error": reason[0]}
    return json.loads(done.stdout.splitlines()[-1])


def _prepare(shape: Shape, arguments: argparse.Namespace) -> Callable[[], object]:
    """The run over `shape`, after one of the same kind over two facts."""
    device, training = torch.device(arguments.device), arguments.run == "training"
    ours = our_network(shape, device)
    small, whole = (batch_of(s, device) for s in (replace(shape, facts=2, batch=2), shape))
    if arguments.network == "ours":
        make = our_step if training else our_inference
        make(ours, small)()
        return make(ours, whole)
    model = baseline_network(shape, device, fusion=arguments.fusion)
    copy_weights(ours, model)
    make = baseline_step if training else baseline_inference
    make(model, baseline_batch(small))()
    return make(model, baseline_batch(whole))


def _resident() -> dict[str, int]:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return {key: int(lines[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM")}


def _peak_of(run: Callable[[], object], device: torch.device) -> dict[str, Any]:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        seconds = _seconds(run, device)
        peak, counted = torch.cuda.max_memory_allocated(device), "torch.cuda.max_memory_allocated"
    elif _CLEAR.exists() and os.access(_CLEAR, os.W_OK):
        _CLEAR.write_text("5")
        before = _resident()["VmRSS"]
        seconds = _seconds(run, device)
        peak, counted = _resident()["VmHWM"], "VmHWM"
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        seconds = _seconds(run, device)
        peak, counted = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "ru_maxrss"
    return {"bytes": peak - before, "before": before, "seconds": seconds, "counted": counted}


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("ours", "baseline"), default="ours")
    parser.add_argument("--run", choices=("training", "inference"), default="training")
    for name, value in asdict(Shape(facts=40)).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backend", choices=kernels.BACKENDS, default=kernels.get_backend())
    parser.add_argument("--fusion", choices=FUSIONS, default="cell")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    kernels.set_backend(arguments.backend)
    shape = Shape(**{name: getattr(arguments, name) for name in asdict(Shape(facts=1))})
    print(json.dumps(_peak_of(_prepare(shape, arguments), torch.device(arguments.device))))


if __name__ == "__main__":
    main()
