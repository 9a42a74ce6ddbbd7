"""Recordings that only their day is kept of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sonyc_ml.node.journal.pauses import recorded_s
from sonyc_ml.node.journal.view import THIS, Entry, key

if TYPE_CHECKING:
    import sqlite3


def add_to_day(connection: sqlite3.Connection, entry: Entry) -> None:
    """Add a recording to the sums of its day, and drop its row; for a transaction of the journal."""
    row = key(entry.identity)
    began_s = entry.identity.mtime_s if entry.start_s is None else entry.start_s
    day = time.strftime("%Y-%m-%d", time.gmtime(began_s))
    seconds = recorded_s(connection, row, entry.duration_s or 0.0)
    connection.execute(
        "INSERT INTO days VALUES (?, ?, ?, ?, 1, ?) ON CONFLICT DO UPDATE SET "
        "n_recordings = n_recordings + 1, duration_s = duration_s + excluded.duration_s",
        (day, entry.state, entry.reason, int(entry.salvaged), seconds),
    )
    connection.execute(f"DELETE FROM recordings {THIS}", row)
