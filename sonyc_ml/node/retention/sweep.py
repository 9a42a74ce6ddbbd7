"""What becomes of recordings that are through: kept, moved, or deleted after proof; and the journal kept short.

By age alone (``free_low = 0``) every recording goes that came into its state `after_s` ago or longer ago. By free
space (``free_low`` above 0) nothing goes before less than that share of the spool's disk is free; then recordings go,
the oldest first, until `free_high` is free, and none that is younger than `after_s`. Moving them frees space only where
the folder lies on another disk.

What is done goes after proof (:mod:`sonyc_ml.node.retention.proof`); what is quarantined or shed has no output that
could be looked at, and goes only where `states` names it. What is pending never goes. A file that is no longer the
recording of the journal is left alone, and so are symbolic links, and folders: a recorder may be about to write into an
empty one.
The folder to move to has to be there: made anew below the mount point of a disk that is away, it would fill this one.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from sonyc_ml.base.durable import flush_folder
from sonyc_ml.base.identity import Identity, state_of
from sonyc_ml.errors import StoreError
from sonyc_ml.node.config import RetentionConfig
from sonyc_ml.node.journal.journal import Entry, Journal
from sonyc_ml.node.retention.move import archive, targets

logger = logging.getLogger(__name__)

N_PAGE = 1000  # rows of the journal in memory at a time

NOT_THERE = (FileNotFoundError, NotADirectoryError)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
GONE, OVERWRITTEN = "gone already", "overwritten"
# Every further recording would meet with the same.
NO_ROOM, NO_TARGET = "kept: disk full or read-only", "kept: the folder to move to is missing"
STILL_LOW = "still below free_low"
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
    settings : RetentionConfig
    folder : Path
        Where the recordings lie.
    journal : Journal
    prove : callable
        Returns why a recording that is done may not go, empty where it may; see
        :func:`sonyc_ml.node.retention.proof.proof`.
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
        settings: RetentionConfig,
        folder: Path,
        journal: Journal,
        prove: Callable[[Identity], str],
        clock: Callable[[], float] = time.time,
        free_space: Callable[[Path], float] = free_share,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings, self._folder, self._journal, self._prove = settings, folder, journal, prove
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
            # A disk that is away leaves no folder, or an empty one: nothing is gone for that. Of streams there is none.
            from sonyc_ml.node.journal.live import drop_gaps  # noqa: PLC0415  once a day

            has_files = _has_entries(self._folder)
            drop_gaps(self._journal, before_s)
            return self._journal.compact(before_s, self._is_gone if has_files else lambda _name: False)
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
            reason = self._prove(identity)
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
        for path in targets(identity, self._settings.folder) if self._settings.folder else ():
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


def _has_entries(folder: Path) -> bool:
    with suppress(OSError), os.scandir(folder) as entries:
        return next(entries, None) is not None
    return False
