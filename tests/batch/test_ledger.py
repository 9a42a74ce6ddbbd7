"""The ledger's file: of this version, of another, damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sonyc_ml.batch.events import RecordingFailed
from sonyc_ml.batch.ledger import Ledger, Row
from sonyc_ml.errors import StoreError
from tests.support.earlier import LEDGER_1, make_file

ROW = Row("a.wav", 100, 7, "fingerprint", "part-00000.parquet", "", "", 2000, 8, 10.0)


def set_version(path: Path, version: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


@pytest.mark.parametrize("version", [0, 1])
def test_a_ledger_of_the_last_version_is_gone_on_with(tmp_path: Path, version: int) -> None:
    """What it knows is kept, and more is added; one from before versions were counted is the first."""
    rows = [
        ("INSERT INTO outputs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (b"a.wav", *ROW[1:])),
        ("INSERT INTO parts VALUES (?, ?, ?, 0)", ("part-00000.parquet", 2000, 8)),
        ("INSERT INTO failures VALUES (?, ?, ?, ?)", (b"b.wav", b"/b.wav", "unreadable", "it is no sound")),
    ]
    path = make_file(tmp_path / "batch-npz.sqlite", LEDGER_1, rows)
    set_version(path, version)
    for known in ([ROW], [ROW, ROW._replace(name="c.wav")]):
        ledger = Ledger(path)
        assert ledger.in_part("part-00000.parquet") == known
        assert ledger.parts() == {"part-00000.parquet": (2000, 8)}
        assert list(ledger.failures()) == [RecordingFailed("b.wav", "/b.wav", "unreadable", "it is no sound")]
        ledger.put(ROW._replace(name="c.wav"))
        ledger.close()


def test_a_ledger_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """It stays as it is, and a sentence says what to do."""
    path = tmp_path / "batch-npz.sqlite"
    Ledger(path).close()
    set_version(path, 99)
    content = path.read_bytes()
    with pytest.raises(StoreError, match="version 99, from a newer sonyc-ml") as raised:
        Ledger(path)
    assert "install that version, or move the file away" in str(raised.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"no ledger at all " * 100, b""], ids=["not SQLite", "empty"])
def test_a_damaged_ledger_is_made_anew(tmp_path: Path, content: bytes) -> None:
    """The outputs know as much."""
    path = tmp_path / "batch-npz.sqlite"
    path.write_bytes(content)
    ledger = Ledger(path)
    assert ledger.parts() == {}
    ledger.put(ROW)
    assert ledger.get("a.wav") == ROW
    ledger.close()


def test_a_file_of_something_else_is_made_anew(tmp_path: Path) -> None:
    """Tables that are no ledger's."""
    path = make_file(tmp_path / "batch-npz.sqlite", "CREATE TABLE birds (name TEXT);")
    ledger = Ledger(path)
    assert ledger.get("a.wav") is None
    ledger.close()
