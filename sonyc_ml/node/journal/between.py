"""What the journal knows of a span of time: which recordings, what was heard in them, and whether that has changed."""

from __future__ import annotations

import os
from typing import NamedTuple

from sonyc_ml.base.identity import Identity
from sonyc_ml.node.journal.file import has_table, store_errors
from sonyc_ml.node.journal.heard import heard_labels
from sonyc_ml.node.journal.view import JournalView

WITHIN = "coalesce(start_s, mtime_ns * 1e-9) < :end_s AND coalesce(start_s + duration_s, mtime_ns * 1e-9) >= :start_s"


class Made(NamedTuple):
    """A recording of a span; see :class:`sonyc_ml.node.journal.view.Entry`.

    What was not read is a moment long, at the time of its file.
    """

    identity: Identity
    state: str
    reason: str
    start_s: float
    duration_s: float


class HeardBin(NamedTuple):
    """A class in a bin of a span: in how many recordings it was heard, and its highest score there."""

    label: str
    bin: int
    n_recordings: int
    score_max: float


def find_between(journal: JournalView, start_s: float, end_s: float) -> list[Made]:
    """Every recording with some sound in a span, in the order of time.

    Raises
    ------
    StoreError, JournalDamagedError
    """
    with store_errors(journal.path):
        rows = journal.connection.execute(
            "SELECT name, n_bytes, mtime_ns, state, reason, coalesce(start_s, mtime_ns * 1e-9), "
            f"coalesce(duration_s, 0) FROM recordings WHERE {WITHIN} ORDER BY 6, name",
            {"start_s": start_s, "end_s": end_s},
        ).fetchall()
    return [Made(Identity(os.fsdecode(row[0]), row[1], row[2]), *row[3:]) for row in rows]


def stamp_of(journal: JournalView, start_s: float, end_s: float) -> str:
    """What changes whenever a recording of a span comes, goes, or comes into another state.

    Raises
    ------
    StoreError, JournalDamagedError
    """
    with store_errors(journal.path):
        n, changed_s = journal.connection.execute(
            f"SELECT count(*), max(changed_s) FROM recordings WHERE {WITHIN}", {"start_s": start_s, "end_s": end_s}
        ).fetchone()
    return f"{n} {changed_s}"


def heard_between(journal: JournalView, start_s: float, end_s: float, width_s: float) -> list[HeardBin]:
    """What was heard in each bin of a span, by the moment where each class was heard best in a recording.

    Raises
    ------
    StoreError, JournalDamagedError
    """
    found = []
    with store_errors(journal.path):
        if not has_table(journal.connection, "heard"):
            return []
        for label in heard_labels(journal):
            rows = journal.connection.execute(
                "SELECT CAST((at_s - :start_s) / :width_s AS INTEGER), count(*), max(score_max) FROM heard "
                "WHERE label = :label AND at_s >= :start_s AND at_s < :end_s GROUP BY 1",
                {"label": label, "start_s": start_s, "end_s": end_s, "width_s": width_s},
            ).fetchall()
            found += [HeardBin(label, *row) for row in rows]
    return found


def first_and_last(journal: JournalView) -> tuple[float, float] | None:
    """When the oldest and the newest recording began (in seconds since 1970); None where there is none.

    Raises
    ------
    StoreError, JournalDamagedError
    """
    with store_errors(journal.path):
        first_s, last_s = journal.connection.execute(
            "SELECT min(coalesce(start_s, mtime_ns * 1e-9)), max(coalesce(start_s, mtime_ns * 1e-9)) FROM recordings"
        ).fetchone()
    return None if first_s is None else (first_s, last_s)
