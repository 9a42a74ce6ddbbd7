"""What a batch has done, so that it can go on where it ended: an index in SQLite beside the outputs.

The outputs are the truth. A ledger that is lost or damaged is made again from them, at the cost of reading each; what
it says of an output holds only while the file is as it was (size and time).
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from sonyc_ml.base import sqlite
from sonyc_ml.base.names import checked_name
from sonyc_ml.base.schema import check_types
from sonyc_ml.batch.events import RecordingFailed
from sonyc_ml.errors import OutputNameError, StoreError

PART_NAME = re.compile(r"(?P<above>(?:[^/.][^/]*/)*)part-(?P<number>\d{5,18})\.parquet")
TABLES = ("outputs", "parts", "failures", "origins")
STEPS = (
    """
CREATE TABLE outputs (
    name BLOB PRIMARY KEY,                  -- of the recording; it need not be UTF-8
    n_bytes INTEGER NOT NULL,               -- of the recording, with its time: which state of it was embedded
    mtime_ns INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,              -- of bundle and parameters
    path TEXT NOT NULL,                     -- of the part with the output; empty where it waits for its part
    replaces TEXT NOT NULL,                 -- the part with the output before, while this one waits
    place TEXT NOT NULL,                    -- the partition of its part
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
""",
    # Which recording an output is of, beyond its size and time.
    """
CREATE TABLE origins (
    name BLOB PRIMARY KEY, source BLOB NOT NULL, start_time TEXT NOT NULL, sha256 TEXT NOT NULL
) WITHOUT ROWID;
""",
)
COLUMNS = "name, n_bytes, mtime_ns, fingerprint, path, replaces, place, output_bytes, output_mtime_ns, duration_s"


def is_part_name(path: str) -> bool:
    """Whether a path below the folder of a dataset is one that a part may have."""
    with suppress(OutputNameError):
        return PART_NAME.fullmatch(checked_name(path)) is not None
    return False


class Row(NamedTuple):
    """An output, and what it was made of; the fields are the columns of the table in their order."""

    name: str
    n_bytes: int
    mtime_ns: int
    fingerprint: str
    path: str
    replaces: str
    partition: str
    output_bytes: int
    output_mtime_ns: int
    duration_s: float

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for its part."""
        return not self.path

    @property
    def made_of(self) -> tuple[int, int, str]:
        """State of the recording, and how it was embedded."""
        return self.n_bytes, self.mtime_ns, self.fingerprint

    @property
    def output_state(self) -> tuple[int, int]:
        """Size and time of the file."""
        return self.output_bytes, self.output_mtime_ns


class Origin(NamedTuple):
    """Which recording an output is of; what is not known is empty.

    Attributes
    ----------
    n_bytes, mtime_ns : int
    start_time : str
        When it begins, in ISO 8601.
    sha256 : str
    source : str
        Its path from the root, or its address.
    """

    n_bytes: int
    mtime_ns: int
    start_time: str = ""
    sha256: str = ""
    source: str = ""


class Ledger:
    """The ledger of one folder of outputs and one format; for one process at a time.

    Parameters
    ----------
    path : Path
        Of its file; made where it is not there, and made anew where it is damaged. One of an earlier version is
        brought up to date.

    Raises
    ------
    StoreError
        It cannot be made, or is of a later version than this one knows.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _store_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _refuse_link(path.parent)
            try:
                self._connection = _connect(path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, (sqlite3.OperationalError, sqlite.VersionError)):
                    raise
                for suffix in ("", "-wal", "-shm"):  # damaged: the outputs know as much
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
                self._connection = _connect(path)

    def close(self) -> None:
        """Close it; everything is written already."""
        self._connection.close()

    # Outputs

    def get(self, name: str) -> Row | None:
        """What is known of a recording's output."""
        for row in self._rows("WHERE name = ?", os.fsencode(name)):
            return row
        return None

    def put(self, row: Row) -> None:
        """Keep what is known of an output; its recording did not fail, then."""
        with self._transaction():
            self._put([row])

    def origin(self, row: Row) -> Origin:
        """Which recording an output is of."""
        with _store_errors(self._path):
            query = "SELECT start_time, sha256, source FROM origins WHERE name = ?"
            found = self._connection.execute(query, (os.fsencode(row.name),)).fetchone()
        if found is None:
            return Origin(row.n_bytes, row.mtime_ns)
        start_time, sha256, source = found
        return Origin(row.n_bytes, row.mtime_ns, start_time, sha256, os.fsdecode(source))

    def put_origin(self, name: str, origin: Origin) -> None:
        """Keep which recording an output is of."""
        values = (os.fsencode(name), os.fsencode(origin.source), origin.start_time, origin.sha256)
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO origins VALUES (?, ?, ?, ?)", values)

    def forget(self, name: str) -> None:
        """Know nothing of a recording's output."""
        with self._transaction():
            self._connection.execute("DELETE FROM outputs WHERE name = ?", (os.fsencode(name),))

    def waiting(self) -> list[Row]:
        """The outputs that wait for their part, in the order of their names."""
        return list(self._rows("WHERE path = '' ORDER BY name"))

    def in_part(self, path: str) -> list[Row]:
        """The outputs that a part holds."""
        return list(self._rows("WHERE path = ? ORDER BY name", path))

    # Parts

    def parts(self, *, replaced: bool = False) -> dict[str, tuple[int, int]]:
        """The parts that are known, or those that were replaced and may still lie there, with their sizes and times."""
        with _store_errors(self._path):
            query = "SELECT path, n_bytes, mtime_ns FROM parts WHERE is_replaced = ? ORDER BY path"
            rows = self._connection.execute(query, (replaced,)).fetchall()
        return {path: (n_bytes, mtime_ns) for path, n_bytes, mtime_ns in rows}

    def put_part(self, path: str, state: tuple[int, int], rows: Iterable[Row], replaced: Iterable[str] = ()) -> None:
        """Know a part, outputs that are in it or that wait, and that it replaces others, at once."""
        with self._transaction():
            for other in replaced:
                self._connection.execute("UPDATE parts SET is_replaced = 1 WHERE path = ?", (other,))
                self._connection.execute("DELETE FROM outputs WHERE path = ?", (other,))
            self._connection.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, 0)", (path, *state))
            self._put(rows)

    def forget_part(self, path: str) -> None:
        """Know nothing of a part and of what is in it: it is gone, or not what it was."""
        with self._transaction():
            self._connection.execute("DELETE FROM parts WHERE path = ?", (path,))
            self._connection.execute("DELETE FROM outputs WHERE path = ?", (path,))

    # Failures

    def put_failure(self, failed: RecordingFailed) -> None:
        """Keep why a recording was not embedded."""
        with self._transaction():
            name, source = os.fsencode(failed.recording), os.fsencode(failed.source)
            detail = failed.detail.encode(errors="backslashreplace").decode()
            self._connection.execute(
                "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", (name, source, failed.reason, detail)
            )

    def failures(self) -> Iterator[RecordingFailed]:
        """The recordings that were not embedded, in the order of their names."""
        with _store_errors(self._path):
            rows = self._connection.execute("SELECT name, source, reason, detail FROM failures ORDER BY name")
            for name, source, reason, detail in rows:
                yield RecordingFailed(os.fsdecode(name), os.fsdecode(source), reason, detail)

    def _put(self, rows: Iterable[Row]) -> None:
        for row in rows:
            name = os.fsencode(row.name)
            self._connection.execute(
                "INSERT OR REPLACE INTO outputs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (name, *row[1:])
            )
            self._connection.execute("DELETE FROM failures WHERE name = ?", (name,))

    def _rows(self, where: str, *values: object) -> Iterator[Row]:
        with _store_errors(self._path):
            for row in self._connection.execute(f"SELECT {COLUMNS} FROM outputs {where}", values):
                yield Row(os.fsdecode(row[0]), *row[1:])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _store_errors(self._path):
            self._connection.execute("BEGIN")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _refuse_link(folder: Path) -> None:
    """The folder is cleared of what waits: in a dataset that came from elsewhere a link would lead to other files."""
    if folder.is_symlink():
        raise StoreError(f"{folder} is a symbolic link, and would lead to other files; remove the link")


def _connect(path: Path) -> sqlite3.Connection:
    # What a power cut takes of it is read from the outputs.
    pragmas = ("journal_mode = WAL", "synchronous = NORMAL")
    connection = sqlite.connect(path, STEPS, pragmas=pragmas, check="quick_check")
    try:
        check_types(connection, TABLES)
        _check_parts(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_parts(connection: sqlite3.Connection) -> None:
    """See that what is written and removed by this ledger lies in its folder."""
    query = "SELECT path FROM parts UNION SELECT DISTINCT {} || 'part-00000.parquet' FROM outputs WHERE path = ''"
    for (part,) in connection.execute(query.format("CASE place WHEN '' THEN '' ELSE place || '/' END")):
        if not is_part_name(part):
            raise sqlite3.DatabaseError(f"it names a part {part!r}")


@contextmanager
def _store_errors(path: Path) -> Iterator[None]:
    """What the disk or SQLite refuse, as a StoreError."""
    try:
        yield
    except sqlite.VersionError as error:
        remedy = "install that version, or move the file away: it is made again from the outputs"
        raise StoreError(f"{path} cannot be used: {error}; {remedy}") from error
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path} cannot be used: {getattr(error, 'strerror', None) or error}") from error
