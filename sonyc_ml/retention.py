"""What becomes of recordings that are through: kept, moved, or deleted after proof; and the journal kept short.

By age alone (``free_low = 0``) every recording goes that came into its state `after_s` ago or longer ago. By free
space (``free_low`` above 0) nothing goes before less than that share of the spool's disk is free; then recordings go,
the oldest first, until `free_high` is free, and none that is younger than `after_s`. Moving them frees space only where
the folder lies on another disk.

What is done goes after proof (:func:`sonyc_ml.proof.proof`); what is quarantined or shed has no output that could be
looked at, and goes only where `states` names it. What is pending never goes. A file that is no longer the recording of
the journal is left alone, and so are symbolic links, and folders: a recorder may be about to write into an empty one.
The folder to move to has to be there: made anew below the mount point of a disk that is away, it would fill this one.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Self

from sonyc_ml.config import Config
from sonyc_ml.errors import OutputNameError, StoreError
from sonyc_ml.identity import Identity, state_of
from sonyc_ml.journal import Entry, Journal
from sonyc_ml.proof import proof
from sonyc_ml.store import atomic_file, flush_folder

logger = logging.getLogger(__name__)

N_PAGE = 1000  # rows of the journal in memory at a time
COMPACT_FIRST_S, COMPACT_EVERY_S = 3600.0, 86400.0
N_MANY = 100_000  # ended rows that are compacted without waiting
STOP_S = 30.0  # how long the end waits for a disk that hangs

NOT_THERE = (FileNotFoundError, NotADirectoryError)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
GONE, OVERWRITTEN = "gone already", "overwritten"
# Every further recording would meet with the same.
NO_ROOM, NO_TARGET = "kept: disk full or read-only", "kept: the folder to move to is missing"
STILL_LOW = "still below free_low"
QUIET = ("kept: its folder is empty", "kept: changed meanwhile")  # nobody need know
ENDED = ("done", "quarantined", "shed")
ACTIONS = {"move": "moved", "delete": "deleted"}


def free_share(folder: Path) -> float:
    """Share of a folder's disk that is free, from 0 to 1."""
    usage = shutil.disk_usage(folder)
    return usage.free / usage.total


class _StoppedError(Exception):
    pass


