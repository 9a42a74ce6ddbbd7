"""The daemon with one of its safeguards taken out: what the checks must notice. ``control SAFEGUARD watch …``."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sonyc_ml import cli
from sonyc_ml.node import publishing
from sonyc_ml.node.journal import journal
from sonyc_ml.node.journal.journal import Entry, Journal, OutputSummary
from sonyc_ml.outputs import files as store


def write_in_place() -> None:
    """An output grows at its final path."""

    @contextmanager
    def file(path: Path, _root: Path | None = None) -> Iterator[BinaryIO]:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())

    vars(store)["atomic_file"] = file


def count_no_attempts() -> None:
    """What kills the process is not remembered."""
    take = Journal.take

    def uncounted(self: Journal, *, newest_first: bool = False) -> Entry | None:
        with self.transaction():
            entry = take(self, newest_first=newest_first)
            if entry is not None:
                self._change(entry.identity, "n_attempts = 0")
        return entry

    Journal.take = uncounted  # type: ignore[method-assign]


def flush_nothing() -> None:
    """Neither outputs nor the journal are made to reach the disk."""
    connect = vars(journal)["connect"]

    def unflushed(path: Path) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(path)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    vars(journal)["connect"] = unflushed
    os.fsync = os.fdatasync = lambda fd: None  # noqa: ARG005  its own name


def finish_first() -> None:
    """A recording counts as done when it is begun."""
    take = Journal.take

    def finished(self: Journal, *, newest_first: bool = False) -> Entry | None:
        with self.transaction():
            entry = take(self, newest_first=newest_first)
            if entry is not None:
                self.finish(entry.identity, OutputSummary(None, 0.0, 0.0))
        return entry

    Journal.take = finished  # type: ignore[method-assign]


def sweep_nothing() -> None:
    """What a killed process was writing stays."""
    assert "remove_temporaries" in vars(publishing)
    vars(publishing)["remove_temporaries"] = lambda _folder: 0


WITHOUT: dict[str, Callable[[], None]] = {
    "atomic": write_in_place,
    "attempts": count_no_attempts,
    "flush": flush_nothing,
    "order": finish_first,
    "sweep": sweep_nothing,
}

if __name__ == "__main__":
    WITHOUT[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
