"""The daemon's reports of itself: little in the log, and facts in the journal for those who ask."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sonyc_ml.base.human import iso, span
from sonyc_ml.errors import StoreError
from sonyc_ml.node.events import NodeEvent, RecordingEnded
from sonyc_ml.node.facts import (
    OK,
    QUIET,
    SILENT,
    BundleFacts,
    DaemonFacts,
    Facts,
    FolderFacts,
    InputFacts,
    ReloadFacts,
    SoundFacts,
    TroubleFacts,
)
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.running_bundles import LoadedBundle, RunningBundles
from sonyc_ml.node.spool.spool import FolderState
from sonyc_ml.node.systemd import Notifier
from sonyc_ml.sound.start_time.words import in_words

logger = logging.getLogger(__name__)

PATTERNS_KEY = "recordings.start_patterns"


class Reporter:
    """Says what has changed, once.

    Parameters
    ----------
    daemon : DaemonFacts
        What runs and how it is configured; since when, and with which bundles, is filled in.
    counts : Counter
        The worker's; see :class:`sonyc_ml.node.worker.Worker`.
    notifier : Notifier, optional
        Gets a line of what is done.
    note : callable, optional
        Keeps a text for those who ask where the journal cannot be written.
    quiet_after_s : float
        A silence longer than this is reported (in seconds); 0 for none.
    silent_after : int
        So many recordings without sound, one after another, are reported; 0 for none.
    summary_s : float
        Between two lines of what was done (in seconds).
    clock, timer : callable
        Return seconds since 1970, and seconds that only grow.
    """

    def __init__(
        self,
        daemon: DaemonFacts,
        counts: Counter[str],
        notifier: Notifier | None = None,
        *,
        note: Callable[[str], None] = lambda _text: None,
        quiet_after_s: float = 0.0,
        silent_after: int = 0,
        summary_s: float = 60.0,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._daemon, self._counts, self._clock, self._timer = daemon, counts, clock, timer
        self._quiet_after_s, self._silent_after, self._summary_s = quiet_after_s, silent_after, summary_s
        self._n_silent, self._silent_since = 0, ""
        self._start_sources, self._start_doubts = Counter[str](), Counter[str]()
        self._notifier, self._note = notifier or Notifier({}), note
        self._journal: Journal | None = None
        self._facts = Facts()
        self._folder = FolderState("")
        self._last_found_s = self._started_s = clock()
        self._is_quiet = False
        self._last, self._lag_s, self._rate = "", 0.0, 0.0
        self._counted: Counter[str] = Counter()
        self._next_summary_s = timer() + summary_s

    @property
    def facts(self) -> Facts:
        """What is true now, whether or not the journal could keep it."""
        return self._facts

    def publish_in(self, journal: Journal) -> None:
        """Keep the facts in this journal from now on; until there are any, those of the daemon before stay."""
        self._journal = journal
        if self._facts != Facts():
            self._publish()

    def started(self, bundles: RunningBundles, folder: FolderState) -> None:
        """The daemon runs, on a folder that is in this state."""
        self._log_folder(folder)
        before = self._facts_before()
        if before.daemon is not None and before.daemon.format != self._daemon.format:
            logger.warning(
                "outputs are written as .%s now, and were as .%s: %s holds both; readers take each recording once",
                self._daemon.format,
                before.daemon.format,
                self._daemon.output,
            )
        described = tuple(_describe(bundle) for bundle in bundles)
        self._facts = Facts(
            daemon=replace(self._daemon, since=iso(self._started_s), bundles=described),
            folder=FolderFacts(folder.word, folder.detail, self._now()),
            input=InputFacts(OK, self._now()),
            reload=before.reload,
            stopped=before.stopped,
        )
        self._publish()

    def _facts_before(self) -> Facts:
        """Those of the daemon before this one, as far as they can be read."""
        with suppress(StoreError):
            return self._journal.facts() if self._journal else Facts()
        return Facts()

    def stopped(self) -> None:
        """The daemon ends."""
        logger.info("stopped; %s", summary(self._counts))
        self._change(stopped=self._now())

    def folder_is(self, state: FolderState) -> None:
        """How the spool folder is."""
        if state != self._folder:
            self._log_folder(state)
            self._change(folder=FolderFacts(state.word, state.detail, self._now()))

    def _log_folder(self, state: FolderState) -> None:
        before, self._folder = self._folder, state
        folder = self._daemon.folder
        if not state.is_well:
            logger.warning("%s: %s; waiting for it", folder, state.detail)
        elif before.word and not before.is_well:
            logger.warning("%s is there again", folder)
        elif state.detail:
            logger.info("%s is %s", folder, state.detail)

    def found(self, n_found: int) -> None:
        """So many recordings came in."""
        now = self._clock()
        if n_found:
            self._last_found_s = now
            if self._is_quiet:
                self._is_quiet = False
                logger.warning("recordings come in again")
                self._change(input=InputFacts(OK, self._now()))
            return
        quiet_s = self._quiet_after_s
        if quiet_s and not self._is_quiet and now - self._last_found_s > quiet_s:
            self._is_quiet = True
            logger.warning("no recording for %.0f minutes; is the recorder running?", quiet_s / 60)
            self._change(input=InputFacts(QUIET, iso(self._last_found_s)))

    def clock_was_set(self, by_s: float) -> None:
        """The clock jumped; nobody was silent for so long."""
        self._last_found_s += by_s
        logger.warning("the clock was set %s by %.0f s", "forward" if by_s > 0 else "back", abs(by_s))

    def in_trouble(self, error: StoreError) -> None:
        """Nothing can be written for now."""
        logger.error("%s; everything waits, and is tried again", error)
        self._change(trouble=TroubleFacts(self._now(), str(error)))
        self._note_trouble()

    def out_of_trouble(self) -> None:
        """Writing works again."""
        logger.warning("the trouble has passed; going on")
        self._change(trouble=None)
        self._note_trouble()

    def reloaded(self, bundles: RunningBundles, remark: str = "") -> None:
        """The bundles were loaded anew."""
        names = ", ".join(f"{bundle.model.bundle.name} {bundle.model.bundle.sha256[:12]}" for bundle in bundles)
        detail = f"running {names}{remark}"
        logger.warning("reloaded: %s", detail)
        described = tuple(_describe(bundle) for bundle in bundles)
        self._change(
            reload=ReloadFacts(self._now(), ok=True, detail=detail),
            daemon=replace(self._facts.daemon or DaemonFacts(), bundles=described),
        )

    def not_reloaded(self, error: Exception) -> None:
        """The new bundles are no good; the old ones run on."""
        logger.error("not reloaded, the old bundle runs on: %s", error)
        self._change(reload=ReloadFacts(self._now(), ok=False, detail=str(error)))

    def summarise(self) -> None:
        """Log what was done, now and then."""
        now = self._timer()
        if now < self._next_summary_s:
            return
        self._next_summary_s = now + self._summary_s
        before, self._counted = self._counted, Counter(self._counts)
        done = self._counted - before
        self._rate = done["embedded"] * 60 / self._summary_s
        self._publish_start_times()
        self._look_at_upload()
        self._send_status()
        if done:
            logger.info("in %s: %s", span(self._summary_s), summary(done), extra={"LAG_S": round(self._lag_s)})

    def _look_at_upload(self) -> None:
        """Keep how uploading is, which another process does; that one logs its troubles itself."""
        if not self._daemon.upload:
            return
        from sonyc_ml.node.upload.facts import FAILING, STOPPED, read_facts  # noqa: PLC0415

        said = read_facts(Path(self._daemon.upload))
        word, detail = (said.word, said.detail) if said else (STOPPED, "")
        if self._facts.upload is not None and self._facts.upload.word == word:
            return
        if word == STOPPED:
            logger.warning("sonyc-ml upload does not run, and outputs stay here")
        self._change(upload=FolderFacts(word, detail if word == FAILING else "", self._now()))

    def on_event(self, event: NodeEvent) -> None:
        """Take note of what was done last."""
        if isinstance(event, RecordingEnded) and event.state == "done":
            self._last, self._lag_s = event.recording, event.lag_s
            self._sound_is(event.without_sound)
            self._start_time_is(event)

    def _start_time_is(self, event: RecordingEnded) -> None:
        """Count where start times come from; log the first of each kind that may be wrong."""
        source, doubt = event.start_time_source, event.start_time_doubt
        self._start_sources[source] += 1
        self._start_doubts[doubt] += 1
        is_new = False
        if source == "mtime" and self._start_sources[source] == 1:
            is_new = True
            logger.warning(
                "%s: its name says no start time, the file's time does; see %s", event.recording, PATTERNS_KEY
            )
        if doubt and self._start_doubts[doubt] == 1:
            is_new = True
            logger.warning("%s: its start time is in doubt: %s", event.recording, doubt)
        if is_new:
            self._publish_start_times()

    def _publish_start_times(self) -> None:
        text = in_words(self._start_sources, self._start_doubts, PATTERNS_KEY)
        if text != self._facts.start_times:
            self._change(start_times=text)

    def _sound_is(self, is_missing: bool) -> None:
        """Count recordings without sound; a single one may be a quiet night."""
        if not is_missing:
            if self._facts.is_silent:
                logger.warning("there is sound again, after %d recordings without", self._n_silent)
                self._change(sound=SoundFacts(OK, self._now()))
            self._n_silent = 0
            return
        self._n_silent += 1
        if self._n_silent == 1:
            self._silent_since = self._now()
        if self._silent_after and self._n_silent >= self._silent_after:
            if self._n_silent == self._silent_after:
                logger.warning(
                    "no sound in the last %d recordings, since %s; is the microphone connected?",
                    self._n_silent,
                    self._silent_since,
                )
            self._change(sound=SoundFacts(SILENT, self._silent_since, self._n_silent))

    def left_out(self, kinds: Mapping[str, int]) -> None:
        """Files in the folder that are no recordings by their names, so many by each ending; the spool logs them."""
        text = ", ".join(f"{n:,} {kind}" for kind, n in sorted(kinds.items()))
        if text != self._facts.left_out:
            self._change(left_out=text)

    def _send_status(self) -> None:
        """Send the service manager a line."""
        if self._facts.trouble:
            text = f"in trouble: {self._facts.trouble.detail}"
        elif not self._folder.is_well and self._folder.word:
            text = f"waiting for {self._daemon.folder}: {self._folder.detail}"
        elif self._is_quiet:
            text = f"no recording since {iso(self._last_found_s)}"
        elif self._facts.is_silent:
            text = f"no sound since {self._silent_since}"
        else:
            last = f", last {self._last}, lag {span(self._lag_s)}" if self._last else ""
            text = f"{self._rate:.3g} recordings a minute{last}"
        self._notifier.status(text)

    def _change(self, **changes: object) -> None:
        self._facts = replace(self._facts, **changes)  # type: ignore[arg-type]
        self._publish()

    def _publish(self) -> None:
        if self._facts.daemon is not None:
            self._send_status()
        if self._journal is not None:
            with suppress(StoreError):  # the log has it; it is written again with the next fact
                self._journal.write_facts(self._facts)

    def _note_trouble(self) -> None:
        """Where the trouble is that the journal cannot be written, it is noted elsewhere for those who ask."""
        trouble = self._facts.trouble
        self._note(f"{trouble.since} {trouble.detail}" if trouble else "")

    def _now(self) -> str:
        return iso(self._clock())


def summary(counts: Counter[str]) -> str:
    """How many recordings came to which end."""
    others = [f"{word} {counts[word]}" for word in ("salvaged", "quarantined", "shed") if counts[word]]
    return ", ".join([f"embedded {counts['embedded']}", *others])


def _describe(bundle: LoadedBundle) -> BundleFacts:
    model = bundle.model
    n_delegated, n_operators = model.interpreter.delegated()
    return BundleFacts(
        name=model.bundle.name,
        version=model.bundle.manifest.version if model.bundle.manifest else "",
        sha256=model.bundle.sha256,
        path=str(model.bundle.path.absolute()),
        runtime=model.interpreter.backend,
        xnnpack_operators=n_delegated,
        operators=n_operators,
        output=str(bundle.output_folder.absolute()),
    )
