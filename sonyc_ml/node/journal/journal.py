"""What became of each recording: an index of folder and outputs, in SQLite, that can be made again from them.

::

    found ──▶ pending ──▶ done
                │  ▲
                │  └───── retried by command
                ├──────▶ quarantined   it cannot be embedded, for a reason that stays
                └──────▶ shed          given up: too old, too many, gone or overwritten before its turn

Every change is one transaction that is on the disk when it returns. An attempt is counted before the work begins and
taken back when the work ends in whatever way, so that what is left of it are the recordings that killed the process.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import JournalDamagedError
from sonyc_ml.node.facts import Facts
from sonyc_ml.node.journal.days import add_to_day
from sonyc_ml.node.journal.event_table import log_done, log_facts
from sonyc_ml.node.journal.file import FILE_NAME, FileWatch, connect, connect_to_read, set_aside, store_errors
from sonyc_ml.node.journal.heard import ADOPT, FINISH, write_heard
from sonyc_ml.node.journal.pauses import write_pauses
from sonyc_ml.node.journal.view import COMPLETE, STATES, THIS, Entry, JournalView, OutputSummary, Recorded, key

__all__ = ["STATES", "Entry", "Journal", "OutputSummary", "Recorded", "open_journal"]

logger = logging.getLogger(__name__)

N_COMPACTED = 1000  # rows a transaction: a recording must not wait long
RESTED_S = 5.0  # two changes may have the same time: it has steps, of two seconds on a FAT disk

# Found again: what was given up because it had gone is there after all (a disk that was away, say).
ADD = """
INSERT INTO recordings (name, mtime_ns, n_bytes, state, found_s, changed_s) VALUES (?, ?, ?, 'pending', ?, ?)
ON CONFLICT DO UPDATE SET state = 'pending', reason = '', detail = '', found_s = excluded.found_s,
    changed_s = excluded.changed_s, due_s = 0, n_attempts = 0, n_failures = 0, fate = ''
    WHERE state = 'shed' AND reason = 'vanished'
