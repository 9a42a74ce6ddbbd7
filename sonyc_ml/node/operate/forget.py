"""Which recordings the journal can forget, and why it keeps others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sonyc_ml.node.journal.journal import Entry, Journal
from sonyc_ml.node.journal.view import THIS, key
from sonyc_ml.node.operate.retry import Choice
from sonyc_ml.node.operate.whereabouts import find_entries, state_of_file

PENDING = "it is pending: it would be found again at once"
THERE = "its file is still there, and would be found again; name it to forget it all the same"


def choose_named(journal: Journal, files: Iterable[Path]) -> Choice:
    """Every recording that had the name of one of some files, but what is pending."""
    daemon = journal.facts().daemon
    entries, refused = [], []
    for file in files:
        name, known = find_entries(journal, daemon, file)
        if not known:
            refused.append((str(file) if name is None else name, "the journal does not know it"))
        for entry in known:
            if entry.state == "pending":
                refused.append((entry.identity.name, PENDING))
            elif entry not in entries:
                entries.append(entry)
    return Choice(tuple(entries), tuple(refused))


def choose_gone(journal: Journal, states: Sequence[str], reason: str | None = None) -> Choice:
    """Everything in some states, for one reason or any, whose file is not there any more, or is another recording."""
    daemon = journal.facts().daemon
    entries, refused = [], []
    for state in states:
        for entry in journal.entries(state):
            if reason is None or entry.reason == reason:
                folder = Path(daemon.folder) if daemon is not None and daemon.folder else None
                if folder is not None and folder.is_dir() and state_of_file(folder, entry.identity) != "there":
                    entries.append(entry)
                else:
                    refused.append((entry.identity.name, THERE))
    return Choice(tuple(entries), tuple(refused))


def forget(journal: Journal, entries: Iterable[Entry]) -> int:
    """Remove recordings from the journal, but what has become pending meanwhile; returns how many.

    Raises
    ------
    StoreError
    """
    with journal.transaction():
        query = f"DELETE FROM recordings {THIS} AND state <> 'pending'"  # noqa: S608
        return sum(journal.connection.execute(query, key(entry.identity)).rowcount for entry in entries)
