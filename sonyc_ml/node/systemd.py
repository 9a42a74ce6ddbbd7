"""Notifications to systemd: ready, alive, status; and its journal.

Outside of systemd all of it is silent. systemd-python (the extra ``systemd``) sends them.
"""

from __future__ import annotations

import importlib
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from sonyc_ml.base.human import shown, to_install

logger = logging.getLogger(__name__)


class Notifier:
    """Notifies the service manager, where there is one.

    Parameters
    ----------
    environment : mapping of str to str
        Holds ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC`` below systemd.
    timer : callable
        Returns seconds that only grow.
    notify : callable, optional
        Sends a message to the manager; that of systemd-python where not given.
    """

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        timer: Callable[[], float] = time.monotonic,
        notify: Callable[[str], object] | None = None,
    ) -> None:
        self._timer = timer
        self._notify = (notify or _notifier()) if environment.get("NOTIFY_SOCKET") else None
        self._every_s = _watchdog_s(environment) / 4
        self._next_s = 0.0
        self._status = ""

    def ready(self, status: str) -> None:
        """It is watching."""
        self._status = status
        self._send(f"READY=1\nSTATUS={shown(status)}")

    def status(self, status: str) -> None:
        """What it does, in a line."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={shown(status)}")  # a line for each variable: a name must not set another

    def stopping(self) -> None:
        """It finishes the recording that it is at, and ends."""
        self._send("STOPPING=1")

    def keep_alive(self) -> None:
        """It gets on with its work; sent as often as the watchdog wants, and no more.

        To be called by the work itself: from a timer it would be sent for a worker that hangs, too.
        """
        if self._every_s and self._timer() >= self._next_s:
            self._next_s = self._timer() + self._every_s
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if self._notify is not None:
            with suppress(OSError):  # a manager that does not listen is no reason to stop
                self._notify(text)


class OneLineFormatter(logging.Formatter):
    """Shows control characters escaped: the name of a recording makes no line of its own and moves no cursor."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's
        """The message in one line; what is behind it of an exception has lines of its own."""
        record.message = shown(record.message)
        return super().formatMessage(record)


def journal_handler(stream: Any = None, environment: Mapping[str, str] = os.environ) -> logging.Handler | None:
    """A handler that keeps the fields of log records, where the output goes to systemd's journal; else None.

    systemd-python's handler drops every record silently where nobody listens, so it is asked for only where the
    journal reads `stream` (standard error where not given): systemd sets ``JOURNAL_STREAM`` to it.
    """
    if not _is_journal(sys.stderr if stream is None else stream, environment.get("JOURNAL_STREAM", "")):
        return None
    try:
        journal = importlib.import_module("systemd.journal")
    except ImportError:
        return None
    handler: logging.Handler = journal.JournalHandler(SYSLOG_IDENTIFIER="sonyc-ml")
    handler.setFormatter(OneLineFormatter("%(message)s"))  # the journal has the time and the level
    return handler


def error_prefix(stream: Any = None, environment: Mapping[str, str] = os.environ) -> str:
    """What makes a line an error for systemd's journal, where that reads `stream` (standard error where not given)."""
    stream = sys.stderr if stream is None else stream
    return "<3>" if _is_journal(stream, environment.get("JOURNAL_STREAM", "")) else ""


def _is_journal(stream: Any, name: str) -> bool:
    device, _, inode = name.partition(":")
    try:
        status = os.fstat(stream.fileno())
        return stat.S_ISSOCK(status.st_mode) and (status.st_dev, status.st_ino) == (int(device), int(inode))
    except (OSError, ValueError, AttributeError):
        return False


def _notifier() -> Callable[[str], object] | None:
    try:
        daemon = importlib.import_module("systemd.daemon")
    except ImportError:
        logger.warning("systemd waits for a notification that this is ready; %s", to_install("systemd"))
        return None
    notify: Callable[[str], object] = daemon.notify
    return notify


def _watchdog_s(environment: Mapping[str, str]) -> float:
    """How often the watchdog wants a notification, at least (in seconds); 0 where it wants none."""
    pid = environment.get("WATCHDOG_PID")
    if pid and pid != str(os.getpid()):
        return 0.0
    with suppress(ValueError):
        return int(environment.get("WATCHDOG_USEC", "0")) * 1e-6
    return 0.0
