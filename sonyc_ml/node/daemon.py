"""The daemon's life: start, embed each recording as it is finished, whatever happens, stop."""

from __future__ import annotations

import dataclasses
import gc
import logging
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from types import FrameType
from typing import TYPE_CHECKING

from sonyc_ml.base.lock import Lock
from sonyc_ml.errors import JournalDamagedError, SonycMLError, StoreError
from sonyc_ml.node.config import Config
from sonyc_ml.node.events import Listener, NodeEvent
from sonyc_ml.node.journal.file import is_disk_trouble, set_aside
from sonyc_ml.node.journal.journal import Journal, open_journal
from sonyc_ml.node.reporter import Reporter
from sonyc_ml.node.retention.thread import RetentionThread
from sonyc_ml.node.running_bundles import load_guarded
from sonyc_ml.node.spool.spool import spool_of
from sonyc_ml.node.starting import be_modest, facts_of, proof_of
from sonyc_ml.node.systemd import Notifier
from sonyc_ml.node.telemetry.counts import CountsKeeper
from sonyc_ml.node.telemetry.mqtt import MqttPublisher
from sonyc_ml.node.telemetry.textfile import HOW_SERVED, Textfile, left_to_serve
from sonyc_ml.node.worker import Worker, WorkStoppedError

if TYPE_CHECKING:
    from sonyc_ml.node.intake.intake import Intake

logger = logging.getLogger(__name__)

N_FOUND = 1000  # recordings that the journal takes up at a time
BACKOFF_S, MAX_BACKOFF_S = 1.0, 60.0
CLOCK_JUMP_S = 10.0  # a clock that is disciplined drifts less
DRAIN_S = 10.0  # and how long live sound, which is in memory only, is embedded for
FINISH_S = 1.0  # how long a recording has to be finished in, once the daemon is to stop
IDLE_S = 2.0  # how soon somebody else's change of the journal (a retry, say) is seen


