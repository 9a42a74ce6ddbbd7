"""What the daemon counts since its start, kept in the journal for whoever tells metrics.

The daemon counts in memory, which costs microseconds, and writes the counts down now and then: a transaction for each
event would wear the card. Whoever reads them is another process: ``sonyc-ml serve``, ``sonyc-ml metrics``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from sonyc_ml.errors import StoreError
from sonyc_ml.node.events import NodeEvent, OutputPublished, RecordingEnded, RecordingPostponed
from sonyc_ml.node.journal.file import store_errors
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.journal.view import JournalView

KEY = "counts"  # among the facts
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
PROCESS = Path("/proc/self")


class Histogram:
    """How often a value was at most so large.

    Parameters
    ----------
    bounds : sequence of float
        Upper ends of the buckets, rising; one more takes what is beyond.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def to_plain(self) -> dict[str, Any]:
        """As values for JSON."""
        return {"bounds": self.bounds, "counts": self.counts, "sum": self.sum}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """As it was written.

        Raises
        ------
        LookupError, TypeError, ValueError
            It was not.
        """
        made = cls([float(bound) for bound in values["bounds"]])
        counts = [int(count) for count in values["counts"]]
        if len(counts) != len(made.counts):
            raise ValueError("a histogram has one count more than bounds")
        made.counts, made.sum = counts, float(values["sum"])
        return made


class EventCounts:
    """Events, counted since the start; for one thread.

    Parameters
    ----------
    bundles : iterable of str
        Names of those that run.

    Attributes
    ----------
    ended : Counter of (str, str)
        Recordings that came to their end, by state and reason.
    postponed : Counter of str
        Attempts that are made again later, by reason.
    windows, n_bytes : Counter of str
        Windows embedded, and bytes written, by bundle.
    stages : mapping of (str, str) to Histogram
        How long each stage took (in seconds), by bundle and stage.
    lags : Histogram
        From when a recording was found until it was done (in seconds).
    hops_s : mapping of str to float
        Between two windows of the last output, by bundle (in seconds).
    levels : list of (str, str, float)
        Quantity, reference and value of the sound levels of the last output (in dB).
    embedded_s : float
        Sound in the recordings that are done (in seconds).
    n_salvaged : int
    process : mapping of str to float or str
        What the process used when the counts were written; empty until then.
    """

    def __init__(self, bundles: Iterable[str] = ()) -> None:
        self.ended = Counter({(state, reason): 0 for state, reasons in ENDS for reason in reasons})
        self.postponed = Counter(dict.fromkeys(DELAYS, 0))
        self.windows = Counter(dict.fromkeys(bundles, 0))
        self.n_bytes = self.windows.copy()
        self.stages = {(name, stage): Histogram(STAGE_BOUNDS_S) for name in self.windows for stage in STAGES}
        self.lags = Histogram(LAG_BOUNDS_S)
        self.hops_s: dict[str, float] = {}
        self.levels: list[tuple[str, str, float]] = []
        self.embedded_s, self.n_salvaged = 0.0, 0
        self.process: dict[str, Any] = {}

    def on_event(self, event: NodeEvent) -> None:
        """Count an event."""
        if isinstance(event, OutputPublished):
            self._count_output(event)
        elif isinstance(event, RecordingEnded):
            self._count_end(event)
        elif isinstance(event, RecordingPostponed):
            self.postponed[event.reason] += 1

    def _count_output(self, event: OutputPublished) -> None:
        self.windows[event.bundle] += event.n_windows
        self.n_bytes[event.bundle] += event.n_bytes
        self.hops_s[event.bundle] = event.hop_size_s
        if event.levels is not None:
            reference = event.levels.reference
            self.levels = [(name, reference, float(value)) for name, value in event.levels.totals().items()]
        for stage, seconds in event.stages_s.items():
            self.stages.setdefault((event.bundle, stage), Histogram(STAGE_BOUNDS_S)).observe(seconds)

    def _count_end(self, event: RecordingEnded) -> None:
        self.ended[event.state, event.reason] += 1
        if event.state == "done":
            self.lags.observe(event.lag_s)
            self.embedded_s += event.duration_s or 0.0
            self.n_salvaged += event.salvaged

    def to_plain(self) -> dict[str, Any]:
        """As values for JSON."""
        return {
            "ended": [(*key, n) for key, n in self.ended.items()],
            "postponed": self.postponed,
            "windows": self.windows,
            "bytes": self.n_bytes,
            "stages": [(*key, histogram.to_plain()) for key, histogram in self.stages.items()],
            "lags": self.lags.to_plain(),
            "hops_s": self.hops_s,
            "levels": self.levels,
            "embedded_s": self.embedded_s,
            "salvaged": self.n_salvaged,
            "process": self.process,
        }

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """As they were written.

        Raises
        ------
        LookupError, TypeError, ValueError
            They were not.
        """
        made = cls()
        made.ended.update({(str(state), str(reason)): int(n) for state, reason, n in values["ended"]})
        made.postponed.update(_numbers(values["postponed"], int))
        made.windows.update(_numbers(values["windows"], int))
        made.n_bytes.update(_numbers(values["bytes"], int))
        made.stages = {(str(one), str(stage)): Histogram.from_plain(told) for one, stage, told in values["stages"]}
        made.lags = Histogram.from_plain(values["lags"])
        made.hops_s = _numbers(values["hops_s"], float)
        made.levels = [(str(name), str(reference), float(value)) for name, reference, value in values["levels"]]
        made.embedded_s, made.n_salvaged = float(values["embedded_s"]), int(values["salvaged"])
        made.process = dict(values["process"])
        return made


