"""Until when the daemon was at work: time without power, and under another clock, is no waiting."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress

from sonyc_ml.node.journal.file import store_errors
from sonyc_ml.node.journal.journal import Journal

KEY = "at_work_s"  # among the facts
MARK_S = 60.0  # how much of the time at work may be forgotten


class WorkTime:
    """Keeps when the daemon was last at work while something waited.

    Parameters
    ----------
    journal : Journal
    clock : callable
        Returns seconds since 1970, whether that is right or not: times are compared with those of the same clock.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.time) -> None:
        self._journal, self._clock = journal, clock
        self._marked_s: float | None = None

    def resume(self) -> None:
        """Begin to work: what is pending is as old as it was when the work ended.

        Raises
        ------
        StoreError
        """
        now, ended_s = self._clock(), self._ended_s()
        if ended_s is None:
            return
        with self._journal.transaction():
            self._journal.shift(now - ended_s)
            # What was found, or is to be tried again, since then.
            query = "UPDATE recordings SET found_s = ?1 WHERE state = 'pending' AND found_s > ?1"
            self._journal.connection.execute(query, (now,))
            self.mark(at_once=True)

    def clock_was_set(self, by_s: float) -> None:
        """Nothing is older, or younger, because the clock was set.

        Raises
        ------
        StoreError
        """
        with self._journal.transaction():
            self._journal.shift(by_s)
            self.mark(at_once=True)

    def mark(self, *, at_once: bool = False) -> None:
        """The daemon is at work; written down now and then.

        Raises
        ------
        StoreError
        """
        now = self._clock()
        if not at_once and self._marked_s is not None and 0 <= now - self._marked_s < MARK_S:
            return
        with self._journal.transaction():
            row = (KEY, json.dumps(now))
            self._journal.connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", row)
        self._marked_s = now

    def _ended_s(self) -> float | None:
        """When the work ended; by the last change, where that is not known: of an earlier version's journal."""
        with store_errors(self._journal.path):
            execute = self._journal.connection.execute
            found = execute("SELECT value FROM facts WHERE key = ?", (KEY,)).fetchone()
            last = execute("SELECT max(max(found_s, changed_s)) FROM recordings").fetchone()[0]
        with suppress(ValueError, TypeError):
            return float(found[0])
        return None if last is None else float(last)
