"""What the daemon says of itself: little in the log, and facts in the journal for those who ask."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from sonyc_ml import __version__
from sonyc_ml.base.human import iso, span
from sonyc_ml.errors import StoreError
from sonyc_ml.node.config import Config
from sonyc_ml.node.events import Ended, Event
from sonyc_ml.node.facts import (
    OK,
    QUIET,
    BundleFacts,
    DaemonFacts,
    Facts,
    FolderFacts,
    InputFacts,
    ReloadFacts,
    TroubleFacts,
)
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.running_bundles import Bundles, LoadedBundle
from sonyc_ml.node.spool.spool import FolderState
from sonyc_ml.node.systemd import Service

logger = logging.getLogger(__name__)


class Bulletin:
    """Says what has changed, once.

    Parameters
    ----------
    config : Config
    counts : Counter
        The worker's; see :class:`sonyc_ml.node.worker.Worker`.
    service : Service, optional
        Told in a line what is done.
    clock, timer : callable
        Return seconds since 1970, and seconds that only grow.
    """

    def __init__(
        self,
        config: Config,
        counts: Counter[str],
        service: Service | None = None,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._counts, self._clock, self._timer = config, counts, clock, timer
        self._service = service or Service({})
        self._journal: Journal | None = None
        self._facts = Facts()
        self._folder = FolderState("")
        self._last_found_s = self._started_s = clock()
        self._is_quiet = False
        self._last, self._lag_s, self._rate = "", 0.0, 0.0
        self._counted: Counter[str] = Counter()
        self._next_summary_s = timer() + config.process.summary_s

    @property
    def facts(self) -> Facts:
        """What is true now, whether or not the journal could keep it."""
        return self._facts

    def publish_in(self, journal: Journal) -> None:
        """Keep the facts in this journal from now on; until there are any, those of the daemon before stay."""
        self._journal = journal
        if self._facts != Facts():
            self._publish()

    def started(self, bundles: Bundles) -> None:
        """The daemon runs."""
        config, before = self._config, self._facts_before()
        self._facts = Facts(
            daemon=DaemonFacts(
                pid=os.getpid(),
                since=iso(self._started_s),
                version=__version__,
                folder=str(config.spool.folder.absolute()),
                extensions=config.spool.extensions,
                recursive=config.spool.recursive,
                output=str(config.output.folder.absolute()),
                format=config.output.format,
                overload=config.overload.policy,
                retention=config.retention.policy,
                bundles=tuple(_describe(bundle) for bundle in bundles),
            ),
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
        if state == self._folder:
            return
        before, self._folder = self._folder, state
        folder = self._config.spool.folder
        if not state.is_well:
            logger.warning("%s: %s; waiting for it", folder, state.detail)
        elif before.word and not before.is_well:
            logger.warning("%s is there again", folder)
        elif state.detail:
            logger.info("%s is %s", folder, state.detail)
        self._change(folder=FolderFacts(state.word, state.detail, self._now()))

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
        quiet_s = self._config.spool.quiet_after_s
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

    def out_of_trouble(self) -> None:
        """Writing works again."""
        logger.warning("the trouble has passed; going on")
        self._change(trouble=None)

    def reloaded(self, bundles: Bundles, remark: str = "") -> None:
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
        """Say now and then what was done."""
        now = self._timer()
        if now < self._next_summary_s:
            return
        summary_s = self._config.process.summary_s
        self._next_summary_s = now + summary_s
        before, self._counted = self._counted, Counter(self._counts)
        done = self._counted - before
        self._rate = done["embedded"] * 60 / summary_s
        self._say_status()
        if done:
            logger.info("in %s: %s", span(summary_s), summary(done), extra={"LAG_S": round(self._lag_s)})

    def hear(self, event: Event) -> None:
        """Take note of what was done last."""
        if isinstance(event, Ended) and event.state == "done":
            self._last, self._lag_s = event.recording, event.lag_s

    def _say_status(self) -> None:
        """Tell the service manager in a line."""
        if self._facts.trouble:
            text = f"in trouble: {self._facts.trouble.detail}"
        elif not self._folder.is_well and self._folder.word:
            text = f"waiting for {self._config.spool.folder}: {self._folder.detail}"
        elif self._is_quiet:
            text = f"no recording since {iso(self._last_found_s)}"
        else:
            last = f", last {self._last}, lag {span(self._lag_s)}" if self._last else ""
            text = f"{self._rate:.3g} recordings a minute{last}"
        self._service.is_doing(text)

    def _change(self, **changes: object) -> None:
        self._facts = replace(self._facts, **changes)  # type: ignore[arg-type]
        self._publish()

    def _publish(self) -> None:
        if self._facts.daemon is not None:
            self._say_status()
        if self._journal is not None:
            with suppress(StoreError):  # the log has it; it is written again with the next fact
                self._journal.write_facts(self._facts)

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
