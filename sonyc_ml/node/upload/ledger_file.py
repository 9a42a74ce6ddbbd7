"""The file of the ledger: its tables, and their rows as records."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from sonyc_ml.base import sqlite
from sonyc_ml.base.records import dataclass

FILE_NAME = "upload.sqlite"
STEPS = (
    """
CREATE TABLE packs (                        -- what was packed at once, and is acknowledged at once
    id INTEGER PRIMARY KEY,
    done_s REAL                             -- when the last of its objects was acknowledged (in seconds since 1970)
);
CREATE INDEX open_packs ON packs (id) WHERE done_s IS NULL;
CREATE TABLE objects (
    id INTEGER PRIMARY KEY,
    pack INTEGER NOT NULL REFERENCES packs (id),
    key TEXT NOT NULL UNIQUE,               -- its name in the store, below the address
    path BLOB NOT NULL,                     -- the file here
    is_part INTEGER NOT NULL,               -- made here to be sent, and removed after proof
    n_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    made_s REAL NOT NULL,                   -- since when it waits (in seconds since 1970)
    state TEXT NOT NULL CHECK (state IN ('waiting', 'uploaded', 'lost')),
    n_failures INTEGER NOT NULL DEFAULT 0,
    detail TEXT NOT NULL DEFAULT '',        -- of the last failure
    done_s REAL,                            -- when its proof was had
    store TEXT NOT NULL DEFAULT '',         -- where it is
    proof TEXT NOT NULL DEFAULT ''          -- how that is known
);
CREATE INDEX waiting ON objects (n_failures, id) WHERE state = 'waiting';
CREATE INDEX uploaded ON objects (done_s) WHERE state = 'uploaded';
CREATE INDEX lost ON objects (id) WHERE state = 'lost';
CREATE INDEX of_pack ON objects (pack);
CREATE TABLE files (
    kind TEXT NOT NULL,                     -- output, clip, report
    name BLOB NOT NULL,                     -- below the folder of its kind; it need not be UTF-8
    n_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    period TEXT NOT NULL,                   -- the day or hour that it is packed with
    start_s REAL NOT NULL,                  -- when its recording begins (in seconds since 1970)
    found_s REAL NOT NULL,
    pack INTEGER REFERENCES packs (id),     -- none until it is packed
    is_pruned INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, name, mtime_ns, n_bytes)
) WITHOUT ROWID;
CREATE INDEX unpacked ON files (period, start_s) WHERE pack IS NULL;
CREATE INDEX packed ON files (pack) WHERE pack IS NOT NULL;
CREATE INDEX there ON files (start_s, name) WHERE is_pruned = 0 AND pack IS NOT NULL;
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
""",
)
PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "cache_size = -1024")


class FoundFile(NamedTuple):
    """A file that is to leave the node."""

    kind: str
    name: str
    n_bytes: int
    mtime_ns: int
    period: str = ""
    start_s: float = 0.0

    @property
    def key(self) -> tuple[str, bytes, int, int]:
        """Of its row."""
        return self.kind, os.fsencode(self.name), self.mtime_ns, self.n_bytes


class Group(NamedTuple):
    """Files that are packed together: how many, since when the first of them is known (in seconds since 1970)."""

    period: str
    n_files: int
    found_s: float


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object: what it is, and how far it is on its way; see the table in this module."""

    number: int
    pack: int
    key: str
    path: Path
    is_part: bool
    n_bytes: int
    sha256: str
    made_s: float
    state: str = "waiting"
    n_failures: int = 0
    detail: str = ""
    done_s: float | None = None
    store: str = ""
    proof: str = ""


COLUMNS = "id, pack, key, path, is_part, n_bytes, sha256, made_s, state, n_failures, detail, done_s, store, proof"


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, or make it; a damaged one is set aside, for it can be made again.

    Raises
    ------
    sqlite3.Error, OSError
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return sqlite.connect(path, STEPS, pragmas=PRAGMAS, check="quick_check")
    except (sqlite.VersionError, sqlite3.OperationalError):
        raise
    except sqlite3.DatabaseError:
        for suffix in ("", "-wal", "-shm"):  # every output is found again, and known by its name in the store
            damaged = Path(f"{path}{suffix}")
            if damaged.exists():
                damaged.replace(f"{damaged}.damaged")
        return sqlite.connect(path, STEPS, pragmas=PRAGMAS, check="quick_check")
