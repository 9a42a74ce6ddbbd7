"""Whether a database of SQLite is one of ours: it may have come from elsewhere, with tables that only look like ours.

A view in the place of a table may never end, and a trigger does whatever it likes at the next change. So nothing is
asked of a database before its schema is known, word by word.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterable
from contextlib import closing
from functools import cache
from pathlib import Path

COMMENT = re.compile(r"--[^\n]*")
# What SQLite makes by itself: for primary keys, and for ANALYZE.
OF_SQLITE = ("sqlite_autoindex_", "sqlite_stat1")
TYPES = {"INTEGER": "('integer')", "REAL": "('real', 'integer')", "TEXT": "('text')", "BLOB": "('blob', 'text')"}


class ForeignSchemaError(sqlite3.DatabaseError):
    """A database that is not as this program makes it."""


def check_is_file(path: Path) -> None:
    """See that what is to be opened as a database, if it is there, is a file: no link to one elsewhere, no pipe.

    Raises
    ------
    ForeignSchemaError
    """
    try:
        mode = os.lstat(path).st_mode
    except OSError:  # who opens it says why
        return
    if not stat.S_ISREG(mode):
        raise ForeignSchemaError("it is a symbolic link" if stat.S_ISLNK(mode) else "it is no regular file")


def distrust(connection: sqlite3.Connection) -> None:
    """Let the schema of a database call no function but those without side effects."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


def check_schema(connection: sqlite3.Connection, scripts: Iterable[str]) -> None:
    """See that a database has just the tables, indexes and triggers that one of some scripts makes.

    Nothing is read but the schema. Spaces and comments do not count: an older version may have put them otherwise.

    Parameters
    ----------
    connection : sqlite3.Connection
    scripts : iterable of str
        Of SQL: what this version makes, and what versions made that are still read.

    Raises
    ------
    ForeignSchemaError
        It has others, or lacks some.
    sqlite3.DatabaseError
        It cannot be read.
    """
    found = _schema(connection)
    wanted: list[tuple[str, ...]] = []
    for script in scripts:
        wanted = _made_by(script)
        if found == wanted:
            return
    names = sorted({row[1] for row in set(found) ^ set(wanted)} or {"?"})
    raise ForeignSchemaError(f"its tables are not those of this program: {', '.join(map(ascii, names[:5]))}")


def check_types(connection: sqlite3.Connection, tables: Iterable[str]) -> None:
    """See that every value of some tables, whose schema was checked, is of its column's type: SQLite does not mind.

    Raises
    ------
    ForeignSchemaError
    """
    for table in tables:
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        wrong = " OR ".join(
            f"typeof({name}) NOT IN {TYPES[kind]}" + ("" if is_needed or is_key else f" AND {name} IS NOT NULL")
            for _, name, kind, is_needed, _, is_key in columns
        )
        if connection.execute(f"SELECT 1 FROM {table} WHERE {wrong} LIMIT 1").fetchone():  # noqa: S608  our own names
            raise ForeignSchemaError(f"its table {table} holds values of other types than its columns")


@cache  # a daemon opens its journal several times in its start
def _made_by(script: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as model:
        model.executescript(script)
        return _schema(model)


def _schema(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    names = ("type", "name", "tbl_name", "sql")  # as bytes: a schema that is damaged need be no text
    columns = ", ".join(f"CAST({name} AS BLOB)" for name in names)
    rows = connection.execute(f"SELECT {columns} FROM sqlite_master")  # noqa: S608
    texts = [[(value or b"").decode(errors="replace") for value in row] for row in rows]
    return sorted(
        (*row[:3], " ".join(COMMENT.sub("", row[3]).split())) for row in texts if not row[1].startswith(OF_SQLITE)
    )
