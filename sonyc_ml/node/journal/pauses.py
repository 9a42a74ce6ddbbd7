"""What a triggered recorder left out of its recordings: the stretches within them that nobody recorded."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from sonyc_ml.node.journal.file import has_table, store_errors

if TYPE_CHECKING:
    import sqlite3

    from sonyc_ml.node.journal.view import JournalView
    from sonyc_ml.outputs.output import Provenance

Span: TypeAlias = tuple[float, float]
Row: TypeAlias = tuple[bytes, int, int]

N_PAUSES = 1000  # of a recording, the longest
SHORTEST_S = 1.0  # what is shorter is no gap that anybody asks for


def pauses_of(provenance: Provenance) -> tuple[Span, ...]:
    """Where a recording holds nothing though its time goes on, in seconds from its first sample, in their order."""
    stretches = [(0.0, 0.0), *provenance.spans_s, (provenance.duration_s, provenance.duration_s)]
    pauses = [(before[1], after[0]) for before, after in pairwise(stretches) if after[0] - before[1] >= SHORTEST_S]
    return tuple(sorted(sorted(pauses, key=lambda pause: pause[0] - pause[1])[:N_PAUSES]))


def write_pauses(connection: sqlite3.Connection, row: Row, pauses: Iterable[Span]) -> None:
    """Keep the pauses of a recording, and nothing else of it; for a transaction of the journal."""
    connection.execute("DELETE FROM pauses WHERE name = ? AND mtime_ns = ? AND n_bytes = ?", row)
    connection.executemany("INSERT INTO pauses VALUES (?, ?, ?, ?, ?)", [(*row, *pause) for pause in pauses])


def find_pauses(journal: JournalView) -> dict[Row, list[Span]]:
    """The pauses of every recording that has any, by its primary key.

    Raises
    ------
    StoreError, JournalDamagedError
    """
    found: dict[Row, list[Span]] = {}
    with store_errors(journal.path):
        if not has_table(journal.connection, "pauses"):  # a file of an earlier version, opened to read
            return found
        for name, mtime_ns, n_bytes, start_s, end_s in journal.connection.execute("SELECT * FROM pauses"):
            found.setdefault((name, mtime_ns, n_bytes), []).append((start_s, end_s))
    return found


def recorded_s(connection: sqlite3.Connection, row: Row, duration_s: float) -> float:
    """How much of a recording's time holds sound."""
    query = "SELECT coalesce(sum(end_s - start_s), 0) FROM pauses WHERE name = ? AND mtime_ns = ? AND n_bytes = ?"
    paused_s: float = connection.execute(query, row).fetchone()[0]
    return duration_s - paused_s
