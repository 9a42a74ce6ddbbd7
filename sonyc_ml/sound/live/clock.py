"""When the samples of a stream were taken: by counting them, held against this machine's clock.

A sound card counts samples by a quartz of its own, and says nothing of those that it lost. So the count is the clock
from one sample to the next, and this machine's clock is asked once per recording whether the count is still right.
What a sample was late by when it came, at the least within a recording, is what the count is wrong by: a chunk may be
held up on its way, and cannot be early.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

TOLERANCE_S = 0.25  # a count that is off by less is left alone
MAX_EARLY_S = 2.0  # what is early by more does not come from a microphone, but from a file
FAST_SHARE = 0.01  # what gains more of its own length within a recording, neither
PROVEN_S = 5.0  # what has come in its own time for so long is live
AHEAD_S = 1.0  # what is ahead of its time by more can wait
DRIFT_SHARE = 5e-4  # no quartz is off by more: what is, was lost
CLOCK_STEP_S = 0.1  # of the machine's clock, against the one that only grows


class Moment(NamedTuple):
    """A moment by two clocks: seconds since 1970, which may be set, and seconds that only grow."""

    clock_s: float
    timer_s: float


def this_moment() -> Moment:
    """Now."""
    return Moment(time.time(), time.monotonic())


class Placement(NamedTuple):
    """Where a recording lies in time.

    Attributes
    ----------
    start_s : float
        When its first sample was taken (in seconds since 1970).
    reason, detail : str
        Why that is not where the recording before it ended, in a word or two and a sentence; empty where it is.
    """

    start_s: float
    reason: str = ""
    detail: str = ""


class StreamClock:
    """The time of a stream's samples.

    Parameters
    ----------
    sample_rate : int
        As the stream says (in Hz).
    n_first : int
        Samples of each channel that have come with the first chunk.
    moment : Moment
        When that was.
    start_s : float, optional
        When the first sample was taken, where the other side says.
    """

    def __init__(self, sample_rate: int, n_first: int, moment: Moment, start_s: float | None = None) -> None:
        self._sample_rate, self._is_given = sample_rate, start_s is not None
        self._anchor_s = moment.timer_s - n_first / sample_rate  # by the timer, of sample 0
        self._anchored_s = moment.timer_s
        began_s = moment.clock_s - n_first / sample_rate if start_s is None else start_s
        self._offset_s = began_s - self._anchor_s  # from the timer to the clock
        self._machine_offset_s = moment.clock_s - moment.timer_s
        self._lag_s, self._first_s, self._last_s = 0.0, n_first / sample_rate, moment.timer_s
        self.begin()

    def is_ahead(self, timer_s: float) -> bool:
        """Whether the sound came before it can have been recorded: whoever sends it can wait.

        Whatever came with the first chunk may have come before it could be recorded, too.
        """
        return self._lag_s + timer_s - self._last_s - self._first_s < -AHEAD_S

    def is_proven(self, timer_s: float) -> bool:
        """Whether the sound has come in its own time for so long that it is live."""
        return timer_s - self._anchored_s >= PROVEN_S and not self.is_ahead(timer_s)

    @property
    def lag_s(self) -> float:
        """How late the last sample was when it came, by the count (in seconds)."""
        return self._lag_s

    def time_of(self, n_before: int) -> float:
        """When a sample was taken, as far as is known now (in seconds since 1970)."""
        return self._anchor_s + n_before / self._sample_rate + self._offset_s

    def begin(self) -> None:
        """Another recording begins."""
        self._least_lag_s, self._lag_before_s = math.inf, self._lag_s

    def arrived(self, n_total: int, timer_s: float) -> None:
        """Samples have come, so many in all since the first."""
        self._last_s = timer_s
        self._lag_s = timer_s - (self._anchor_s + n_total / self._sample_rate)
        self._least_lag_s = min(self._least_lag_s, self._lag_s)

    def place(self, n_before: int, n_samples: int, moment: Moment) -> Placement:
        """Say when a recording began that ends now; the count goes on from there.

        Parameters
        ----------
        n_before, n_samples : int
            Of each channel, before the recording and in it.
        moment : Moment
        """
        jump_s = self._follow_clock(moment)
        elapsed_s = moment.timer_s - self._anchored_s
        off_s = self._off_s(n_samples, elapsed_s)
        self._anchor_s += off_s
        self._lag_s -= off_s
        start_s = self.time_of(n_before)
        if jump_s:
            word = "forward" if jump_s > 0 else "back"
            return Placement(
                start_s, "clock set", f"the clock was set {word} by {abs(jump_s):.1f} s; no sound is missing"
            )
        if not off_s:
            return Placement(start_s)
        self._anchored_s = moment.timer_s
        if abs(off_s) <= DRIFT_SHARE * max(elapsed_s, n_samples / self._sample_rate):
            ppm = 1e6 * off_s / elapsed_s
            word = "slower" if off_s > 0 else "faster"
            return Placement(
                start_s,
                "drift",
                f"the source counts {abs(ppm):.0f} ppm {word} than it says, {abs(off_s):.2f} s in {elapsed_s:,.0f} s",
            )
        if off_s > 0:
            return Placement(start_s, "skipped", f"{off_s:.2f} s of sound did not come; the recorder may have overrun")
        return Placement(start_s, "drift", f"the sound came {-off_s:.2f} s earlier than counted")

    def _off_s(self, n_samples: int, elapsed_s: float) -> float:
        """What the count is wrong by; 0 where that is little, or the sound does not come in its own time."""
        off_s = self._least_lag_s
        if not math.isfinite(off_s) or abs(off_s) < TOLERANCE_S or off_s < -MAX_EARLY_S:
            return 0.0
        is_fast = self._lag_before_s - self._lag_s > FAST_SHARE * n_samples / self._sample_rate
        return 0.0 if off_s < 0 and (is_fast or elapsed_s < PROVEN_S) else off_s

    def _follow_clock(self, moment: Moment) -> float:
        """How far the machine's clock was set since the last recording (in seconds)."""
        if self._is_given:
            return 0.0
        before_s, self._machine_offset_s = self._machine_offset_s, moment.clock_s - moment.timer_s
        jump_s = self._machine_offset_s - before_s
        if abs(jump_s) < CLOCK_STEP_S:
            self._machine_offset_s = before_s  # small steps add up
            return 0.0
        self._offset_s += jump_s
        return jump_s