class Sweeper:
    """Settles what the journal says is through; for one thread, as the journal is.

    Parameters
    ----------
    config : Config
    journal : Journal
    clock : callable
        Returns seconds since 1970.
    free_space : callable
        Returns the share of a folder's disk that is free.
    is_stopped : callable
        Whether to end before the next recording.

    Attributes
    ----------
    examples : dict of str to str
        The first recording of each reason in the last sweep, with what the system said.
    """

    def __init__(
        self,
        config: Config,
        journal: Journal,
        clock: Callable[[], float] = time.time,
        free_space: Callable[[Path], float] = free_share,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings, self._config, self._journal = config.retention, config, journal
        self._folder = config.spool.folder
        self._clock, self._free_space, self._is_stopped = clock, free_space, is_stopped
        self.examples: dict[str, str] = {}

    def sweep(self) -> Counter[str]:
        """Move or delete what may go; returns how many recordings had which fate, or were kept for which reason.

        The reasons are ``moved``, ``deleted``, ``gone already``, ``overwritten``, ``kept: …`` and, where nothing
        more may go and the disk is still too full, ``still below free_low``.

        Raises
        ------
        StoreError
            The journal cannot be used for now.
        """
        settings, counts = self._settings, Counter[str]()
        self.examples = {}
        if settings.policy not in ACTIONS or not self._folder.is_dir() or not self._is_below(settings.free_low):
            return counts
        by_space = settings.free_low > 0
        for entry in self._entries(settings.states, self._clock() - settings.after_s, oldest_first=by_space):
            word = self._settle_safely(entry)
            counts[word] += 1
            self.examples.setdefault(word, entry.identity.name)
            if word in (NO_ROOM, NO_TARGET) or not self._is_below(settings.free_high):
                break
        if by_space and not self._is_stopped() and self._is_below(settings.free_low):
            counts[STILL_LOW] = 1
        return counts

    def compact(self) -> int:
        """Add up in the journal, by the day, what ended long ago and whose file is gone; returns how many rows.

        Raises
        ------
        StoreError
        """
        before_s = self._clock() - self._settings.history_days * 86400
        for entry in self._entries(ENDED, before_s, oldest_first=False):
            with suppress(OSError):
                if self._find(entry.identity) == OVERWRITTEN:
                    self._journal.settle(entry.identity, OVERWRITTEN)
        try:
            # A disk that is away leaves no folder, or an empty one: nothing is gone for that.
            return self._journal.compact(before_s, self._is_gone) if _has_entries(self._folder) else 0
        except _StoppedError:
            return 0

    def _is_below(self, share: float) -> bool:
        """Whether so little is free; always where it does not go by free space."""
        if self._settings.free_low == 0:
            return True
        try:
            return self._free_space(self._folder) < share
        except OSError:  # nothing goes on a guess
            return False

    def _entries(self, states: tuple[str, ...], before_s: float, *, oldest_first: bool) -> Iterator[Entry]:
        """Yield what is to be settled, page by page: in between, rows may change."""
        after: Identity | None = None
        while True:
            page = self._journal.page(states, before_s=before_s, after=after, limit=N_PAGE, oldest_first=oldest_first)
            for entry in page:
                if self._is_stopped():
                    return
                yield entry
            if len(page) < N_PAGE:
                return
            after = page[-1].identity

    def _settle_safely(self, entry: Entry) -> str:
        try:
            return self._settle(entry)
        except OSError as error:
            word = NO_ROOM if error.errno in FULL else "kept: I/O error"
            self.examples.setdefault(word, f"{entry.identity.name}: {error.strerror or error}")
            return word
        except StoreError:
            raise
        except Exception:
            logger.exception("%s is kept: looking at it failed", entry.identity.name)
            return "kept: failed"

    def _settle(self, entry: Entry) -> str:
        identity, reason = entry.identity, self._find(entry.identity)
        if reason == GONE and not _has_entries((self._folder / identity.name).parent):
            return "kept: its folder is empty"  # perhaps because its disk is away
        if reason in (GONE, OVERWRITTEN):
            self._journal.settle(identity, self._fate_of_gone(identity) if reason == GONE else OVERWRITTEN)
            return reason
        if not reason and entry.state == "done":
            reason = proof(self._config, identity)
        return f"kept: {reason}" if reason else self._remove(entry)

    def _find(self, identity: Identity) -> str:
        """What is there instead of a recording; empty where it is there."""
        path = self._folder / identity.name
        try:
            status = path.lstat()
            is_ours = path.parent.resolve().is_relative_to(self._folder.resolve())
        except NOT_THERE:
            return GONE
        if not stat.S_ISREG(status.st_mode) or not is_ours:
            return "no file of its folder"
        return "" if state_of(status) == identity[1:] else OVERWRITTEN

    def _fate_of_gone(self, identity: Identity) -> str:
        """What became of a file that is not there: a move may have been interrupted before it was written down."""
        for path in _targets(identity, self._settings.folder) if self._settings.folder else ():
            with suppress(OSError):
                status = path.lstat()
                if state_of(status) == identity[1:]:
                    return "moved"
        return "gone"

    def _is_gone(self, name: str) -> bool:
        if self._is_stopped():
            raise _StoppedError
        try:
            (self._folder / name).lstat()
        except OSError as error:
            return isinstance(error, NOT_THERE)
        return False

    def _remove(self, entry: Entry) -> str:
        """Move or delete the file, unless it or its row has changed since it was looked at."""
        identity, settings, path = entry.identity, self._settings, self._folder / entry.identity.name
        if settings.policy == "move" and settings.folder is not None:
            if not settings.folder.is_dir():
                return NO_TARGET
            archive(path, identity, settings.folder)
        with self._journal.transaction():  # nobody makes it pending in between
            known = [other for other in self._journal.find(identity.name) if other.identity == identity]
            if not known or (known[0].state, known[0].fate) != (entry.state, "") or self._find(identity):
                return "kept: changed meanwhile"
            path.unlink()
            flush_folder(path.parent)
            self._journal.settle(identity, ACTIONS[settings.policy])
        logger.debug("%s is %s", identity.name, ACTIONS[settings.policy])
        return ACTIONS[settings.policy]


def archive(source: Path, identity: Identity, folder: Path) -> None:
    """Put a recording durably into another folder, too, without replacing anything there.

    It keeps its name, or has its time in the name where that is another's: ``a.20261121T105322.123456789Z.wav``.
    What is there already, because an earlier move was interrupted, is not copied again.

    Raises
    ------
    OSError
        It cannot be, for now; :class:`FileExistsError` where both names are taken.
    """
    for path in _targets(identity, folder):
        if not os.path.lexists(path):
            return _place(source, identity, path)
        if _is_same(source, path):
            return None
    raise FileExistsError(errno.EEXIST, "other files have its names", str(folder / identity.name))


def _targets(identity: Identity, folder: Path) -> tuple[Path, Path]:
    target = folder / identity.name
    return target, target.with_name(f"{target.stem}.{identity.stamp}{target.suffix}")


def _place(source: Path, identity: Identity, target: Path) -> None:
    """Link a file to a second place, or copy it where that is on another disk."""
    missing = list(takewhile(lambda folder: not folder.exists(), target.parents))
    target.parent.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        flush_folder(folder.parent)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            _copy(source, identity, target)
        except (StoreError, OutputNameError) as failure:  # the journal's is another matter
            raise OSError(getattr(failure.__cause__, "errno", errno.EIO), str(failure)) from failure
    flush_folder(target.parent)


def _copy(source: Path, identity: Identity, target: Path) -> None:
    """Copy a file, with its time, and read the copy back from the disk before it has its name."""
    with atomic_file(target) as copy:
        with source.open("rb") as file:
            shutil.copyfileobj(file, copy)
        copy.flush()
        os.utime(copy.fileno(), ns=(identity.mtime_ns, identity.mtime_ns))
        os.fsync(copy.fileno())
        os.posix_fadvise(copy.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if _sha256(Path(os.fsdecode(copy.name))) != _sha256(source):
            raise OSError(errno.EIO, f"{target} was not written as {source} is")


def _is_same(source: Path, target: Path) -> bool:
    status, other = source.lstat(), target.lstat()
    if not stat.S_ISREG(other.st_mode) or status.st_size != other.st_size:
        return False
    return os.path.samestat(status, other) or _sha256(source) == _sha256(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has_entries(folder: Path) -> bool:
    with suppress(OSError), os.scandir(folder) as entries:
        return next(entries, None) is not None
    return False


class RetentionThread:
    """Sweeps now and then, and keeps the journal short, beside whatever else the process does.

    Parameters
    ----------
    config : Config
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._journal: Journal | None = None
        self._is_in_trouble = False
        self._kept: Counter[str] = Counter()
        self._compact_s = time.monotonic() + COMPACT_FIRST_S

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            logger.warning("retention: it did not stop within %.0f s, perhaps because a disk hangs; left", STOP_S)

    def reconfigure(self, config: Config) -> None:
        """Go by another configuration from the next sweep on: the bundles have changed, whose outputs are the proof."""
        self._config = config

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._turn(self._opened())
                self._is_in_trouble = False
            except StoreError as error:
                level = logging.DEBUG if self._is_in_trouble else logging.WARNING
                logger.log(level, "retention: %s; trying again every %g s", error, self._config.retention.every_s)
                self._is_in_trouble = True
                self._close()
            except Exception:
                logger.exception("retention: it failed; trying again in %g s", self._config.retention.every_s)
                self._close()
            self._stop.wait(self._config.retention.every_s)
        self._close()

    def _turn(self, journal: Journal) -> None:
        sweeper = Sweeper(self._config, journal, is_stopped=self._stop.is_set)
        self._log(sweeper.sweep(), sweeper.examples)
        if time.monotonic() >= self._compact_s and not self._stop.is_set():
            n_rows = sweeper.compact()
            self._compact_s = time.monotonic() + COMPACT_EVERY_S
            if n_rows:
                logger.info("retention: %d old rows of the journal were added up by the day", n_rows)

    def _opened(self) -> Journal:
        """The journal, opened anew where it was replaced; never made here: who makes it has to fill it."""
        if self._journal is not None and not self._journal.is_in_place():
            self._close()
        if self._journal is None:
            folder = self._config.state_folder
            Journal(folder, read_only=True).close()  # it is there, and whole
            self._journal = Journal(folder)
            counts = self._journal.counts()
            if sum(counts.values()) - counts["pending"] > N_MANY:
                self._compact_s = min(self._compact_s, time.monotonic())
        return self._journal

    def _close(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _log(self, counts: Counter[str], examples: dict[str, str]) -> None:
        """A line where anything was done; a warning where what should go is kept, and was not so before."""
        told = Counter({word: n for word, n in counts.items() if word not in QUIET})
        kept = Counter({word: n for word, n in told.items() if word.startswith(("kept", STILL_LOW))})
        names = {word: f" (such as {examples[word]})" for word in kept if word in examples}
        line = ", ".join(f"{word}: {n:,}{names.get(word, '')}" for word, n in sorted(told.items()))
        if kept and kept != self._kept:
            logger.warning("retention: %s; what is kept stays until that is mended", line)
        elif told:
            logger.info("retention: %s", line)
        self._kept = kept
