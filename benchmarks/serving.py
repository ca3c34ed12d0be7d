"""The server under load, by wrk: questions a second, the slowest of a hundred, overload, and memory over many requests.

    python -m benchmarks.serving [--model babi/2] [--seconds 20] [--requests 200000] [--quick] [--out FILE.json]

Each part has a fresh `dmnplus serve` in a process of its own; wrk runs beside it on the same machine. Needs wrk
(https://github.com/wg/wrk; `apt install wrk`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from dmnplus.data.generate import generate

CLIENTS = (1, 16, 128)
STORIES = 200
_SCRIPT = Path(__file__).with_suffix(".lua")


class Running(NamedTuple):
    """A server."""

    address: str
    pid: int

    def memory(self) -> int:
        """Resident bytes, by the system's count."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return 1024 * int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0])

    def counted(self) -> int:
        """Questions answered, by the server's own count."""
        with urllib.request.urlopen(f"{self.address}/metrics") as response:
            lines = response.read().decode()
        return sum(int(float(n)) for n in re.findall(r"^dmnplus_questions_total\{.*\} (\S+)", lines, re.MULTILINE))


def main() -> None:
    arguments = _arguments()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed: apt install wrk")
    console = Console() if sys.stdout.isatty() else Console(width=120)
    report: dict[str, Any] = {"machine": _machine(), "options": {**vars(arguments), "out": str(arguments.out)}}
    console.print(" · ".join(f"{key} {value}" for key, value in report["machine"].items()), highlight=False)
    with TemporaryDirectory() as folder:
        questions = Path(folder, "questions.jsonl")
        questions.write_text("".join(f"{line}\n" for line in _bodies(arguments.task)), encoding="utf-8")
        report["load"] = load(arguments, questions)
        console.print(load_table(report["load"]))
        report["overload"] = overload(arguments, questions)
        console.print(
            "overload, {clients} clients and a queue of {queue}: {answered:,} answered, {refused:,} refused (503), "
            "{failed} other, {socket_errors} broken connections".format(**report["overload"]),
            highlight=False,
        )
        report["memory"] = memory(arguments, questions)
        console.print(memory_table(report["memory"]))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    console.print(f"figures in {arguments.out}", highlight=False)


def load(arguments: argparse.Namespace, questions: Path) -> list[dict[str, Any]]:
    """Figures for each number of clients, each from a server that has warmed up."""
    figures = []
    with serving(arguments.model) as server:
        wrk(server, questions, clients=16, seconds=arguments.seconds / 4)
        for clients in CLIENTS:
            before = server.counted()
            found = wrk(server, questions, clients=clients, seconds=arguments.seconds)
            # What was under way when wrk left is answered, too, and nobody reads it.
            time.sleep(1)
            counted = server.counted() - before
            # The first is one that wrk only looks at.
            lost = found["sent"] - 1 - found["answered"] - found["refused"] - found["failed"]
            figures.append(
                {
                    "clients": clients,
                    **found,
                    "a_second": found["answered"] / found["seconds"],
                    "counted_by_server": counted,
                    # Beyond one request a client, which the end cuts off.
                    "lost": max(0, lost - clients) + max(0, found["answered"] - counted),
                }
            )
    return figures


def overload(arguments: argparse.Namespace, questions: Path) -> dict[str, Any]:
    """Figures of many clients at a server with a short queue."""
    queue, clients = 8, 128
    with serving(arguments.model, "--queue", str(queue)) as server:
        return {
            "queue": queue,
            "clients": clients,
            **wrk(server, questions, clients=clients, seconds=arguments.seconds),
        }


def memory(arguments: argparse.Namespace, questions: Path) -> list[dict[str, Any]]:
    """Resident memory of one server, time and again until it has answered as many requests as were asked for."""
    with serving(arguments.model) as server:
        figures = [{"requests": 0, "bytes": server.memory()}]
        while figures[-1]["requests"] < arguments.requests:
            wrk(server, questions, clients=16, seconds=arguments.seconds)
            figures.append({"requests": server.counted(), "bytes": server.memory()})
    return figures


@contextmanager
def serving(model: str, *options: str) -> Iterator[Running]:
    """A server in a process of its own."""
    command = [sys.executable, "-m", "dmnplus", "serve", model, "--port", "0", "--no-access-log", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://[^;\s]+", line)
            if found is None:
                sys.exit(f"dmnplus serve: {line}{process.stderr.read()}")
            yield Running(found[0], process.pid)
        finally:
            process.terminate()


def wrk(server: Running, questions: Path, *, clients: int, seconds: float) -> dict[str, Any]:
    """What wrk found."""
    duration = f"{max(1, round(seconds))}s"
    command = ["wrk", "--threads", "1", "--connections", str(clients), "--duration", duration, "--timeout", "30s"]
    done = subprocess.run(
        [*command, "--script", str(_SCRIPT), server.address, "--", str(questions)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def load_table(figures: list[dict[str, Any]]) -> Table:
    table = Table("clients", "questions/s", "median", "99th percentile", "answered", "503", "other", "lost", box=None)
    for row in figures:
        table.add_row(
            str(row["clients"]),
            f"{row['a_second']:,.0f}",
            f"{row['median_ms']:.1f} ms",
            f"{row['p99_ms']:.1f} ms",
            f"{row['answered']:,}",
            f"{row['refused']:,}",
            str(row["failed"] + row["socket_errors"]),
            str(row["lost"]),
        )
    return table


def memory_table(figures: list[dict[str, Any]]) -> Table:
    table = Table("requests", "resident memory", box=None)
    for row in figures:
        table.add_row(f"{row['requests']:,}", f"{row['bytes'] / 1e6:,.1f} MB")
    return table


def _bodies(task: int) -> list[str]:
    return [
        json.dumps({"facts": list(example.facts), "question": example.question})
        for example in generate(task, STORIES, seed=0)
    ]


def _machine() -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="babi/2", help="what to serve; default: %(default)s")
    parser.add_argument("--task", type=int, default=2, help="bAbI task of the questions; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement; default: %(default)s")
    parser.add_argument("--requests", type=int, default=200_000, help="for memory; default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="does everything work: no figures worth keeping")
    parser.add_argument("--out", type=Path, default=Path("runs/serving.json"), help="default: %(default)s")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.requests = 1, 500
    return arguments


if __name__ == "__main__":
    main()
