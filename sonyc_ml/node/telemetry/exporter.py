"""The exporter of metrics: served for Prometheus, or written to a file for node-exporter's textfile collector."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sonyc_ml.node.config import MetricsConfig
from sonyc_ml.node.events import NodeEvent
from sonyc_ml.node.facts import Facts

if TYPE_CHECKING:
    from sonyc_ml.node.telemetry.collector import EventCounts

logger = logging.getLogger(__name__)

STOP_S = 5.0  # how long a disk that hangs may delay the end


class MetricsExporter:
    """Publishes metrics where ``[metrics]`` says to; does nothing where it says nothing.

    Parameters
    ----------
    settings : MetricsConfig
    state_folder : Path
        Where the journal lies.
    disks : mapping of str to Path
        Folders whose disks are measured, by what they are for.
    bundles : iterable of str
        Names of those that run.
    facts : callable, optional
        Returns the daemon's facts; those in the journal where not given.
    """

    def __init__(
        self,
        settings: MetricsConfig,
        state_folder: Path,
        *,
        disks: Mapping[str, Path],
        bundles: Iterable[str] = (),
        facts: Callable[[], Facts] | None = None,
    ) -> None:
        self._settings = settings
        self._thread: threading.Thread | None = None
        self._counts: EventCounts | None = None
        if settings.port is None and settings.socket is None and settings.textfile is None:
            return
        from sonyc_ml.node.telemetry.collector import Collector, EventCounts  # noqa: PLC0415  3 ms that a node without metrics does not need

        self._counts = EventCounts(bundles)
        self._collector = Collector(state_folder, disks, self._counts, facts)
        self._stopped = threading.Event()
        self._is_in_trouble = False

    def on_event(self, event: NodeEvent) -> None:
        """Take note of an event; costs the worker microseconds, and never a recording."""
        if self._counts is None:
            return
        try:
            self._counts.on_event(event)
        except Exception:
            logger.exception("metrics: a mistake of ours")

    def __enter__(self) -> Self:
        """Listen, and begin.

        Raises
        ------
        ConfigError
            The port or the socket cannot be had.
        """
        if self._counts is None:
            return self
        from sonyc_ml.node.telemetry.exposition import Server  # noqa: PLC0415

        self._server = Server(self._text)
        try:
            if self._settings.port is not None:
                self._server.listen_on_port(self._settings.port)
            if self._settings.socket is not None:
                self._server.listen_on_socket(self._settings.socket)
        except BaseException:
            self._server.close()
            raise
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is None:
            return
        self._stopped.set()
        self._server.wake()
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            logger.warning("metrics: it did not stop within %.0f s, perhaps because a disk hangs; left", STOP_S)
        else:
            self._server.close()

    def _run(self) -> None:
        textfile, next_s = self._settings.textfile, math.inf if self._settings.textfile is None else 0.0
        while not self._stopped.is_set():
            if textfile is not None and time.monotonic() >= next_s:
                self._publish(textfile)
                next_s = time.monotonic() + self._settings.every_s
            self._server.serve(next_s)
        self._collector.close()

    def _text(self) -> bytes:
        from sonyc_ml.node.telemetry.exposition import render  # noqa: PLC0415

        return render(self._collector.families())

    def _publish(self, path: Path) -> None:
        """Write the textfile; what keeps it from that is logged once."""
        try:
            write_textfile(path, self._text())
            self._is_in_trouble = False
        except OSError as error:
            level = logging.DEBUG if self._is_in_trouble else logging.WARNING
            logger.log(level, "metrics.textfile = %s cannot be written: %s; tried again", path, error.strerror)
            self._is_in_trouble = True
        except Exception:
            if not self._is_in_trouble:
                logger.exception("metrics: a mistake of ours")
            self._is_in_trouble = True


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
