"""Where a recording is: its name in the journal, its file, its outputs, and why nobody knows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sonyc_ml.base.identity import Identity, state_of
from sonyc_ml.node.facts import DaemonFacts, Facts
from sonyc_ml.node.journal.journal import Entry, Journal
from sonyc_ml.node.spool.leases import is_being_written

JUST_S = 10.0  # what has changed so lately may not have been looked at yet


def find_entries(journal: Journal, daemon: DaemonFacts | None, file: Path) -> tuple[str | None, list[Entry]]:
    """What the journal knows of a file.

    Parameters
    ----------
    journal : Journal
    daemon : DaemonFacts or None
        Says which folder recordings are looked for in.
    file : Path
        Absolute, relative to the current folder, or relative to the spool folder; need not be there.

    Returns
    -------
    name : str or None
        Its name in the journal; None where it lies elsewhere.
    entries : list of Entry
        The newest first.
    """
    folder = daemon.folder if daemon else ""
    names = list(dict.fromkeys(_names(folder, file)))
    for name in names:
        entries = journal.find(name)
        if entries:
            return name, entries
    there = (name for name in names if folder and os.path.lexists(Path(folder, name)))
    return next(there, names[0] if names else None), []


def _names(folder: str, file: Path) -> Iterator[str]:
    if folder:
        absolute = os.path.abspath(file)  # noqa: PTH100  without the symbolic links that resolve() follows
        real = os.path.join(os.path.realpath(Path(absolute).parent), Path(absolute).name)
        for path, root in ((absolute, folder), (real, os.path.realpath(folder))):
            if path.startswith(root.rstrip("/") + "/"):
                yield path[len(root.rstrip("/")) + 1 :]
    if not file.is_absolute():
        name = os.path.normpath(file)
        if name != "." and not name.startswith("../") and name != "..":
            yield name


def state_of_file(folder: Path, identity: Identity) -> str:
    """Whether the file of a recording is ``there``, ``gone``, or ``another`` recording by now."""
    try:
        status = (folder / identity.name).stat()
    except OSError:
        return "gone"
    return "there" if state_of(status) == identity[1:] else "another"


def find_outputs(daemon: DaemonFacts | None, identity: Identity) -> list[tuple[Path, Path | None]]:
    """For each bundle its output folder, and the recording's output there, if it is published."""
    from sonyc_ml.outputs.files import find_output  # noqa: PLC0415  imports numpy

    if daemon is None:
        return []
    folders = [Path(bundle.output) for bundle in daemon.bundles]
    return [(folder, find_output(identity, folder, daemon.format)) for folder in folders]


def why_unknown(name: str | None, facts: Facts, pid: int | None, now_s: float) -> list[str]:
    """Why the journal does not know a file, in sentences, the likeliest first."""
    daemon = facts.daemon
    if daemon is None:
        return ["no daemon has run here yet"]
    if not daemon.folder:
        return ["the daemon does not look for recordings in a folder"]
    folder = Path(daemon.folder)
    if name is None:
        return [f"it is not in {folder}, where the daemon looks for recordings"]
    path = folder / name
    never = _why_never(name, path, daemon)
    if never:
        return [never]
    if not os.path.isdir(folder):  # noqa: PTH112
        return [f"the folder {folder} is not there, or may not be looked into"]
    return _why_not_yet(path, facts, pid, now_s)


def _why_never(name: str, path: Path, daemon: DaemonFacts) -> str:
    extensions = daemon.extensions
    if any(part.startswith(".") for part in name.split("/")):
        return "it is hidden: names that begin with a dot are left alone"
    if os.path.isdir(path):  # noqa: PTH112  it says False where Path.is_dir would raise
        return "it is a folder, not a recording"
    if not name.lower().endswith(extensions):
        return f"its name does not end with {' or '.join(extensions)} (spool.extensions)"
    if "/" in name and not daemon.recursive:
        return "it is in a sub-folder, and those are left alone (spool.recursive)"
    root = Path(daemon.folder)
    if any((root / parent).is_symlink() for parent in Path(name).parents if parent.name):
        return "it is behind a symbolic link, and those are not followed to folders"
    return ""


def _why_not_yet(path: Path, facts: Facts, pid: int | None, now_s: float) -> list[str]:
    try:
        changed_s = path.stat().st_mtime
    except FileNotFoundError:
        return [f"there is no {path}, and there was none before"]
    except OSError as error:
        return [f"{path} cannot be looked at: {error.strerror}"]
    why = []
    if pid is None:
        why.append("the daemon is not running; it will find it when it starts")
    elif facts.trouble:
        why.append(f"the daemon is in trouble: {facts.trouble.detail}")
    if is_being_written(path):
        why.append("somebody has it open for writing; it is found when it is closed")
    elif now_s - changed_s < JUST_S:
        why.append("it has just been written; it is found when it has not changed for a moment")
    return why or ["it has not been found yet; the next scan of the folder finds it (spool.rescan_s)"]
