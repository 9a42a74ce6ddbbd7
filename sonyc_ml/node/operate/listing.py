"""The recordings in some states, as plain values."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, TypeAlias

from sonyc_ml.base.human import iso
from sonyc_ml.node.journal.heard import find_heard, heard_labels, matching
from sonyc_ml.node.journal.journal import Entry, Journal

N_OTHERS = 10

Answer: TypeAlias = dict[str, Any]


NEED_ATTENTION = ("quarantined", "shed")


def listing(journal: Journal, states: Sequence[str] = (), *, since_s: float = 0.0, limit: int | None = None) -> Answer:
    """What is in some states, the latest first; where none is named, what may need somebody's attention.

    That is what was quarantined or shed, without what a later recording of the same name has replaced.

    Returns
    -------
    dict
        ``entries``: at most so many of them, see :func:`plain`; ``more``: there are others.
    """
    n, with_replaced = None if limit is None else limit + 1, bool(states)
    states = states or NEED_ATTENTION
    entries = journal.latest(states, n, since_s=since_s, with_replaced=with_replaced)
    is_cut = limit is not None and len(entries) > limit
    return {"states": list(states), "entries": [plain(entry) for entry in entries[:limit]], "more": is_cut}


def heard_listing(journal: Journal, wanted: str, *, since_s: float = 0.0, limit: int | None = None) -> Answer:
    """Where a class was heard, the latest first: of each recording once, where it was heard best.

    Parameters
    ----------
    journal : Journal
    wanted : str
        A label, or the scientific or common name that it holds, in capitals or not.
    since_s : float
        Of the sound (in seconds since 1970).
    limit : int, optional
        At most so many.

    Returns
    -------
    dict
        ``heard``: what was asked for; ``labels``: those that it means; ``entries``; ``more``: there are others;
        ``others``: labels that were heard, those of similar names first, where none is meant.
    """
    known = heard_labels(journal)
    labels = matching(known, wanted)
    found = find_heard(journal, labels, since_s=since_s, limit=None if limit is None else limit + 1)
    similar = difflib.get_close_matches(wanted, known, n=N_OTHERS, cutoff=0.5)
    others = [] if labels else list(dict.fromkeys([*similar, *known]))[:N_OTHERS]
    return {
        "heard": wanted,
        "labels": labels,
        "entries": [
            {
                "name": one.identity.name,
                "label": one.heard.label,
                "score": round(one.heard.score_max, 6),
                "at": iso(one.at_s),
                "start_s": one.heard.start_s,
                "end_s": one.heard.end_s,
            }
            for one in found[:limit]
        ],
        "more": limit is not None and len(found) > limit,
        "others": others,
    }


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
