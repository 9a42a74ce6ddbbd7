"""Metrics of a node: from the journal, from the daemon's facts and counts in it, and from the machine.

Any process may ask, whether a daemon runs or not: ``sonyc-ml serve``, ``sonyc-ml metrics``, the daemon's textfile.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Generic, TypeVar

from sonyc_ml.base.human import seconds_of
from sonyc_ml.base.lock import holder
from sonyc_ml.base.process import is_clock_synchronised
from sonyc_ml.bundles.location import PULLED
from sonyc_ml.errors import StoreError
from sonyc_ml.node.facts import DaemonFacts, Facts
from sonyc_ml.node.journal.file import store_errors
from sonyc_ml.node.journal.journal import STATES, Journal
from sonyc_ml.node.journal.live import source_ends
from sonyc_ml.node.spool.spool import POLLED, WATCHED
from sonyc_ml.node.telemetry.counts import EventCounts, read_counts
from sonyc_ml.node.telemetry.exposition import Family, Value
from sonyc_ml.sound.node import read_record

T = TypeVar("T")

COST_SHARE = 0.01  # of the time, for what grows with the journal
# One pass over every row, without the sorting of a GROUP BY.
TOTALS = f"""
SELECT {", ".join(f"sum(state = '{state}')" for state in STATES)},
    max(CASE state WHEN 'done' THEN changed_s END), max(found_s) FROM recordings
