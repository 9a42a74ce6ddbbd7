"""Metrics of the daemon: counted since its start, from the journal, from its facts and from the machine."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from sonyc_ml import __version__
from sonyc_ml.base.process import is_clock_synchronised
from sonyc_ml.errors import StoreError
from sonyc_ml.node.events import NodeEvent, OutputPublished, RecordingEnded, RecordingPostponed
from sonyc_ml.node.facts import Facts
from sonyc_ml.node.journal.file import store_errors
from sonyc_ml.node.journal.journal import STATES, Journal
from sonyc_ml.node.journal.live import source_ends
from sonyc_ml.node.spool.spool import POLLED, WATCHED
from sonyc_ml.node.telemetry.exposition import Family, Histogram, Value

T = TypeVar("T")

STAGES = ("embed", "store")
STAGE_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LAG_BOUNDS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400)
# There from the start on, as 0: the first of a kind would not be seen to rise else.
ENDS = (
    ("done", ("",)),
    (
        "quarantined",
        ("unreadable", "empty", "unfinished", "refused", "bundle", "output name", "failed", "killed the process"),
    ),
    ("shed", ("too old", "too many", "vanished", "overwritten")),
)
DELAYS = ("growing", "unfinished", "unavailable", "not stored", "failed")
COST_SHARE = 0.01  # of the time, for what grows with the journal
PROCESS = Path("/proc/self")
# One pass over every row, without the sorting of a GROUP BY.
TOTALS = f"""
SELECT {", ".join(f"sum(state = '{state}')" for state in STATES)},
    max(CASE state WHEN 'done' THEN changed_s END), max(found_s) FROM recordings
"""  # noqa: S608  of constants


class EventCounts:
    """Events, counted since the start.

    Parameters
    ----------
    bundles : iterable of str
        Names of those that run.
    clock : callable
        Returns seconds since 1970.
    """

    def __init__(self, bundles: Iterable[str] = (), clock: Callable[[], float] = time.time) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._ended = Counter({(state, reason): 0 for state, reasons in ENDS for reason in reasons})
        self._postponed = Counter(dict.fromkeys(DELAYS, 0))
        self._windows = Counter(dict.fromkeys(bundles, 0))
        self._bytes = self._windows.copy()
        self._stages = {(name, stage): Histogram(STAGE_BOUNDS_S) for name in self._windows for stage in STAGES}
        self._lags = Histogram(LAG_BOUNDS_S)
        self._hops: dict[str, float] = {}
        self._levels: list[tuple[dict[str, str], float]] = []  # of the last output
        self._embedded_s, self._salvaged = 0.0, 0
        self.last_output_s: float | None = None
        self.last_found_s: float | None = None

    def on_event(self, event: NodeEvent) -> None:
        """Count an event."""
        with self._lock:
            if isinstance(event, OutputPublished):
                self._count_output(event)
            elif isinstance(event, RecordingEnded):
                self._count_end(event)
            elif isinstance(event, RecordingPostponed):
                self._postponed[event.reason] += 1

    def _count_output(self, event: OutputPublished) -> None:
        self._windows[event.bundle] += event.n_windows
        self._bytes[event.bundle] += event.n_bytes
        self._hops[event.bundle] = event.hop_size_s
        if event.levels is not None:
            reference = event.levels.reference
            totals = event.levels.totals().items()
            self._levels = [({"quantity": name, "reference": reference}, value) for name, value in totals]
        for stage, seconds in event.stages_s.items():
            self._stages.setdefault((event.bundle, stage), Histogram(STAGE_BOUNDS_S)).observe(seconds)

    def _count_end(self, event: RecordingEnded) -> None:
        self._ended[event.state, event.reason] += 1
        if event.state == "done":
            now = self._clock()
            self.last_output_s, self.last_found_s = now, now - event.lag_s
            self._lags.observe(event.lag_s)
            self._embedded_s += event.duration_s or 0.0
            self._salvaged += event.salvaged

    def families(self) -> list[Family]:
        """All of it, as it is now."""
        with self._lock:  # for as long as it takes to copy
            ended, postponed = self._ended.copy(), self._postponed.copy()
            windows, n_bytes = self._windows.copy(), self._bytes.copy()
            stages = {key: histogram.copy() for key, histogram in self._stages.items()}
            lags, hops = self._lags.copy(), self._hops.copy()
            embedded_s, n_salvaged, levels = self._embedded_s, self._salvaged, list(self._levels)
        ends = [({"state": state, "reason": reason}, n) for (state, reason), n in ended.items()]
        times = [({"bundle": bundle, "stage": stage}, value) for (bundle, stage), value in stages.items()]
        return [
            Family("sonyc_ml_recordings_total", "counter", "Recordings that came to their end since the start.", ends),
            _by("sonyc_ml_postponed_total", "counter", "Attempts that are made again later.", "reason", postponed),
            _one("sonyc_ml_embedded_seconds_total", "counter", "Sound in the recordings done.", embedded_s),
            _one("sonyc_ml_salvaged_total", "counter", "Recordings done that were never finished.", n_salvaged),
            _by("sonyc_ml_windows_total", "counter", "Windows embedded.", "bundle", windows),
            _by("sonyc_ml_output_bytes_total", "counter", "Bytes of the outputs written.", "bundle", n_bytes),
            _by("sonyc_ml_hop_size_seconds", "gauge", "Between two windows of the last output.", "bundle", hops),
            Family("sonyc_ml_stage_duration_seconds", "histogram", "To embed a recording, to store its output.", times),
            Family(
                "sonyc_ml_recording_lag_seconds", "histogram", "From when it was found until it was done.", [({}, lags)]
            ),
            *(
                [Family("sonyc_ml_sound_level_db", "gauge", "Of the last recording, as a whole.", levels)]
                if levels
                else []
            ),
        ]


class Throttled(Generic[T]):
    """Asks again only as often as that takes less than a share of the time.

    Parameters
    ----------
    ask : callable
        What is expensive.
    share : float
        Of the time.
    timer : callable
        Returns seconds that only grow.
    """

    def __init__(
        self, ask: Callable[[], T], share: float = COST_SHARE, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._share, self._timer = ask, share, timer
        self._answers: list[T] = []
        self._next_s = 0.0

    def __call__(self) -> T:
        """The answer, or the one before."""
        begin_s = self._timer()
        if not self._answers or begin_s >= self._next_s:
            self._answers = [self._ask()]
            end_s = self._timer()
            self._next_s = end_s + (end_s - begin_s) / self._share
        return self._answers[0]


class _JournalReader(Journal):
    """The journal, opened to read; what grows with it is asked for sparingly, in one pass over it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, read_only=True)
        self.totals, self.n_pending = Throttled(self._totals), Throttled(self._count_pending)

    def _totals(self) -> tuple[dict[str, int], float | None, float | None]:
        """How many recordings are in each state; when one was done last, and when one was found last."""
        with store_errors(self.path):
            *counts, done_s, found_s = self.connection.execute(TOTALS).fetchone()
        return {state: n or 0 for state, n in zip(STATES, counts, strict=True)}, done_s, found_s

    def _count_pending(self) -> int:
        """From the index of what is pending alone."""
        n_pending: int = self._value("SELECT count(*) FROM recordings WHERE state = 'pending'")
        return n_pending


