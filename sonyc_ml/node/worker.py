"""One recording after another: taken from the journal, embedded, published, and its fate written down."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sonyc_ml.base.durable import remove_temporaries
from sonyc_ml.base.identity import Identity, state_of
from sonyc_ml.errors import (
    BundleError,
    RecordingError,
    SonycMLError,
    StoreError,
    UnavailableRecordingError,
    UnfinishedRecordingError,
    VanishedRecordingError,
    word_for,
)
from sonyc_ml.node.config import OutputConfig, OverloadConfig, RecordingsConfig
from sonyc_ml.node.events import Listener, RecordingEnded, RecordingPostponed, done, ignore, published
from sonyc_ml.node.journal.journal import Entry, Journal
from sonyc_ml.node.journal.rebuild import adopt_outputs, summary_of
from sonyc_ml.node.journal.touched import is_touched
from sonyc_ml.node.journal.work_time import WorkTime
from sonyc_ml.node.overload import Overload
from sonyc_ml.node.running_bundles import LoadedBundle, RunningBundles
from sonyc_ml.outputs.detections import Detection
from sonyc_ml.outputs.files import find_output, free_path, read_heard, read_provenance, write_output
from sonyc_ml.outputs.output import Output, Provenance
from sonyc_ml.sound.files import open_recording
from sonyc_ml.sound.start_time import StartTimes

logger = logging.getLogger(__name__)

BACKOFF_S, MAX_BACKOFF_S = 1.0, 300.0


class WorkStoppedError(BaseException):
    """Raised by whoever hears that the work goes on: it is to end here, whatever an extractor catches."""


class Worker:
    """Embeds what is pending.

    Parameters
    ----------
    folder : Path
        Where the recordings lie.
    journal : Journal
    bundles : RunningBundles
        What each recording goes through.
    is_being_written : callable
        Whether somebody has a recording of this name open for writing.
    output : OutputConfig
    recordings : RecordingsConfig, optional
    overload : OverloadConfig, optional
    counts : Counter, optional
        Where to count the recordings that are embedded, salvaged, quarantined and shed, and the seconds embedded.
    emit : callable
        Takes an event for each thing that happens to a recording.
    progress : callable, optional
        Called as the work goes on, within a long recording too.
    clock : callable
        Returns seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        journal: Journal,
        bundles: RunningBundles,
        is_being_written: Callable[[str], bool],
        *,
        output: OutputConfig,
        recordings: RecordingsConfig | None = None,
        overload: OverloadConfig | None = None,
        counts: Counter[str] | None = None,
        emit: Listener = ignore,
        progress: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._journal, self._bundles, self._clock = folder, journal, bundles, clock
        self._is_being_written = is_being_written
        self._output, self._recordings = output, recordings or RecordingsConfig()
        self._emit, self._progress = emit, progress
        self._overload = Overload(overload or OverloadConfig(), journal, clock)
        self.work_time = WorkTime(journal, clock)  # nothing grows older while nobody works
        self._start_times = StartTimes(self._recordings.start_patterns, self._recordings.time_zone)
        self._unwritten: Callable[[], object] | None = None
        self._clean: set[Path] = set()  # folders without anything that a killed process was writing
        self.counts: Counter[str] = Counter() if counts is None else counts

    def start(self) -> None:
        """Make the journal again where it is new, and clear up behind a process that was killed."""
        self.work_time.resume()
        self._journal.begin_anew()
        if not self._journal.is_complete():
            folders = [bundle.output_folder for bundle in self._bundles]
            adopt_outputs(self._journal, self._output.folder, folders, self._output.format, visit=self._clear_up)
            self._journal.mark_complete()  # if it is killed before, it begins again
        else:
            for entry in self._journal.begun():
                for bundle in self._bundles:
                    self._clear_up((bundle.output_folder / entry.identity.name).parent)

    def step(self, found: Iterable[Identity] = ()) -> bool:
        """Take up what was found and embed the next recording; False where nothing is due.

        Raises
        ------
        StoreError
            Nothing can be written for now: back off and try again.
        """
        if self._unwritten is not None:
            self._unwritten()
            self._unwritten = None
        with self._journal.transaction():
            self._journal.add(found)
            entry = self._journal.take(newest_first=self._overload.newest_first)
        self._emit_overwritten()
        if entry is not None:
            try:
                self._settle(entry)
            except WorkStoppedError:
                self._write_down(lambda: self._journal.release(entry.identity))
        return entry is not None

    def shed_excess(self) -> None:
        """Give up what is beyond the bounds of the backlog.

        Raises
        ------
        StoreError
        """
        self.work_time.mark()
        for entry, reason, detail in self._overload.excess():
            self._shed(entry, reason, detail)

    def _settle(self, entry: Entry) -> None:
        """Bring a recording that was begun to its end, whatever that is."""
        identity, recordings = entry.identity, self._recordings
        if entry.n_attempts > recordings.max_attempts:
            self._give_up(entry)
            return
        is_abandoned = self._clock() >= self._abandoned_at_s(entry)
        try:
            if not is_abandoned and self._is_being_written(identity.name):
                self._postpone(entry, "growing", "somebody has it open for writing")
            else:
                self._embed(entry, salvage=is_abandoned and recordings.unfinished == "salvage")
        except UnfinishedRecordingError as error:
            if not self._is_being_written(identity.name) and self._is_replaced(entry):
                return
            if is_abandoned:
                self._refuse(identity, error)
            else:
                self._postpone(entry, "unfinished", str(error))
        except VanishedRecordingError as error:
            self._vanished(entry, str(error))
        except UnavailableRecordingError as error:
            self._postpone(entry, "unavailable", str(error))
        except (RecordingError, BundleError) as error:
            self._refuse(identity, error)
        except StoreError as error:
            self._postpone(entry, "not stored", str(error))
            raise
        except Exception as error:
            # A mistake of ours, of an extractor, or too little memory: it costs this recording, not the others.
            logger.exception("%s: embedding it failed", identity.name)
            self._postpone(entry, "failed", f"embedding it failed: {type(error).__name__}: {error}", survived=False)

    def _give_up(self, entry: Entry) -> None:
        """It was begun too often and never ended."""
        if entry.reason == "failed":
            self._quarantine(entry.identity, entry.reason, entry.detail)
        else:
            died = _died(self._recordings.max_attempts)
            self._quarantine(entry.identity, "killed the process", died)

    def _embed(self, entry: Entry, *, salvage: bool) -> None:
        identity = entry.identity
        folders = [bundle.output_folder for bundle in self._bundles]
        if self._is_replaced(entry) or is_touched(self._journal, identity, self._folder, folders, self._output.format):
            return
        outputs = [self._publish(identity, bundle, salvage=salvage) for bundle in self._bundles]
        provenance = outputs[0][0]
        embedded = summary_of(provenance, [found for _, found in outputs])
        self._write_down(lambda: self._journal.finish(identity, embedded))
        self.counts.update(embedded=1, salvaged=embedded.salvaged, seconds=round(embedded.duration_s))
        lag_s = max(0.0, self._clock() - entry.found_s)
        self._emit(done(identity.name, provenance, lag_s))

    def _publish(
        self, identity: Identity, bundle: LoadedBundle, *, salvage: bool
    ) -> tuple[Provenance, Sequence[Detection] | None]:
        """Embed with one bundle and write the output, where there is none; return its origin, and what is heard."""
        output_format = self._output.format
        existing = find_output(identity, bundle.output_folder, output_format)
        provenance = read_provenance(existing) if existing else None
        if provenance is not None:
            logger.debug("%s is embedded already", identity.name)
            return provenance, read_heard(existing) if existing else None
        start_s = time.perf_counter()
        own_s = bundle.model.extractor.hop_size_s
        hop_size_s = None if bundle.model.carries_state else self._overload.hop_size_s(own_s)
        output = bundle.model.embed_file(
            self._path(identity),
            hop_size_s,
            identity.name,
            salvage=salvage,
            start_times=self._start_times,
            progress=self._progress,
            scratch=bundle.output_folder,
        )
        embedded_s = time.perf_counter()
        if (output.provenance.recording_bytes, output.provenance.recording_mtime_ns) != identity[1:]:
            raise UnfinishedRecordingError(
                f"{identity.name}: it changed since it was found; something is still writing it"
            )
        path = free_path(identity, bundle.output_folder, output_format)
        self._clear_up(path.parent)
        write_output(output, path, self._progress)
        stages_s = {"embed": embedded_s - start_s, "store": time.perf_counter() - embedded_s}
        self._emit(published(output, path, stages_s))
        _log_output(output, path, sum(stages_s.values()))
        return output.provenance, output.detections

    def _is_replaced(self, entry: Entry) -> bool:
        """Whether the file has become another recording; that one is taken up, and this one comes to an end."""
        identity = entry.identity
        try:
            another = Identity(identity.name, *state_of(self._path(identity).stat()))
        except OSError:
            return False
        if another == identity:
            return False
        self._write_down(lambda: self._replace(identity, another))
        self._emit_overwritten()
        return True

    def _replace(self, identity: Identity, another: Identity) -> None:
        with self._journal.transaction():
            self._journal.add([another])
            self._journal.shed(identity, "overwritten", "another recording of its name was written over it")

    def _emit_overwritten(self) -> None:
        """Report what the journal has shed by itself when another recording of the same name was found."""
        for entry in self._journal.overwritten():
            self._emit_shed(entry, entry.reason, entry.detail)

    def _postpone(self, entry: Entry, reason: str, detail: str, *, survived: bool = True) -> None:
        delay_s = min(MAX_BACKOFF_S, BACKOFF_S * 2.0 ** min(entry.n_failures, 30))
        due_s = self._clock() + delay_s
        if reason in ("unfinished", "growing"):
            due_s = min(due_s, self._abandoned_at_s(entry))
        due_s = max(due_s, self._clock())
        self._write_down(lambda: self._journal.postpone(entry.identity, due_s, reason, detail, survived=survived))
        level = logging.DEBUG if reason in ("unfinished", "growing", "failed") else logging.WARNING
        self._emit(RecordingPostponed(entry.identity.name, reason, detail, delay_s))
        fields = {"RECORDING": entry.identity.name, "REASON": reason}
        logger.log(level, "%s; trying again in %.0f s", detail, delay_s, extra=fields)

    def _abandoned_at_s(self, entry: Entry) -> float:
        """When ignore will finish a recording any more; a file's time may lie in the future."""
        return min(entry.identity.mtime_s, entry.found_s) + self._recordings.abandoned_s

    def _refuse(self, identity: Identity, error: SonycMLError) -> None:
        self._quarantine(identity, word_for(error), str(error))

    def _quarantine(self, identity: Identity, reason: str, detail: str) -> None:
        self._write_down(lambda: self._journal.quarantine(identity, reason, detail))
        self.counts["quarantined"] += 1
        self._emit(RecordingEnded(identity.name, "quarantined", reason, detail))
        named = detail if identity.name in detail else f"{identity.name}: {detail}"
        logger.warning("quarantined (%s): %s", reason, named, extra={"RECORDING": identity.name, "REASON": reason})

    def _vanished(self, entry: Entry, detail: str) -> None:
        """Gone before its turn; but where the whole folder is gone, it may come back."""
        if self._folder.exists():
            self._shed(entry, "vanished", f"{detail}; it was removed before its turn came")
        else:
            self._postpone(entry, "unavailable", detail)

    def _shed(self, entry: Entry, reason: str, detail: str) -> None:
        start_s, duration_s = self._measure(entry.identity)
        self._write_down(
            lambda: self._journal.shed(entry.identity, reason, detail, start_s=start_s, duration_s=duration_s)
        )
        self._emit_shed(entry, reason, detail, duration_s)

    def _emit_shed(self, entry: Entry, reason: str, detail: str, duration_s: float | None = None) -> None:
        self.counts["shed"] += 1
        lag_s = max(0.0, self._clock() - entry.found_s)
        self._emit(RecordingEnded(entry.identity.name, "shed", reason, detail, lag_s, duration_s))
        fields = {"RECORDING": entry.identity.name, "REASON": reason, "LAG_S": round(lag_s)}
        logger.warning("shed (%s): %s: %s", reason, entry.identity.name, detail, extra=fields)

    def _clear_up(self, folder: Path) -> None:
        """Remove what a killed process was writing in a folder; once, for this one leaves nothing.

        Before the first output of a folder too: a journal that lost the end of its log has forgotten what was begun.
        """
        if folder not in self._clean:
            remove_temporaries(folder)
            self._clean.add(folder)

    def _write_down(self, change: Callable[[], object]) -> None:
        """Change the journal; where it cannot be, before the next recording is begun.

        Else the attempts at one recording would add up while the disk is full, as if it had killed the process.
        """
        try:
            change()
        except StoreError:
            self._unwritten = change
            raise

    def _measure(self, identity: Identity) -> tuple[float | None, float | None]:
        """When a recording begins and how long it is, by its header."""
        try:
            with open_recording(self._path(identity)) as recording:
                return self._start_times(recording, identity.name).time.timestamp(), recording.duration_s
        except SonycMLError:
            return None, None

    def _path(self, identity: Identity) -> Path:
        return self._folder / identity.name


def _died(n_attempts: int) -> str:
    times = "once" if n_attempts == 1 else f"{n_attempts} times"
    return f"the process was killed {times} while it embedded this recording"


def _log_output(output: Output, path: Path, elapsed_s: float) -> None:
    if marks := output.provenance.marks:
        detail = output.provenance.note or f"{output.provenance.level_dbfs:.0f} dBFS"
        logger.info("%s: %s: %s", output.provenance.recording, ", ".join(marks), detail)
    likeliest = f"{output.describe_heard()}, " if output.describe_heard() else ""
    name, n_windows = output.provenance.recording, len(output.timestamps)
    fields = {"RECORDING": name, "BUNDLE": output.provenance.bundle, "DURATION_MS": round(elapsed_s * 1e3)}
    logger.debug("%s: %s%d windows in %.0f ms, %s", name, likeliest, n_windows, elapsed_s * 1e3, path, extra=fields)