class CountsKeeper:
    """Counts what happens, and keeps the counts in the journal: at first, at the end, and now and then between.

    A mistake here costs counts, and never a recording. What cannot be written now is written later.

    Parameters
    ----------
    bundles : iterable of str
        Names of those that run.
    every_s : float
        How often they are written at most (in seconds).
    timer : callable
        Returns seconds that only grow.
    """

    def __init__(
        self, bundles: Iterable[str] = (), every_s: float = 15.0, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._counts, self._every_s, self._timer = EventCounts(bundles), every_s, timer
        self._has_changed, self._next_s = True, timer()
        self._started_s = round(time.time(), 2)

    def on_event(self, event: NodeEvent) -> None:
        """Count an event; costs microseconds."""
        self._has_changed = True
        self._counts.on_event(event)

    def keep(self, journal: Journal, *, at_once: bool = False) -> None:
        """Write the counts down where they have changed and it is time for that."""
        now = self._timer()
        if not self._has_changed or (now < self._next_s and not at_once):
            return
        self._next_s = now + self._every_s
        self._counts.process = process_use(self._started_s)
        with suppress(StoreError):
            write_counts(journal, self._counts)
            self._has_changed = False


def write_counts(journal: Journal, counts: EventCounts) -> None:
    """Keep counts in the journal.

    Raises
    ------
    StoreError
    """
    row = (KEY, json.dumps(counts.to_plain()))
    with journal.transaction():
        journal.connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", row)


def read_counts(journal: JournalView) -> EventCounts | None:
    """The counts of the daemon that runs, or ran last.

    None where there are none, or they are those of another version, whose form is not known here.

    Raises
    ------
    StoreError
    """
    with store_errors(journal.path):
        found = journal.connection.execute("SELECT value FROM facts WHERE key = ?", (KEY,)).fetchone()
    with suppress(LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return EventCounts.from_plain(json.loads(found[0]))
    return None


def process_use(started_s: float) -> dict[str, Any]:
    """What this process is and has used: asked for here, because another user may not look."""
    use: dict[str, Any] = {
        "pid": os.getpid(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "started_s": started_s,
        "cpu_s": time.process_time(),
    }
    with suppress(OSError, ValueError, IndexError):
        use["resident_bytes"] = int((PROCESS / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, KeyError):
        lines = (PROCESS / "io").read_text().splitlines()
        use["written_bytes"] = int(dict(line.split(": ") for line in lines)["write_bytes"])
    return use


def _numbers(values: Mapping[str, Any], kind: Callable[[Any], Any]) -> dict[str, Any]:
    return {str(name): kind(value) for name, value in values.items()}
