"""What the daemon does, and how it goes: one plain dictionary, from the journal alone."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from sonyc_ml.base.human import iso, seconds_of, size, span
from sonyc_ml.base.lock import holder
from sonyc_ml.base.process import is_clock_synchronised
from sonyc_ml.bundles.location import PULLED
from sonyc_ml.node.facts import OK, SILENT, BundleFacts, DaemonFacts, Facts, FolderFacts
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.operate.sources import status_of_sources
from sonyc_ml.sound.node import read_record

Answer: TypeAlias = dict[str, Any]

MAX_LAG_S = 600.0  # what waits longer wants attention
MIN_FREE = 0.02  # share of a disk
THEIR_WRITERS = ("unfinished", "growing")  # reasons to wait that are not the daemon's


def status(journal: Journal, now_s: float | None = None) -> Answer:
    """What the daemon does, and how it goes.

    Parameters
    ----------
    journal : Journal
    now_s : float, optional
        In seconds since 1970; the clock's where not given.

    Returns
    -------
    dict
        Times in ISO 8601, durations in seconds, sizes in bytes. ``word`` says what it does in one of: ``embedding``,
        ``waiting``, ``starting``, ``stopped``, ``died``, ``trouble``, ``missing``, ``unreadable``, ``quiet``.
        ``attention`` lists in sentences what is not well. The backlog's ``lag_s`` is the age of its oldest, ``late_s``
        that of the oldest which does not wait for its own writer.
    """
    now_s = time.time() if now_s is None else now_s
    facts, pid = journal.facts(), holder(journal.path.parent)
    daemon = facts.daemon or DaemonFacts()
    is_up = facts.is_of(pid)  # until it has loaded its bundles, the facts are those of the daemon before it
    answer: Answer = {
        "running": pid is not None,
        "pid": pid,
        "since": daemon.since if is_up else None,
        "version": daemon.version or None,
        "node": dict(read_record(daemon.node)) or None,
        "recording": recording_at_work(journal, daemon) if is_up else None,
        "stopped": facts.stopped or None,
        **_of_facts(daemon, facts if is_up else Facts()),
        "sources": status_of_sources(journal, daemon.sources if is_up else ()),
        "backlog": _backlog(journal, now_s),
        "counts": _counts(journal),
        "last_output": _last_output(journal, now_s),
        "bundles": [_bundle(bundle) for bundle in daemon.bundles],
        "reload": _plain(facts.reload),
        "rollouts": _rollouts(journal.path.parent, now_s),
        "upload": _upload(daemon, now_s),
        "disk": {"output": _disk(daemon.output), "spool": _disk(daemon.folder)},
        "journal": {"path": str(journal.path.absolute()), "bytes": _journal_bytes(journal.path)},
        "clock_synchronised": is_clock_synchronised(),
    }
    answer["word"], answer["text"] = _doing(answer, facts.daemon, now_s, is_up=is_up)
    answer["attention"] = _attention(answer, is_up=is_up, since=daemon.since)
    return answer


def _of_facts(daemon: DaemonFacts, live: Facts) -> Answer:
    """What the daemon that runs says of its folder, its recordings and its disk."""
    return {
        "folder": _folder(daemon, live.folder),
        "input": _plain(live.input),
        "sound": _plain(live.sound),
        "left_out": live.left_out,
        "start_times": live.start_times,
        "trouble": _plain(live.trouble),
    }


def recording_at_work(journal: Journal, daemon: DaemonFacts) -> Answer | None:
    """The recording that is embedded now; not one that killed a process before, nor one that waits after a failure."""
    began = seconds_of(daemon.since)
    begun = [entry for entry in journal.begun() if entry.due_s <= entry.changed_s >= began]
    if not begun:
        return None
    entry = max(begun, key=lambda entry: entry.changed_s)
    return {"name": entry.identity.name, "since": iso(entry.changed_s)}


def _doing(answer: Answer, daemon: DaemonFacts | None, now_s: float, *, is_up: bool) -> tuple[str, str]:
    """What it does, in a word and a sentence."""
    if not answer["running"]:
        return _not_running(answer["stopped"], daemon)
    if not is_up:
        return "starting", "starting: the bundles are being loaded"
    return _running(answer, now_s)


def _running(answer: Answer, now_s: float) -> tuple[str, str]:
    folder, fed = answer["folder"], answer["input"] or {}
    if answer["trouble"]:
        return "trouble", f"in trouble since {answer['trouble']['since']}: {answer['trouble']['detail']}"
    if answer["recording"]:
        since_s = now_s - seconds_of(answer["recording"]["since"])
        return "embedding", f"embedding {answer['recording']['name']}, for {span(max(0.0, since_s))}"
    if folder["word"] in ("missing", "unreadable"):
        return folder["word"], f"waiting for the folder {folder['path']} since {folder['since']}: {folder['detail']}"
    if fed.get("word") == "quiet":
        silent_s = now_s - seconds_of(fed["since"])
        return "quiet", f"no recording for {span(silent_s)}, since {fed['since']}; is the recorder running?"
    return "waiting", "waiting for recordings"


def _not_running(stopped: str | None, daemon: DaemonFacts | None) -> tuple[str, str]:
    if daemon is None:
        return "stopped", "not running; no daemon has run here yet"
    if stopped and stopped >= daemon.since:
        return "stopped", f"not running; stopped {stopped}"
    return "died", f"not running; the one started {daemon.since} was killed, or the machine went down"


def _attention(answer: Answer, *, is_up: bool, since: str) -> list[str]:
    words: list[str] = []
    folder, reload, lag_s = answer["folder"], answer["reload"], answer["backlog"]["late_s"]
    if answer["word"] in ("stopped", "died", "trouble", "missing", "unreadable", "quiet"):
        words.append(answer["text"])
    elif folder["word"] in ("missing", "unreadable"):  # while it embeds what it has
        words.append(f"{folder['path']}: {folder['detail']}")
    if answer["word"] != "quiet" and (answer["input"] or {}).get("word") == "quiet" and not words:
        words.append(f"no recording since {answer['input']['since']}; is the recorder running?")
    if (answer["sound"] or {}).get("word") == SILENT:
        n, since_text = answer["sound"]["recordings"], answer["sound"]["since"]
        words.append(f"no sound in the last {n} recordings, since {since_text}; is the microphone connected?")
    if answer["left_out"]:
        words.append(
            f"sound files in {folder['path']} that are no recordings by spool.extensions: {answer['left_out']}"
        )
    words += [f"{one['source']}: {one['text']}" for one in answer["sources"] if one["expected"] and one["word"] != OK]
    words += [one["trouble"] for one in answer["rollouts"] if one["trouble"]]
    if lag_s > MAX_LAG_S:
        words.append(f"the oldest of the backlog has waited for {span(lag_s)}")
    if is_up and reload and not reload["ok"] and reload["at"] >= since:
        words.append(f"the last reload failed, the old bundle runs on: {reload['detail']}")
    if answer["upload"]:
        words += answer["upload"]["attention"]
    for name, disk in answer["disk"].items():
        if disk and disk["free_share"] is not None and disk["free_share"] < MIN_FREE:
            words.append(f"the disk of {disk['folder']} ({name}) is nearly full: {size(disk['free_bytes'])} are free")
    return words


def _counts(journal: Journal) -> Answer:
    """How many recordings are in each state, and why."""
    return {
        state: {"recordings": sum(found.values()), "reasons": {word: n for word, n in found.items() if word}}
        for state, found in journal.reasons().items()
    }


def _backlog(journal: Journal, now_s: float) -> Answer:
    """What is pending; late is only what does not wait for its writer."""
    rows = journal.backlog()
    oldest_s = min((found_s for *_, found_s, _ in rows), default=None)
    late_s = min((found_s for _, reason, _, found_s, _ in rows if reason not in THEIR_WRITERS), default=now_s)
    return {
        "recordings": sum(n for _, _, n, _, _ in rows),
        "oldest": None if oldest_s is None else iso(oldest_s),
        "lag_s": 0.0 if oldest_s is None else max(0.0, now_s - oldest_s),
        "late_s": max(0.0, now_s - late_s),
        "waiting": [
            {"reason": reason, "recordings": n, "next": iso(due_s)}
            for is_due, reason, n, _, due_s in rows
            if not is_due
        ],
    }


def _last_output(journal: Journal, now_s: float) -> Answer | None:
    entry = journal.last("done")
    if entry is None:
        return None
    return {"recording": entry.identity.name, "at": iso(entry.changed_s), "age_s": max(0.0, now_s - entry.changed_s)}


def _plain(facts: Any) -> Answer | None:
    return None if facts is None else dataclasses.asdict(facts)


def _upload(daemon: DaemonFacts, now_s: float) -> Answer | None:
    """How uploading is; None where nothing is uploaded."""
    if not daemon.upload:
        return None
    from sonyc_ml.node.upload.status import upload_status  # noqa: PLC0415  most nodes do not upload

    return upload_status(Path(daemon.upload), now_s)


def _folder(daemon: DaemonFacts, folder: FolderFacts | None) -> Answer:
    """The spool folder, and how it is where that is known."""
    state = _plain(folder) or {"word": None, "detail": "", "since": None}
    return {"path": daemon.folder or None, **state}


def _bundle(bundle: BundleFacts) -> Answer:
    slow = "" if bundle.xnnpack_operators or not bundle.sha256 else "XNNPACK took none of the network: it runs slowly"
    return {**dataclasses.asdict(bundle), "warning": slow}


def _rollouts(state_folder: Path, now_s: float) -> list[Answer]:
    """How it stands with each bundle that comes from a store."""
    if not (state_folder / PULLED).is_dir():
        return []
    from sonyc_ml.node.rollout.facts import read_facts  # noqa: PLC0415  most bundles stay as they are

    return [{**dataclasses.asdict(one), "trouble": one.trouble(now_s)} for one in read_facts(state_folder)]


def _disk(folder: str) -> Answer | None:
    if not folder:
        return None
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        problem = "it is not there" if isinstance(error, FileNotFoundError) else (error.strerror or str(error))
        return {"folder": folder, "free_bytes": None, "total_bytes": None, "free_share": None, "problem": problem}
    share = usage.free / usage.total if usage.total else None
    return {
        "folder": folder,
        "free_bytes": usage.free,
        "total_bytes": usage.total,
        "free_share": share,
        "problem": "",
    }


def _journal_bytes(path: Path) -> int:
    n_bytes = 0
    for suffix in ("", "-wal", "-shm"):
        with suppress(OSError):
            n_bytes += os.stat(f"{path}{suffix}").st_size  # noqa: PTH116
    return n_bytes