class Daemon:
    """Embeds the recordings of a folder until it is stopped.

    Parameters
    ----------
    config : Config
        See :mod:`sonyc_ml.node.config`.
    reread : callable, optional
        Reads the configuration again on a reload; it stays the same where not given.
    """

    def __init__(self, config: Config, reread: Callable[[], Config] | None = None) -> None:
        self._config = config
        self._reread = reread or (lambda: config)
        self._counts: Counter[str] = Counter()
        self._notifier = Notifier()
        self._reporter = Reporter(
            facts_of(config),
            self._counts,
            self._notifier,
            note=self._note,
            quiet_after_s=config.spool.quiet_after_s,
            silent_after=config.recordings.silent_after,
            summary_s=config.process.summary_s,
        )
        self._kept = CountsKeeper((model.path.stem for model in config.model), config.metrics.every_s)
        self._listeners: list[Listener] = [self._reporter.on_event, self._kept.on_event]
        self._spool = spool_of(config.spool)
        self._intake: Intake | None = None
        self._stopped = self._reload_wanted = False
        self._stop_at_s = math.inf
        self._due_s: float | None = 0.0  # when the next recording may be begun; None where none waits
        self._backoff_s, self._resume_s = 0.0, -math.inf
        self._clock_offset_s = time.time() - time.monotonic()

    def run(self) -> None:
        """Run until SIGTERM or Ctrl-C; a second one stops now. SIGHUP reloads.

        The current recording is finished where that takes less than a second, and stays pending where it takes more.

        Raises
        ------
        BundleError, ConfigError, StoreError
            It cannot start.
        CrashError
            It would be killed again by what it loads.
        KeyboardInterrupt
            Stopped by a second signal.
        """
        with self._signals(), ExitStack() as house:
            self._startup(house)
            self._main_loop()
            self._notifier.stopping()
            self._drain()
            self._reporter.stopped()
            self._kept.keep(self._journal, at_once=True)

    def _startup(self, house: ExitStack) -> None:
        """Open everything; the house closes it again in the opposite order, whatever happens."""
        config = self._config
        be_modest(config)
        self._bundles = load_guarded(config.model, config.output, config.state_folder, config.level_settings())
        house.callback(self._bundles.stopped)
        if config.listen is not None:
            config.spool.folder.mkdir(parents=True, exist_ok=True)
            from sonyc_ml.node.intake.intake import Intake  # noqa: PLC0415  a node without live sound needs none of it

            self._intake = Intake(config.listen, config.spool.folder, self._bundles, self._spool.wake)
            self._listeners.append(self._intake.queue.on_event)
        self._open_state(house)
        publisher = MqttPublisher(config.mqtt, config.state_folder, config.node.name)
        self._listeners.append(house.enter_context(publisher).on_event)
        self._retention = house.enter_context(
            RetentionThread(config.retention, config.spool.folder, config.state_folder, proof_of(config))
        )
        house.callback(self._spool.close)
        self._spool.check()
        self._reporter.started(self._bundles, self._spool.state)
        house.enter_context(Textfile(config.metrics, config.state_folder, lambda: self._reporter.facts))
        if text := left_to_serve(config.metrics):
            logger.warning("%s; %s", text, HOW_SERVED)
        names = ", ".join(bundle.model.bundle.name for bundle in self._bundles)
        if self._intake is not None:
            house.enter_context(self._intake)
            logger.info("listening to %s", ", ".join(source.name for source in config.listen.source))
        self._notifier.ready(f"watching {self._spool.folder}")
        gc.enable()
        logger.info("watching %s with %s, writing to %s", self._spool.folder, names, config.output.folder)

    def _open_state(self, house: ExitStack) -> None:
        """Open lock and journal; where the disk is full, wait until it is not: to give up would not free it."""
        is_logged = False
        while True:
            with ExitStack() as opened:
                try:
                    self._lock = Lock(self._config.state_folder)
                    opened.callback(self._lock.release)
                    self._open_journal()
                except StoreError as error:
                    if not is_disk_trouble(error) or self._stopped:
                        raise
                    if not is_logged:
                        logger.error("%s; waiting for the disk", error)
                        is_logged = True
                else:
                    opened.callback(self._close_journal)
                    house.enter_context(opened.pop_all())
                    return
            time.sleep(BACKOFF_S)

    def _open_journal(self) -> None:
        self._journal: Journal = open_journal(self._config.state_folder)
        self._reporter.publish_in(self._journal)
        self._worker = Worker(
            self._config.spool.folder,
            self._journal,
            self._bundles,
            self._spool.is_being_written,
            output=self._config.output,
            recordings=self._config.recordings,
            overload=self._config.overload,
            node=self._config.node,
            counts=self._counts,
            emit=self._emit,
            progress=self._progress,
            live=self._intake.queue if self._intake else None,
        )
        try:
            self._worker.start()
        except StoreError:
            self._journal.close()  # it lacks the outputs, and is opened again
            raise

    def _note(self, text: str) -> None:
        self._lock.note(text)

    def _emit(self, event: NodeEvent) -> None:
        for listener in self._listeners:
            listener(event)

    def _progress(self) -> None:
        """The work goes on; where it has gone on for too long since it was to stop, it ends in the middle."""
        self._notifier.keep_alive()
        if self._stopped and time.monotonic() > self._stop_at_s:
            raise WorkStoppedError

    def _close_journal(self) -> None:
        self._journal.close()  # it may have become another one

    def _main_loop(self) -> None:
        while not self._stopped:
            self._spool.wait(self._patience_s())
            self._look_after_itself()
            self._notifier.keep_alive()
            try:
                if not self._must_wait():
                    self._turn()
            except JournalDamagedError as error:
                self._renew_journal(error)
            except StoreError as error:
                self._back_off(error)

    def _must_wait(self) -> bool:
        return self._stopped or time.monotonic() < self._resume_s

    def _patience_s(self) -> float:
        """How long there is nothing to do but to wait for recordings (in seconds)."""
        if time.monotonic() < self._resume_s:
            return self._resume_s - time.monotonic()
        return IDLE_S if self._due_s is None else min(IDLE_S, max(0.0, self._due_s - time.time()))

    def _turn(self) -> None:
        """Take up what was found, and embed one recording.

        Where nothing was found and nothing waits, as in most turns of a quiet night, the journal is only asked.
        """
        if self._intake is not None:
            self._intake.requests.answer()
        n_known = self._journal.n_added
        found = self._spool.found()
        while len(chunk := list(islice(found, N_FOUND))) == N_FOUND:
            self._journal.add(chunk)
        self._reporter.folder_is(self._spool.state)
        self._reporter.left_out(self._spool.left_out)
        is_busy = False
        if chunk or self._due_s is not None or (self._intake is not None and self._intake.has_news):
            self._worker.shed_excess()
            is_busy = self._worker.step(chunk)
        if not is_busy:
            self._worker.work_ahead()
        self._due_s = 0.0 if is_busy else self._journal.next_due_s()
        self._reporter.found(self._journal.n_added - n_known)
        self._kept.keep(self._journal)
        if self._backoff_s:
            self._backoff_s = 0.0
            self._reporter.out_of_trouble()

    def _is_over(self) -> bool:
        """Whether standard input was all there was to listen to, and has ended."""
        return self._intake is not None and self._due_s is None and self._intake.is_over

    def _drain(self) -> None:
        """Embed what there is of live sound, as far as there is time for that: nobody else has it."""
        if self._intake is None:
            return
        self._stop_at_s = end_s = time.monotonic() + DRAIN_S
        with suppress(StoreError):
            self._intake.drain(lambda: self._worker.step(live_only=True), lambda: time.monotonic() >= end_s)
            self._worker.step(live_only=True)
            self._worker.shed_excess()

    def _look_after_itself(self) -> None:
        self._follow_clock()
        self._stopped = self._stopped or self._is_over()
        if not self._journal.is_in_place():
            self._renew_journal(JournalDamagedError(f"the journal {self._journal.path} was removed"))
        if self._reload_wanted or self._bundles.were_replaced():
            self._reload()
        self._reporter.summarise()

    def _follow_clock(self) -> None:
        """A node without a clock of its own learns the time after its start; nothing is older for that."""
        offset_s = time.time() - time.monotonic()
        jump_s = offset_s - self._clock_offset_s
        if abs(jump_s) > CLOCK_JUMP_S:
            with suppress(StoreError):  # again at the next turn
                self._worker.work_time.clock_was_set(jump_s)
                self._clock_offset_s = offset_s
                self._reporter.clock_was_set(jump_s)

    # When the disk does not do as it should

    def _back_off(self, error: StoreError) -> None:
        """Nothing can be written for now, and trying at once would only wear the disk."""
        self._spool.rescan()  # what was found may not have been taken up
        if not self._backoff_s:
            self._reporter.in_trouble(error)
        self._backoff_s = min(MAX_BACKOFF_S, max(BACKOFF_S, 2 * self._backoff_s))
        self._resume_s = time.monotonic() + self._backoff_s
        self._due_s = 0.0  # whatever could not be written waits
        logger.debug("%s; trying again in %.0f s", error, self._backoff_s)

    def _renew_journal(self, error: JournalDamagedError) -> None:
        logger.error("%s; it is made again from the folder and the outputs", error)
        self._journal.close()
        self._spool.rescan()
        try:
            set_aside(self._config.state_folder)
            self._open_journal()
        except StoreError as trouble:
            self._back_off(trouble)

    # A new bundle

    def _reload(self) -> None:
        """Read the configuration again and switch to its bundles, if they are good."""
        self._reload_wanted = False
        try:
            wanted = self._reread()
            config = dataclasses.replace(self._config, model=wanted.model, detections=wanted.detections)
            self._bundles.reload(config.model)
        except SonycMLError as error:
            self._reporter.not_reloaded(error)
            return
        self._retention.change_proof(proof_of(config))
        self._reporter.reloaded(
            self._bundles, "; what changed beside [model] needs a restart" if wanted != config else ""
        )

    # Signals

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop, SIGHUP reloads; handlers only set flags."""
        handlers: dict[int, Callable[[int, FrameType | None], None]] = {
            signal.SIGTERM: self._on_stop,
            signal.SIGINT: self._on_stop,
            signal.SIGHUP: self._on_reload,
        }
        previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        if self._stopped:
            raise KeyboardInterrupt
        self._stopped, self._stop_at_s = True, time.monotonic() + FINISH_S
        self._spool.wake()

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reload_wanted = True
        self._spool.wake()
