"""What the journal keeps of live sound: recordings that are in memory alone, and what is missing between them.

A recording of a stream is a row as a file's is, with ``live`` as the fate of a file that there never was. Of each
source the journal knows up to when there are recordings, so that what is missing behind them is known after a power
cut too.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from sonyc_ml.base.identity import Identity
from sonyc_ml.node.journal.file import has_table, store_errors
from sonyc_ml.node.journal.view import LIVE, THIS, key

if TYPE_CHECKING:
    from sonyc_ml.node.journal.journal import Journal
    from sonyc_ml.node.journal.view import JournalView

KILLED = ("killed", "the daemon was killed, or the machine went down")
SAME_S = 1e-3  # what lies closer together touches

ADD = (
    "INSERT INTO recordings (name, mtime_ns, n_bytes, state, found_s, changed_s, start_s, duration_s, salvaged, fate, "
    "reason, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'live', ?, ?) ON CONFLICT DO NOTHING"
)


class Heard(NamedTuple):
    """A stretch of a source that is on record.

    Attributes
    ----------
    source : str
    start_s : float
        In seconds since 1970.
    duration_s : float
    reason, detail : str
        Why it does not begin where the one before it ended, where that is known.
    """

    source: str
    start_s: float
    duration_s: float
    reason: str = ""
    detail: str = ""


class Gap(NamedTuple):
    """What is missing of a source between two recordings; it ends before it begins where they overlap."""

    source: str
    start_s: float
    end_s: float
    reason: str
    detail: str


class SourceEnd(NamedTuple):
    """Up to when there are recordings of a source, and why there are none after that; see :class:`Gap`."""

    source: str
    until_s: float
    reason: str
    detail: str


def add_live(journal: Journal, identity: Identity, heard: Heard, now_s: float, *, salvaged: bool) -> None:
    """Take up a recording that is in memory, as pending, and the gap before it."""
    with journal.transaction():
        journal.connection.execute(
            ADD,
            (*key(identity), "pending", now_s, now_s, heard.start_s, heard.duration_s, salvaged, "", ""),
        )
        journal.n_added += 1
        write_heard_until(journal, heard)


def drop_live(journal: Journal, identity: Identity) -> None:
    """Forget a recording that was written into the spool: it is another one now."""
    with journal.transaction():
        journal.connection.execute(f"DELETE FROM recordings {THIS}", key(identity))


def write_heard_until(journal: Journal, heard: Heard) -> Gap | None:
    """Note up to when there is sound of a source on record; write down, and return, the gap before it."""
    with journal.transaction():
        before = source_ends(journal).get(heard.source)
        gap = None
        if before is not None and abs(heard.start_s - before.until_s) > SAME_S:
            reason, detail = (heard.reason, heard.detail) if heard.reason else before[2:]
            gap = Gap(heard.source, before.until_s, heard.start_s, *((reason, detail) if reason else KILLED))
            journal.connection.execute("INSERT OR REPLACE INTO gaps VALUES (?, ?, ?, ?, ?)", gap)
        row = (heard.source, heard.start_s + heard.duration_s, "", "")
        journal.connection.execute("INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?)", row)
        return gap


def write_end(journal: Journal, source: str, reason: str, detail: str) -> None:
    """Note why there is no more sound of a source for now."""
    with journal.transaction():
        journal.connection.execute(
            "UPDATE sources SET reason = ?, detail = ? WHERE source = ?", (reason, detail, source)
        )


def source_ends(journal: JournalView) -> dict[str, SourceEnd]:
    """Of each source, up to when there are recordings."""
    with store_errors(journal.path):
        if not has_table(journal.connection, "sources"):  # a file of an earlier version, opened to read
            return {}
        rows = journal.connection.execute("SELECT * FROM sources").fetchall()
    return {row[0]: SourceEnd(*row) for row in rows}


def find_gaps_of(journal: JournalView, since_s: float, until_s: float) -> list[Gap]:
    """What is missing of every source in a span, in the order of time; what goes on too."""
    with store_errors(journal.path):
        if not has_table(journal.connection, "gaps"):
            return []
        query = "SELECT * FROM gaps WHERE max(start_s, end_s) >= ? AND min(start_s, end_s) < ? ORDER BY start_s, source"
        rows = journal.connection.execute(query, (since_s, until_s)).fetchall()
    return [Gap(*row) for row in rows]


def live_seconds(journal: JournalView, since_s: float, until_s: float) -> dict[str, Counter[str]]:
    """How many seconds of each source are in each state, of recordings that began in a span."""
    found: dict[str, Counter[str]] = {}
    with store_errors(journal.path):
        rows = journal.connection.execute(
            "SELECT name, state, coalesce(duration_s, 0) FROM recordings WHERE fate = ? AND "
            "start_s >= ? AND start_s < ?",
            (LIVE, since_s, until_s),
        ).fetchall()
    for name, state, duration_s in rows:
        found.setdefault(os.fsdecode(name).rpartition("_")[0], Counter())[state] += duration_s
    return found


def drop_gaps(journal: Journal, before_s: float) -> None:
    """Drop gaps that ended before a time, as the recordings beside them are."""
    with journal.transaction():
        journal.connection.execute("DELETE FROM gaps WHERE max(start_s, end_s) < ?", (before_s,))
