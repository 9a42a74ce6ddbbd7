"""Inotify's events of a folder, through watchdog, as hints where to look.

Two observers watch the folder. One gets nothing but files being closed after writing. The other gets files that
appear by being moved or linked in; it must also listen for files moved out, and watchdog holds such an event, and
everything behind it, for half a second, for which a recording that was just closed does not wait.

What is lost is lost without an event: the kernel's queue overflows, the folder is deleted, the limit of watches is
reached. :attr:`Watch.is_alive` and :data:`OVERFLOW` show what can be known; the spool's scans find the rest.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
from pathlib import Path
from typing import NamedTuple

from watchdog.events import (
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.inotify import InotifyObserver

WATCHDOG_LOGGER = "watchdog.observers"  # where alone it says that the kernel's queue has overflowed


class Hint(NamedTuple):
    """Somewhere to look; an empty path only wakes the reader."""

    path: str
    finished: bool = False


WAKE = Hint("")
OVERFLOW = Hint("", finished=True)

Hints = queue.SimpleQueue[Hint]


class Watch:
    """Watches a folder and puts hints into a queue.

    Parameters
    ----------
    folder : Path
        Not behind a symbolic link: inotify has no events of those.
    hints : queue.SimpleQueue of Hint
    recursive : bool
        Watch sub-folders too.

    Attributes
    ----------
    observers : list of InotifyObserver
        Watchdog's; empty once it is closed.

    Raises
    ------
    OSError
        The folder cannot be watched; :func:`reason` says why.
    """

    def __init__(self, folder: Path, hints: Hints, *, recursive: bool) -> None:
        self.observers: list[InotifyObserver] = []
        self._overflows = _OverflowHandler(hints)
        logging.getLogger(WATCHDOG_LOGGER).addHandler(self._overflows)
        listener = _Listener(hints)
        try:
            for observer, events in (
                (InotifyObserver(), [FileClosedEvent]),
                (InotifyObserver(generate_full_events=True), [FileCreatedEvent, FileMovedEvent]),
            ):
                self.observers.append(observer)
                observer.schedule(listener, str(folder), recursive=recursive, event_filter=[*events])
                observer.start()
        except BaseException:
            self.close()
            raise
        self._threads = [thread for observer in self.observers for thread in (observer, *observer.emitters)]

    @property
    def is_alive(self) -> bool:
        """Whether every thread that listens still does; one ends when the folder is deleted."""
        return all(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Stop watching."""
        logging.getLogger(WATCHDOG_LOGGER).removeHandler(self._overflows)
        for observer in self.observers:
            observer.stop()
        for observer in self.observers:
            if observer.is_alive():  # one that could not start is in the list too
                observer.join()
        self.observers.clear()


class _Listener(FileSystemEventHandler):
    """Passes events on; runs on watchdog's thread, so it does nothing else."""

    def __init__(self, hints: Hints) -> None:
        self._hints = hints

    def on_closed(self, event: FileSystemEvent) -> None:
        self._hints.put(Hint(os.fsdecode(event.src_path), finished=True))

    def on_created(self, event: FileSystemEvent) -> None:
        self._hints.put(Hint(os.fsdecode(event.src_path)))  # linked in, or only begun

    def on_moved(self, event: FileSystemEvent) -> None:
        if event.dest_path:  # none: moved out
            self._hints.put(Hint(os.fsdecode(event.dest_path), finished=True))


class _OverflowHandler(logging.Handler):
    """Takes the one event that watchdog has as a log record alone."""

    def __init__(self, hints: Hints) -> None:
        super().__init__(logging.WARNING)
        self._hints = hints

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self._hints.put(OVERFLOW)


def reason(error: OSError) -> str:
    """Why a folder cannot be watched, and what to do."""
    if error.errno == errno.ENOSPC:
        return "the limit of inotify watches is reached; raise fs.inotify.max_user_watches"
    if error.errno == errno.EMFILE:
        return "the limit of inotify instances is reached; raise fs.inotify.max_user_instances"
    return error.strerror or str(error)
