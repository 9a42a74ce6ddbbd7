"""Files of SQLite: opened, checked, and brought from each version to the next.

``PRAGMA user_version`` holds a file's version. A host has a list of steps, each a script of SQL: the first makes the
tables, the n-th brings a file from version n - 1 to version n. Each is one transaction.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path


class SchemaError(sqlite3.DatabaseError):
    """The file is damaged, or is not the one that it should be."""


class VersionError(sqlite3.DatabaseError):
    """The file is whole, and of a version that cannot be used here."""


def connect(
    path: Path,
    steps: Sequence[str],
    tables: Sequence[str],
    *,
    pragmas: Sequence[str] = (),
    check: str = "integrity_check",
    timeout_s: float = 5.0,
) -> sqlite3.Connection:
    """Open a file, or make it, and bring it to the version that is known here; transactions are begun by hand.

    Parameters
    ----------
    path : Path
        Its folder has to be there.
    steps, tables : sequence of str
        As many steps as the version that is known; the tables that a file of any version has.
    pragmas : sequence of str
        For this connection, as in ``synchronous = FULL``.
    check : {"integrity_check", "quick_check"}
        Made before anything is changed.
    timeout_s : float
        How long another process may hold the file (in seconds).

    Raises
    ------
    VersionError
        It is of a version later than those known here; it stays as it is.
    SchemaError, sqlite3.DatabaseError
        It is damaged, or cannot be used for now.
    """
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None)
    try:
        version = version_of(connection)
        _check(connection, check, version, len(steps), tables)
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
        for number in range(version + 1, len(steps) + 1):
            _take_step(connection, number, steps[number - 1], tables)
    except BaseException:
        connection.close()
        raise
    return connection


def version_of(connection: sqlite3.Connection) -> int:
    """The version of a file; 0 where it is new, or is from before versions were counted."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def check_readable(connection: sqlite3.Connection, known: int) -> None:
    """Refuse to read a file of another version than `known`, of one that is opened to read and so cannot be changed.

    Raises
    ------
    VersionError
    """
    version = version_of(connection)
    if version > known:
        raise VersionError(_newer(version, known))
    if 0 < version < known:
        raise VersionError(f"it is of version {version}; whoever writes it next brings it to version {known}")


def _newer(version: int, known: int) -> str:
    return f"it is of version {version}, from a newer sonyc-ml, and this one knows versions up to {known}"


def _check(connection: sqlite3.Connection, check: str, version: int, known: int, tables: Sequence[str]) -> None:
    if version > known:
        raise VersionError(_newer(version, known))
    verdict = connection.execute(f"PRAGMA {check}(1)").fetchone()[0]
    if verdict != "ok":
        raise SchemaError(verdict)
    found = _tables(connection)
    has_all = found >= set(tables)
    if version == 0 and found and not has_all:
        raise SchemaError("it holds something else")
    if version > 0 and not has_all:
        raise SchemaError("it lacks its tables")


def _take_step(connection: sqlite3.Connection, number: int, script: str, tables: Sequence[str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if version_of(connection) < number:  # else another process was quicker
            is_made = number == 1 and _tables(connection) >= set(tables)  # before versions were counted
            for statement in () if is_made else _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _statements(script: str) -> Iterator[str]:
    """Single statements: sqlite3's executescript would commit the transaction first."""
    statement = ""
    for part in re.split("(?<=;)", script):
        statement += part
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
