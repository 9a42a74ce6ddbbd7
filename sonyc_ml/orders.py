"""What an operator tells the daemon: to try recordings again, to load its bundles anew."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sonyc_ml.errors import ConfigError, StoreError
from sonyc_ml.human import iso
from sonyc_ml.journal import Entry, Facts, Journal
from sonyc_ml.lock import FILE_NAME, holder
from sonyc_ml.whereabouts import find_entries, find_outputs, state_of_file

LOOK_S = 0.05  # how often the journal is asked for the daemon's answer


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be tried again.

    Attributes
    ----------
    entries : tuple of Entry
    refused : tuple of (str, str)
        Names, and why not.
    """

    entries: tuple[Entry, ...]
    refused: tuple[tuple[str, str], ...]


def choose_files(journal: Journal, files: Iterable[Path]) -> Choice:
    """The recordings that files are now, where they can be tried again."""
    facts = journal.facts()
    daemon = _daemon(facts)
    entries, refused = [], []
    for file in files:
        name, known = find_entries(journal, daemon, file)
        entry, why = _this(known, daemon)
        why = why or _why_not(entry, daemon)
        if why:
            refused.append((str(file) if name is None else name, why))
        elif entry is not None and entry not in entries:
            entries.append(entry)
    return Choice(tuple(entries), tuple(refused))


def choose_all(journal: Journal, states: Sequence[str], reason: str | None = None) -> Choice:
    """Everything in some states, for one reason or any, whose file is there."""
    daemon = _daemon(journal.facts())
    entries, refused = [], []
    for state in states:
        for entry in journal.entries(state):
            if reason is not None and entry.reason != reason:
                continue
            why = _why_not(entry, daemon)
            if why:
                refused.append((entry.identity.name, why))
            else:
                entries.append(entry)
    return Choice(tuple(entries), tuple(refused))


def _daemon(facts: Facts) -> Facts:
    daemon: Facts = facts.get("daemon", {})
    if "folder" not in daemon:
        raise StoreError("no daemon has run here yet, so there is nothing to try again")
    if not os.path.isdir(daemon["folder"]):  # noqa: PTH112  Path.is_dir raises where it may not look
        raise StoreError(f"the folder {daemon['folder']} is not there, so nothing in it can be tried again")
    return daemon


def _this(known: list[Entry], daemon: Facts) -> tuple[Entry | None, str]:
    """Of the recordings that had a name, the one that the file is now."""
    if not known:
        return None, "the journal does not know it; ask sonyc-ml explain"
    states = {entry: state_of_file(Path(daemon["folder"]), entry.identity) for entry in known}
    there = [entry for entry in known if states[entry] == "there"]
    return (there or known)[0], ""


def _why_not(entry: Entry | None, daemon: Facts) -> str:
    """Why a recording cannot be tried again."""
    if entry is None:
        return "the journal does not know it"
    file = state_of_file(Path(daemon["folder"]), entry.identity)
    if file == "gone":
        by_retention = entry.fate in ("moved", "deleted")
        return f"its file was {entry.fate} by retention" if by_retention else "its file is not there any more"
    if file == "another":
        return "its file has changed since, and is another recording now"
    if entry.state == "done":
        paths = [path for _, path in find_outputs(daemon, entry.identity)]
        if paths and all(paths):
            return f"it is done; to embed it again, remove its output {' and '.join(map(str, paths))} first"
    if entry.state == "pending" and entry.due_s <= time.time():
        return "it is pending already, and due"
    return ""


def reload(
    folder: Path, timeout_s: float, clock: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep
) -> Facts | None:
    """Tell the daemon to load its bundles anew, and wait for what comes of it.

    Parameters
    ----------
    folder : Path
        Where the journal lies.
    timeout_s : float
        How long to wait for the recording at hand and the bundles (in seconds).
    clock, sleep : callable
        Of seconds since 1970.

    Returns
    -------
    dict or None
        ``at``, ``ok`` and ``detail``; None where no daemon runs.

    Raises
    ------
    ConfigError
        The process that runs may not be told.
    StoreError
        It does not answer in time, or ended.
    """
    pid = holder(folder)
    if pid is None:
        return None
    before = _outcome(folder)
    while before is not None and before["at"] == iso(clock()):
        sleep(LOOK_S)  # two outcomes of one second could not be told apart
    _signal(pid, folder)
    for _ in _looks(timeout_s, sleep):
        outcome = _outcome(folder)
        if outcome is not None and outcome != before:
            return outcome
        if holder(folder) is None:
            raise StoreError(f"the daemon (process {pid}) ended before it had loaded its bundles; see its log")
    raise StoreError(
        f"the daemon (process {pid}) has not answered in {timeout_s:g} s; it was told, and finishes the recording at "
        "hand first: see its log, or give a longer --timeout"
    )


def _looks(timeout_s: float, sleep: Callable[[float], None]) -> Iterator[None]:
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        yield
        sleep(LOOK_S)


def _outcome(folder: Path) -> Facts | None:
    journal = Journal(folder, read_only=True)
    try:
        return journal.facts().get("reload")
    finally:
        journal.close()


def _signal(pid: int, folder: Path) -> None:
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
        raise ConfigError(f"the daemon (process {pid}) cannot be told: {error.strerror}") from error


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
