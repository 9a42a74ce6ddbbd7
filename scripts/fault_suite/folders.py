"""The folder of the recordings goes away, comes back, is another, may not be read: the daemon recovers, or says so."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.fault_suite.rig import WITHOUT_CAPABILITIES, Node, Options, Row, as_root, has, record, sound
from sonyc_ml.node.facts import Facts
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.spool.spool import MISSING, POLLED, UNREADABLE, WATCHED

BACK_S = 6.0  # the folder is looked at every 2 s, the daemon turns every 2 s, and a recording must settle
PATIENCE_S = 20.0
N_WAITING = 60  # more than are embedded before the folder has gone
N_AT_ONCE = 5  # they wait more than they work
SOUND = sound()
# A user namespace has limits of its own, so that nobody else runs into this one.
WITHOUT_INOTIFY = ("unshare", "--user", "--map-root-user", "sh", "-c")
NO_INSTANCES = 'echo 0 > /proc/sys/user/max_inotify_instances; exec "$@"'


class Trial:
    """One node, what befalls its folder, and what was seen of it."""

    def __init__(self, node: Node) -> None:
        self.node, self.row = node, Row("")
        self.folder = node.recordings
        self._n_recorded = 0

    def embeds(self, when: str, folder: Path | None = None) -> None:
        """Make a recording; it must be embedded in time."""
        name = self.records(folder)
        self.is_embedded(name, when)

    def records(self, folder: Path | None = None) -> str:
        """Make a recording, and wait for nothing; returns its name."""
        self._n_recorded += 1
        name = f"{self._n_recorded}.wav"
        record(folder or self.folder, [name], SOUND)
        return name

    def is_embedded(self, name: str, when: str) -> None:
        """Wait until a recording is embedded."""
        seconds = self.node.wait_for(lambda: self._is_done(name), f"{name}, made {when}", PATIENCE_S)
        self.row.counts[when] = max(self.row.counts.get(when, 0.0), round(seconds, 1))
        if seconds > BACK_S:
            self.row.too_slow.append(f"{name}, made {when}, was embedded after {seconds:.1f} s, not {BACK_S:g}")

    def says(self, word: str, detail: str = "") -> None:
        """Wait until the daemon says how the folder is."""

        def is_said() -> bool:
            folder = self.node.ask(Journal.facts, Facts()).folder
            return folder is not None and folder.word == word and detail in folder.detail

        self.node.wait_for(is_said, f"the daemon to say that the folder is {word} {detail}", PATIENCE_S)
        said = self.row.counts.get("said", "")
        self.row.counts["said"] = f"{said} → {word}" if said else word

    def leaves_waiting(self) -> None:
        """Make so many recordings that they are found, and not all of them are embedded."""
        for _ in range(N_WAITING):
            self.records()

        def is_found() -> bool:
            counts: dict[str, int] = self.node.ask(Journal.counts, {})
            return sum(counts.values()) == self._n_recorded

        self.node.wait_for(is_found, "everything to be found", PATIENCE_S)
        self.row.counts["waiting"] = self.node.ask(Journal.counts)["pending"]

    def is_all_done(self) -> bool:
        """Whether everything in the folder is embedded, and nothing that is there was given up."""
        done = {entry.identity for entry in self.node.ask(lambda journal: list(journal.entries("done")), [])}
        return set(self.node.identities()) <= done

    def _is_done(self, name: str) -> bool:
        entries = self.node.ask(lambda journal: list(journal.entries("done")), [])
        return any(Path(entry.identity.name).name == name for entry in entries)


@dataclass(frozen=True, slots=True)
class Case:
    """What befalls a folder.

    Attributes
    ----------
    fault : str
    befall : callable
    spool : str
        TOML for the table ``[spool]``.
    prefix : tuple of str
        In front of the daemon.
    is_started : bool
        The daemon runs and has embedded a recording before it happens.
    """

    fault: str
    befall: Callable[[Trial], None]
    spool: str = ""
    prefix: tuple[str, ...] = ()
    is_started: bool = True
    needs_root: bool = False


def run(options: Options) -> list[Row]:
    """Try every case, a few at a time."""
    with ThreadPoolExecutor(N_AT_ONCE) as pool:
        numbered = enumerate(CASES)
        return list(pool.map(lambda pair: _try(options.folder / str(pair[0]), options.bundle, pair[1]), numbered))


def _try(folder: Path, bundle: Path, case: Case) -> Row:
    if (case.needs_root and not as_root()) or (case.prefix and not has(case.prefix[0])):
        return Row(case.fault, skipped="it needs root" if not as_root() else f"there is no {case.prefix[0]} here")
    node = Node(folder, bundle, {"spool": case.spool})
    trial = Trial(node)
    trial.row.fault = case.fault
    try:
        if case.is_started:
            node.start(*case.prefix)
            trial.says(POLLED if "polling" in case.spool or "unshare" in case.prefix else WATCHED)
            trial.embeds("before")
        case.befall(trial)
        node.wait_for(trial.is_all_done, "every recording that lies there to be embedded", PATIENCE_S)
        trial.row.problems += node.problems()
        if status := node.end():
            trial.row.problems.append(f"the daemon ended with {status}")
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        trial.row.problems.append(str(error))
    finally:
        node.kill()
        if os.path.ismount(node.recordings):
            subprocess.run(["umount", node.recordings], check=False)
    return trial.row


# The whole folder


def _deleted(trial: Trial, word: str = WATCHED) -> None:
    shutil.rmtree(trial.folder)
    trial.says(MISSING)
    _is_made_again(trial, word)


def _is_made_again(trial: Trial, word: str = WATCHED) -> None:
    trial.folder.mkdir()
    trial.embeds("after")
    trial.says(word)


def _is_renamed(trial: Trial) -> Path:
    """Rename the folder; returns where it is then."""
    away = trial.folder.rename(trial.folder.with_name("away"))
    trial.says(MISSING)
    return away


def _comes_back(trial: Trial) -> None:
    """Rename the folder, make a recording in it, and rename it back."""
    away = _is_renamed(trial)
    during = trial.records(away)
    away.rename(trial.folder)
    trial.is_embedded(during, "during")


def _deleted_for_an_instant(trial: Trial) -> None:
    """It may get the same number from the disk, so that it looks like the one that was watched."""
    for _ in range(3):
        shutil.rmtree(trial.folder)
        trial.folder.mkdir()
        trial.embeds("after")


def _renamed_and_made_again(trial: Trial) -> None:
    trial.records(_is_renamed(trial))  # nobody's: it lies in another folder
    _is_made_again(trial)


def _renamed_and_back(trial: Trial) -> None:
    _comes_back(trial)
    trial.embeds("after")
    trial.says(WATCHED)


def _renamed_at_work(trial: Trial) -> None:
    """With recordings that are found and not embedded yet: they are not given up."""
    trial.leaves_waiting()
    _is_renamed(trial).rename(trial.folder)
    trial.embeds("after")


def _mounted_over(trial: Trial) -> None:
    """What lies below is found when the other disk is away again."""
    below = trial.folder.with_name("below")
    below.mkdir()
    subprocess.run(["mount", "--bind", trial.folder, below], check=True)
    try:
        trial.leaves_waiting()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", trial.folder], check=True)
        trial.embeds("on the other disk")
        hidden = trial.records(below)
        subprocess.run(["umount", trial.folder], check=True)
        trial.is_embedded(hidden, "below")
        trial.embeds("after")
    finally:
        subprocess.run(["umount", below], check=True)


def _switched(trial: Trial) -> None:
    """The folder is a symbolic link, and points somewhere else on a sudden."""
    first, second = trial.folder.with_name("first"), trial.folder.with_name("second")
    trial.folder.rename(first)
    second.mkdir()
    trial.folder.symlink_to(first)
    trial.node.start()
    trial.embeds("before")
    link = trial.folder.with_name("link")
    link.symlink_to(second)
    link.replace(trial.folder)
    trial.embeds("in the other")
    trial.folder.unlink()
    trial.says(MISSING)
    trial.folder.symlink_to(first)
    trial.embeds("after")
    trial.says(WATCHED)


def _unreadable(trial: Trial) -> None:
    trial.folder.chmod(0)
    trial.says(UNREADABLE)
    during = trial.records()
    trial.folder.chmod(0o755)
    trial.is_embedded(during, "during")
    trial.embeds("after")
    trial.says(WATCHED)


def _later(trial: Trial) -> None:
    trial.folder.rmdir()
    trial.node.start()
    trial.says(MISSING)
    _is_made_again(trial)


# Sub-folders


def _sub_folder(trial: Trial) -> None:
    day = trial.folder / "20261121"
    for when in ("in a new one", "made again", "made once more"):
        trial.embeds(when, day)
        trial.embeds(f"{when}, the second", day)
        shutil.rmtree(day)
    trial.embeds("after")


def _moved_in(trial: Trial) -> None:
    day = trial.folder.with_name("20261121")
    names = [trial.records(day) for _ in range(3)] + [trial.records(day / "night")]
    day.rename(trial.folder / "20261121")
    for name in names:
        trial.is_embedded(name, "moved in")
    trial.embeds("into it", trial.folder / "20261121" / "night")
    trial.embeds("after")


def _unreadable_sub_folder(trial: Trial) -> None:
    day = trial.folder / "20261121"
    trial.embeds("into it", day)
    day.chmod(0)
    during = trial.records(day)
    trial.node.wait_for(lambda: "it cannot be looked into" in trial.node.log(), "the log to say so", PATIENCE_S)
    trial.embeds("beside it")
    day.chmod(0o755)
    trial.is_embedded(during, "during")
    trial.embeds("after", day)


# How it is looked at


def _no_inotify(trial: Trial) -> None:
    trial.says(POLLED, "the limit of inotify instances is reached; raise")
    _deleted(trial, POLLED)


def _polled(trial: Trial) -> None:
    _comes_back(trial)
    trial.embeds("after", trial.folder / "sub")
    with suppress(OSError):
        (trial.folder / "sub").rmdir()
    trial.says(POLLED)


CASES = (
    Case("deleted, and made again", _deleted),
    Case("deleted, and made again at once", _deleted_for_an_instant),
    Case("renamed, and made again", _renamed_and_made_again),
    Case("renamed, and back", _renamed_and_back),
    Case("renamed, and back, with recordings waiting", _renamed_at_work),
    Case("another disk mounted over it, and away, with recordings waiting", _mounted_over, needs_root=True),
    Case("a symbolic link that is switched", _switched, is_started=False),
    Case("unreadable for a while", _unreadable, prefix=WITHOUT_CAPABILITIES),
    Case("not there at the start", _later, is_started=False),
    Case("sub-folder deleted, and made again", _sub_folder),
    Case("sub-folder moved in, with recordings", _moved_in),
    Case("sub-folder unreadable for a while", _unreadable_sub_folder, "rescan_s = 1.0", WITHOUT_CAPABILITIES),
    Case("limit of inotify reached", _no_inotify, "poll_s = 1.0", (*WITHOUT_INOTIFY, NO_INSTANCES, "sh")),
    Case("renamed, and back, by polling", _polled, 'discovery = "polling"\npoll_s = 1.0'),
)
