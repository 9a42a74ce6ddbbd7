"""What has left the node, and what waits: an index in SQLite, in a file of its own.

It is not part of the journal: the daemon's transactions, of which each recording needs two, never wait for those of
another process, and who uploads needs no right to change what the daemon keeps. The outputs are the truth. Where this
file is lost, every output is found again; what is in the store already is known by its name and checksum, and is not
sent twice.

::

    found ──▶ packed into objects ──▶ uploaded, each with its proof ──▶ pruned, where that is asked for
                                 └──▶ lost: the file was removed or changed before it was sent
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sonyc_ml.errors import StoreError
from sonyc_ml.node.upload.ledger_file import COLUMNS, FILE_NAME, FoundFile, Group, StoredObject, connect

FILE = "kind = ? AND name = ? AND mtime_ns = ? AND n_bytes = ?"
FILE_COLUMNS = "kind, name, n_bytes, mtime_ns, period, start_s"
INSERT_FILE = (
    "INSERT OR IGNORE INTO files (kind, name, mtime_ns, n_bytes, period, start_s, found_s) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
INSERT_OBJECT = (
    "INSERT INTO objects (pack, key, path, is_part, n_bytes, sha256, made_s, state) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting')"
)
WAITS = "pack IS NULL OR pack IN (SELECT id FROM packs WHERE done_s IS NULL)"


class Ledger:
    """The ledger of one node; one process writes it.

    Parameters
    ----------
    folder : Path
        Where its file lies; made where it is not there.
    clock : callable
        Returns seconds since 1970.

    Raises
    ------
    StoreError
        It cannot be opened.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = folder / FILE_NAME
        self._clock = clock
        try:
            self._connection = connect(self.path)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self.path} cannot be used: {error}") from error

    def close(self) -> None:
        """Close it; what was changed is on the disk already."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Make several changes one; on the disk when this returns.

        Raises
        ------
        StoreError
        """
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be used: {error}") from error

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._errors():
            return self._connection.execute(query, values).fetchall()

    # Files

    def knows(self, file: FoundFile) -> bool:
        """Whether a file, in this state of it, is in the ledger."""
        return bool(self._rows(f"SELECT 1 FROM files WHERE {FILE}", *file.key))

    def add(self, files: Iterable[FoundFile]) -> None:
        """Take up files that were found."""
        now = self._clock()
        with self.transaction() as connection:
            connection.executemany(INSERT_FILE, [(*file.key, file.period, file.start_s, now) for file in files])

    def groups(self) -> list[Group]:
        """What is not packed yet, by what it is packed with; the first to begin first."""
        query = "SELECT period, count(*), min(found_s) FROM files WHERE pack IS NULL GROUP BY period"
        return [Group(*row) for row in self._rows(f"{query} ORDER BY min(start_s)")]

    def unpacked(self, period: str, limit: int, max_bytes: int) -> list[FoundFile]:
        """Files of a group, the first to begin first: at most so many, and of so many bytes."""
        query = f"SELECT {FILE_COLUMNS} FROM files WHERE pack IS NULL AND period = ? ORDER BY start_s, name LIMIT ?"
        files: list[FoundFile] = []
        n_bytes = 0
        for file in map(_file, self._rows(query, period, limit)):
            n_bytes += file.n_bytes
            if files and n_bytes > max_bytes:
                break
            files.append(file)
        return files

    def waiting_files(self) -> Iterator[FoundFile]:
        """Yield what is not acknowledged, packed or not; the first to begin first."""
        with self._errors():
            query = f"SELECT {FILE_COLUMNS} FROM files WHERE {WAITS} ORDER BY start_s, name"
            yield from map(_file, self._connection.execute(query))

    def is_acknowledged(self, file: FoundFile) -> bool:
        """Whether the other side has all of a file."""
        rows = self._rows(f"SELECT 1 FROM files WHERE {FILE} AND NOT ({WAITS})", *file.key)
        return bool(rows)

    def forget(self, files: Iterable[FoundFile]) -> None:
        """Drop files that were removed before they were packed."""
        with self.transaction() as connection:
            connection.executemany(f"DELETE FROM files WHERE {FILE} AND pack IS NULL", [one.key for one in files])

    # Objects

    def put(self, packs: Iterable[tuple[Sequence[StoredObject], Sequence[FoundFile]]]) -> None:
        """Objects are made of files, pack by pack: all of it is on record, or nothing.

        Where an object of a name, and so of its content, is known already, it is not sent again for that.
        """
        with self.transaction() as connection:
            for objects, members in packs:
                (pack,) = connection.execute("INSERT INTO packs DEFAULT VALUES RETURNING id").fetchone()
                for one in objects:
                    self._put_one(connection, pack, one)
                connection.executemany(f"UPDATE files SET pack = ? WHERE {FILE}", [(pack, *one.key) for one in members])
                self._close_pack(connection, pack)  # where every one of its objects was known

    def _put_one(self, connection: sqlite3.Connection, pack: int, one: StoredObject) -> None:
        known = connection.execute("SELECT id, pack, state FROM objects WHERE key = ?", (one.key,)).fetchone()
        if known is None:
            values = (one.key, os.fsencode(one.path), int(one.is_part), one.n_bytes, one.sha256, one.made_s)
            connection.execute(INSERT_OBJECT, (pack, *values))
        elif known[2] != "uploaded":  # what waits for it waits together from now on
            connection.execute("UPDATE files SET pack = ? WHERE pack = ?", (pack, known[1]))
            connection.execute("UPDATE objects SET pack = ? WHERE pack = ?", (pack, known[1]))
            connection.execute(
                "UPDATE objects SET state = 'waiting', path = ? WHERE id = ?", (os.fsencode(one.path), known[0])
            )

    def next_waiting(self) -> StoredObject | None:
        """The object to send next: the oldest of those that failed least."""
        found = self._objects("state = 'waiting' ORDER BY n_failures, id LIMIT 1")
        return found[0] if found else None

    def objects(self, state: str | None = None, limit: int = -1) -> list[StoredObject]:
        """Objects in a state, or all; the newest first."""
        return self._objects("? IS NULL OR state = ? ORDER BY id DESC LIMIT ?", state, state, limit)

    def parts_waiting(self) -> set[Path]:
        """The files that were made here to be sent, and are not acknowledged."""
        return {one.path for one in self._objects("state = 'waiting' AND is_part")}

    def _objects(self, where: str, *values: object) -> list[StoredObject]:
        rows = self._rows(f"SELECT {COLUMNS} FROM objects WHERE {where}", *values)
        return [
            StoredObject(number, pack, key, Path(os.fsdecode(path)), bool(is_part), *rest)
            for number, pack, key, path, is_part, *rest in rows
        ]

    def acknowledge(self, one: StoredObject, store: str, proof: str) -> None:
        """The other side has an object, whole."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE objects SET state = 'uploaded', store = ?, proof = ?, detail = '', done_s = ? WHERE id = ?",
                (store, proof, self._clock(), one.number),
            )
            self._close_pack(connection, one.pack)

    def _close_pack(self, connection: sqlite3.Connection, pack: int) -> None:
        connection.execute(
            "UPDATE packs SET done_s = ? WHERE id = ? AND NOT EXISTS "
            "(SELECT 1 FROM objects WHERE pack = packs.id AND state <> 'uploaded')",
            (self._clock(), pack),
        )

    def lose(self, one: StoredObject, detail: str) -> None:
        """A file that was to be sent as it is can never be: it is gone, or another one."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE objects SET state = 'lost', detail = ?, done_s = ? WHERE id = ?",
                (detail, self._clock(), one.number),
            )
            connection.execute("DELETE FROM files WHERE pack = ?", (one.pack,))

    def unpack(self, one: StoredObject) -> None:
        """A part that was made here is gone: its files are packed again."""
        with self.transaction() as connection:
            connection.execute("UPDATE files SET pack = NULL WHERE pack = ?", (one.pack,))
            connection.execute("DELETE FROM objects WHERE pack = ? AND state = 'waiting'", (one.pack,))

    def fail(self, one: StoredObject, detail: str) -> None:
        """An attempt failed; the object goes behind those that failed less often."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE objects SET n_failures = n_failures + 1, detail = ? WHERE id = ?", (detail, one.number)
            )

    def mark(self, files: Sequence[FoundFile]) -> int:
        """Take files as acknowledged, by the word of who sent them; returns how many were not before."""
        new = [file for file in files if not self.is_acknowledged(file)]
        now = self._clock()
        with self.transaction() as connection:
            (pack,) = connection.execute("INSERT INTO packs (done_s) VALUES (?) RETURNING id", (now,)).fetchone()
            connection.executemany(INSERT_FILE, [(*file.key, file.period, file.start_s, now) for file in new])
            connection.executemany(f"UPDATE files SET pack = ? WHERE {FILE}", [(pack, *file.key) for file in new])
            # What was packed of them and not sent yet is not needed any more, where nothing else is in it.
            connection.execute(
                "DELETE FROM objects WHERE state = 'waiting' AND NOT EXISTS "
                "(SELECT 1 FROM files WHERE files.pack = objects.pack)"
            )
        return len(new)

    # Pruning

    def prunable(self, before_s: float, after: tuple[float, bytes], limit: int) -> list[FoundFile]:
        """Files that the other side has had since a time, and that are here still; the first to begin first.

        Parameters
        ----------
        before_s : float
            In seconds since 1970.
        after : (float, bytes)
            Start and name of the last one of the page before.
        limit : int
        """
        query = (
            f"SELECT {FILE_COLUMNS} FROM files JOIN packs ON packs.id = pack WHERE is_pruned = 0 AND pack IS NOT NULL "
            "AND done_s <= ? AND (start_s, name) > (?, ?) ORDER BY start_s, name LIMIT ?"
        )
        return list(map(_file, self._rows(query, before_s, *after, limit)))

    def prune(self, files: Iterable[FoundFile]) -> None:
        """Files are removed here."""
        with self.transaction() as connection:
            connection.executemany(f"UPDATE files SET is_pruned = 1 WHERE {FILE}", [file.key for file in files])

    # Sums

    def sums(self) -> dict[str, Any]:
        """What waits and what has left: numbers, bytes and times (in seconds since 1970)."""
        ((n_files, n_bytes),) = self._rows(f"SELECT count(*), coalesce(sum(n_bytes), 0) FROM files WHERE {WAITS}")
        ((n_objects, oldest_s),) = self._rows("SELECT count(*), min(made_s) FROM objects WHERE state = 'waiting'")
        ((last_s,),) = self._rows("SELECT max(done_s) FROM objects WHERE state = 'uploaded'")
        ((n_lost,),) = self._rows("SELECT count(*) FROM objects WHERE state = 'lost'")
        return {
            "waiting": n_files,
            "waiting_bytes": n_bytes,
            "objects": n_objects,
            "oldest_s": oldest_s,
            "last_success_s": last_s,
            "lost": n_lost,
        }

    def fact(self, key: str) -> Any:
        """Something that is remembered from one start to the next; None where it is not."""
        rows = self._rows("SELECT value FROM facts WHERE key = ?", key)
        return json.loads(rows[0][0]) if rows else None

    def remember(self, key: str, value: Any) -> None:
        """Keep a fact."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, json.dumps(value)))


def _file(row: tuple[Any, ...]) -> FoundFile:
    kind, name, *rest = row
    return FoundFile(kind, os.fsdecode(name), *rest)
