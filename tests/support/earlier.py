"""Files of earlier versions, by the SQL that made them; never changed when the package's own SQL is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

JOURNAL_1 = """
CREATE TABLE recordings (
    name BLOB NOT NULL,                     -- as the folder has it: it need not be UTF-8
    mtime_ns INTEGER NOT NULL,
    n_bytes INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'done', 'quarantined', 'shed')),
    found_s REAL NOT NULL,
    changed_s REAL NOT NULL,                -- when it came into its state, or its last attempt began
    due_s REAL NOT NULL DEFAULT 0,          -- not before
    n_attempts INTEGER NOT NULL DEFAULT 0,  -- begun and not ended
    n_failures INTEGER NOT NULL DEFAULT 0,  -- ended in trouble that passes
    reason TEXT NOT NULL DEFAULT '',        -- a word or two, to count by
    detail TEXT NOT NULL DEFAULT '',        -- a sentence
    start_s REAL,                           -- when the recording begins, and how long it is
    duration_s REAL,
    hop_size_s REAL,
    salvaged INTEGER NOT NULL DEFAULT 0,
    fate TEXT NOT NULL DEFAULT '',          -- what retention did with the file: moved, deleted
    PRIMARY KEY (name, mtime_ns, n_bytes)
) WITHOUT ROWID;
CREATE INDEX pending ON recordings (found_s, mtime_ns, due_s) WHERE state = 'pending';
-- A name that is used again is a new recording. What it replaces was never finished, or is lost, and that is told.
CREATE TRIGGER replaced AFTER INSERT ON recordings BEGIN
    DELETE FROM recordings WHERE name = new.name AND state = 'pending' AND reason IN ('unfinished', 'growing')
        AND (mtime_ns <> new.mtime_ns OR n_bytes <> new.n_bytes);
    UPDATE recordings SET state = 'shed', reason = 'overwritten', changed_s = new.found_s,
        detail = 'a recording of the same name was written over it before its turn came'
        WHERE name = new.name AND state = 'pending' AND (mtime_ns <> new.mtime_ns OR n_bytes <> new.n_bytes);
END;
CREATE TABLE days (                         -- what was compacted away, by the day it was recorded
    day TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, salvaged INTEGER NOT NULL,
    n_recordings INTEGER NOT NULL, duration_s REAL NOT NULL,
    PRIMARY KEY (day, state, reason, salvaged)
) WITHOUT ROWID;
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 1;
"""

LEDGER_1 = """
CREATE TABLE outputs (
    name BLOB PRIMARY KEY,                  -- of the recording; it need not be UTF-8
    n_bytes INTEGER NOT NULL,               -- of the recording, with its time: which state of it was embedded
    mtime_ns INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,              -- of bundle and parameters
    path TEXT NOT NULL,                     -- of the part with the output; empty where it waits for its part
    replaces TEXT NOT NULL,                 -- the part with the output before, while this one waits
    place TEXT NOT NULL,                    -- partition of a part
    output_bytes INTEGER NOT NULL,          -- of the file; where it waits, of the waiting file
    output_mtime_ns INTEGER NOT NULL,
    duration_s REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX by_path ON outputs (path);
CREATE TABLE parts (
    path TEXT PRIMARY KEY, n_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, is_replaced INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE failures (
    name BLOB PRIMARY KEY, source BLOB NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


def make_file(path: Path, script: str, rows: Iterable[tuple[str, tuple[object, ...]]] = ()) -> Path:
    """A file of SQLite as an earlier version has left it; each row is an INSERT with its values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(script)
    for statement, values in rows:
        connection.execute(statement, values)
    connection.commit()
    connection.close()
    return path
