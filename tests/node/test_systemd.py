"""What the service manager is told, and when; the real one is in test_service."""

from __future__ import annotations

import logging
import os
import socket
import sys

import pytest

from sonyc_ml.node.systemd import Notifier, OneLineFormatter, journal_handler
from tests.support.journals import Clock

BELOW_SYSTEMD = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "8000000"}


def test_the_manager_hears_of_the_life_of_the_daemon() -> None:
    """Ready with what it does, each change once, and the end."""
    told: list[str] = []
    notifier = Notifier(BELOW_SYSTEMD, notify=told.append)
    notifier.ready("watching /spool")
    notifier.status("watching /spool")
    notifier.status("6 recordings a minute")
    notifier.stopping()
    assert told == ["READY=1\nSTATUS=watching /spool", "STATUS=6 recordings a minute", "STOPPING=1"]


def test_the_watchdog_hears_of_progress_four_times_in_its_span() -> None:
    """Often enough that one late message does no harm, and no more often."""
    told: list[str] = []
    clock = Clock()
    notifier = Notifier(BELOW_SYSTEMD, clock, told.append)
    for _ in range(80):
        notifier.keep_alive()
        clock.now_s += 0.1
    assert told == ["WATCHDOG=1"] * 4


@pytest.mark.parametrize(
    "environment",
    [
        {"NOTIFY_SOCKET": "x"},
        {"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getpid() + 1)},
    ],
)
def test_without_a_watchdog_nothing_beats(environment: dict[str, str]) -> None:
    """None is set, it is set wrongly, or another process is meant."""
    told: list[str] = []
    Notifier(environment, notify=told.append).keep_alive()
    assert told == []


def test_outside_of_systemd_nothing_is_said() -> None:
    """No socket, no message; a manager that does not listen is no reason to stop."""
    told: list[str] = []
    Notifier({"WATCHDOG_USEC": "1000"}, notify=told.append).ready("")
    assert told == []

    def deaf(_text: str) -> None:
        raise ConnectionRefusedError

    Notifier(BELOW_SYSTEMD, notify=deaf).ready("")


def test_what_is_missing_below_systemd_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Without systemd-python the manager would wait in vain: the log says what to install."""
    try:
        import systemd.daemon  # noqa: F401
    except ImportError:
        Notifier(BELOW_SYSTEMD)
        assert "install the extra systemd: " in caplog.text
    else:
        pytest.skip("systemd-python is installed here")


def test_the_journal_is_used_only_where_it_listens() -> None:
    """A stream that is not the one systemd named keeps plain lines."""
    one, other = socket.socketpair()
    with one, other:
        status = os.fstat(one.fileno())
        right, wrong = f"{status.st_dev}:{status.st_ino}", f"{status.st_dev}:{status.st_ino + 1}"
        assert journal_handler(one, {"JOURNAL_STREAM": wrong}) is None
        assert journal_handler(one, {}) is None
        assert journal_handler(None, {"JOURNAL_STREAM": right}) is None
        handler = journal_handler(one, {"JOURNAL_STREAM": right})
        assert handler is None or isinstance(handler, logging.Handler)


@pytest.mark.parametrize(
    "name", ["a\n<3>root logged in.wav", "a\x1b[2J.wav", "a\r.wav", "a\u202e.wav", "a\x9b1m.wav", "\udcff"]
)
def test_a_name_makes_no_line_of_its_own(name: str) -> None:
    """Control characters in the name of a recording are shown escaped; a traceback keeps its lines."""
    record = logging.LogRecord("sonyc_ml", logging.WARNING, "", 0, "quarantined: %s", (name,), None)
    line = OneLineFormatter("%(levelname)s %(message)s").format(record)
    assert line.startswith("WARNING quarantined: ")
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    try:
        raise ValueError("why")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert OneLineFormatter("%(message)s").format(record).splitlines()[-1] == "ValueError: why"


def test_a_name_sets_no_other_variable() -> None:
    """A status with a recording's name in it is one line for the manager."""
    told: list[str] = []
    notifier = Notifier(BELOW_SYSTEMD, notify=told.append)
    notifier.ready("embedding a\nMAINPID=1.wav")
    notifier.status("embedding b\nSTOPPING=1.wav")
    assert told == ["READY=1\nSTATUS=embedding a\\nMAINPID=1.wav", "STATUS=embedding b\\nSTOPPING=1.wav"]
