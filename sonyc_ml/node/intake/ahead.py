"""Recordings that are embedded while they come, so that little is left to do when their last sample has come.

Embedding reads a recording from its beginning to its end; where that has not come yet, it waits. So it goes on a thread
of its own, and this one and the worker's take turns: just one of them runs at any time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from sonyc_ml.base.human import date_of
from sonyc_ml.model.extractor import window_start_s
from sonyc_ml.node.events import N_HIGHEST, WindowHeard
from sonyc_ml.node.intake.gapless import n_heard
from sonyc_ml.node.running_bundles import LoadedBundle
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.live.segment import LiveSegment, OpenRecording, StreamCutError
from sonyc_ml.sound.start_time import StartTimes


class Ahead:
    """One recording on its way through one bundle.

    Parameters
    ----------
    segment : LiveSegment
        Which is open.
    bundle : LoadedBundle
    start_times : StartTimes
    progress : callable, optional
        Called as the work goes on.
    hears : bool
        Whether what is heard is wanted as it comes.
    """

    def __init__(
        self,
        segment: LiveSegment,
        bundle: LoadedBundle,
        start_times: StartTimes,
        progress: Callable[[], None] | None = None,
        *,
        hears: bool = False,
    ) -> None:
        self.segment, self.bundle = segment, bundle
        self._start_times, self._progress = start_times, progress
        self._recording = OpenRecording(segment, bundle.model.channel, n_heard(segment, bundle), self._wait)
        self._hears, self._heard = hears, dict[int, dict[str, float]]()  # by window, what was not fetched yet
        self._goes, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self._is_dropped = self._is_over = False
        self._output: Output | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
        self._thread.start()

    @staticmethod
    def can_be(segment: LiveSegment, bundle: LoadedBundle) -> bool:
        """Whether a recording can be embedded as it comes: not where a state goes on to the next."""
        return not bundle.model.carries_state and segment.layout.valid_bits in (0, segment.layout.bits)

    def go_on(self) -> None:
        """Embed what has come.

        Raises
        ------
        BaseException
            What `progress` raises.
        """
        if not self._is_over:
            self._goes.release()
            self._waits.acquire()
        if isinstance(self._error, BaseException) and not isinstance(self._error, Exception):
            raise self._error

    def heard(self) -> Iterator[WindowHeard]:
        """Yield the windows in which something was heard since this was asked last."""
        segment, model = self.segment, self.bundle.model
        found, self._heard = self._heard, {}
        for number, scores in found.items():
            start_s = window_start_s(
                model.extractor, self._recording.n_samples, self._recording.sample_rate, None, number
            )
            highest = sorted(scores.items(), key=lambda one: -one[1])[:N_HIGHEST]
            at, window_s = date_of(segment.start_s + start_s).isoformat(), model.extractor.window_size_s
            yield WindowHeard(segment.source, model.bundle.name, at, window_s, dict(highest))

    def finish(self, name: str) -> Output | None:
        """Embed the rest; None where that failed, or the recording ended early: it is embedded as a whole then.

        Parameters
        ----------
        name : str
            What the output calls the recording.
        """
        self._recording.named(name)
        self.go_on()
        return self._output

    def drop(self) -> None:
        """Nobody wants it any more."""
        self._is_dropped = True
        with suppress(BaseException):
            self.go_on()
        self._thread.join()

    def _wait(self) -> None:
        """Give the turn back until there is more sound."""
        self._waits.release()
        self._goes.acquire()
        if self._is_dropped:
            raise StreamCutError

    def _hear(self, window: int, label: str, _class_number: int, score: float) -> None:
        self._heard.setdefault(window, {})[label] = score

    def _run(self) -> None:
        self._goes.acquire()
        try:
            if not self._is_dropped:
                self._output = self.bundle.model.embed(
                    self._recording,
                    start_times=self._start_times,
                    progress=self._progress,
                    scratch=self.bundle.output_folder,
                    hear=self._hear if self._hears else None,
                )
        except BaseException as error:  # noqa: BLE001  the worker raises it, or finds it again
            self._error = error
        finally:
            self._is_over = True
            self._waits.release()
