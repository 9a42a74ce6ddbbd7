"""A folder to the recordings that are finished in it.

Events say where to look; whether a recording is finished, and whether it was handed out before, is decided here. Two
observers watch the folder. One hears nothing but files being closed after writing. The other hears files appear by
being moved or linked in; it must also listen for files moved out, and watchdog holds such an event, and everything
behind it, for half a second, for which a recording that was just closed does not wait.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import queue
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
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

from sonyc_ml.errors import ConfigError

logger = logging.getLogger(__name__)

N_REMEMBERED = 4096


class Identity(NamedTuple):
    """What tells one state of a recording from another: a name used again is a new recording."""

    path: Path
    n_bytes: int
    mtime_ns: int


class Hint(NamedTuple):
    """Somewhere to look; an empty path only wakes the reader."""

    path: str
    finished: bool


class Spool:
    """The recordings of a folder, each once, as they are finished.

    Parameters
    ----------
    folder : Path
        Must exist.
    extensions : tuple of str
        What a recording's name ends with, lower case, with the dot.
    recursive : bool
        Look into sub-folders too.
    settle_s : float
        A recording nobody was heard closing (it was there before, or was linked in) is taken to be finished when it
        has not changed for so long (in seconds).
    clock : callable
        Returns the time of files, in seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        extensions: tuple[str, ...] = (".wav",),
        *,
        recursive: bool = True,
        settle_s: float = 2.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder.resolve()  # inotify says nothing of a folder behind a symbolic link
        self._extensions, self._recursive, self._settle_s, self._clock = extensions, recursive, settle_s, clock
        self._hints: queue.SimpleQueue[Hint] = queue.SimpleQueue()
        self._unsettled: dict[Path, tuple[float, Identity]] = {}  # when to look again, and what it was like
        self._handed_out: OrderedDict[Identity, None] = OrderedDict()
        self._observers: list[InotifyObserver] = []
        self._stopped = False

    def start(self) -> None:
        """Watch the folder, then look at what is in it already.

        Raises
        ------
        ConfigError
            The folder is not there, or cannot be watched.
        """
        if not self.folder.is_dir():
            raise ConfigError(f"{self.folder} is not a folder; make it, or name the one that recordings appear in")
        try:
            self._observe(InotifyObserver(), FileClosedEvent)
            self._observe(InotifyObserver(generate_full_events=True), FileCreatedEvent, FileMovedEvent)
            for path in self._scan():
                self._hints.put(Hint(path, finished=False))
        except OSError as error:
            self.close()
            raise ConfigError(f"{self.folder} cannot be watched: {_reason(error)}") from error

    def stop(self) -> None:
        """End :meth:`recordings` after the one at hand; safe in a signal handler."""
        self._stopped = True
        self._hints.put(Hint("", finished=False))

    def close(self) -> None:
        """Stop watching."""
        self.stop()
        for observer in self._observers:
            observer.stop()
        for observer in self._observers:
            if observer.is_alive():  # one that could not start is in the list too
                observer.join()
        self._observers.clear()

    def recordings(self) -> Iterator[Identity]:
        """Yield every finished recording, waiting for the next, until :meth:`stop`."""
        while not self._stopped:
            for path in self._next_paths():
                identity = self._identify(path)
                if identity is None or self._stopped:
                    continue
                self._remember(identity)
                yield identity

    def retry(self, identity: Identity, delay_s: float) -> None:
        """Hand a recording out again after a while."""
        self._handed_out.pop(identity, None)
        self._unsettled[identity.path] = (self._clock() + delay_s, identity)

    def _next_paths(self) -> list[Path]:
        """Wait for a hint, or until something unsettled is due; return what is finished now."""
        due_s = min((due for due, _ in self._unsettled.values()), default=None)
        finished: list[Path] = []
        try:
            hint = self._hints.get(timeout=None if due_s is None else max(0.0, due_s - self._clock()))
        except queue.Empty:
            pass
        else:
            finished += self._heard(hint)
        now = self._clock()
        for path in [path for path, (due, _) in self._unsettled.items() if due <= now]:
            finished += self._settled(path)
        return finished

    def _heard(self, hint: Hint) -> list[Path]:
        path = Path(hint.path)
        if not hint.path or path.name.startswith(".") or path.suffix.lower() not in self._extensions:
            return []
        if not hint.finished:
            return self._settled(path)
        self._unsettled.pop(path, None)
        return [path]

    def _settled(self, path: Path) -> list[Path]:
        """The path if it has not changed for a while; else it is looked at again when it may have settled."""
        due_s, seen_before = self._unsettled.pop(path, (math.inf, None))
        identity = self._identify(path)
        if identity is None:
            return []
        now = self._clock()
        if identity.mtime_ns * 1e-9 + self._settle_s <= now or (identity == seen_before and due_s <= now):
            return [path]
        # A second hint of the same state does not make it any older.
        self._unsettled[path] = (due_s if identity == seen_before else now + self._settle_s, identity)
        return []

    def _identify(self, path: Path) -> Identity | None:
        """The state of a recording; None where it is gone again, or was handed out in this state."""
        try:
            status = path.stat()
        except OSError:
            return None
        identity = Identity(path, status.st_size, status.st_mtime_ns)
        return None if identity in self._handed_out else identity

    def _remember(self, identity: Identity) -> None:
        self._handed_out[identity] = None
        if len(self._handed_out) > N_REMEMBERED:
            self._handed_out.popitem(last=False)

    def _observe(self, observer: InotifyObserver, *events: type[FileSystemEvent]) -> None:
        self._observers.append(observer)
        observer.schedule(
            _Listener(self._hints), str(self.folder), recursive=self._recursive, event_filter=list(events)
        )
        observer.start()

    def _scan(self) -> Iterator[str]:
        """Every file of the folder, oldest name first."""
        for folder, folders, names in os.walk(self.folder):
            folders[:] = sorted(folders) if self._recursive else []
            yield from (os.path.join(folder, name) for name in sorted(names))


class _Listener(FileSystemEventHandler):
    """Passes events on; runs on watchdog's thread, so it does nothing else."""

    def __init__(self, hints: queue.SimpleQueue[Hint]) -> None:
        self._hints = hints

    def on_closed(self, event: FileSystemEvent) -> None:
        self._hints.put(Hint(os.fsdecode(event.src_path), finished=True))

    def on_created(self, event: FileSystemEvent) -> None:
        self._hints.put(Hint(os.fsdecode(event.src_path), finished=False))  # linked in, or only begun

    def on_moved(self, event: FileSystemEvent) -> None:
        self._hints.put(Hint(os.fsdecode(event.dest_path), finished=True))  # no destination: moved out


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the limit of inotify watches is reached; raise fs.inotify.max_user_watches"
    if error.errno == errno.EMFILE:
        return "the limit of inotify instances is reached; raise fs.inotify.max_user_instances"
    return error.strerror or str(error)
