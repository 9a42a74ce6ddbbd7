"""One recording after another: taken from the journal, embedded, published, and its fate written down."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

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
from sonyc_ml.node.crash import times_killed
from sonyc_ml.node.events import Listener, RecordingEnded, RecordingPostponed, done, ignore
from sonyc_ml.node.journal.journal import Entry, Journal
from sonyc_ml.node.journal.rebuild import adopt_outputs, find_summary, of_stream, summary_of
from sonyc_ml.node.journal.touched import is_touched
from sonyc_ml.node.journal.view import LIVE
from sonyc_ml.node.journal.work_time import WorkTime
from sonyc_ml.node.overload import Overload
from sonyc_ml.node.publishing import Publisher
from sonyc_ml.node.running_bundles import RunningBundles
from sonyc_ml.sound.node import Node
from sonyc_ml.sound.start_time import StartTimes

if TYPE_CHECKING:
    from sonyc_ml.node.intake.buffer import Waiting
    from sonyc_ml.node.intake.live_queue import LiveQueue

logger = logging.getLogger(__name__)

BACKOFF_S, MAX_BACKOFF_S = 1.0, 300.0
LOST = ("lost in memory", "the daemon was killed, or the machine went down, before it was embedded; there was no file")


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
    node : Node, optional
    counts : Counter, optional
        Where to count the recordings that are embedded, salvaged, quarantined and shed, and the seconds embedded.
    emit : callable
        Takes an event for each thing that happens to a recording.
    progress : callable, optional
        Called as the work goes on, within a long recording too.
    live : LiveQueue, optional
        Has recordings of streams.
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
        node: Node | None = None,
        counts: Counter[str] | None = None,
        emit: Listener = ignore,
        progress: Callable[[], None] | None = None,
        live: LiveQueue | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._journal, self._bundles, self._clock = folder, journal, bundles, clock
        self._is_being_written = is_being_written
        self._output, self._recordings = output, recordings or RecordingsConfig()
        self._emit, self._live = emit, live
        self._overload = Overload(overload or OverloadConfig(), journal, clock)
        self.work_time = WorkTime(journal, clock)  # nothing grows older while nobody works
        self._start_times = StartTimes(self._recordings.start_patterns, self._recordings.time_zone)
        settings = (output.format, self._overload, self._start_times, node or Node())
        self._publisher = Publisher(folder, *settings, emit, progress)
        self._unwritten: Callable[[], object] | None = None
        self.counts: Counter[str] = Counter() if counts is None else counts

    def start(self) -> None:
        """Make the journal again where it is new, and clear up behind a process that was killed."""
        with self._journal.transaction():  # one wait for the disk
            self.work_time.resume()
            self._journal.begin_anew()
        folders, clear_up = [bundle.output_folder for bundle in self._bundles], self._publisher.clear_up
        if not self._journal.is_complete():
            adopt_outputs(self._journal, self._output.folder, folders, self._output.format, visit=clear_up)
            self._journal.mark_complete()  # if it is killed before, it begins again
        else:
            for entry in self._journal.begun():
                for folder in folders:
                    clear_up((folder / entry.identity.name).parent)
        for entry in self._journal.in_memory():
            if self._live is None or self._live.find(entry) is None:
                self._settle_left(entry, folders)

    def _settle_left(self, entry: Entry, folders: Sequence[Path]) -> None:
        """Settle a recording of a stream that a process before this one had in memory: it may have published it."""
        summary = find_summary(entry.identity, folders, self._output.format)
        if (self._folder / f"{entry.identity.name}.wav").exists():  # spooled
            from sonyc_ml.node.journal.live import drop_live  # noqa: PLC0415  a node without live sound needs none

            drop_live(self._journal, entry.identity)
        elif summary is None:
            self._shed(entry, *LOST)
        else:
            self._journal.finish(entry.identity, of_stream(summary, entry))

    def step(self, found: Iterable[Identity] = (), *, live_only: bool = False) -> bool:
        """Take up what was found and embed the next recording; False where nothing is due.

        Those of streams come first: what waits for them is in memory, where there is not much room.

        Parameters
        ----------
        found : iterable of Identity
        live_only : bool
            Whether recordings of the folder wait.

        Raises
        ------
        StoreError
            Nothing can be written for now: back off and try again.
        """
        if self._unwritten is not None:
            self._unwritten()
            self._unwritten = None
        newest_first, live = self._overload.newest_first, self._live
        with self._journal.transaction():
            self._journal.add(found)
            news = live.take_up(self._journal, self._clock()) if live else []
            entry = live.take(self._journal, newest_first=newest_first) if live else None
            if entry is None and not live_only:
                entry = self._journal.take(newest_first=newest_first)
        if live:
            live.buffer.known(news)
        self._emit_overwritten()
        if entry is not None:
            try:
                self._settle(entry)
            except WorkStoppedError:
                self._write_down(lambda: self._journal.release(entry.identity))
        return entry is not None

    def work_ahead(self) -> None:
        """Embed what has come of recordings of streams that are not over yet."""
        if self._live is not None:
            with suppress(WorkStoppedError):
                for event in self._live.work_ahead(self._publisher.begin, self._bundles):
                    self._emit(event)

    def shed_excess(self) -> None:
        """Give up what is beyond the bounds of the backlog.

        Raises
        ------
        StoreError
        """
        self.work_time.mark()
        for entry, reason, detail in self._overload.excess():
            self._shed(entry, reason, detail)
        for entry, reason, detail in self._live.excess(self._journal) if self._live else ():
            self._shed(entry, reason, detail)

    def _settle(self, entry: Entry) -> None:
        """Bring a recording that was begun to its end, whatever that is."""
        identity, recordings = entry.identity, self._recordings
        if entry.n_attempts > recordings.max_attempts:
            self._give_up(entry)
            return
        is_abandoned = self._clock() >= self._abandoned_at_s(entry)
        try:
            if not is_abandoned and entry.fate != LIVE and self._is_being_written(identity.name):
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
            self._quarantine(entry.identity, "killed the process", times_killed(self._recordings.max_attempts))

    def _embed(self, entry: Entry, *, salvage: bool) -> None:
        if entry.fate == LIVE:
            self._embed_live(entry)
            return
        identity = entry.identity
        folders = [bundle.output_folder for bundle in self._bundles]
        if self._is_replaced(entry) or is_touched(self._journal, identity, self._folder, folders, self._output.format):
            return
        self._publish(entry, salvage=salvage)

    def _embed_live(self, entry: Entry) -> None:
        """Embed a recording of a stream, from memory; it may have been given up meanwhile."""
        waiting = self._live.begin(entry) if self._live else None
        if waiting is None:
            self._shed(entry, *LOST)
        elif waiting.reason:
            self._shed(entry, waiting.reason, waiting.detail)
        else:
            self._publish(entry, live=waiting)

    def _publish(self, entry: Entry, *, salvage: bool = False, live: Waiting | None = None) -> None:
        identity = entry.identity
        outputs = [self._publisher.publish(identity, bundle, salvage=salvage, live=live) for bundle in self._bundles]
        provenance, _, levels = outputs[0]
        embedded = summary_of(provenance, [one.detections for one in outputs], levels)
        if live is not None:  # windows may run on into the next
            embedded = of_stream(embedded, entry)
        self._write_down(lambda: self._journal.finish(identity, embedded))
        self.counts.update(embedded=1, salvaged=embedded.salvaged, seconds=round(embedded.duration_s))
        lag_s = max(0.0, self._clock() - entry.found_s)
        self._emit(done(identity.name, provenance, lag_s))

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
        is_live = entry.fate == LIVE
        start_s, duration_s = (entry.start_s, entry.duration_s) if is_live else self._publisher.measure(entry.identity)
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

    def _write_down(self, change: Callable[[], object]) -> None:
        """Change the journal; where it cannot be, before the next recording is begun.

        Else the attempts at one recording would add up while the disk is full, as if it had killed the process.
        """
        try:
            change()
        except StoreError:
            self._unwritten = change
            raise

    def _path(self, identity: Identity) -> Path:
        return self._folder / identity.name
