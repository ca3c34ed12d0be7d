"""Starts spread over the processes of this machine (joblib) or over the machines of a Ray cluster."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from multiprocessing import Manager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from joblib import Parallel, delayed

from dmnplus.data.example import DataError
from dmnplus.data.location import cache_folder
from dmnplus.data.writing import write_whole
from dmnplus.training.checkpoint import CHECKPOINT, RUN, read_json, versions, write_json

if TYPE_CHECKING:
    from dmnplus.training.run import Progress, Start

    Report = Callable[[Progress], None]
    Train = Callable[[Start, Report], object]

THIS_MACHINE = "local"
"""The address of a cluster of this machine alone, started for the occasion."""
RETRIES = 10
"""How often a start whose process dies is taken up again, before it counts as failed."""


class Done(NamedTuple):
    """A start that has come to its end; `error` says why, where it is not a trained model."""

    folder: Path
    error: str | None = None


def spread(
    train: Train, starts: Iterable[Start], *, processes: int = 1, cluster: str | None = None, watch: Report
) -> Generator[Done, None, None]:
    """Call `train(start, report)` for every start and yield each as it ends; `watch` gets what they report.

    `processes` at a time on this machine; or as many as fit on the Ray cluster at the address `cluster`, `local` being
    one of `processes` cores on this machine. `starts` may be made on the way, but must not fail: they are drawn in
    other threads. The results do not depend on where they were made. Raises `DataError` if there is no such cluster.
    """
    if cluster is not None:
        return _on_cluster(train, starts, cluster, processes, watch)
    if processes == 1:
        return (_done(train, start, watch) for start in starts)
    return _in_processes(train, starts, processes, watch)


def _done(train: Train, start: Start, report: Report) -> Done:
    try:
        train(start, report)
    except DataError as error:
        return Done(start.folder, str(error))
    return Done(start.folder)


def _in_processes(train: Train, starts: Iterable[Start], processes: int, watch: Report) -> Generator[Done, None, None]:
    with _queue(watch) as report:
        # Loky's workers import the package afresh: no forked locks or thread pools.
        parallel = Parallel(n_jobs=processes, return_as="generator_unordered")
        # A generator, though joblib declares a list too.
        ended: Any = parallel(delayed(_done)(train, start, report) for start in starts)
        with closing(ended):
            yield from ended


@contextmanager
def _queue(watch: Report) -> Iterator[Report]:
    """A function that worker processes can call, and that calls `watch` here."""
    with Manager() as manager:
        queue = manager.Queue()

        def forward() -> None:
            while (news := queue.get()) is not None:
                watch(news)

        thread = threading.Thread(target=forward, daemon=True)
        thread.start()
        try:
            yield queue.put
        finally:
            queue.put(None)
            thread.join()


def _on_cluster(
    train: Train, starts: Iterable[Start], address: str, processes: int, watch: Report
) -> Generator[Done, None, None]:
    with _cluster(address, processes) as ray:
        from ray.util.queue import Queue

        news = Queue(actor_options={"num_cpus": 0})
        work = ray.remote(_on_worker)
        coming, running = iter(starts), {}
        while True:
            # Some more than there are cores, so that none waits for its next start to be sent.
            while len(running) < 1.5 * ray.cluster_resources().get("CPU", 1) + 1:
                if (start := next(coming, None)) is None:
                    break
                start.folder.mkdir(parents=True, exist_ok=True)
                if not _is_of(start, start.folder):
                    write_json(start.folder / RUN, start.record)
                options = work.options(num_cpus=start.threads, max_retries=RETRIES, name="dmnplus")
                running[options.remote(train, start, news)] = start.folder
            ended, _ = ray.wait([*running], timeout=1) if running else ([], [])
            if count := news.qsize():
                for event in news.get_nowait_batch(count):
                    watch(event)
            for reference in ended:
                yield _collect(ray, reference, running.pop(reference))
            if not running:
                return


def _collect(ray: Any, reference: Any, folder: Path) -> Done:
    """What a worker has to say about a start, with the files it sent, written to `folder`."""
    try:
        error, files = ray.get(reference)
    except ray.exceptions.RayTaskError:
        # An error of the program, which would meet every start.
        raise
    except ray.exceptions.RayError as problem:
        return Done(folder, f"its process died {RETRIES + 1} times, or its machine is gone: {problem}")
    for name, content in files.items():
        write_whole(folder / name, content)
    return Done(folder, error)


def _on_worker(train: Train, start: Start, news: Any) -> tuple[str | None, dict[str, bytes]]:
    """Train on a machine of the cluster, from the start's last checkpoint there; the files, if nobody else sees them.

    It trains in the start's own folder where that is the one the sender sees, on a shared disk or on one machine, and
    in the user's cache folder anywhere else: there a start begins anew if another machine had begun it.
    """
    if (here := versions()) != start.record["versions"]:
        return f"the worker has {here}, but the sender {start.record['versions']}; install the same on all", {}
    shared = _is_of(start, start.folder)
    folder = start.folder if shared else cache_folder() / "starts" / _digest(start)
    outcome = _done(
        train, start._replace(folder=folder, resume=True), lambda event: news.put(event._replace(folder=start.folder))
    )
    if shared or outcome.error:
        return outcome.error, {}
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != CHECKPOINT}
    shutil.rmtree(folder)
    return None, files


def _is_of(start: Start, folder: Path) -> bool:
    """Whether `folder` holds this very start, begun or finished."""
    try:
        found = read_json(folder / RUN)
    except DataError:
        return False
    wanted = json.loads(json.dumps(start.record))
    return all(found.get(key) == value for key, value in wanted.items() if key != "finished")


def _digest(start: Start) -> str:
    return hashlib.sha256(json.dumps(start.record, sort_keys=True).encode()).hexdigest()[:32]


@contextmanager
def _cluster(address: str, processes: int) -> Iterator[Any]:
    try:
        # Before the import, which reads it: nothing is sent to the makers of Ray unless the user wants it.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray
    except ImportError:
        raise DataError("a cluster needs Ray; install it: pip install 'dmnplus[cluster]'") from None
    _check_reachable(address)
    quiet = {"logging_level": "error", "log_to_driver": False}
    try:
        if address == THIS_MACHINE:
            # With an address in RAY_ADDRESS, Ray would go there.
            ray.init(address="local", num_cpus=processes, include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise _no_cluster(address, reason) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raises `DataError` where nothing listens at `address`, HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.removeprefix("ray://"), int(port)), timeout=10).close()
    except OSError as error:
        raise _no_cluster(address, error.strerror or str(error)) from None


def _no_cluster(address: str, reason: str) -> DataError:
    return DataError(f"no Ray cluster at {address} ({reason}); start one with `ray start --head`, or give local")
