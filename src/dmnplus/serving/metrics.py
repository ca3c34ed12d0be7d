"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from dmnplus.serving.batching import Timing
from dmnplus.serving.models import ServedModel

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Metrics:
    """Counters of one application, in a registry of their own."""

    def __init__(self, pending: Callable[[], int]) -> None:
        """`pending` gives the number of questions that wait or are in work."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "dmnplus_requests", "Requests answered.", ("route", "method", "status"), registry=registry
        )
        self._seconds = Histogram(
            "dmnplus_request_seconds", "From request to response.", ("route",), registry=registry, buckets=_SECONDS
        )
        self._questions = Counter("dmnplus_questions", "Questions answered.", ("model",), registry=registry)
        self._batch = Histogram(
            "dmnplus_batch_questions", "Questions answered together.", registry=registry, buckets=_SIZES
        )
        self._compute = Histogram(
            "dmnplus_compute_seconds", "Of a batch in the model.", ("model",), registry=registry, buckets=_SECONDS
        )
        self._queue = Histogram(
            "dmnplus_queue_seconds", "Of a batch's first question before it.", registry=registry, buckets=_SECONDS
        )
        Gauge("dmnplus_pending_questions", "Questions accepted and not answered.", registry=registry).set_function(
            pending
        )

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request; `route` is one of a known few."""
        self._requests.labels(route, method if method in _METHODS else "other", status).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, model: ServedModel, timing: Timing) -> None:
        """Count a batch by the timing of its first question."""
        self._questions.labels(model.name).inc(timing.batch)
        self._batch.observe(timing.batch)
        self._compute.labels(model.name).observe(timing.compute_ms / 1000)
        self._queue.observe(timing.queue_ms / 1000)

    def text(self) -> bytes:
        """All of them in Prometheus's format."""
        return generate_latest(self.registry)