"""


class Journal(JournalView):
    """The journal of one folder and its outputs; each thread opens its own.

    Parameters
    ----------
    folder : Path
        Where its file lies; made where it is not there.
    read_only : bool
        For asking: changes nothing, and makes no file.
    clock, timer : callable
        Return seconds since 1970, and seconds that only grow.

    Attributes
    ----------
    n_added : int
        Recordings that were taken up here.

    Raises
    ------
    JournalDamagedError
        It is there and cannot be used; :func:`set_aside` makes room for a new one.
    StoreError
        It cannot be opened for now.
    """

    def __init__(
        self,
        folder: Path,
        *,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        path = folder / FILE_NAME
        self._timer = timer
        self._depth = 0
        self.n_added = 0
        with store_errors(path):
            super().__init__(path, connect_to_read(path) if read_only else connect(path), clock)
        self._watch = FileWatch(path)
        self._changed_s, self._asked_s = 0.0, -math.inf  # by the timer: when it was seen to have changed, and asked
        self._due_s: float | None = None
        self._is_open = True  # a file that is made later may get the same number from the disk

    def close(self) -> None:
        """Close it; what was changed is on the disk already."""
        self._is_open = False
        with suppress(sqlite3.Error):
            self.connection.close()

    def is_in_place(self) -> bool:
        """Whether the file that is open here is still the one at its path."""
        return self._is_open and self._watch.is_in_place()

    def next_due_s(self) -> float | None:
        """When the next pending recording may be begun (in seconds since 1970); None where there is none.

        Who has nothing to do asks without end. Every change, whoever makes it, is written to SQLite's log, so the last
        answer holds where the log has not changed since, and had rested by then. To see that costs a tenth of asking.
        """
        now = self._timer()
        if self._watch.has_log_changed():
            self._changed_s = now
        if self._asked_s < self._changed_s + RESTED_S:
            self._due_s, self._asked_s = super().next_due_s(), now
        return self._due_s

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make several changes one: all of them or none; may be nested."""
        if self._depth:
            yield
            return
        self._depth = 1
        try:
            with store_errors(self.path):
                self.connection.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self.connection.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        self.connection.execute("ROLLBACK")
                    raise
        finally:
            self._depth = 0

    # What a recording goes through

    def add(self, found: Iterable[Identity]) -> int:
        """Take up recordings that are not known yet, as pending; returns how many."""
        now = self._clock()
        rows = ((*key(identity), now, now) for identity in found)
        with self.transaction():
            n_new = self.connection.executemany(ADD, rows).rowcount
            self.n_added += max(0, n_new)
            return n_new

    def take(self, *, newest_first: bool = False) -> Entry | None:
        """Begin the next pending recording of the folder that is due: count an attempt, and return it."""
        order = "found_s DESC, mtime_ns DESC" if newest_first else "found_s, mtime_ns"
        return self._begin(f"WHERE state = 'pending' AND fate <> 'live' AND due_s <= ? ORDER BY {order} LIMIT 1")

    def begin(self, identity: Identity) -> Entry | None:
        """Begin a recording, where it is pending and due: as :meth:`take`."""
        return self._begin(f"{THIS} AND state = 'pending' AND due_s <= ?", *key(identity))

    def _begin(self, where: str, *values: object) -> Entry | None:
        now = self._clock()
        with self.transaction():
            entries = self._entries(where, (*values, now))
            if not entries:
                return None
            begun = key(entries[0].identity)
            self.connection.execute(
                f"UPDATE recordings SET n_attempts = n_attempts + 1, changed_s = ? {THIS}", (now, *begun)
            )
            return self._entries(THIS, begun)[0]

    def overwritten(self) -> list[Entry]:
        """What was shed here since this was asked last, because another recording was written over it."""
        with store_errors(self.path):
            rows = self.connection.execute("SELECT name, mtime_ns, n_bytes FROM temp.overwritten").fetchall()
            if rows:
                self.connection.execute("DELETE FROM temp.overwritten")
        return [entry for row in rows for entry in self._entries(THIS, row)]

    def finish(self, identity: Identity, output: OutputSummary) -> None:
        """Its output is published."""
        now = self._clock()
        with self.transaction():
            self._change(identity, FINISH, *output.columns, now)
            self._describe(key(identity), output)
            log_done(self.connection, key(identity)[0], now, output)

    def adopt(self, published: Iterable[tuple[Identity, OutputSummary]]) -> int:
        """Take up recordings whose outputs were found, as done; returns how many were not known yet."""
        now, n_new = self._clock(), 0
        with self.transaction():
            for identity, output in published:
                row = key(identity)
                is_new = self.connection.execute(ADOPT, (*row, now, now, *output.columns)).rowcount
                n_new += is_new
                if is_new and (output.heard or output.pauses):  # what is known already is described
                    self._describe(row, output)
        return n_new

    def _describe(self, row: tuple[bytes, int, int], output: OutputSummary) -> None:
        write_heard(self.connection, row, output.heard, output.start_s)
        write_pauses(self.connection, row, output.pauses)

    def quarantine(self, identity: Identity, reason: str, detail: str) -> None:
        """It cannot be embedded."""
        self._end(identity, "quarantined", reason, detail)

    def shed(
        self,
        identity: Identity,
        reason: str,
        detail: str,
        *,
        start_s: float | None = None,
        duration_s: float | None = None,
    ) -> None:
        """It is given up; when it began and how long it is, where they are known."""
        self._end(identity, "shed", reason, detail, start_s, duration_s)

    def postpone(self, identity: Identity, due_s: float, reason: str, detail: str, *, survived: bool = True) -> None:
        """It stays pending, and is not begun before `due_s`; an attempt that did not survive stays counted."""
        attempts = "n_attempts = 0," if survived else ""
        self._change(
            identity,
            f"{attempts} n_failures = n_failures + 1, due_s = ?, reason = ?, detail = ?, changed_s = ?",
            due_s,
            reason,
            _utf8(detail),
            self._clock(),
        )

    def release(self, identity: Identity) -> None:
        """It stays pending as it was: the attempt was stopped, and nothing was wrong with it."""
        self._change(identity, "n_attempts = max(0, n_attempts - 1), changed_s = found_s")

    def retry(self, entries: Iterable[Entry]) -> int:
        """Make recordings pending again, whatever became of them; returns how many."""
        now, n_retried = self._clock(), 0
        with self.transaction():
            for entry in entries:
                self._change(
                    entry.identity,
                    "state = 'pending', found_s = ?, changed_s = ?, due_s = 0, n_attempts = 0, n_failures = 0, "
                    "reason = '', detail = '', fate = ''",
                    now,
                    now,
                )
                n_retried += 1
        return n_retried

    def begin_anew(self) -> None:
        """A start tries at once what waits: the clock may have been set back since, or a byte gone bad."""
        with self.transaction():
            self.connection.execute("UPDATE recordings SET due_s = 0 WHERE state = 'pending' AND due_s <> 0")

    def shift(self, by_s: float) -> None:
        """The clock was set: what is pending has not waited longer, or shorter, for that."""
        with self.transaction():
            self.connection.execute(
                "UPDATE recordings SET found_s = found_s + ?1, changed_s = changed_s + ?1, "
                "due_s = CASE due_s WHEN 0 THEN 0 ELSE due_s + ?1 END WHERE state = 'pending'",
                (by_s,),
            )

    def settle(self, identity: Identity, fate: str) -> None:
        """The file is moved, deleted, gone or overwritten."""
        self._change(identity, "fate = ?", fate)

    def write_facts(self, facts: Facts) -> None:
        """Keep facts for those who ask; what has not changed is not written again."""
        self._write_plain_facts(json.loads(json.dumps(facts.to_plain())))

    def mark_complete(self) -> None:
        """The outputs that were there before the journal have been taken up."""
        self._write_plain_facts({COMPLETE: True})

    def _write_plain_facts(self, facts: dict[str, Any]) -> None:
        known = self._plain_facts()
        changed = {key: value for key, value in facts.items() if known.get(key) != value}
        if not changed:
            return
        with self.transaction():
            self.connection.executemany(
                "INSERT OR REPLACE INTO facts VALUES (?, ?)",
                [(key, json.dumps(value)) for key, value in changed.items()],
            )
            log_facts(self.connection, self._clock(), known, changed)

    def compact(self, before_s: float, is_gone: Callable[[str], bool]) -> int:
        """Add up what ended before a time and whose file is gone, by the day, and drop it; returns how many rows."""
        n_dropped = 0
        ended = "state <> 'pending' AND changed_s < ?"
        last = b""
        while True:
            with self.transaction():
                entries = self._entries(
                    f"WHERE {ended} AND name > ? ORDER BY name LIMIT {N_COMPACTED}", (before_s, last)
                )
                if not entries:
                    return n_dropped
                last = os.fsencode(entries[-1].identity.name)
                for entry in entries:
                    if entry.fate or is_gone(entry.identity.name):
                        add_to_day(self.connection, entry)
                        n_dropped += 1

    def _end(self, identity: Identity, state: str, reason: str, detail: str, *times_s: float | None) -> None:
        self._change(
            identity,
            "state = ?, reason = ?, detail = ?, start_s = coalesce(?, start_s), duration_s = coalesce(?, duration_s), "
            "n_attempts = 0, changed_s = ?",
            state,
            reason,
            _utf8(detail),
            *(times_s or (None, None)),
            self._clock(),
        )

    def _change(self, identity: Identity, assignments: str, *values: object) -> None:
        with self.transaction():
            self.connection.execute(f"UPDATE recordings SET {assignments} {THIS}", (*values, *key(identity)))


def open_journal(folder: Path, clock: Callable[[], float] = time.time) -> Journal:
    """Open a journal, a new one where there is none or it is damaged.

    Raises
    ------
    StoreError
        It cannot be opened for now.
    """
    try:
        return Journal(folder, clock=clock)
    except JournalDamagedError as error:
        logger.error("%s; it is made again from the folder and the outputs", error)
        set_aside(folder)
        return Journal(folder, clock=clock)


def _utf8(text: str) -> str:
    """A sentence that SQLite takes: it may hold a name that is not UTF-8."""
    return text.encode(errors="backslashreplace").decode()
