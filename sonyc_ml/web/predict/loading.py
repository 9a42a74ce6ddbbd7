"""Bundles to the models of a worker: loaded, checked, warmed up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sonyc_ml.model.loading import load_model
from sonyc_ml.outputs.cache import OutputCache
from sonyc_ml.web.predict.pool import Models


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
