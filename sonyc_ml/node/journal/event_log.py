"""The events of a journal: read from any number on, and followed while they come."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.base.human import date_of
from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import JournalDamagedError, StoreError
from sonyc_ml.node.journal.event_table import STATES_OF
from sonyc_ml.node.journal.file import has_table, stamp_of_files, store_errors

if TYPE_CHECKING:
    from sonyc_ml.node.journal.view import JournalView

SCHEMA = 1  # of the plain form
MISSED = "missed"  # the reader's own: events that were not kept for so long
OF_A_SOURCE = frozenset({"gap"})
OF_NEITHER = frozenset({"journal", "started", "stopped", "node", "bundle", "rollout", *STATES_OF, MISSED})
COLUMNS = "id, at_s, kind, name, reason, detail, start_s, end_s, value"
N_AT_ONCE = 500
LOOK_S = 0.25  # between two looks of a reader at whether anything was written
SETTLE_S = 1.0  # SQLite's log is written a moment before the index that makes it readable: it is read again until then


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """A row of the journal's events.

    Attributes
    ----------
    number : int
        Grows from event to event.
    at_s : float
        When it happened (in seconds since 1970).
    kind : str
        ``found``, ``begun``, ``published``, ``detection`` …; see docs/events.md.
    name : str
        Of the recording or live source; empty where it is about neither.
    reason, detail : str
        A word or two, and a sentence.
    start_s, end_s : float or None
        The time that it is about (in seconds since 1970).
    value : float or None
        A number of its kind: attempts, seconds, a score, a level.
    """

    number: int
    at_s: float
    kind: str
    name: str = ""
    reason: str = ""
    detail: str = ""
    start_s: float | None = None
    end_s: float | None = None
    value: float | None = None

    def to_plain(self) -> dict[str, Any]:
        """The event as values of JSON, by the names of docs/events.md."""
        plain: dict[str, Any] = {"id": self.number, "time": _iso(self.at_s), "event": self.kind}
        if self.kind not in OF_NEITHER:
            plain["source" if self.kind in OF_A_SOURCE else "recording"] = self.name
        return plain | PLAIN.get(self.kind, _said)(self)


def _iso(time_s: float) -> str:
    return date_of(time_s).isoformat(timespec="milliseconds")


def _said(event: LoggedEvent) -> dict[str, Any]:
    return {name: text for name, text in (("reason", event.reason), ("detail", event.detail)) if text}


def _span(event: LoggedEvent) -> dict[str, Any]:
    begins = {} if event.start_s is None else {"start_time": _iso(event.start_s)}
    if event.start_s is None or event.end_s is None:
        return begins
    return {**begins, "duration_s": round(event.end_s - event.start_s, 3)}


def _number(event: LoggedEvent) -> int:
    return int(event.value or 0)


PLAIN: Mapping[str, Callable[[LoggedEvent], dict[str, Any]]] = {
    "found": lambda event: {"n_bytes": _number(event), "live": event.reason == "live"},
    "begun": lambda event: {"n_attempts": _number(event)},
    "postponed": lambda event: {
        **_said(event),
        "n_failures": _number(event),
        "until": _iso(event.end_s or 0.0),
    },
    "published": lambda event: {
        **_span(event),
        "lag_s": round(event.value or 0.0, 3),
        "salvaged": event.reason == "salvaged",
    },
    "shed": lambda event: {**_said(event), **_span(event)},
    "gap": lambda event: {**_said(event), **_span(event)},
    "detection": lambda event: {"label": event.reason, "score": round(event.value or 0.0, 4), **_span(event)},
    "level": lambda event: {"reference": event.reason, "levels": json.loads(event.detail), **_span(event)},
    **dict.fromkeys(("started", "stopped"), lambda event: {"version": event.detail}),
    "node": lambda event: {"before": json.loads(event.reason), "node": json.loads(event.detail)},
    "bundle": lambda event: {"bundle": event.reason, "version": event.detail},
    "rollout": lambda event: {"bundle": event.name, "state": event.reason, "detail": event.detail},
    **dict.fromkeys(STATES_OF, lambda event: {"state": event.reason, "detail": event.detail}),
    MISSED: lambda event: {"n_missed": _number(event)},
}


def read_events(journal: JournalView, after: int, limit: int = N_AT_ONCE) -> list[LoggedEvent]:
    """The events behind a number, the oldest first, at most so many.

    What was dropped since, or is of another journal, is told first, by an event ``missed``.

    Raises
    ------
    StoreError, JournalDamagedError
    """
    connection = journal.connection
    with store_errors(journal.path):
        if not has_table(connection, "events"):
            return []
        oldest, newest = connection.execute("SELECT min(id), max(id) FROM events").fetchone()
        if oldest is None:
            return []
        is_lost = 0 < after < oldest - 1 or after > newest
        if is_lost:
            rest = LoggedEvent(oldest - 1, time.time(), MISSED, value=float(max(0, oldest - 1 - after)))
        behind = 0 if after > newest else after
        rows = connection.execute(f"SELECT {COLUMNS} FROM events WHERE id > ? ORDER BY id LIMIT ?", (behind, limit))
        events = [_event(journal, row) for row in rows]
    return [rest, *events] if is_lost else events


def number_before(journal: JournalView, since_s: float = math.inf, n_last: int = 0) -> int:
    """The number behind which the events since a time are, and at least the last so many.

    Raises
    ------
    StoreError, JournalDamagedError
    """
    connection = journal.connection
    with store_errors(journal.path):
        if not has_table(connection, "events"):
            return 0
        oldest, newest = connection.execute("SELECT min(id), max(id) FROM events").fetchone()
        if oldest is None:
            return 0
        first = None
        if since_s < math.inf:
            first = connection.execute("SELECT min(id) FROM events WHERE at_s >= ?", (since_s,)).fetchone()[0]
    behind = newest if first is None else first - 1
    return int(max(oldest - 1, min(behind, newest - n_last)))


class Follower:
    """Reads events as they come; nothing is asked of the journal while nobody writes to it.

    A journal that is not there yet, or is made again, is waited for.

    Parameters
    ----------
    folder : Path
        Where the journal lies.
    after : int or None
        The number behind which to begin; None for what comes from now on.
    """

    def __init__(self, folder: Path, after: int | None) -> None:
        self._folder, self._after = folder, after
        self._stamp = self._seen = "none"
        self._settled_s = 0.0  # by the monotonic clock

    def has_news(self) -> bool:
        """Whether anybody has written since everything was read; costs two looks at files."""
        return stamp_of_files(self._folder) != self._stamp

    def read(self) -> list[LoggedEvent]:
        """The next events, the oldest first; empty where there are none."""
        from sonyc_ml.node.journal.journal import Journal  # noqa: PLC0415  it imports this wing's tables

        seen, now_s = stamp_of_files(self._folder), time.monotonic()
        if seen and seen != self._seen:
            self._seen, self._settled_s = seen, now_s + SETTLE_S
        batch: list[LoggedEvent] = []
        try:
            with closing(Journal(self._folder, read_only=True)) as journal:
                if self._after is None:
                    self._after = number_before(journal)
                batch = read_events(journal, self._after)
        except (StoreError, JournalDamagedError):
            if seen:  # it is there: what it says is read at the next look, not at the next change
                return []
        if batch:
            self._after = batch[-1].number
        if len(batch) < N_AT_ONCE and now_s >= self._settled_s:
            self._stamp = seen
        return batch


def _event(journal: JournalView, row: tuple[Any, ...]) -> LoggedEvent:
    number, at_s, kind, name, reason, detail, start_s, end_s, value = row
    try:
        numbers = [None if one is None else float(one) for one in (start_s, end_s, value)]
        event = LoggedEvent(int(number), float(at_s), kind, os.fsdecode(name), reason, detail, *numbers)
        event.to_plain()
    except (TypeError, ValueError, OverflowError) as error:
        raise JournalDamagedError(f"the journal {journal.path} is damaged: {error}") from error
    return event
