"""Where a recording is, and why."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from sonyc_ml.base.human import count, iso, shell_word, span
from sonyc_ml.base.lock import holder
from sonyc_ml.node.facts import Facts
from sonyc_ml.node.journal.journal import Entry, Journal
from sonyc_ml.node.operate.listing import plain
from sonyc_ml.node.operate.status import recording_at_work
from sonyc_ml.node.operate.whereabouts import find_entries, find_outputs, state_of_file, why_unknown

Answer: TypeAlias = dict[str, Any]

FATES = {
    "moved": "was moved by retention",
    "deleted": "was deleted by retention",
    "gone": "is gone, removed by somebody else",
    "overwritten": "was overwritten by another recording",
    "live": "never was: it came as a stream, and was in memory alone",
}


def explain(journal: Journal, file: Path, now_s: float | None = None) -> Answer:
    """Where a recording is, and why.

    Parameters
    ----------
    journal : Journal
    file : Path
        See :func:`sonyc_ml.node.operate.whereabouts.find_entries`.
    now_s : float, optional
        In seconds since 1970; the clock's where not given.

    Returns
    -------
    dict
        ``known``; ``recordings``: each that had the name, the newest first, with its ``sentences``; ``why``: sentences
        where it is not known.
    """
    now_s = time.time() if now_s is None else now_s
    facts, pid = journal.facts(), holder(journal.path.parent)
    name, entries = find_entries(journal, facts.daemon, file)
    return {
        "file": str(file),
        "name": name,
        "known": bool(entries),
        "recordings": [_recording(journal, entry, facts, pid, now_s) for entry in entries],
        "why": [] if entries else why_unknown(name, facts, pid, now_s),
    }


def explain_entry(journal: Journal, entry: Entry, now_s: float | None = None) -> Answer:
    """One of the ``recordings`` of :func:`explain`, by its row of the journal."""
    facts, pid = journal.facts(), holder(journal.path.parent)
    return _recording(journal, entry, facts, pid, time.time() if now_s is None else now_s)


def _recording(journal: Journal, entry: Entry, facts: Facts, pid: int | None, now_s: float) -> Answer:
    daemon = facts.daemon
    outputs = find_outputs(daemon, entry.identity) if entry.state == "done" else []
    file = state_of_file(Path(daemon.folder), entry.identity) if daemon and daemon.folder else None
    sentences = {
        "pending": lambda: _pending(journal, entry, facts, pid, now_s),
        "done": lambda: _done(entry, outputs),
        "quarantined": lambda: _given_up(journal, entry, facts, file),
        "shed": lambda: _given_up(journal, entry, facts, file),
    }[entry.state]()
    if entry.fate:
        sentences.append(f"the recording's file {FATES.get(entry.fate, entry.fate)}")
    elif file == "gone":
        sentences.append("the recording's file is not there any more")
    elif file == "another":
        sentences.append("the file has changed since, and is another recording now")
    return {**plain(entry), "file": file, "outputs": [str(path) for _, path in outputs if path], "sentences": sentences}


def _pending(journal: Journal, entry: Entry, facts: Facts, pid: int | None, now_s: float) -> list[str]:
    daemon = facts.daemon
    sentences = [f"pending: found {iso(entry.found_s)}, {span(max(0.0, now_s - entry.found_s))} ago"]
    if entry.n_failures or entry.detail:
        tries = count(entry.n_failures, "attempt") + " ended in trouble that may pass"
        sentences.append(f"{tries}: {entry.reason}: {entry.detail}")
    at_work = recording_at_work(journal, daemon) if daemon and facts.is_of(pid) else None
    if at_work and at_work["name"] == entry.identity.name and entry.n_attempts:
        return [*sentences, f"it is being embedded, since {at_work['since']}"]
    if entry.n_attempts:
        sentences.append(f"{count(entry.n_attempts, 'attempt')} began and did not end: the process may have died of it")
    if pid is None:
        sentences.append("the daemon is not running; it goes on when it is started")
    elif facts.trouble:
        sentences.append(f"everything waits: {facts.trouble.detail}")
    if entry.due_s > now_s:
        sentences.append(f"the next attempt is not before {iso(entry.due_s)}, in {span(entry.due_s - now_s)}")
    else:
        n_before = journal.n_before(entry, newest_first=daemon is not None and daemon.overload == "newest-first")
        comes = "comes" if n_before == 1 else "come"
        sentences.append(f"{count(n_before)} {comes} before it" if n_before else "it is the next")
    return sentences


def _done(entry: Entry, outputs: list[tuple[Path, Path | None]]) -> list[str]:
    sentences = [f"done {iso(entry.changed_s)}"]
    for folder, path in outputs:
        sentences.append(f"its output is {path}" if path else f"its output in {folder} is not there any more")
    if entry.duration_s is not None:
        start = f"begins {iso(entry.start_s)} and " if entry.start_s is not None else ""
        hop = f"; it was embedded every {entry.hop_size_s:g} s" if entry.hop_size_s else ""
        sentences.append(f"the recording {start}is {span(entry.duration_s)} long{hop}")
    if entry.salvaged:
        sentences.append("it was never finished; the output holds what there was (salvaged)")
    return sentences


def _given_up(journal: Journal, entry: Entry, facts: Facts, file: str | None) -> list[str]:
    sentences = [f"{entry.state} {iso(entry.changed_s)}: {entry.reason}: {entry.detail}"]
    order = order_for(journal, entry, facts, file)
    return [*sentences, f"{order.does}: {order.command}"] if order else sentences


class Order(NamedTuple):
    """A command that clears what was given up, and what it does, in words."""

    does: str
    command: str


def order_for(journal: Journal, entry: Entry, facts: Facts, file: str | None) -> Order | None:
    """How a recording that was given up is tried again, or counted no more; None where nobody knows its file.

    Parameters
    ----------
    journal : Journal
    entry : Entry
    facts : Facts
        Say which folder the file is in.
    file : str or None
        See :func:`sonyc_ml.node.operate.whereabouts.state_of_file`; None where there is no folder.
    """
    path = Path(facts.daemon.folder if facts.daemon and facts.daemon.folder else "", entry.identity.name)
    where = f"{shell_word(str(path))} --state {shell_word(str(journal.path.parent.absolute()))}"  # from any folder
    if file == "there":
        return Order("to try it again", f"sonyc-ml retry {where}")
    return None if file is None else Order("to count it no more", f"sonyc-ml forget {where}")
