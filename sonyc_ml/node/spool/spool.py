"""A folder to the recordings that are finished in it.

Events are hints and scans are the truth. The folder is scanned at the start, when events were lost, on a timer, and
when the folder at the path is no longer the one that was watched. Whatever looks finished is found, again and again:
who asks remembers what is known already.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from sonyc_ml.base.folders import file_system_of, is_left_out, is_path_left_out, is_remote
from sonyc_ml.base.identity import Identity, state_of
from sonyc_ml.base.records import dataclass
from sonyc_ml.node.config import SpoolConfig
from sonyc_ml.node.spool.inotify import OVERFLOW, WAKE, Hint, Hints, Watch, reason
from sonyc_ml.node.spool.leases import is_being_written
from sonyc_ml.sound.kinds import skipped_kind

logger = logging.getLogger(__name__)

WATCHED, POLLED, MISSING, UNREADABLE = "watched", "polled", "missing", "unreadable"
CHECK_S = 2.0  # how often the folder at the path is looked at
RESOLVE_S = 30.0  # how often the way to it is followed even where it seems to be the same
WATCH_AGAIN_S = 60.0  # how often inotify is tried again where it could not be had
GROWING_S = 60.0  # of what changed within this the kernel is asked whether it is still being written


@dataclass(frozen=True, slots=True)
class FolderState:
    """How a spool folder is: ``watched``, ``polled``, ``missing`` or ``unreadable``, and why."""

    word: str
    detail: str = ""

    @property
    def is_well(self) -> bool:
        """Whether recordings are found."""
        return self.word in (WATCHED, POLLED)


class Spool:
    """The finished recordings of a folder, whatever happens to the folder.

    Parameters
    ----------
    folder : Path
        Need not be there yet.
    extensions : tuple of str
        What a recording's name ends with, lower case, with the dot.
    recursive : bool
        Look into sub-folders too.
    settle_s : float
        A recording that was not seen being closed (it was there before, or was linked in) is taken to be finished when
        it has not changed for so long (in seconds).
    discovery : {"auto", "inotify", "polling"}
        How recordings are found; by default polling on file systems of other machines.
    rescan_s, poll_s : float
        Seconds between two scans, beside inotify and in its stead.
    clock : callable
        Returns the time of files, in seconds since 1970. It may jump, so it times nothing here.
    timer : callable
        Returns seconds that only grow.

    Attributes
    ----------
    left_out : dict of str to int
        Sound files that the last scan left alone, by the ending of their names, which is none of `extensions`.
    """

    def __init__(
        self,
        folder: Path,
        extensions: tuple[str, ...] = (".wav",),
        *,
        recursive: bool = True,
        settle_s: float = 2.0,
        discovery: str = "auto",
        rescan_s: float = 300.0,
        poll_s: float = 10.0,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder.absolute()
        self.state = FolderState(MISSING, "it was not looked at yet")
        self.n_rescans_after_loss = 0
        self.left_out: dict[str, int] = {}
        self._extensions, self._recursive, self._settle_s = extensions, recursive, settle_s
        self._discovery, self._rescan_s, self._poll_s = discovery, rescan_s, poll_s
        self._clock, self._timer = clock, timer
        self._hints: Hints = queue.SimpleQueue()
        self._received: list[Hint] = []
        self._unsettled: dict[str, tuple[float, Identity]] = {}  # when to look again, and what it was like
        self.watch: Watch | None = None
        self._root = ""  # the folder without symbolic links, which inotify would say nothing of
        self._watched: tuple[str, int, int] | None = None
        self._is_remote = False
        self._next_check_s = self._next_resolve_s = self._next_scan_s = -math.inf
        self._stamp: tuple[int, ...] = ()
        self._watch_again_s = math.inf
        self._unreadable: set[str] = set()
        self._linked: set[str] = set()

    def wake(self) -> None:
        """End :meth:`wait`; safe in a signal handler."""
        self._hints.put(WAKE)

    def rescan(self) -> None:
        """Scan the folder at the next turn: what was found may have been lost."""
        self._next_scan_s = -math.inf

    def close(self) -> None:
        """Stop watching."""
        self._unwatch()

    def wait(self, timeout_s: float) -> None:
        """Wait until there may be something to find, but not longer than this."""
        now = self._timer()
        due_s = min((due for due, _ in self._unsettled.values()), default=math.inf)
        timeout_s = min(timeout_s, due_s - now, self._next_check_s - now, self._next_scan_s - now)
        try:
            self._received.append(self._hints.get(timeout=timeout_s) if timeout_s > 0 else self._hints.get_nowait())
        except queue.Empty:
            return

    def found(self) -> Iterator[Identity]:
        """Yield the recordings that look finished; most of them may have been found before."""
        self.check()
        if not self.state.is_well:
            return
        if self._timer() >= self._next_scan_s:
            yield from self._scan()
        yield from self._follow_hints()
        now = self._timer()
        for path in [path for path, (due_s, _) in self._unsettled.items() if due_s <= now]:
            yield from self._settled(path)

    def is_being_written(self, name: str) -> bool:
        """Whether somebody has a recording open for writing, as far as the kernel knows."""
        return not self._is_remote and is_being_written(self.folder / name)

    # The folder at the path: is it there, and is it the one that is watched?

    def check(self) -> None:
        """Look whether the folder at the path is there, and watch it; at most every :data:`CHECK_S`."""
        now = self._timer()
        if now < self._next_check_s:
            return
        self._next_check_s = now + CHECK_S
        if now < min(self._next_resolve_s, self._watch_again_s) and self._is_as_before():
            return
        self._next_resolve_s = now + RESOLVE_S
        try:
            self._stamp = _stamp(os.stat(self.folder))  # noqa: PTH116  before: what changes meanwhile is seen
            root = self.folder.resolve(strict=True)
            status = root.stat()
            with os.scandir(root):  # says whether it may be read
                pass
        except (OSError, RuntimeError) as error:  # the second: symbolic links in a circle
            self._unwatch()
            is_missing = isinstance(error, FileNotFoundError)
            why = "it is not there" if is_missing else f"it cannot be read: {getattr(error, 'strerror', None) or error}"
            self.state = FolderState(MISSING if is_missing else UNREADABLE, why)
            return
        found = (str(root), status.st_dev, status.st_ino)
        if found != self._watched or self._is_deaf() or now >= self._watch_again_s:
            self._rewatch(found)

    def _is_as_before(self) -> bool:
        """Whether the folder at the path is the one that was looked at last, as far as one system call tells."""
        if self._watched is None or self._is_deaf():
            return False
        try:
            return _stamp(os.stat(self.folder)) == self._stamp  # noqa: PTH116  every two seconds
        except OSError:
            return False

    def _is_deaf(self) -> bool:
        return self.watch is not None and not self.watch.is_alive

    def _rewatch(self, found: tuple[str, int, int]) -> None:
        """Watch first and then scan, so that nothing falls between."""
        self._unwatch()
        self._watched, self._root = found, found[0]
        self._next_scan_s = -math.inf
        self._is_remote = is_remote(file_system_of(Path(self._root)))
        polled = f"scanned every {self._poll_s:g} s"
        if self._discovery == "polling" or (self._discovery == "auto" and self._is_remote):
            self.state = FolderState(POLLED, polled)
            return
        try:
            self.watch = Watch(Path(self._root), self._hints, recursive=self._recursive)
        except OSError as error:
            self._watch_again_s = self._timer() + WATCH_AGAIN_S
            self.state = FolderState(POLLED, f"{polled}, since it cannot be watched: {reason(error)}")
        else:
            self.state = FolderState(WATCHED)

    def _unwatch(self) -> None:
        if self.watch is not None:
            self.watch.close()
        self.watch = self._watched = None
        self._watch_again_s = math.inf

    # Hints

    def _follow_hints(self) -> Iterator[Identity]:
        hints, self._received = self._received, []
        for _ in range(self._hints.qsize()):
            hints.append(self._hints.get_nowait())
        for hint in hints:
            if hint == OVERFLOW:
                self.n_rescans_after_loss += 1
                logger.warning("events of %s were lost; it is scanned", self.folder)
                yield from self._scan()
            elif hint.path and self._is_recording(hint.path.rpartition("/")[2]) and not self._is_left_out(hint.path):
                yield from self._finished(hint.path) if hint.finished else self._settled(hint.path)

    def _is_left_out(self, path: str) -> bool:
        """Whether it lies in a folder that a scan would not look into: hidden, or a recycle bin."""
        return is_path_left_out(path.removeprefix(f"{self._root}/"))

    def _is_recording(self, file_name: str) -> bool:
        return file_name.lower().endswith(self._extensions) and not file_name.startswith(".")

    def _finished(self, path: str) -> Iterator[Identity]:
        self._unsettled.pop(path, None)
        identity = self._identify(path)
        if identity is not None:
            yield identity

    def _settled(self, path: str, *, asks: bool = True) -> Iterator[Identity]:
        """The recording if it has not changed for a while; else it is looked at again when it may have settled.

        A recorder may pause for longer. What it had written until then would be a recording that was overwritten, so
        the kernel is asked.
        """
        due_s, seen_before = self._unsettled.pop(path, (math.inf, None))
        identity = self._identify(path)
        if identity is None:
            return
        now = self._timer()
        is_due = identity == seen_before and due_s <= now
        is_settled = identity.mtime_s + self._settle_s <= self._clock() or is_due
        if is_settled and not (asks and self._is_growing(identity)):
            yield identity
        else:
            # A second hint of the same state does not make it any older.
            is_waiting = identity == seen_before and not is_due
            self._unsettled[path] = (due_s if is_waiting else now + self._settle_s, identity)

    def _is_growing(self, identity: Identity) -> bool:
        return self._clock() - identity.mtime_s < GROWING_S and self.is_being_written(identity.name)

    def _identify(self, path: str) -> Identity | None:
        """The state of a recording; None where it is gone again, or lies in the folder that was watched before."""
        if not path.startswith(f"{self._root}/"):
            return None
        try:
            status = os.stat(path)  # noqa: PTH116  of fifty thousand
        except OSError:
            return None
        return Identity(path[len(self._root) + 1 :], *state_of(status))

    # The truth

    def _scan(self) -> Iterator[Identity]:
        """Look at every file; those that may still be written are looked at again."""
        self._next_scan_s = self._timer() + (self._rescan_s if self.state.word == WATCHED else self._poll_s)
        asks = self.state.word == POLLED  # else of thousands, and the hints tell
        errors: list[OSError] = []
        left_out: Counter[str] = Counter()
        linked: set[str] = set()
        for folder, folders, names in os.walk(self._root, onerror=errors.append):
            folders[:] = sorted(name for name in folders if not is_left_out(name)) if self._recursive else []
            paths = (os.path.join(folder, name) for name in folders)
            linked.update(path for path in paths if os.path.islink(path))  # noqa: PTH114
            for name in sorted(names):
                if self._is_recording(name):
                    yield from self._settled(os.path.join(folder, name), asks=asks)
                elif kind := skipped_kind(name, self._extensions):
                    left_out[kind] += 1
        self._log_unreadable(errors)
        self._log_left_out(left_out, linked)

    def _log_left_out(self, kinds: Counter[str], linked: set[str]) -> None:
        """Log of each kind of sound files, and of each linked folder, once that it is left alone."""
        for kind in sorted(kinds.keys() - self.left_out.keys()):
            logger.warning(
                "%s: %d files end with %s and are left alone; recordings end with %s (spool.extensions)",
                self.folder,
                kinds[kind],
                kind,
                " or ".join(self._extensions),
            )
        for path in sorted(linked - self._linked):
            logger.warning("%s: it is a link to a folder, and those are not followed; recordings are not found", path)
        self.left_out, self._linked = dict(kinds), linked

    def _log_unreadable(self, errors: list[OSError]) -> None:
        """Log of each sub-folder once that nothing is found in it."""
        found = {str(error.filename): error.strerror for error in errors if not isinstance(error, FileNotFoundError)}
        for path in found.keys() - self._unreadable:
            logger.warning("%s: it cannot be looked into (%s); recordings in it are not found", path, found[path])
        self._unreadable = set(found)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """What changes with the folder at a path, with its mode, and with the names in it."""
    return status.st_dev, status.st_ino, status.st_ctime_ns


def spool_of(settings: SpoolConfig) -> Spool:
    """The spool that a configuration describes."""
    return Spool(
        settings.folder,
        settings.extensions,
        recursive=settings.recursive,
        settle_s=settings.settle_s,
        discovery=settings.discovery,
        rescan_s=settings.rescan_s,
        poll_s=settings.poll_s,
    )
