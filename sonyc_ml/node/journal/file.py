"""The journal's file: its tables, how it is opened, what is damage and what will pass."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sonyc_ml.base import sqlite
from sonyc_ml.base.names import checked_name
from sonyc_ml.base.schema import ForeignSchemaError, check_is_file, check_types
from sonyc_ml.errors import JournalDamagedError, OutputNameError, StoreError
from sonyc_ml.node.journal.event_table import EVENTS

FILE_NAME = "journal.sqlite"
BUSY_S = 10.0  # how long another process may hold the journal
CACHE_KIB = 1024
N_CHECKPOINT_PAGES = 256  # the log beside the journal is copied into it when it has so many: a megabyte
MAX_LOG_BYTES = 4 << 20  # what is left of the log after a scan of very many files

STEPS = (
    """
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
-- A name that is used again is a new recording. What it replaces was never finished, or is lost, and that is kept.
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
""",
    """
CREATE TABLE heard (                        -- of a recording that is done, the classes with the highest scores
    name BLOB NOT NULL,
    mtime_ns INTEGER NOT NULL,
    n_bytes INTEGER NOT NULL,
    label TEXT NOT NULL,
    at_s REAL NOT NULL,                     -- when it was heard best, since 1970
    score_max REAL NOT NULL,
    start_s REAL NOT NULL,                  -- since the recording's first sample
    end_s REAL NOT NULL,
    PRIMARY KEY (name, mtime_ns, n_bytes, label)
) WITHOUT ROWID;
CREATE INDEX heard_at ON heard (label, at_s);
CREATE TRIGGER dropped AFTER DELETE ON recordings BEGIN
    DELETE FROM heard WHERE name = old.name AND mtime_ns = old.mtime_ns AND n_bytes = old.n_bytes;
END;
CREATE TRIGGER touched AFTER UPDATE OF mtime_ns ON recordings BEGIN
    UPDATE heard SET mtime_ns = new.mtime_ns
        WHERE name = old.name AND mtime_ns = old.mtime_ns AND n_bytes = old.n_bytes;
END;
""",
    """
CREATE TABLE pauses (                       -- of a triggered recording that is done, what was not recorded
    name BLOB NOT NULL,
    mtime_ns INTEGER NOT NULL,
    n_bytes INTEGER NOT NULL,
    start_s REAL NOT NULL,                  -- since the recording's first sample
    end_s REAL NOT NULL,
    PRIMARY KEY (name, mtime_ns, n_bytes, start_s)
) WITHOUT ROWID;
CREATE TRIGGER dropped_pauses AFTER DELETE ON recordings BEGIN
    DELETE FROM pauses WHERE name = old.name AND mtime_ns = old.mtime_ns AND n_bytes = old.n_bytes;
END;
CREATE TRIGGER touched_pauses AFTER UPDATE OF mtime_ns ON recordings BEGIN
    UPDATE pauses SET mtime_ns = new.mtime_ns
        WHERE name = old.name AND mtime_ns = old.mtime_ns AND n_bytes = old.n_bytes;
END;
""",
    """