"""  # noqa: S608  of constants


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
        self, ask: Callable[..., T], share: float = COST_SHARE, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._share, self._timer = ask, share, timer
        self._answers: list[T] = []
        self._next_s = 0.0

    def __call__(self, *arguments: object) -> T:
        """The answer, or the one before."""
        begin_s = self._timer()
        if not self._answers or begin_s >= self._next_s:
            self._answers = [self._ask(*arguments)]
            end_s = self._timer()
            self._next_s = end_s + (end_s - begin_s) / self._share
        return self._answers[0]


class Collector:
    """Collects all metrics as they are now; for one thread at a time.

    The journal is open only meanwhile, so that nothing is held that the daemon may want to replace.

    Parameters
    ----------
    state_folder : Path
        Where the journal lies.
    facts : callable, optional
        Returns the daemon's facts; those in the journal where not given.
    clock : callable
        Returns seconds since 1970.
    """

    def __init__(
        self, state_folder: Path, facts: Callable[[], Facts] | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._state_folder, self._facts, self._clock = state_folder, facts, clock
        self._totals, self._n_pending = Throttled(_totals), Throttled(_n_pending)

    def families(self) -> list[Family]:
        """All of them, as they are now."""
        pid, facts, counts = holder(self._state_folder), Facts(), None
        asked: list[Family] = []
        with suppress(StoreError), closing(Journal(self._state_folder, read_only=True)) as journal:
            facts = journal.facts()
            counts = read_counts(journal)
            asked = self._of_journal(journal)
        if self._facts is not None:
            facts = self._facts()
        return [
            _one("sonyc_ml_daemon_up", "gauge", "1 while a daemon runs.", int(pid is not None)),
            _one("sonyc_ml_journal_up", "gauge", "1 while the journal can be read.", int(bool(asked))),
            *([] if counts is None else _of_counts(counts)),
            *asked,
            *_of_node(facts.daemon or DaemonFacts()),
            *_of_disks(facts.daemon or DaemonFacts()),
            *_of_rollouts(self._state_folder, self._clock()),
            *_of_upload(facts.daemon or DaemonFacts(), self._clock()),
            *(_of_facts(facts) if facts.is_of(pid) else ()),
            *(_of_process(counts, facts) if counts is not None and counts.process.get("pid") == pid else ()),
        ]

    def _of_journal(self, journal: Journal) -> list[Family]:
        oldest, newest = journal.oldest_pending(1), journal.oldest_pending(1, offset_from_newest=0)
        lag_s = max(0.0, self._clock() - oldest[0].found_s) if oldest else 0.0
        (counts, output_s, found_s), n_pending = self._totals(journal), self._n_pending(journal)
        if newest:  # the totals may be of a while ago
            found_s = max(newest[0].found_s, found_s or 0.0)
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


def _totals(journal: Journal) -> tuple[dict[str, int], float | None, float | None]:
    """How many recordings are in each state; when one was done last, and when one was found last."""
    with store_errors(journal.path):
        *counts, done_s, found_s = journal.connection.execute(TOTALS).fetchone()
    return {state: n or 0 for state, n in zip(STATES, counts, strict=True)}, done_s, found_s


def _n_pending(journal: Journal) -> int:
    """From the index of what is pending alone."""
    with store_errors(journal.path):
        query = "SELECT count(*) FROM recordings WHERE state = 'pending'"
        n_pending: int = journal.connection.execute(query).fetchone()[0]
    return n_pending


def _of_counts(counts: EventCounts) -> Iterator[Family]:
    ends = [({"state": state, "reason": reason}, n) for (state, reason), n in counts.ended.items()]
    times = [({"bundle": bundle, "stage": stage}, value) for (bundle, stage), value in counts.stages.items()]
    yield Family("sonyc_ml_recordings_total", "counter", "Recordings that came to their end since the start.", ends)
    yield _by("sonyc_ml_postponed_total", "counter", "Attempts that are made again later.", "reason", counts.postponed)
    yield _one("sonyc_ml_embedded_seconds_total", "counter", "Sound in the recordings done.", counts.embedded_s)
    yield _one("sonyc_ml_salvaged_total", "counter", "Recordings done that were never finished.", counts.n_salvaged)
    yield _by("sonyc_ml_windows_total", "counter", "Windows embedded.", "bundle", counts.windows)
    yield _by("sonyc_ml_output_bytes_total", "counter", "Bytes of the outputs written.", "bundle", counts.n_bytes)
    yield _by("sonyc_ml_hop_size_seconds", "gauge", "Between two windows of the last output.", "bundle", counts.hops_s)
    yield Family("sonyc_ml_stage_duration_seconds", "histogram", "To embed a recording, to store its output.", times)
    yield _one("sonyc_ml_recording_lag_seconds", "histogram", "From when it was found until it was done.", counts.lags)
    levels = [({"quantity": name, "reference": reference}, value) for name, reference, value in counts.levels]
    yield Family("sonyc_ml_sound_level_db", "gauge", "Of the last recording, as a whole.", levels)


def _of_node(daemon: DaemonFacts) -> Iterator[Family]:
    """What the node is called, as a label of one metric, to which others are joined by the instance."""
    record = {("node" if key == "name" else key): str(value) for key, value in read_record(daemon.node).items()}
    record.pop("note", None)
    yield Family("sonyc_ml_node_info", "gauge", "Which node this is, and where.", [(record, 1)] if record else [])


def _of_disks(daemon: DaemonFacts) -> list[Family]:
    free: dict[str, float] = {}
    total: dict[str, float] = {}
    for name, folder in (("spool", daemon.folder), ("output", daemon.output)):
        with suppress(OSError):  # it is not there
            if folder:
                usage = shutil.disk_usage(folder)
                free[name], total[name] = usage.free, usage.total
    return [
        _by("sonyc_ml_disk_free_bytes", "gauge", "Free on the disk of a folder.", "folder", free),
        _by("sonyc_ml_disk_size_bytes", "gauge", "Size of the disk of a folder.", "folder", total),
        _one("sonyc_ml_clock_synchronised", "gauge", "1 if a time server sets the clock.", is_clock_synchronised()),
    ]


def _of_rollouts(state_folder: Path, now_s: float) -> list[Family]:
    """Metrics of bundles that come from a store; none where none does."""
    if not (state_folder / PULLED).is_dir():
        return []
    from sonyc_ml.node.rollout.facts import read_facts  # noqa: PLC0415  most bundles stay as they are

    found = list(read_facts(state_folder))
    looked = {one.bundle: seconds_of(one.looked) for one in found if one.looked}
    valid = {one.bundle: seconds_of(one.valid) for one in found if one.valid}
    states = [({"bundle": one.bundle, "version": one.version, "state": one.state}, 1) for one in found]
    troubles = {one.bundle: int(bool(one.trouble(now_s))) for one in found}
    head = "sonyc_ml_rollout"
    return [
        Family(f"{head}_info", "gauge", "The version that was pulled, and how the last look came out.", states),
        _by(
            f"{head}_sequence", "gauge", "Number of the last rollout.", "bundle", {o.bundle: o.sequence for o in found}
        ),
        _by(f"{head}_trouble", "gauge", "1 if a rollout was refused, has expired or is not had.", "bundle", troubles),
        _by(f"{head}_looked_timestamp_seconds", "gauge", "When the store was last looked at.", "bundle", looked),
        _by(f"{head}_valid_timestamp_seconds", "gauge", "When it last gave a rollout that holds.", "bundle", valid),
    ]


def _of_upload(daemon: DaemonFacts, now_s: float) -> list[Family]:
    if not daemon.upload:
        return []
    from sonyc_ml.node.upload.status import upload_families  # noqa: PLC0415  most nodes do not upload

    return upload_families(Path(daemon.upload), now_s)


def _of_process(counts: EventCounts, facts: Facts) -> list[Family]:
    # Not process_…: node-exporter has those itself, and refuses a textfile that names them again.
    head, use = "sonyc_ml_process", counts.process
    runtimes = ",".join(sorted({bundle.runtime for bundle in facts.daemon.bundles})) if facts.daemon else ""
    version = facts.daemon.version if facts.daemon else ""
    build = {"version": version, "python": str(use.get("python", "")), "runtime": runtimes}
    return [
        Family("sonyc_ml_build_info", "gauge", "What runs.", [(build, 1)]),
        _one(f"{head}_resident_memory_bytes", "gauge", "Memory that the process holds.", use.get("resident_bytes")),
        _one(f"{head}_cpu_seconds_total", "counter", "Time of the processor, user and system.", use.get("cpu_s")),
        _one(f"{head}_start_time_seconds", "gauge", "When the process began.", use.get("started_s")),
        _one(f"{head}_write_bytes_total", "counter", "Bytes that went to disks.", use.get("written_bytes")),
    ]


def _of_facts(facts: Facts) -> list[Family]:
    """Metrics of the facts of the daemon that runs."""
    bundles = facts.daemon.bundles if facts.daemon else ()
    infos = [({"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256}, 1) for bundle in bundles]
    taken = {bundle.name: bundle.xnnpack_operators for bundle in bundles}
    operators = {bundle.name: bundle.operators for bundle in bundles}
    expected = dict.fromkeys(facts.daemon.sources if facts.daemon else (), 1)
    folder_up = {facts.folder_word: int(facts.folder_word in (WATCHED, POLLED))}
    return [
        Family("sonyc_ml_bundle_info", "gauge", "The bundles that recordings go through.", infos),
        _by("sonyc_ml_operators", "gauge", "Operators of a bundle's network.", "bundle", operators),
        _by("sonyc_ml_xnnpack_operators", "gauge", "Those that XNNPACK has taken.", "bundle", taken),
        _by("sonyc_ml_source_expected", "gauge", "Live sources that always send sound.", "source", expected),
        _by("sonyc_ml_folder_up", "gauge", "1 while recordings can be found.", "state", folder_up),
        _one("sonyc_ml_quiet", "gauge", "1 if no recording has come for spool.quiet_after_s.", int(facts.is_quiet)),
        _one("sonyc_ml_silent", "gauge", "1 if there is no sound in the last recordings.", int(facts.is_silent)),
        _one("sonyc_ml_trouble", "gauge", "1 while nothing can be written.", int(facts.trouble is not None)),
    ]


def _one(name: str, kind: str, text: str, value: Value | None) -> Family:
    """A family of one sample, or of none where it is not known."""
    return Family(name, kind, text, [] if value is None else [({}, value)])


def _by(name: str, kind: str, text: str, label: str, values: Mapping[str, float]) -> Family:
    return Family(name, kind, text, [({label: key}, value) for key, value in values.items()])
