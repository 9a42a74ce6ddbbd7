"""Files of SQLite: opened, checked, and brought from each version to the next.

``PRAGMA user_version`` holds a file's version. A host has a list of steps, each a script of SQL: the first makes the
tables, the n-th brings a file from version n - 1 to version n. Each is one transaction.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from sonyc_ml.base.schema import ForeignSchemaError, check_is_file, check_schema, distrust


class VersionError(sqlite3.DatabaseError):
    """The file is whole, and of a version that cannot be used here."""


def connect(
    path: Path,
    steps: Sequence[str],
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
    steps : sequence of str
        As many as the version that is known.
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
    ForeignSchemaError, sqlite3.DatabaseError
        It is damaged, or cannot be used for now.
    """
    check_is_file(path)
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None)
    try:
        version = _checked_version(connection, steps)
        verdict = connection.execute(f"PRAGMA {check}(1)").fetchone()[0]
        if verdict != "ok":
            raise ForeignSchemaError(verdict)
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
        for number in range(version + 1, len(steps) + 1):
            _take_step(connection, number, steps[number - 1])
    except BaseException:
        connection.close()
        raise
    return connection


def version_of(connection: sqlite3.Connection) -> int:
    """The version of a file; 0 where it is new, or is from before versions were counted."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def check_readable(connection: sqlite3.Connection, steps: Sequence[str], oldest: int | None = None) -> None:
    """See that a file that is opened to read, and so cannot be changed, is of a version that is read here.

    Parameters
    ----------
    connection : sqlite3.Connection
    steps : sequence of str
        See :func:`connect`.
    oldest : int, optional
        The first version that is read as it is; the last that is known, where not given.

    Raises
    ------
    VersionError, ForeignSchemaError
    """
    version, known = _checked_version(connection, steps), len(steps)
    if 0 < version < (known if oldest is None else oldest):
        raise VersionError(f"it is of version {version}; whoever writes it next brings it to version {known}")


def _checked_version(connection: sqlite3.Connection, steps: Sequence[str]) -> int:
    """The version of a file that has just what the steps up to it make; without one, nothing or the first step's."""
    distrust(connection)
    connection.execute("BEGIN")  # version and schema are of one moment: another process may make the file
    try:
        version = version_of(connection)
        if version > len(steps):
            text = f"it is of version {version}, from a newer sonyc-ml, and this one knows versions up to {len(steps)}"
            raise VersionError(text)
        check_schema(connection, ["\n;\n".join(steps[:version])] if version else ["", steps[0]])
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return version


def _take_step(connection: sqlite3.Connection, number: int, script: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if version_of(connection) < number:  # else another process was quicker
            is_made = number == 1 and _has_tables(connection)  # before versions were counted
            for statement in () if is_made else _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None


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
