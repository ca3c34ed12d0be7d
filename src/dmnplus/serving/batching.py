"""Questions that arrive together are answered together, by one thread beside the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import Tensor

from dmnplus.answering import Answer
from dmnplus.data.example import DataError, Fact, Picture
from dmnplus.data.pictures import HeldPictures
from dmnplus.serving.models import ServedModel

_LOGGER = logging.getLogger("dmnplus.serving")

MOST_ANSWERS = 100
"""Answers that are ranked, however few are asked for: one number for all, so that no question changes another's."""
MOST_CELLS = 200_000
"""Facts of a batch times the words of its longest: what bounds its memory, 64 MB a tensor of 80 numbers a word.

No question alone may be more.
"""

_NONE: Mapping[Picture, Tensor] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Timing:
    """How long an answer took, in milliseconds, and with how many others it was made."""

    queue_ms: float
    compute_ms: float
    batch: int


@dataclass(eq=False, slots=True)
class Job:
    """A question that waits for its answer."""

    model: ServedModel
    facts: Sequence[Fact]
    question: str
    pictures: Mapping[Picture, Tensor]
    """What the model reads of the pictures among the facts."""
    done: asyncio.Future[tuple[Answer, Timing]]
    size: int
    """Its facts, a picture counted as its regions."""
    longest: int
    """Words of its longest fact."""
    arrived: float = field(default_factory=time.perf_counter)


class QueueFullError(Exception):
    """More questions are waiting than the server takes."""


class Batcher:
    """A bounded queue, and the thread that empties it."""

    def __init__(
        self,
        *,
        limit: int,
        most: int,
        wait: float,
        watch: Callable[[ServedModel, Timing], None] = lambda model, timing: None,
    ) -> None:
        """At most `limit` questions wait or are in work, `most` are answered together, after `wait` seconds.

        `watch` is told of every batch, in the thread that answers.
        """
        self.limit, self.most, self.wait, self._watch = limit, most, wait, watch
        self.pending = 0
        """Questions accepted and not yet answered; read and written in the event loop alone."""
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="dmnplus-answering", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closing

    async def close(self) -> None:
        """Answer what is waiting, then end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def submit(
        self, asked: Sequence[tuple[ServedModel, Sequence[Fact], str]], pictures: Mapping[Picture, Tensor] = _NONE
    ) -> list[asyncio.Future[tuple[Answer, Timing]]]:
        """Futures of the answers; raises `QueueFullError` and takes none if there is no room for all."""
        if self.pending + len(asked) > self.limit or self._closing:
            raise QueueFullError
        loop = asyncio.get_running_loop()
        jobs = [
            Job(model, facts, question, pictures, loop.create_future(), *model.extent(facts))
            for model, facts, question in asked
        ]
        self.pending += len(jobs)
        with self._changed:
            self._jobs.extend(jobs)
            self._changed.notify()
        return [job.done for job in jobs]

    def _work(self) -> None:
        while (jobs := self._take()) is not None:
            if not jobs:
                continue
            started = time.perf_counter()
            results = _answer(jobs)
            compute = 1000 * (time.perf_counter() - started)
            timings = [Timing(1000 * (started - job.arrived), compute, len(jobs)) for job in jobs]
            self._watch(jobs[0].model, timings[0])
            jobs[0].done.get_loop().call_soon_threadsafe(self._deliver, jobs, results, timings)

    def _take(self) -> list[Job] | None:
        """The next batch, of one model, empty if nobody waits any longer; None once the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closing)
            if self.wait:
                self._changed.wait_for(lambda: len(self._jobs) >= self.most or self._closing, self.wait)
            if not self._jobs:
                return None
            taken: list[Job] = []
            left: deque[Job] = deque()
            facts = longest = 0
            while self._jobs and len(taken) < self.most:
                job = self._jobs.popleft()
                if job.done.cancelled():
                    job.done.get_loop().call_soon_threadsafe(self._give_up)
                    continue
                more, longer = facts + job.size, max(longest, job.longest)
                if taken and (job.model is not taken[0].model or more * longer > MOST_CELLS):
                    left.append(job)
                else:
                    taken.append(job)
                    facts, longest = more, longer
            self._jobs.extendleft(reversed(left))
            return taken

    def _give_up(self) -> None:
        self.pending -= 1

    def _deliver(self, jobs: Sequence[Job], results: Sequence[Answer | Exception], timings: Sequence[Timing]) -> None:
        self.pending -= len(jobs)
        for job, result, timing in zip(jobs, results, timings, strict=True):
            # Whoever asked may have given up.
            if job.done.done():
                continue
            if isinstance(result, Exception):
                job.done.set_exception(result)
            else:
                job.done.set_result((result, timing))


def _answer(jobs: Sequence[Job]) -> Sequence[Answer | Exception]:
    """An answer for every job, or what is wrong with it."""
    answerer = jobs[0].model.answerer
    try:
        asked = [(job.facts, job.question) for job in jobs]
        return answerer.answer_many(asked, top=MOST_ANSWERS, pictures=_pictures(jobs))
    except Exception as error:
        if len(jobs) > 1:
            # One of them is at fault, and the others shall not suffer for it.
            return [result for job in jobs for result in _answer([job])]
        if not isinstance(error, DataError):
            _LOGGER.exception("a question could not be answered")
        return [error]


def _pictures(jobs: Sequence[Job]) -> HeldPictures | None:
    content = {picture: read for job in jobs for picture, read in job.pictures.items()}
    format = jobs[0].model.answerer.model.pictures
    return HeldPictures(format, content) if content and format else None