CREATE TABLE sources (                      -- of live sound
    source TEXT PRIMARY KEY,
    until_s REAL NOT NULL,                  -- up to when there are recordings of it
    reason TEXT NOT NULL,                   -- why there are none after that; empty while it goes on
    detail TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE gaps (                         -- between recordings of a source; negative where they overlap
    source TEXT NOT NULL,
    start_s REAL NOT NULL,
    end_s REAL NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (source, start_s, end_s)
) WITHOUT ROWID;
""",
    EVENTS,
)
VERSION = len(STEPS)
OLDEST_READ = 1  # by those who only ask: what later versions have, they ask for where it is there

TABLES = ("recordings", "days", "facts", "heard", "pauses", "sources", "gaps", "events")
# Names that may be no good: empty; with two dots, two slashes, a dot for a part, a zero, a slash at an end.
DOUBTFUL = (
    "name IN (x'', x'2e') OR instr(name, x'00') OR instr(name, x'2e2e') OR instr(name, x'2f2f') OR "
    "instr(name, x'2f2e2f') OR substr(name, 1, 1) = x'2f' OR substr(name, 1, 2) = x'2e2f' OR "
    "substr(name, -1) = x'2f' OR substr(name, -2) = x'2f2e'"
)

# What is shed because another recording was written over it, for the process that did; undone with the transaction.
OVERWRITTEN = """
CREATE TEMP TABLE overwritten (name BLOB, mtime_ns INTEGER, n_bytes INTEGER);
CREATE TEMP TRIGGER overwrites AFTER UPDATE OF state ON main.recordings
    WHEN old.state = 'pending' AND new.state = 'shed' AND new.reason = 'overwritten' BEGIN
    INSERT INTO overwritten VALUES (new.name, new.mtime_ns, new.n_bytes);
END;
"""


# The quick check looks at every page, and does not compare indexes with their tables. What the index of recordings
# lacks would never be begun, so that one is compared too. That of `heard`, which may be ten times as long, only finds
# what was heard: a thread compares it once the work goes on, see `sonyc_ml.node.journal.heard.check_index`.
CHECKED = "PRAGMA integrity_check(recordings)"
TYPED = tuple(name for name in TABLES if name not in ("heard", "events"))  # their values are looked at when asked for
OTHER_VERSION = "install that version, or move the file away: it is made again from the folder and the outputs"
DAMAGE = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether the file has a table: one of an earlier version, opened to read, has not all of them."""
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone())


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, or make it.

    Every transaction is on the disk when it returns (``synchronous = FULL``).

    Raises
    ------
    StoreError, sqlite3.DatabaseError
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path.parent} cannot be made: {error.strerror}") from error
    pragmas = (
        "journal_mode = WAL",
        "synchronous = FULL",
        f"wal_autocheckpoint = {N_CHECKPOINT_PAGES}",
        f"journal_size_limit = {MAX_LOG_BYTES}",
        f"cache_size = -{CACHE_KIB}",
    )
    connection = sqlite.connect(path, STEPS, pragmas=pragmas, check="quick_check", timeout_s=BUSY_S)
    try:
        _check_values(connection)
        connection.executescript(f"PRAGMA temp_store = MEMORY; {OVERWRITTEN}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open the file without changing anything, even where its folder may not be written to.

    SQLite makes two files beside it even to read. Who may only read cannot remove them again, so where there is no log
    it is opened as if to write: then there is nothing in a log that SQLite would copy into the file at the end.

    Raises
    ------
    StoreError, sqlite3.DatabaseError
    """
    first = "mode=rw"
    with suppress(PermissionError):
        check_is_file(path)
        if not path.exists():
            raise StoreError(f"there is no journal at {path}: the daemon has not run here")
        if path.with_name(f"{path.name}-wal").exists():
            first = "mode=ro"
    for mode in (first, "immutable=1"):  # the second where nobody has it open and we may not make its log
        with suppress(sqlite3.OperationalError):
            return _connect_as(path, mode)
    raise StoreError(f"the journal {path} cannot be read; run this as root, or as the daemon's user")


def _connect_as(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=BUSY_S)
    try:
        connection.execute("PRAGMA query_only = ON")
        sqlite.check_readable(connection, STEPS, OLDEST_READ)
        connection.execute("SELECT count(*) FROM facts").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


class FileWatch:
    """Whether the file that is open is still the one at its path, and whether anybody has written to its log.

    Parameters
    ----------
    path : Path
        Of the file, which is open.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._log_path = path, f"{path}-wal"
        self._identity = self._file_identity()
        self._log_stamp = (0, 0, 0)

    def is_in_place(self) -> bool:
        """Whether the file at the path is the one that was there at first."""
        return self._file_identity() == self._identity

    def has_log_changed(self) -> bool:
        """Whether anybody has written to the log since the last look, as far as the steps of its time show."""
        try:
            status = os.stat(self._log_path)  # noqa: PTH116  every turn
        except OSError:
            return True
        before, self._log_stamp = self._log_stamp, (status.st_ino, status.st_size, status.st_mtime_ns)
        return self._log_stamp != before

    def _file_identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)  # noqa: PTH116  every turn
        except OSError:
            return None
        return status.st_dev, status.st_ino


def stamp_of_files(folder: Path) -> str:
    """A text that is another one once anything was written to the journal; costs two looks at the disk."""
    stamps = []
    for name in (FILE_NAME, f"{FILE_NAME}-wal"):
        with suppress(OSError):
            status = os.stat(folder / name)  # noqa: PTH116  one call, not two
            stamps.append(f"{status.st_ino}.{status.st_size}.{status.st_mtime_ns}")
    return "-".join(stamps)


def set_aside(folder: Path) -> None:
    """Rename a damaged journal, over the one that was set aside before, so that a new one can be made.

    Raises
    ------
    StoreError
    """
    path = folder / FILE_NAME
    try:
        with suppress(FileNotFoundError):
            path.replace(path.with_name(f"{FILE_NAME}.damaged"))
        for suffix in ("-wal", "-shm"):
            path.with_name(FILE_NAME + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"the damaged journal {path} cannot be set aside: {error.strerror}") from error


def is_disk_trouble(error: StoreError) -> bool:
    """Whether an error is the disk's, and passes when there is room again, or it works again."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Raise what SQLite raises as one of our errors: damage, or trouble that passes.

    Raises
    ------
    JournalDamagedError, StoreError
    """
    try:
        yield
    except sqlite.VersionError as error:
        raise StoreError(f"the journal {path} cannot be used: {error}; {OTHER_VERSION}") from error
    except sqlite3.DatabaseError as error:
        # Most of it passes: a full disk, an I/O error, somebody else writing for long. A text that is none has no code.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in DAMAGE and not isinstance(error, sqlite3.ProgrammingError):
            raise JournalDamagedError(f"the journal {path} is damaged: {error}") from error
        raise StoreError(f"the journal {path} cannot be used: {error}") from error


def _check_values(connection: sqlite3.Connection) -> None:
    """See that the index agrees with its table, that values are of their types, and that no name leads elsewhere."""
    verdict = connection.execute(CHECKED).fetchone()[0]
    if verdict != "ok":
        raise ForeignSchemaError(verdict)
    check_types(connection, TYPED)
    for (name,) in connection.execute(f"SELECT DISTINCT name FROM recordings WHERE {DOUBTFUL}"):
        try:
            checked_name(os.fsdecode(name))
        except OutputNameError as error:
            raise ForeignSchemaError(str(error)) from error
