"""Queries of the journal: rows and sums, for the daemon and for whoever asks."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from sonyc_ml.base.identity import Identity
from sonyc_ml.base.lock import noted
from sonyc_ml.base.names import checked_name
from sonyc_ml.base.records import dataclass, field
from sonyc_ml.errors import JournalDamagedError, OutputNameError
from sonyc_ml.node.facts import Facts
from sonyc_ml.node.journal.file import store_errors
from sonyc_ml.node.journal.heard import Heard
from sonyc_ml.node.journal.pauses import Span, find_pauses

STATES = ("pending", "done", "quarantined", "shed")
COMPLETE = "complete"  # a row of the facts table that is the journal's own
# What was quarantined, until another recording of its name was embedded: nobody has to look after it.
REPLACED = (
    "state = 'quarantined' AND EXISTS (SELECT 1 FROM recordings AS other WHERE other.name = recordings.name "
    "AND other.state = 'done' AND other.found_s >= recordings.found_s)"
)
LIVE = "live"  # the fate of a file that there never was: of a recording of a stream
THIS = "WHERE name = ? AND mtime_ns = ? AND n_bytes = ?"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the journal.

    Attributes
    ----------
    identity : Identity
    state : {"pending", "done", "quarantined", "shed"}
    found_s, changed_s, due_s : float
        When it was found, when it came into its state or was begun, and before when it is not begun (in seconds since
        1970).
    n_attempts, n_failures : int
        Attempts that were begun and have not ended; attempts that ended in trouble that passes.
    reason, detail : str
        Why it is in its state: a word or two, and a sentence.
    start_s, duration_s : float or None
        When the recording begins (in seconds since 1970) and how long it is (in seconds), where that is known.
    hop_size_s : float or None
        Of its output (in seconds).
    salvaged : bool
        It was never finished; its output holds what there was.
    fate : str
        What became of the file since: ``moved`` or ``deleted`` by retention, ``gone`` or ``overwritten`` by others;
        ``live`` where there never was one.
    """

    identity: Identity
    state: str
    found_s: float
    changed_s: float
    due_s: float = 0.0
    n_attempts: int = 0
    n_failures: int = 0
    reason: str = ""
    detail: str = ""
    start_s: float | None = None
    duration_s: float | None = None
    hop_size_s: float | None = None
    salvaged: bool = False
    fate: str = ""


class Recorded(NamedTuple):
    """When a recording was made, and what became of it; see :class:`Entry`."""

    state: str
    reason: str
    salvaged: bool
    start_s: float | None
    duration_s: float | None
    mtime_s: float
    pauses: tuple[Span, ...] = ()


FIELDS = tuple(entry.name for entry in fields(Entry) if entry.name != "identity")
COLUMNS = f"name, mtime_ns, n_bytes, {', '.join(FIELDS)}"


@dataclass(frozen=True, slots=True)
class OutputSummary:
    """What the journal keeps of an output; see :class:`Entry`.

    Its levels (in dB of `reference`) are kept among the events alone.
    """

    start_s: float | None
    duration_s: float
    hop_size_s: float
    salvaged: bool = False
    heard: tuple[Heard, ...] = ()
    pauses: tuple[Span, ...] = ()
    levels: Mapping[str, float] = field(default_factory=dict)
    reference: str = ""

    @property
    def columns(self) -> tuple[float | None, float, float, int]:
        """Those of the table of recordings."""
        return self.start_s, self.duration_s, self.hop_size_s, int(self.salvaged)


