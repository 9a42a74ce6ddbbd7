"""The node's metrics, as prometheus-client tells them: the same that ``sonyc-ml metrics`` prints."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector as BaseCollector

from sonyc_ml.node.telemetry.collector import Collector
from sonyc_ml.node.telemetry.counts import Histogram
from sonyc_ml.node.telemetry.exposition import Family, buckets, shown


class NodeCollector(BaseCollector):
    """Collects a node's metrics from its journal, whether the daemon runs or not; from any thread.

    Parameters
    ----------
    state_folder : Path
        Where the journal lies.
    """

    def __init__(self, state_folder: Path) -> None:
        self._collector, self._lock = Collector(state_folder), threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Yield all of them, as they are now."""
        with self._lock:
            families = self._collector.families()
        return (_metric(family) for family in families if family.samples)


def _metric(family: Family) -> Metric:
    name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
    metric = Metric(name, family.text, family.kind)
    for labels, value in family.samples:
        clean = {key: shown(text) for key, text in labels.items()}
        if isinstance(value, Histogram):
            metric.samples += _of_histogram(family.name, clean, value).samples
        else:
            metric.add_sample(family.name, clean, value)
    return metric


def _of_histogram(name: str, labels: dict[str, str], histogram: Histogram) -> HistogramMetricFamily:
    made = HistogramMetricFamily(name, "", labels=list(labels))
    made.add_metric(list(labels.values()), buckets(histogram), histogram.sum)
    return made
