"""What happened to recordings, one row per event, for whoever follows a node: part of the journal's file.

Triggers write them, in the transaction of the change itself: an event is there if and only if what it says has
happened, whoever made the change. The newest are kept. Their numbers only grow, in a journal that is made again too,
for the first number of each is its time; so a reader can go on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sonyc_ml.node.journal.nodes import log_node

if TYPE_CHECKING:
    import sqlite3

    from sonyc_ml.node.journal.view import OutputSummary

STATES_OF = ("folder", "input", "trouble", "upload")  # facts whose changes are events
MOST = 20_000  # events that are kept, and up to 512 more
NOW_S = "(julianday('now') - 2440587.5) * 86400"
INSERT = "INSERT INTO events (at_s, kind, name, reason, detail, start_s, end_s, value) VALUES"

EVENTS = f"""
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    at_s REAL NOT NULL,                     -- when it happened, since 1970
    kind TEXT NOT NULL,
    name BLOB NOT NULL,                     -- of the recording or source; empty where it is about neither
    reason TEXT NOT NULL,                   -- a word or two: why, or of what class
    detail TEXT NOT NULL,
    start_s REAL,                           -- what it is about, since 1970
    end_s REAL,
    value REAL                              -- attempts, seconds, a score, a level
);
INSERT INTO events VALUES (CAST({NOW_S} AS INTEGER) * 1000, {NOW_S}, 'journal', x'', '', '', NULL, NULL, NULL);
CREATE TRIGGER few_events AFTER INSERT ON events WHEN new.id % 512 = 0 BEGIN
    DELETE FROM events WHERE id <= new.id - {MOST};
END;
CREATE TRIGGER tell_found AFTER INSERT ON recordings WHEN new.state = 'pending' BEGIN
    {INSERT} (new.found_s, 'found', new.name, new.fate, '', NULL, NULL, new.n_bytes);
END;
CREATE TRIGGER tell_begun AFTER UPDATE OF n_attempts ON recordings WHEN new.n_attempts > old.n_attempts BEGIN
    {INSERT} (new.changed_s, 'begun', new.name, '', '', NULL, NULL, new.n_attempts);
END;
CREATE TRIGGER tell_released AFTER UPDATE OF n_attempts ON recordings
    WHEN new.n_attempts < old.n_attempts AND new.state = old.state AND new.n_failures = old.n_failures BEGIN
    {INSERT} ({NOW_S}, 'released', new.name, '', '', NULL, NULL, NULL);
END;
CREATE TRIGGER tell_postponed AFTER UPDATE OF n_failures ON recordings WHEN new.n_failures > old.n_failures BEGIN
    {INSERT} (new.changed_s, 'postponed', new.name, new.reason, new.detail, NULL, new.due_s, new.n_failures);
END;
CREATE TRIGGER tell_done AFTER UPDATE OF state ON recordings WHEN new.state = 'done' AND old.state <> 'done' BEGIN
    {INSERT} (new.changed_s, 'published', new.name, CASE new.salvaged WHEN 0 THEN '' ELSE 'salvaged' END, '',
        new.start_s, new.start_s + new.duration_s, new.changed_s - new.found_s);
END;
CREATE TRIGGER tell_state AFTER UPDATE OF state ON recordings WHEN new.state <> 'done' AND new.state <> old.state BEGIN
    {INSERT} (new.changed_s, CASE new.state WHEN 'pending' THEN 'retried' ELSE new.state END, new.name,
        new.reason, new.detail, new.start_s, new.start_s + new.duration_s, NULL);
END;
CREATE TRIGGER tell_fate AFTER UPDATE OF fate ON recordings
    WHEN new.fate <> old.fate AND new.fate NOT IN ('', 'live') BEGIN
    {INSERT} ({NOW_S}, new.fate, new.name, '', '', NULL, NULL, NULL);
END;
CREATE TRIGGER tell_gap AFTER INSERT ON gaps WHEN new.end_s > new.start_s BEGIN
    {INSERT} ({NOW_S}, 'gap', CAST(new.source AS BLOB), new.reason, new.detail, new.start_s, new.end_s, NULL);
END;
"""


def log_done(connection: sqlite3.Connection, name: bytes, now_s: float, output: OutputSummary) -> None:
    """Log what was heard in a recording, and how loud it was; for the transaction in which it is done.

    Parameters
    ----------
    connection : sqlite3.Connection
    name : bytes
        Of the recording.
    now_s : float
        In seconds since 1970.
    output : OutputSummary
    """
    rows: list[tuple[object, ...]] = [
        (now_s, "detection", name, one.label, "", *_at(output, one.start_s, one.end_s), one.score_max)
        for one in output.heard
    ]
    if output.levels:
        span = _at(output, 0.0, output.duration_s)
        levels = json.dumps({name: round(level, 2) for name, level in output.levels.items()})
        rows.append((now_s, "level", name, output.reference, levels, *span, output.levels.get("LAeq")))
    connection.executemany(f"{INSERT} (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def log_facts(connection: sqlite3.Connection, now_s: float, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Log what is new among the daemon's facts; for the transaction that keeps them.

    That is its start and stop, another name or place, bundles that it did not run before, and that the folder, the
    input or the disk is otherwise. One that was killed says nothing of it: its next start has no stop before it.
    """
    daemons = [facts.get("daemon") or {} for facts in (before, now)]
    rows = _of_daemon(*daemons) if "daemon" in now else []
    node = str(daemons[1].get("node", ""))
    if (earlier := log_node(connection, now_s, before, node)) is not None:
        rows.append(("node", earlier, node))
    for kind in STATES_OF:
        was, state = (_state(kind, facts.get(kind)) for facts in (before, now))
        if kind in now and was != state:
            rows.append((kind, state, (now[kind] or {}).get("detail", "")))
    if now.get("stopped") and "daemon" not in now:  # else it is of a daemon before, kept in a journal that is new
        rows.append(("stopped", "", str((before.get("daemon") or {}).get("version", ""))))
    values = [(now_s, *(text.encode(errors="backslashreplace").decode() for text in row)) for row in rows]
    connection.executemany(f"{INSERT} (?, ?, x'', ?, ?, NULL, NULL, NULL)", values)


def log_rollout(connection: sqlite3.Connection, now_s: float, bundle: str, word: str, detail: str) -> None:
    """Log how a look at the store of a bundle came out, or that one was rolled back."""
    name = bundle.encode(errors="backslashreplace")
    connection.execute(f"{INSERT} (?, 'rollout', ?, ?, ?, NULL, NULL, NULL)", (now_s, name, word, detail))


def _of_daemon(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    if any(before.get(key) != now.get(key) for key in ("since", "pid")):
        return [("started", "", str(now.get("version", "")))]
    known = [bundle.get("sha256") for bundle in before.get("bundles", ())]
    new = [bundle for bundle in now.get("bundles", ()) if bundle.get("sha256") not in known]
    return [("bundle", bundle.get("name", ""), bundle.get("version", "")) for bundle in new]


def _state(kind: str, fact: Mapping[str, Any] | None) -> str:
    """How something is, in a word; a trouble has none of its own."""
    if fact is None:
        return "ok"
    return str(fact.get("word", "")) or ("bad" if kind == "trouble" else "ok")


def _at(output: OutputSummary, *times_s: float) -> list[float | None]:
    """Seconds from a recording's first sample to seconds since 1970."""
    return [None if output.start_s is None else output.start_s + time_s for time_s in times_s]