class JournalView:
    """Answers from a journal; changes nothing.

    Parameters
    ----------
    path : Path
        Of its file.
    connection : sqlite3.Connection
    clock : callable
        Returns seconds since 1970.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self.path, self.connection, self._clock = path, connection, clock

    def next_due_s(self) -> float | None:
        """When the next pending recording may be begun (in seconds since 1970); None where there is none."""
        return self._value("SELECT min(due_s) FROM recordings WHERE state = 'pending'")  # type: ignore[no-any-return]

    def oldest_pending(self, n: int = 1, *, offset_from_newest: int | None = None) -> list[Entry]:
        """The pending recordings that were found first; those beyond so many newer ones, where that is given."""
        if offset_from_newest is None:
            return self._entries("WHERE state = 'pending' ORDER BY found_s, mtime_ns LIMIT ?", (n,))
        return self._entries(
            "WHERE state = 'pending' ORDER BY found_s DESC, mtime_ns DESC LIMIT ? OFFSET ?", (n, offset_from_newest)
        )

    def begun(self) -> list[Entry]:
        """Pending recordings with an attempt that has not ended: the current one, or one that killed the process."""
        return self._entries("WHERE state = 'pending' AND n_attempts > 0")

    def in_memory(self) -> list[Entry]:
        """Pending recordings of streams, whose sound is in the memory of a process and nowhere else."""
        return self._entries("WHERE state = 'pending' AND fate = 'live'")

    def find(self, name: str) -> list[Entry]:
        """Every recording that had a name, the newest first."""
        return self._entries("WHERE name = ? ORDER BY mtime_ns DESC", (os.fsencode(name),))

    def entries(self, state: str | None = None, *, since_s: float = 0.0) -> Iterator[Entry]:
        """Yield what is in a state, or everything, that came into it since a time; by name."""
        with store_errors(self.path):
            for row in self.connection.execute(
                f"SELECT {COLUMNS} FROM recordings WHERE (? IS NULL OR state = ?) AND changed_s >= ? ORDER BY name",
                (state, state, since_s),
            ):
                yield self._entry(row)

    def page(
        self, states: Iterable[str], *, before_s: float, after: Identity | None, limit: int, oldest_first: bool = True
    ) -> list[Entry]:
        """What is in one of some states since a time or longer, and whose file retention has not settled.

        The recordings whose files were changed first come first; else they come by name, which needs no sorting of the
        whole journal for each page. A page begins behind the last identity of the one before.
        """
        wanted = tuple(states)
        order = "mtime_ns, name, n_bytes" if oldest_first else "name, mtime_ns, n_bytes"
        behind: tuple[object, ...] = ()
        if after:
            name = os.fsencode(after.name)
            first = (after.mtime_ns, name) if oldest_first else (name, after.mtime_ns)
            behind = (*first, after.n_bytes)
        return self._entries(
            f"WHERE fate = '' AND state IN ({', '.join('?' * len(wanted))}) AND changed_s <= ? "
            f"{f'AND ({order}) > (?, ?, ?)' if after else ''} ORDER BY {order} LIMIT ?",
            (*wanted, before_s, *behind, limit),
        )

    def counts(self) -> dict[str, int]:
        """How many recordings are in each state."""
        with store_errors(self.path):
            rows = self.connection.execute("SELECT state, count(*) FROM recordings GROUP BY state").fetchall()
        return dict.fromkeys(STATES, 0) | dict(rows)

    def reasons(self) -> dict[str, dict[str, int]]:
        """How many recordings are in each state for each reason; what is done needs none.

        What was quarantined and has been replaced by a recording that is done is left out.
        """
        with store_errors(self.path):
            total = self.connection.execute("SELECT count(*) FROM recordings").fetchone()[0]
            rows = self.connection.execute(
                f"SELECT state, reason, count(*), {REPLACED} FROM recordings WHERE state <> 'done' "
                "GROUP BY 1, 2, 4 ORDER BY 3 DESC"
            ).fetchall()
        found: dict[str, dict[str, int]] = {state: {} for state in STATES}
        for state, reason, n, is_replaced in rows:
            if not is_replaced:
                found[state][reason] = n
        done = total - sum(row[2] for row in rows)
        return found | {"done": {"": done} if done else {}}

    def backlog(self) -> list[tuple[bool, str, int, float, float]]:
        """What is pending: whether it is due, the reason, how many, when the oldest was found, when the next is due."""
        with store_errors(self.path):
            rows = self.connection.execute(
                "SELECT due_s <= ?, reason, count(*), min(found_s), min(due_s) FROM recordings "
                "WHERE state = 'pending' GROUP BY 1, 2 ORDER BY 3 DESC",
                (self._clock(),),
            ).fetchall()
        return [(bool(is_due), reason, n, found_s, due_s) for is_due, reason, n, found_s, due_s in rows]

    def n_before(self, entry: Entry, *, newest_first: bool = False) -> int:
        """How many pending recordings that are due come before one."""
        order = ">" if newest_first else "<"
        with store_errors(self.path):
            found: int = self.connection.execute(
                f"SELECT count(*) FROM recordings WHERE state = 'pending' AND (found_s, mtime_ns) {order} (?, ?) "
                "AND due_s <= ?",
                (entry.found_s, entry.identity.mtime_ns, self._clock()),
            ).fetchone()[0]
        return found

    def latest(
        self, states: Sequence[str], n: int | None = None, *, since_s: float = 0.0, with_replaced: bool = True
    ) -> list[Entry]:
        """What came into one of some states since a time, the latest first; what was replaced too, or not."""
        these = ", ".join("?" * len(states))
        return self._entries(
            f"WHERE state IN ({these}) AND changed_s >= ? AND (? OR NOT ({REPLACED})) ORDER BY changed_s DESC, name "
            "LIMIT ?",
            (*states, since_s, with_replaced, -1 if n is None else n),
        )

    def recorded(self, since_s: float, until_s: float) -> Iterator[Recorded]:
        """Yield what was recorded in a span, or reaches into it; where the start is not known, by the file's time."""
        pauses = find_pauses(self)
        with store_errors(self.path):
            for name, n_bytes, state, reason, salvaged, start_s, duration_s, mtime_ns in self.connection.execute(
                "SELECT name, n_bytes, state, reason, salvaged, start_s, duration_s, mtime_ns FROM recordings "
                "WHERE coalesce(start_s, mtime_ns * 1e-9) < ? AND coalesce(start_s + duration_s, mtime_ns * 1e-9) >= ?",
                (until_s, since_s),
            ):
                of_this = tuple(pauses.get((name, mtime_ns, n_bytes), ()))
                yield Recorded(state, reason, bool(salvaged), start_s, duration_s, mtime_ns * 1e-9, of_this)

    def begins_s(self) -> float | None:
        """When the oldest recording began that is known by itself, not by its day alone (in seconds since 1970)."""
        return self._value("SELECT min(coalesce(start_s, mtime_ns * 1e-9)) FROM recordings")  # type: ignore[no-any-return]

    def last(self, state: str) -> Entry | None:
        """The recording that came into a state last."""
        entries = self._entries("WHERE state = ? ORDER BY changed_s DESC LIMIT 1", (state,))
        return entries[0] if entries else None

    def last_found_s(self) -> float | None:
        """When a recording was found last (in seconds since 1970)."""
        return self._value("SELECT max(found_s) FROM recordings")  # type: ignore[no-any-return]

    def days(self, since: str) -> list[tuple[str, str, str, bool, int, float]]:
        """What was compacted away since a day: day, state, reason, salvaged, how many, seconds."""
        with store_errors(self.path):
            rows = self.connection.execute("SELECT * FROM days WHERE day >= ? ORDER BY day", (since,)).fetchall()
        try:
            return [
                (day, state, reason, bool(salvaged), int(n), float(s)) for day, state, reason, salvaged, n, s in rows
            ]
        except (ValueError, TypeError) as error:
            raise JournalDamagedError(f"the journal {self.path} is damaged: {error}") from error

    def facts(self) -> Facts:
        """The daemon's facts about itself; its trouble too where that could not be written here."""
        values, trouble = self._plain_facts(), noted(self.path.parent)
        if trouble and not values.get("trouble"):
            since, _, detail = trouble.partition(" ")
            values["trouble"] = {"since": since, "detail": detail}
        return Facts.from_plain(values)

    def is_complete(self) -> bool:
        """Whether the outputs that were there before the journal have been taken up."""
        return bool(self._plain_facts().get(COMPLETE))

    def _plain_facts(self) -> dict[str, Any]:
        with store_errors(self.path):
            rows = self.connection.execute("SELECT key, value FROM facts").fetchall()
        try:
            return {key: json.loads(value) for key, value in rows}
        except (ValueError, TypeError, RecursionError) as error:
            raise JournalDamagedError(f"the journal {self.path} is damaged: a fact is no JSON: {error}") from error

    def _entries(self, where: str, values: tuple[object, ...] = ()) -> list[Entry]:
        with store_errors(self.path):
            rows = self.connection.execute(f"SELECT {COLUMNS} FROM recordings {where}", values).fetchall()
            return [self._entry(row) for row in rows]

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        try:
            return _entry(row)
        except (OutputNameError, TypeError, ValueError) as error:  # a name that leads elsewhere, a text for a number
            raise JournalDamagedError(f"the journal {self.path} is damaged: {error}") from error

    def _value(self, query: str) -> Any:
        with store_errors(self.path):
            return self.connection.execute(query).fetchone()[0]


def key(identity: Identity) -> tuple[bytes, int, int]:
    """A recording's primary key."""
    # SQLite has 63 bits, which end in 2262; what a broken clock says beyond goes where nothing before 1901 is.
    return os.fsencode(identity.name), (identity.mtime_ns + 2**63) % 2**64 - 2**63, identity.n_bytes


def _entry(row: tuple[Any, ...]) -> Entry:
    name, mtime_ns, n_bytes, *rest = row
    values: dict[str, Any] = dict(zip(FIELDS, rest, strict=True))
    values["salvaged"] = bool(values["salvaged"])
    name = checked_name(os.fsdecode(name))
    return Entry(Identity(name, n_bytes, mtime_ns + 2**64 * (mtime_ns < -(2**61))), **values)
