"""Bundles to the models of a worker: loaded, checked, warmed up; and again when they are replaced on the disk."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sonyc_ml.bundles.replaced import CHECK_S, BundleFiles
from sonyc_ml.model.loading import load_model
from sonyc_ml.outputs.cache import OutputCache
from sonyc_ml.web.metrics import ServeMetrics
from sonyc_ml.web.predict.pool import Models, Pool

logger = logging.getLogger(__name__)


def loader(models: Mapping[Path, Mapping[str, Any]], cache: OutputCache | None) -> Callable[[], Models]:
    """Return what loads the models of one worker.

    Parameters
    ----------
    models : mapping of Path to mapping
        Keywords of :func:`sonyc_ml.load_model`, by the path of each network.
    cache : OutputCache or None
        That all workers' models share.
    """
    lock = threading.Lock()

    def load() -> Models:
        with lock:
            loaded = [load_model(path, **keywords) for path, keywords in models.items()]
        for model in loaded:
            model.warm_up()
            model.cache = cache  # only now: each network is to run once
        return {model.bundle.name: model for model in loaded}

    return load


class Reloader:
    """A thread that has a pool switch to new bundles: when asked to, and when their files were replaced.

    Parameters
    ----------
    pool : Pool
    paths : iterable of Path
        Of its networks.
    metrics : ServeMetrics
    """

    def __init__(self, pool: Pool, paths: Iterable[Path], metrics: ServeMetrics) -> None:
        self._pool, self._paths, self._metrics = pool, tuple(paths), metrics
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()  # safe within signal handlers
        self._thread = threading.Thread(target=self._run, name="reloader")

    def start(self) -> None:
        """Begin to look after the files."""
        self._thread.start()

    def ask(self) -> None:
        """Load the bundles again as soon as possible."""
        self._asked.put(True)

    def stop(self) -> None:
        """Return when it has ended."""
        self._asked.put(False)
        self._thread.join()

    def _run(self) -> None:
        files = BundleFiles(self._paths)
        while True:
            try:
                is_asked = self._asked.get(timeout=CHECK_S)
            except queue.Empty:
                if self._pool.is_ready and files.were_replaced():
                    self._switch()
                continue
            if not is_asked:
                return
            if self._pool.is_ready:
                files.are_known()  # before they are loaded: what is replaced meanwhile is seen
                self._switch()
            else:
                logger.warning("the bundles are being loaded already; they are not loaded once more")

    def _switch(self) -> None:
        try:
            self._pool.switch()
        except Exception as error:  # noqa: BLE001  whatever is wrong with them, the old ones answer
            logger.error("the new bundles cannot be used, the old ones stay: %s", error)
            self._metrics.reloaded("refused")
        else:
            logger.info("switched: %s", ", ".join(self._pool.models))
            self._metrics.reloaded("switched")
