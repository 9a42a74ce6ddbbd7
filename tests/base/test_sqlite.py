"""A file of SQLite is brought from each version to the next, whole steps at a time, and never back."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from sonyc_ml.base.schema import ForeignSchemaError
from sonyc_ml.base.sqlite import VersionError, check_readable, connect, version_of

STEPS = (
    """
CREATE TABLE birds (name TEXT);
CREATE TRIGGER logged AFTER INSERT ON birds BEGIN
    UPDATE birds SET name = lower(new.name) WHERE name = new.name;
    DELETE FROM birds WHERE name = '';
END;
""",
    "ALTER TABLE birds ADD COLUMN n INTEGER NOT NULL DEFAULT 1; -- since the second",
    "UPDATE birds SET n = n + 1; CREATE INDEX by_n ON birds (n)",
)


def opened(path: Path, steps: Sequence[str] = STEPS) -> sqlite3.Connection:
    return connect(path, steps, pragmas=("journal_mode = WAL",))


@pytest.mark.parametrize("n_before", [0, 1, 2, 3])
def test_every_version_is_brought_to_the_last(tmp_path: Path, n_before: int) -> None:
    """What it holds goes through each step that it lacks, once."""
    path = tmp_path / "file.sqlite"
    if n_before:
        connection = opened(path, STEPS[:n_before])
        connection.execute("INSERT INTO birds (name) VALUES ('Wren')")
        connection.close()
    for _ in range(2):
        connection = opened(path)
        assert version_of(connection) == 3
        n = {0: [], 1: [("wren", 2)], 2: [("wren", 2)], 3: [("wren", 1)]}[n_before]
        assert connection.execute("SELECT name, n FROM birds").fetchall() == n
        connection.close()


@pytest.mark.parametrize("n_before", [0, 1])
def test_a_step_that_fails_changes_nothing(tmp_path: Path, n_before: int) -> None:
    """The file is of the version before, with all of its rows, and can be brought on later."""
    path = tmp_path / "file.sqlite"
    if n_before:
        connection = opened(path, STEPS[:n_before])
        connection.execute("INSERT INTO birds VALUES ('wren')")
        connection.close()
    broken = (*STEPS[:n_before], f"CREATE TABLE more (a); {STEPS[n_before]}\n; SELECT a FROM nowhere;", "")
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        opened(path, broken)
    connection = opened(path)
    assert version_of(connection) == 3
    assert connection.execute("SELECT count(*) FROM birds").fetchone() == (n_before,)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone() == (0,)
    connection.close()


def test_a_later_version_is_refused_and_stays(tmp_path: Path) -> None:
    """It is not damage, and not a byte of it changes."""
    path = tmp_path / "file.sqlite"
    opened(path).close()
    content = path.read_bytes()
    with pytest.raises(VersionError, match="version 3, from a newer sonyc-ml, and this one knows versions up to 2"):
        opened(path, STEPS[:2])
    assert path.read_bytes() == content


@pytest.mark.parametrize("known", [1, 2, 3, 4])
def test_a_reader_takes_its_own_version_only(tmp_path: Path, known: int) -> None:
    """Who cannot change a file says why it cannot read one of another version."""
    connection = opened(tmp_path / "file.sqlite")
    if known == 3:
        check_readable(connection, [*STEPS, "CREATE TABLE eggs (n)"][:known])
    else:
        with pytest.raises(VersionError, match="newer sonyc-ml" if known < 3 else "brings it to version 4"):
            check_readable(connection, [*STEPS, "CREATE TABLE eggs (n)"][:known])
    connection.close()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_reader_may_take_earlier_versions(tmp_path: Path, version: int) -> None:
    """From the oldest that it names on; one before is still refused."""
    connection = opened(tmp_path / "file.sqlite", STEPS[:version])
    if version < 2:
        with pytest.raises(VersionError, match="it is of version 1"):
            check_readable(connection, STEPS, 2)
    else:
        check_readable(connection, STEPS, 2)
    connection.close()


def test_tables_without_a_version_are_the_first(tmp_path: Path) -> None:
    """They are not made again."""
    path = tmp_path / "file.sqlite"
    connection = opened(path, STEPS[:1])
    connection.execute("INSERT INTO birds VALUES ('wren')")
    connection.execute("PRAGMA user_version = 0")
    connection.close()
    connection = opened(path)
    assert connection.execute("SELECT name, n FROM birds").fetchall() == [("wren", 2)]
    connection.close()


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE stars (name)",
        "CREATE TABLE stars (name); PRAGMA user_version = 2",
        "PRAGMA user_version = 1",
        STEPS[0] + "CREATE TABLE stars (name); PRAGMA user_version = 1",
        STEPS[0] + "PRAGMA user_version = 2",
        "CREATE TABLE birds (name TEXT, colour TEXT)",
    ],
)
def test_another_file_is_refused(tmp_path: Path, script: str) -> None:
    """Tables that are not those of its version, and a number without tables."""
    path = tmp_path / "file.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    with pytest.raises(ForeignSchemaError, match="its tables are not those of this program"):
        opened(path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """Before anything is changed."""
    path = tmp_path / "file.sqlite"
    connection = opened(path)
    connection.executemany("INSERT INTO birds VALUES (?, 1)", [(str(n) * 50,) for n in range(1000)])
    connection.close()
    content = bytearray(path.read_bytes())
    content[3 * 4096] = 0xEE
    path.write_bytes(content)
    with pytest.raises(sqlite3.DatabaseError):
        opened(path)
    assert path.read_bytes() == content
