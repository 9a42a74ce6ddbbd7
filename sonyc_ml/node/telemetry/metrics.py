"""Figures for Prometheus: served on the loopback or a Unix socket, or written for node-exporter's collector."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sonyc_ml.node.config import Config
from sonyc_ml.node.events import Event
from sonyc_ml.node.facts import Facts

if TYPE_CHECKING:
    from sonyc_ml.node.telemetry.figures import Tally

logger = logging.getLogger(__name__)

STOP_S = 5.0  # how long a disk that hangs may delay the end


class Metrics:
    """Tells what the daemon does, where ``[metrics]`` says to; does nothing where it says nothing.

    Parameters
    ----------
    config : Config
    facts : callable, optional
        Returns what the daemon says of itself; what it has written into the journal where not given.
    """

    def __init__(self, config: Config, facts: Callable[[], Facts] | None = None) -> None:
        wanted = self._wanted = config.metrics
        self._thread: threading.Thread | None = None
        self._tally: Tally | None = None
        if wanted.port is None and wanted.socket is None and wanted.textfile is None:
            return
        from sonyc_ml.node.telemetry.figures import Figures, Tally  # noqa: PLC0415  3 ms that a node without figures does not need

        self._tally = Tally(model.path.stem for model in config.model)
        self._figures = Figures(config, self._tally, facts)
        self._stopped = threading.Event()
        self._is_in_trouble = False

    def hear(self, event: Event) -> None:
        """Take note of an event; costs the worker microseconds, and never a recording."""
        if self._tally is None:
            return
        try:
            self._tally.hear(event)
        except Exception:
            logger.exception("metrics: a mistake of ours")

    def __enter__(self) -> Self:
        """Listen, and begin.

        Raises
        ------
        ConfigError
            The port or the socket cannot be had.
        """
        if self._tally is None:
            return self
        from sonyc_ml.node.telemetry.prometheus import CONTENT_TYPE  # noqa: PLC0415
        from sonyc_ml.node.telemetry.server import Server  # noqa: PLC0415

        self._server = Server(self._text, CONTENT_TYPE)
        try:
            if self._wanted.port is not None:
                self._server.listen_on_port(self._wanted.port)
            if self._wanted.socket is not None:
                self._server.listen_on_socket(self._wanted.socket)
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
        textfile, next_s = self._wanted.textfile, math.inf if self._wanted.textfile is None else 0.0
        while not self._stopped.is_set():
            if textfile is not None and time.monotonic() >= next_s:
                self._publish(textfile)
                next_s = time.monotonic() + self._wanted.every_s
            self._server.serve(next_s)
        self._figures.close()

    def _text(self) -> bytes:
        from sonyc_ml.node.telemetry.prometheus import render  # noqa: PLC0415

        return render(self._figures.families())

    def _publish(self, path: Path) -> None:
        """Write the textfile; what keeps it from that is told once."""
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
    """Replace a file in one step; not flushed, for a power cut costs nothing but figures, and each flush wears a card.

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
