"""What was heard in each recording, as the journal keeps it: of each class once, where it was heard best."""

from __future__ import annotations

import heapq
import logging
import math
import os
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from sonyc_ml.base.identity import Identity
from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import JournalDamagedError
from sonyc_ml.node.journal.file import has_table, store_errors
from sonyc_ml.outputs.names import split_label

if TYPE_CHECKING:
    import sqlite3

    from sonyc_ml.node.journal.view import JournalView
    from sonyc_ml.outputs.detections import Detection

logger = logging.getLogger(__name__)

N_HEARD = 10  # classes of a recording, those with the highest scores
# A recording is done, and what was heard in it is known.
ADOPT = (
    "INSERT OR IGNORE INTO recordings (name, mtime_ns, n_bytes, state, found_s, changed_s, start_s, duration_s, "
    "hop_size_s, salvaged) VALUES (?, ?, ?, 'done', ?, ?, ?, ?, ?, ?)"
)
FINISH = (
    "state = 'done', n_attempts = 0, reason = '', detail = '', start_s = ?, duration_s = ?, hop_size_s = ?, "
    "salvaged = ?, changed_s = ?"
)
# Every label once, without looking at every row.
LABELS = """
WITH RECURSIVE known (label) AS (
    SELECT min(label) FROM heard UNION ALL
    SELECT (SELECT min(heard.label) FROM heard WHERE heard.label > known.label) FROM known WHERE label IS NOT NULL
) SELECT label FROM known WHERE label IS NOT NULL
"""
HEARD_IN = "h.at_s, h.name, h.mtime_ns, h.n_bytes, h.label, h.score_max, h.start_s, h.end_s FROM heard AS h"
FIND = (
    f"SELECT {HEARD_IN} JOIN recordings AS r ON r.name = h.name AND r.mtime_ns = h.mtime_ns AND r.n_bytes = h.n_bytes "
    "WHERE h.label = ? AND h.at_s BETWEEN ? AND ? AND h.score_max >= ? AND r.state = 'done' "
    "ORDER BY h.at_s DESC, h.name"
)
FIND_IN = f"SELECT {HEARD_IN} WHERE name = ? AND mtime_ns = ? AND n_bytes = ? ORDER BY score_max DESC, label"


class Heard(NamedTuple):
    """A class, where it was heard best in a recording; see :class:`~sonyc_ml.outputs.detections.Detection`."""

    label: str
    score_max: float
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class HeardIn:
    """A class, and the recording that it was heard in.

    Attributes
    ----------
    identity : Identity
        Of the recording.
    heard : Heard
    at_s : float
        When it began (in seconds since 1970); when the file was changed, where nobody knows.
    """

    identity: Identity
    heard: Heard
    at_s: float


def best_heard(found: Iterable[Sequence[Detection] | None], n: int = N_HEARD) -> tuple[Heard, ...]:
    """Of the detections of a recording by several bundles, the highest of each class, of at most so many classes."""
    best: dict[str, Heard] = {}
    detections = (one for some in found for one in some or ())
    for one in sorted(detections, key=lambda one: (-one.score_max, one.start_s)):
        best.setdefault(one.label, Heard(one.label, one.score_max, one.start_s, one.end_s))
    return tuple(best.values())[:n]


def write_heard(
    connection: sqlite3.Connection, row: tuple[bytes, int, int], heard: Iterable[Heard], began_s: float | None
) -> None:
    """Keep what was heard in a recording, and nothing else of it; for a transaction of the journal.

    Parameters
    ----------
    connection : sqlite3.Connection
    row : tuple
        The recording's primary key.
    heard : iterable of Heard
    began_s : float or None
        When it began (in seconds since 1970).
    """
    connection.execute("DELETE FROM heard WHERE name = ? AND mtime_ns = ? AND n_bytes = ?", row)
    rows = [(*row, one.label, row[1] * 1e-9 if began_s is None else began_s + one.start_s, *one[1:]) for one in heard]
    connection.executemany("INSERT INTO heard VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def check_index(journal: JournalView) -> bool:
    """Compare the index of what was heard with its table, and make it again where they differ; whether they did not.

    Raises
    ------
    StoreError, JournalDamagedError
    """
    with store_errors(journal.path):
        verdict = journal.connection.execute("PRAGMA integrity_check(heard)").fetchone()[0]
        if verdict != "ok":
            journal.connection.execute("REINDEX heard_at")
            text = "the index of what was heard in the journal %s did not agree with its table, and was made again: %s"
            logger.warning(text, journal.path, verdict)
        return bool(verdict == "ok")


def heard_labels(journal: JournalView) -> list[str]:
    """Every label that was heard in a recording which the journal knows, in their order."""
    with store_errors(journal.path):
        if not has_table(journal.connection, "heard"):
            return []
        labels = [label for (label,) in journal.connection.execute(LABELS)]
    _check(journal, (isinstance(label, str) for label in labels))
    return labels


def matching(labels: Iterable[str], wanted: str) -> list[str]:
    """The labels that are meant: of this name, or this scientific or common name, in capitals or not."""
    wanted = wanted.casefold()
    return [label for label in labels if wanted in {name.casefold() for name in (label, *split_label(label))}]


def find_heard(
    journal: JournalView,
    labels: Iterable[str],
    *,
    since_s: float = 0.0,
    until_s: float = math.inf,
    min_score: float = 0.0,
    limit: int | None = None,
) -> list[HeardIn]:
    """Where some classes were heard in a span, from a score on, the latest first, at most so many; what is done alone.

    Each class is found by the index, and only as many rows are read as are asked for.

    Raises
    ------
    StoreError, JournalDamagedError
    """
    with store_errors(journal.path):
        if not has_table(journal.connection, "heard"):
            return []
        rows = [journal.connection.execute(FIND, (label, since_s, until_s, min_score)) for label in set(labels)]
        latest = islice(heapq.merge(*rows, key=lambda row: (-row[0], row[1], row[4])), limit)
        return [_heard_in(journal, row) for row in latest]


def heard_of(journal: JournalView, identity: Identity) -> list[Heard]:
    """What was heard in a recording, the highest score first.

    Raises
    ------
    StoreError, JournalDamagedError
    """
    with store_errors(journal.path):
        if not has_table(journal.connection, "heard"):
            return []
        rows = journal.connection.execute(FIND_IN, (os.fsencode(identity.name), identity.mtime_ns, identity.n_bytes))
        return [_heard_in(journal, row).heard for row in rows]


def _heard_in(journal: JournalView, row: tuple[Any, ...]) -> HeardIn:
    at_s, name, mtime_ns, n_bytes, label, *numbers = row
    _check(journal, (isinstance(value, int | float) for value in (at_s, mtime_ns, n_bytes, *numbers)))
    try:
        return HeardIn(Identity(os.fsdecode(name), n_bytes, mtime_ns), Heard(label, *numbers), at_s)
    except (ValueError, TypeError) as error:
        raise JournalDamagedError(f"the journal {journal.path} is damaged: {error}") from error


def _check(journal: JournalView, are_right: Iterable[bool]) -> None:
    """See that values are of their types: those of `heard` are not looked at when the journal is opened."""
    if not all(are_right):
        raise JournalDamagedError(f"the journal {journal.path} is damaged: what was heard has values of other types")
