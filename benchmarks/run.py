"""Everything that is measured, ours beside a baseline in plain PyTorch; `make bench` runs it.

    python -m benchmarks.run [--quick | --tiny] [--only SECTION] [--threads N] [--device cuda] [--out FILE.json]

First it checks that ours and the baseline are the same network, with the same weights the same logits and gradients;
without that, nothing is timed. benchmarks/README.md says what each table means.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import goals, sections
from benchmarks.baseline import FUSIONS, TOLERANCES, assert_parity, copy_weights
from benchmarks.sections import Bench
from benchmarks.timing import CLOCKS
from benchmarks.workload import Shape, baseline_network, batch_of, our_network
from dmnplus import kernels

SECTIONS: dict[str, Callable[[Bench], Any]] = {
    "speed": sections.speed,
    "limit": sections.limit,
    "scaling": sections.scaling,
    "memory": sections.memory,
    "latency": sections.latency,
    "algebra": sections.algebra,
    "input": sections.inputs,
    "long": sections.long_stories,
    "restarts": sections.restarts,
    "learn": sections.learn,
}
"""In the order of running. `restarts` is meant for GPUs, and `learn` takes long: see `_chosen`."""


def main() -> None:
    arguments = _arguments()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda: PyTorch finds no GPU here")
    if arguments.clock == "cpu" and arguments.threads > 1:
        sys.exit("--clock cpu adds the time of all threads up; give --threads 1 with it")
    torch.set_num_threads(arguments.threads)
    try:
        kernels.set_backend(arguments.backend)
    except (ValueError, kernels.KernelUnavailableError) as error:
        sys.exit(f"--backend {arguments.backend}: {error}")
    # Tables are not folded where the output is no terminal.
    console = Console() if sys.stdout.isatty() else Console(width=140)
    size = "tiny" if arguments.tiny else "quick" if arguments.quick else "full"
    seconds = arguments.seconds or (1.5 if arguments.quick else 2.5)
    bench = Bench(
        console=console,
        device=device,
        backend=arguments.backend,
        fusion=arguments.fusion,
        size=size,
        seconds=seconds,
        learn_seconds=arguments.learn_seconds,
        clock=arguments.clock,
    )
    report: dict[str, Any] = {"machine": _machine(device), "options": _options(arguments), "sections": {}}
    console.print(" · ".join(f"{key} {value}" for key, value in report["machine"].items()), highlight=False)
    _check(bench)
    for name in _chosen(arguments):
        start = time.perf_counter()
        try:
            report["sections"][name] = SECTIONS[name](bench)
        finally:
            # Each section is written as it ends: hours of figures do not hang on the last one.
            report["seconds"] = {**report.get("seconds", {}), name: round(time.perf_counter() - start, 1)}
            report["goals"] = goals.reached(report["sections"], device)
            _write(arguments.out, report)
    bench.show(goals.table(bench, report["goals"]))
    console.print(f"all figures in {arguments.out}", highlight=False, soft_wrap=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only the sizes that have a goal, about 3 minutes")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes, no figures worth reading: does it work?")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="this section; may be repeated")
    parser.add_argument("--learn-seconds", type=float, default=240.0, help="of training a bAbI task at most")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--backend", choices=kernels.BACKENDS, default=kernels.get_backend(), help="of our kernels")
    parser.add_argument("--fusion", choices=FUSIONS, default="cell", help="the baseline's input fusion layer")
    parser.add_argument("--seconds", type=float, help="spent on each pair of figures, about; default 2.5, quick 1.5")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: processor time, on a busy machine")
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"), help="where the figures go, as JSON")
    return parser.parse_args()


def _chosen(arguments: argparse.Namespace) -> list[str]:
    chosen = set(SECTIONS) - (set() if arguments.device.startswith("cuda") else {"restarts"})
    if arguments.quick or arguments.tiny:
        chosen -= {"learn"}
    chosen = set(arguments.only or chosen)
    return [name for name in SECTIONS if name in chosen]


def _check(bench: Bench) -> None:
    """Speed counts only where the results agree."""
    shapes = [Shape(facts=17, batch=9), Shape(facts=5, batch=3, hidden=512)]
    for shape in shapes if bench.size == "full" else shapes[:1]:
        ours = our_network(shape, bench.device)
        baseline = baseline_network(shape, bench.device, fusion=bench.fusion)
        copy_weights(ours, baseline)
        # Kernels for GPUs may multiply in TF32, with 10 bits of mantissa.
        tolerance = 2e-2 if bench.device.type == "cuda" else TOLERANCES[kernels.products()]
        assert_parity(ours, baseline, batch_of(shape, bench.device, ragged=True), tolerance=tolerance)
    bench.console.print("parity: ours and the baseline give the same logits, loss and gradients")


def _machine(device: torch.device) -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "dtype": "float32",
        "our products": kernels.products(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()}


def _write(path: Path, report: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, default=asdict) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
