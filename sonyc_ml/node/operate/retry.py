"""Which recordings can be tried again, and why others cannot."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import StoreError
from sonyc_ml.node.facts import DaemonFacts, Facts
from sonyc_ml.node.journal.journal import Entry, Journal
from sonyc_ml.node.operate.whereabouts import find_entries, find_outputs, state_of_file

WHERE_GONE = {  # by the fate of a file
    **{fate: f"its file was {fate} by retention" for fate in ("moved", "deleted")},
    "live": "it came as a stream, and its sound was in memory alone",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be tried again.

    Attributes
    ----------
    entries : tuple of Entry
    refused : tuple of (str, str)
        Names, and why not.
    """

    entries: tuple[Entry, ...]
    refused: tuple[tuple[str, str], ...]


def choose_files(journal: Journal, files: Iterable[Path]) -> Choice:
    """The recordings that files are now, where they can be tried again."""
    facts = journal.facts()
    daemon = _daemon(facts)
    entries, refused = [], []
    for file in files:
        name, known = find_entries(journal, daemon, file)
        entry, why = _this(known, daemon)
        why = why or _why_not(entry, daemon)
        if why:
            refused.append((str(file) if name is None else name, why))
        elif entry is not None and entry not in entries:
            entries.append(entry)
    return Choice(tuple(entries), tuple(refused))


def choose_all(journal: Journal, states: Sequence[str], reason: str | None = None) -> Choice:
    """Everything in some states, for one reason or any, whose file is there."""
    daemon = _daemon(journal.facts())
    entries, refused = [], []
    for state in states:
        for entry in journal.entries(state):
            if reason is not None and entry.reason != reason:
                continue
            why = _why_not(entry, daemon)
            if why:
                refused.append((entry.identity.name, why))
            else:
                entries.append(entry)
    return Choice(tuple(entries), tuple(refused))


def _daemon(facts: Facts) -> DaemonFacts:
    daemon = facts.daemon
    if daemon is None:
        raise StoreError("no daemon has run here yet, so there is nothing to try again")
    if not daemon.folder:
        raise StoreError("the daemon does not look for recordings in a folder, so there is nothing to try again")
    if not os.path.isdir(daemon.folder):  # noqa: PTH112  Path.is_dir raises where it may not look
        raise StoreError(f"the folder {daemon.folder} is not there, so nothing in it can be tried again")
    return daemon


def _this(known: list[Entry], daemon: DaemonFacts) -> tuple[Entry | None, str]:
    """Of the recordings that had a name, the one that the file is now."""
    if not known:
        return None, "the journal does not know it; ask sonyc-ml explain"
    states = {entry: state_of_file(Path(daemon.folder), entry.identity) for entry in known}
    there = [entry for entry in known if states[entry] == "there"]
    return (there or known)[0], ""


def _why_not(entry: Entry | None, daemon: DaemonFacts) -> str:
    """Why a recording cannot be tried again."""
    if entry is None:
        return "the journal does not know it"
    file = state_of_file(Path(daemon.folder), entry.identity)
    if file == "gone":
        return WHERE_GONE.get(entry.fate, "its file is not there any more")
    if file == "another":
        return "its file has changed since, and is another recording now"
    if entry.state == "done":
        paths = [path for _, path in find_outputs(daemon, entry.identity)]
        if paths and all(paths):
            return f"it is done; to embed it again, remove its output {' and '.join(map(str, paths))} first"
    if entry.state == "pending" and entry.due_s <= time.time():
        return "it is pending already, and due"
    return ""
