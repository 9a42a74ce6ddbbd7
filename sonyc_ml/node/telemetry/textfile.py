"""Metrics in a file for node-exporter's textfile collector."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sonyc_ml.node.facts import Facts
from sonyc_ml.node.telemetry.config import MetricsConfig

if TYPE_CHECKING:
    from sonyc_ml.node.telemetry.collector import Collector

logger = logging.getLogger(__name__)

STOP_S = 5.0  # how long a disk that hangs may delay the end
HOW_SERVED = "start that: systemctl enable --now sonyc-ml-serve, or sonyc-ml serve --config FILE (docs/alerts.md)"


class Textfile:
    """Writes metrics where ``metrics.textfile`` says, again and again; does nothing where it says nothing.

    Parameters
    ----------
    settings : MetricsConfig
    state_folder : Path
        Where the journal lies.
    facts : callable, optional
        Returns the daemon's facts; those in the journal where not given.
    """

    def __init__(self, settings: MetricsConfig, state_folder: Path, facts: Callable[[], Facts] | None = None) -> None:
        self._path, self._every_s = settings.textfile, settings.every_s
        self._state_folder, self._facts = state_folder, facts
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._is_in_trouble = False

    def __enter__(self) -> Self:
        if self._path is not None:
            self._thread = threading.Thread(target=self._run, args=(self._path,), name="metrics", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is None:
            return
        self._stopped.set()
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            logger.warning("metrics: it did not stop within %.0f s, perhaps because a disk hangs; left", STOP_S)

    def _run(self, path: Path) -> None:
        from sonyc_ml.node.telemetry.collector import Collector  # noqa: PLC0415  a node without a textfile needs none

        collector = Collector(self._state_folder, self._facts)
        while not self._stopped.is_set():
            self._publish(path, collector)
            self._stopped.wait(self._every_s)

    def _publish(self, path: Path, collector: Collector) -> None:
        """Write the file; what keeps it from that is logged once."""
        from sonyc_ml.node.telemetry.exposition import render  # noqa: PLC0415

        try:
            write_textfile(path, render(collector.families()))
            self._is_in_trouble = False
        except OSError as error:
            level = logging.DEBUG if self._is_in_trouble else logging.WARNING
            logger.log(level, "metrics.textfile = %s cannot be written: %s; tried again", path, error.strerror)
            self._is_in_trouble = True
        except Exception:
            if not self._is_in_trouble:
                logger.exception("metrics: a mistake of ours")
            self._is_in_trouble = True


def left_to_serve(settings: MetricsConfig) -> str:
    """What is said of keys that a daemon followed once; empty where none of them is set."""
    named = {"metrics.port": settings.port, "metrics.socket": settings.socket}
    given = " and ".join(f"{key} = {value}" for key, value in named.items() if value is not None)
    return f"{given}: the daemon serves no metrics any more, sonyc-ml serve does, at /metrics" if given else ""


def write_textfile(path: Path, text: bytes) -> None:
    """Replace a file in one step; not flushed, for a power cut costs nothing but metrics, and each flush wears a card.

    Raises
    ------
    OSError
        The file is as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")  # node-exporter reads what ends in .prom
    temporary.unlink(missing_ok=True)
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:  # noqa: PTH123
            os.fchmod(file.fileno(), 0o644)  # whatever the umask: node-exporter is another user
            file.write(text)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
