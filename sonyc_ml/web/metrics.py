"""What the service measures of itself, for Prometheus; and one line per request in the log, at debug."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from sonyc_ml.outputs.cache import OutputCache
    from sonyc_ml.outputs.output import Output

logger = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Of a request with ten seconds of sound, on a workstation and on a node, and of one that waits.
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
OTHER = "other"  # the route of what is asked for and not there: whoever asks does not make a series


class ServeMetrics:
    """Counts and times; and the node's metrics beside them.

    Parameters
    ----------
    node : Collector, optional
        Of the node's metrics; there is none where not given.
    """

    def __init__(self, node: Collector | None = None) -> None:
        self._registry = CollectorRegistry()
        if node is not None:
            self._registry.register(node)
        ProcessCollector(registry=self._registry)
        prefix, registry = "sonyc_ml_serve_", self._registry
        self._requests = Counter(
            f"{prefix}requests", "Requests that were answered.", ("route", "method", "status"), registry=registry
        )
        self._seconds = Histogram(
            f"{prefix}request_seconds",
            "From the request to its answer.",
            ("route",),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._stages = Histogram(
            f"{prefix}stage_seconds",
            "Time that a body takes to come, that a request waits for a worker, and that a worker takes.",
            ("stage",),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._instances = Histogram(f"{prefix}instances", "Instances in a request.", buckets=BATCHES, registry=registry)
        self._sound = Counter(f"{prefix}sound_seconds", "Sound that was embedded.", registry=registry)
        self._windows = Counter(f"{prefix}windows", "Windows that were embedded.", registry=registry)
        self._reloads = Counter(
            f"{prefix}reloads", "Times that bundles were loaded again.", ("outcome",), registry=registry
        )
        for outcome in ("switched", "refused"):
            self._reloads.labels(outcome)
        self._waiting = Gauge(f"{prefix}waiting", "Requests that wait for a worker.", registry=registry)
        self._running = Gauge(f"{prefix}running", "Requests that workers work on.", registry=registry)

    def watch_pool(self, n_waiting: Callable[[], int], n_running: Callable[[], int]) -> None:
        """Tell, whenever asked, how many requests wait for a worker and are worked on."""
        self._waiting.set_function(n_waiting)
        self._running.set_function(n_running)

    def watch_cache(self, cache: OutputCache) -> None:
        """Tell what a cache has, and how often it had what was asked for."""
        self._registry.register(CacheCollector(cache))

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)

    def observe_stage(self, stage: str, seconds: float) -> None:
        """Note how long a stage took: ``receiving``, ``waiting`` or ``working``."""
        self._stages.labels(stage).observe(seconds)

    def reloaded(self, outcome: str) -> None:
        """Note that bundles were loaded again: ``switched``, or ``refused``, where the old ones stay."""
        self._reloads.labels(outcome).inc()

    def embedded(self, outputs: Sequence[Output]) -> None:
        """Note what was embedded for a request."""
        self._instances.observe(len(outputs))
        for output in outputs:
            self._sound.inc(output.provenance.duration_s)
            self._windows.inc(len(output.timestamps))

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Note a request that was answered."""
        route = getattr(scope.get("route"), "path", OTHER)
        self._requests.labels(route, scope["method"] if route != OTHER else OTHER, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        logger.debug("%s %s %d %.0f ms", scope["method"], scope["path"], status, seconds * 1e3)


class CacheCollector(Collector):
    """The figures of a cache, which counts itself.

    Parameters
    ----------
    cache : OutputCache
    """

    def __init__(self, cache: OutputCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        """Yield them as they are now."""
        asked = CounterMetricFamily(
            "sonyc_ml_serve_cache", "Instances whose outputs were kept, or not.", labels=("result",)
        )
        for result, n in (("hit", self._cache.hits), ("miss", self._cache.misses)):
            asked.add_metric((result,), n)
        yield asked
        yield GaugeMetricFamily("sonyc_ml_serve_cache_bytes", "Memory of outputs that are kept.", self._cache.n_bytes)
        yield GaugeMetricFamily("sonyc_ml_serve_cache_entries", "Outputs that are kept.", len(self._cache))


class Measured:
    """An ASGI application whose requests are noted.

    Parameters
    ----------
    app : ASGIApp
    metrics : ServeMetrics
    """

    def __init__(self, app: ASGIApp, metrics: ServeMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and note how."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_s, status = time.monotonic(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._metrics.answered(scope, status, time.monotonic() - start_s)
