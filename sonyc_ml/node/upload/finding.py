"""What is to leave the node: outputs, and if asked clips, found by looking into their folders."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sonyc_ml.base.human import date_of, seconds_of
from sonyc_ml.node.config import Config
from sonyc_ml.node.upload.ledger import Ledger
from sonyc_ml.node.upload.ledger_file import FoundFile

CLIP_SUFFIXES = (".wav", ".flac", ".json", ".csv", ".txt")
N_AT_ONCE = 500  # files a transaction
RESTED_S = 5.0  # two changes of a folder may have the same time
OUTPUT, CLIP, REPORT = "output", "clip", "report"
HOURLY, DAILY = "%Y-%m-%dT%H", "%Y-%m-%d"


class Place(NamedTuple):
    """Where files of a kind lie, and the ends that their names have."""

    kind: str
    folder: Path
    suffixes: tuple[str, ...]


def places_of(config: Config, reports: Path) -> tuple[Place, ...]:
    """Where the files of a node lie that are to leave it; reports are written by this process itself."""
    places = [Place(OUTPUT, config.output.folder, (f".{config.output.format}",))]
    clips = config.listen.clips.folder if config.listen is not None else None
    if clips is not None and "clips" in config.upload.also:
        places.append(Place(CLIP, clips, CLIP_SUFFIXES))
    return *places, Place(REPORT, reports, (".json",))


class Finder:
    """Finds files that the ledger does not know; for one thread.

    A folder that has not changed since it was looked at is not looked at again: outputs come into it by being renamed,
    which changes it.

    Parameters
    ----------
    places : sequence of Place
    pack : {"day", "hour", "none"}
    is_stopped : callable
        Whether to end before the next file.
    """

    def __init__(self, places: tuple[Place, ...], pack: str, is_stopped: Callable[[], bool] = lambda: False) -> None:
        self._places, self._pack, self._is_stopped = places, pack, is_stopped
        self._seen: dict[str, int] = {}
        self._folders: dict[str, tuple[int, list[str]]] = {}

    def find(self, ledger: Ledger) -> int:
        """Take up what is new; returns how many files.

        Raises
        ------
        StoreError
        """
        batch: list[FoundFile] = []
        n_found = 0
        for place in self._places:
            for file in self._new_files(place, ledger):
                batch.append(file)
                n_found += 1
                if len(batch) == N_AT_ONCE:
                    ledger.add(batch)
                    batch = []
        ledger.add(batch)
        return n_found

    def _new_files(self, place: Place, ledger: Ledger) -> Iterator[FoundFile]:
        for folder, seen in walk(place.folder, self._folders):
            if self._seen.get(folder) == seen or self._is_stopped():
                continue
            for file, path in files_in(place, folder):
                if self._is_stopped():
                    return
                if not ledger.knows(file):
                    yield self._described(file, path)
            if abs(time.time_ns() - seen) > RESTED_S * 1e9:
                self._seen[folder] = seen

    def _described(self, file: FoundFile, path: str) -> FoundFile:
        """With the time at which its recording begins, and the period that it is packed with."""
        start_s = start_of(path) if file.kind == OUTPUT else None
        if start_s is None:
            start_s = file.mtime_ns * 1e-9
        return file._replace(start_s=start_s, period=period_of(start_s, self._pack) if file.kind == OUTPUT else "")


def walk(folder: Path, known: dict[str, tuple[int, list[str]]]) -> Iterator[tuple[str, int]]:
    """Yield a folder and those below it, each with the time of its last change; not those that begin with a dot.

    Parameters
    ----------
    folder : Path
    known : dict
        Of each folder, when it had changed last and which folders were in it; filled here.
    """
    waiting = [os.fspath(folder)]
    while waiting:
        path = waiting.pop()
        try:
            changed = os.stat(path).st_mtime_ns  # noqa: PTH116
            if known.get(path, (None, []))[0] != changed:
                with os.scandir(path) as entries:
                    below = [one.path for one in entries if one.name[0] != "." and one.is_dir(follow_symlinks=False)]
                known[path] = changed, below
        except OSError:  # it is gone, or cannot be read for now
            continue
        waiting += known[path][1]
        yield path, changed


def files_in(place: Place, folder: str) -> Iterator[tuple[FoundFile, str]]:
    """Yield the files of a kind in a folder itself, each with its path; nothing that is being written."""
    head = len(os.fspath(place.folder).rstrip("/")) + 1
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not entry.name.endswith(place.suffixes):
                    continue
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield FoundFile(place.kind, entry.path[head:], status.st_size, status.st_mtime_ns), entry.path
    except OSError:
        return


def start_of(path: str) -> float | None:
    """When the recording of an output begins (in seconds since 1970); None where that is not known."""
    from sonyc_ml.outputs.files import read_provenance  # noqa: PLC0415  imports numpy

    provenance = read_provenance(Path(path))
    return seconds_of(provenance.start_time) if provenance and provenance.start_time else None


def period_of(start_s: float, pack: str) -> str:
    """The day or hour, in UTC, that an output is packed with; empty where it is not packed."""
    if pack == "none":
        return ""
    return date_of(start_s).strftime(HOURLY if pack == "hour" else DAILY)


def period_end_s(period: str) -> float:
    """When a period is over (in seconds since 1970)."""
    is_hour = "T" in period
    return seconds_of(f"{period}:00" if is_hour else period) + (3600 if is_hour else 86400)
