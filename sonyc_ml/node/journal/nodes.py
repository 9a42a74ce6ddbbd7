"""What the node was called and where it stood, since when: a row of the journal's facts that outlives its events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3

    from sonyc_ml.node.journal.view import JournalView

KEY = "nodes"
MOST = 100  # changes that are kept


def log_node(connection: sqlite3.Connection, now_s: float, known: Mapping[str, Any], node: str) -> str | None:
    """Keep what the node is called, and where it stands, where that is new; for the transaction of the daemon's facts.

    Parameters
    ----------
    connection : sqlite3.Connection
    now_s : float
        In seconds since 1970.
    known : mapping
        The facts until now.
    node : str
        See :meth:`sonyc_ml.sound.node.Node.record`.

    Returns
    -------
    str or None
        The record before; ``{}`` where a daemon ran that kept none. None where nothing has changed, or nothing was.
    """
    history = known.get(KEY) or []
    if not node or (history and history[-1][1] == node):
        return None
    history = [*history, [now_s, node]][-MOST:]
    connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (KEY, json.dumps(history)))
    if len(history) > 1:
        return str(history[-2][1])
    return "{}" if known.get("daemon") else None


def node_history(journal: JournalView) -> list[tuple[float, str]]:
    """Since when (in seconds since 1970) the node has had which record, the oldest first; empty where nobody kept it.

    Raises
    ------
    StoreError
    """
    from sonyc_ml.node.journal.file import store_errors  # noqa: PLC0415  it imports the tables

    with store_errors(journal.path):
        row = journal.connection.execute("SELECT value FROM facts WHERE key = ?", (KEY,)).fetchone()
    return [(float(at_s), str(node)) for at_s, node in json.loads(row[0])] if row else []
