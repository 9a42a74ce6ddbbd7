"""The recordings in some states, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from sonyc_ml.base.human import iso
from sonyc_ml.node.journal.journal import Entry, Journal

Answer: TypeAlias = dict[str, Any]


def listing(journal: Journal, states: Sequence[str], *, since_s: float = 0.0, limit: int | None = None) -> Answer:
    """What is in some states, the latest first.

    Returns
    -------
    dict
        ``entries``: at most so many of them, see :func:`plain`; ``more``: there are others.
    """
    entries = journal.latest(states, None if limit is None else limit + 1, since_s=since_s)
    is_cut = limit is not None and len(entries) > limit
    return {"states": list(states), "entries": [plain(entry) for entry in entries[:limit]], "more": is_cut}


def plain(entry: Entry) -> Answer:
    """An entry as plain values."""
    identity = entry.identity
    return {
        "name": identity.name,
        "bytes": identity.n_bytes,
        "mtime": iso(identity.mtime_s),
        "state": entry.state,
        "reason": entry.reason,
        "detail": entry.detail,
        "found": iso(entry.found_s),
        "changed": iso(entry.changed_s),
        "due": iso(entry.due_s) if entry.due_s else None,
        "attempts": entry.n_attempts,
        "failures": entry.n_failures,
        "start": None if entry.start_s is None else iso(entry.start_s),
        "duration_s": entry.duration_s,
        "hop_size_s": entry.hop_size_s,
        "salvaged": entry.salvaged,
        "fate": entry.fate,
    }
