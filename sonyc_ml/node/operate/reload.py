"""Ask the daemon to load its bundles again, and wait for the outcome."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sonyc_ml.base.human import iso
from sonyc_ml.base.lock import FILE_NAME, holder
from sonyc_ml.errors import ConfigError, StoreError
from sonyc_ml.node.facts import ReloadFacts
from sonyc_ml.node.journal.journal import Journal

LOOK_S = 0.05  # how often the journal is asked for the daemon's answer


def reload(
    folder: Path, timeout_s: float, clock: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep
) -> ReloadFacts | None:
    """Tell the daemon to load its bundles anew, and wait for what comes of it.

    Parameters
    ----------
    folder : Path
        Where the journal lies.
    timeout_s : float
        How long to wait for the current recording and the bundles (in seconds).
    clock, sleep : callable
        Of seconds since 1970.

    Returns
    -------
    ReloadFacts or None
        None where no daemon runs.

    Raises
    ------
    ConfigError
        The process that runs may not be signalled.
    StoreError
        It does not answer in time, or ended.
    """
    pid = holder(folder)
    if pid is None:
        return None
    before = _outcome(folder)
    while before is not None and before.at == iso(clock()):
        sleep(LOOK_S)  # two outcomes of one second could not be distinguished
    send_hangup(pid, folder)
    for _ in _looks(timeout_s, sleep):
        outcome = _outcome(folder)
        if outcome is not None and outcome != before:
            return outcome
        if holder(folder) is None:
            raise StoreError(f"the daemon (process {pid}) ended before it had loaded its bundles; see its log")
    raise StoreError(
        f"the daemon (process {pid}) has not answered in {timeout_s:g} s; it has the signal, and finishes its "
        "current recording first: see its log, or give a longer --timeout"
    )


def _looks(timeout_s: float, sleep: Callable[[float], None]) -> Iterator[None]:
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        yield
        sleep(LOOK_S)


def _outcome(folder: Path) -> ReloadFacts | None:
    journal = Journal(folder, read_only=True)
    try:
        return journal.facts().reload
    finally:
        journal.close()


def send_hangup(pid: int, folder: Path) -> None:
    """Send SIGHUP, but to nobody else: a daemon in a container has another number outside."""
    try:
        if not _holds(pid, folder / FILE_NAME):
            raise ConfigError(
                f"the daemon calls itself process {pid}, and here that is another; it runs in a container: reload there"
            )
        os.kill(pid, signal.SIGHUP)
    except PermissionError as error:
        raise ConfigError(f"the daemon (process {pid}) is another user's; run this as root or as that user") from error
    except OSError as error:
        raise ConfigError(f"the daemon (process {pid}) cannot be signalled: {error.strerror}") from error


def _holds(pid: int, path: Path) -> bool:
    """Whether a process has a file open."""
    wanted = path.stat()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found = descriptor.stat()
        except OSError:  # closed since, or nothing that has a path
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False