class Collector:
    """Collects all metrics as they are now; for one thread.

    Parameters
    ----------
    state_folder : Path
        Where the journal lies.
    disks : mapping of str to Path
        Folders whose disks are measured, by what they are for.
    counts : EventCounts
    facts : callable, optional
        Returns the daemon's facts; those in the journal where not given.
    clock : callable
        Returns seconds since 1970.
    """

    def __init__(
        self,
        state_folder: Path,
        disks: Mapping[str, Path],
        counts: EventCounts,
        facts: Callable[[], Facts] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state_folder, self._disks, self._counts = state_folder, disks, counts
        self._facts, self._clock = facts, clock
        self._journal: _JournalReader | None = None
        self._started_s = 0.0

    def families(self) -> list[Family]:
        """All of them, as they are now."""
        facts = Facts()
        try:
            journal = self._opened()
            facts = journal.facts()
            asked = self._of_journal(journal)
        except StoreError:
            self.close()
            asked = []
        if self._facts is not None:
            facts = self._facts()
        is_up = _one("sonyc_ml_journal_up", "gauge", "1 while the journal can be read.", int(bool(asked)))
        return [*self._counts.families(), is_up, *asked, *_of_facts(facts), *self._of_disks(), *self._of_process()]

    def close(self) -> None:
        """Close the journal; it is opened again when it is needed."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _opened(self) -> _JournalReader:
        if self._journal is not None and not self._journal.is_in_place():
            self.close()
        if self._journal is None:
            self._journal = _JournalReader(self._state_folder)
        return self._journal

    def _of_journal(self, journal: _JournalReader) -> list[Family]:
        oldest, newest = journal.oldest_pending(1), journal.oldest_pending(1, offset_from_newest=0)
        lag_s = max(0.0, self._clock() - oldest[0].found_s) if oldest else 0.0
        (counts, done_s, found_s), n_pending = journal.totals(), journal.n_pending()
        # The totals may be of a while ago; what is pending and what was counted is newer.
        found = [newest[0].found_s if newest else None, self._counts.last_found_s, found_s]
        found_s = max((time_s for time_s in found if time_s is not None), default=None)
        output_s = max((time_s for time_s in (self._counts.last_output_s, done_s) if time_s is not None), default=None)
        counts = {**counts, "pending": n_pending}
        heard_s = {name: end.until_s for name, end in source_ends(journal).items()}
        heard = "Up to when sound of a live source is on record."
        return [
            _by("sonyc_ml_source_heard_timestamp_seconds", "gauge", heard, "source", heard_s),
            _by("sonyc_ml_journal_recordings", "gauge", "Recordings in the journal.", "state", counts),
            _one("sonyc_ml_backlog_recordings", "gauge", "Recordings that wait for their turn.", n_pending),
            _one("sonyc_ml_lag_seconds", "gauge", "How long the oldest of the backlog has waited.", lag_s),
            _one("sonyc_ml_last_recording_timestamp_seconds", "gauge", "When a recording was found last.", found_s),
            _one("sonyc_ml_last_output_timestamp_seconds", "gauge", "When a recording was done last.", output_s),
        ]

    def _of_disks(self) -> list[Family]:
        free: dict[str, float] = {}
        total: dict[str, float] = {}
        for name, folder in self._disks.items():
            with suppress(OSError):  # it is not there
                usage = shutil.disk_usage(folder)
                free[name], total[name] = usage.free, usage.total
        return [
            _by("sonyc_ml_disk_free_bytes", "gauge", "Free on the disk of a folder.", "folder", free),
            _by("sonyc_ml_disk_size_bytes", "gauge", "Size of the disk of a folder.", "folder", total),
            _one("sonyc_ml_clock_synchronised", "gauge", "1 if a time server sets the clock.", is_clock_synchronised()),
        ]

    def _of_process(self) -> list[Family]:
        # Not process_…: node-exporter has those itself, and refuses a textfile that names them again.
        head = "sonyc_ml_process"
        return [
            _one(f"{head}_resident_memory_bytes", "gauge", "Memory that the process holds.", _resident_bytes()),
            _one(
                f"{head}_cpu_seconds_total", "counter", "Time of the processor, user and system.", time.process_time()
            ),
            _one(f"{head}_start_time_seconds", "gauge", "When the process began.", self._start_s()),
            _one(f"{head}_write_bytes_total", "counter", "Bytes that went to disks.", _written_bytes()),
        ]

    def _start_s(self) -> float | None:
        """When the process began, the same each time until the clock is set."""
        with suppress(OSError, ValueError, IndexError):
            ticks = int((PROCESS / "stat").read_text().rpartition(")")[2].split()[19])
            age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
            started_s = self._clock() - age_s
            if abs(started_s - self._started_s) > 1:
                self._started_s = round(started_s, 2)
            return self._started_s
        return None


def _of_facts(facts: Facts) -> list[Family]:
    """Metrics of the daemon's facts, unless they are of one that ran before."""
    if facts.daemon is None or not facts.is_of(os.getpid()):
        return []
    bundles = facts.daemon.bundles
    runtimes = ",".join(sorted({bundle.runtime for bundle in bundles}))
    build = {"version": __version__, "python": ".".join(map(str, sys.version_info[:3])), "runtime": runtimes}
    infos = [({"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256}, 1) for bundle in bundles]
    taken = {bundle.name: bundle.xnnpack_operators for bundle in bundles}
    operators = {bundle.name: bundle.operators for bundle in bundles}
    expected = dict.fromkeys(facts.daemon.sources, 1)
    folder_up = {facts.folder_word: int(facts.folder_word in (WATCHED, POLLED))}
    return [
        Family("sonyc_ml_build_info", "gauge", "What runs.", [(build, 1)]),
        Family("sonyc_ml_bundle_info", "gauge", "The bundles that recordings go through.", infos),
        _by("sonyc_ml_operators", "gauge", "Operators of a bundle's network.", "bundle", operators),
        _by("sonyc_ml_xnnpack_operators", "gauge", "Those that XNNPACK has taken.", "bundle", taken),
        _by("sonyc_ml_source_expected", "gauge", "Live sources that always send sound.", "source", expected),
        _by("sonyc_ml_folder_up", "gauge", "1 while recordings can be found.", "state", folder_up),
        _one("sonyc_ml_quiet", "gauge", "1 if no recording has come for spool.quiet_after_s.", int(facts.is_quiet)),
        _one(
            "sonyc_ml_silent",
            "gauge",
            "1 if there is no sound in the last recordings.",
            int(facts.is_silent),
        ),
        _one("sonyc_ml_trouble", "gauge", "1 while nothing can be written.", int(facts.trouble is not None)),
    ]


def _resident_bytes() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        return int((PROCESS / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def _written_bytes() -> int | None:
    with suppress(OSError, ValueError, KeyError):
        lines = (PROCESS / "io").read_text().splitlines()
        return int(dict(line.split(": ") for line in lines)["write_bytes"])
    return None


def _one(name: str, kind: str, text: str, value: Value | None) -> Family:
    """A family of one sample, or of none where it is not known."""
    return Family(name, kind, text, [] if value is None else [({}, value)])


def _by(name: str, kind: str, text: str, label: str, values: Mapping[str, float]) -> Family:
    return Family(name, kind, text, [({label: key}, value) for key, value in values.items()])
