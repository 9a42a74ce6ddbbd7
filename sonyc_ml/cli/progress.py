"""A batch as it is seen: a bar on a terminal, a line now and then in a log, an event a line for programs."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import asdict
from types import TracebackType
from typing import Self

from sonyc_ml.base.human import count, shown, span
from sonyc_ml.batch.events import Begun, Embedded, Ended, Event, Failed, Kept
from sonyc_ml.sound.kinds import in_words

BAR_S, LINE_S = 0.1, 30.0  # between two pictures on a terminal, and two lines in a log
BAR_LENGTH = 20
RATE_S = 10.0  # nothing is said of what is left before so much time has passed, or a hundredth of the recordings


class Progress:
    """Shows the events of a batch.

    Parameters
    ----------
    parsed : argparse.Namespace
        With the flags ``quiet``, ``verbose``, ``json``, and ``output``.

    Attributes
    ----------
    n_good, n_failed : int
        Recordings whose output is there, and those that failed.
    """

    def __init__(self, parsed: argparse.Namespace) -> None:
        self._quiet, self._verbose, self._json = parsed.quiet, parsed.verbose, parsed.json
        self._folder = parsed.output
        self._is_terminal = sys.stderr.isatty()
        self._total = self._n_embedded = self._n_kept = self.n_failed = 0
        self._sound_s = 0.0
        self._start_s = self._next_s = time.monotonic()
        self._is_drawn = False

    @property
    def n_good(self) -> int:
        """How many recordings have their output."""
        return self._n_embedded + self._n_kept

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def show(self, event: Event) -> None:
        """Show one event."""
        self._count(event)
        if self._json:
            print(json.dumps({"event": type(event).__name__.lower(), **asdict(event)}), flush=True)
        if isinstance(event, Failed):
            self._say(f"failed ({event.reason}): {event.detail}")
        elif self._quiet:
            return
        elif isinstance(event, Embedded) and self._verbose:
            self._say(
                f"{event.output}  {count(event.n_windows, 'window')}, {event.duration_s:.1f} s in "
                f"{event.elapsed_s * 1e3:.0f} ms"
            )
        elif isinstance(event, Ended):
            self._say(self._summary(event))
            return
        self._picture()

    def stopped(self) -> None:
        """It was told to stop."""
        if not self._total:
            self._say("stopped before it began")
            return
        done = f"{count(self._n_embedded)} embedded"
        self._say(f"stopped: {done}, {self._left():,} left; the same command goes on from there")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._is_drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._is_drawn = False

    def _count(self, event: Event) -> None:
        if isinstance(event, Begun):
            self._total = event.n_recordings
            self._start_s = self._next_s = time.monotonic()
            self._next_s += BAR_S if self._is_terminal else LINE_S
        self._n_embedded += isinstance(event, Embedded)
        self._n_kept += isinstance(event, Kept)
        self.n_failed += isinstance(event, Failed)
        self._sound_s += event.duration_s if isinstance(event, Embedded) else 0.0

    def _say(self, text: str) -> None:
        """A line that stays."""
        self.close()
        print(shown(text), file=sys.stderr, flush=True)

    def _picture(self) -> None:
        """How far it is, at most as often as is of use."""
        now = time.monotonic()
        if self._quiet or now < self._next_s:
            return
        if self._is_terminal:
            self._next_s = now + BAR_S
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{self._bar()}{self._line(now)}"[: width + 1], end="\x1b[K", file=sys.stderr, flush=True)
            self._is_drawn = True
        elif not self._json:
            self._next_s = now + LINE_S
            print(self._line(now), file=sys.stderr, flush=True)

    def _bar(self) -> str:
        n_filled = BAR_LENGTH * (self.n_good + self.n_failed) // max(1, self._total)
        return f"[{'=' * n_filled}{' ' * (BAR_LENGTH - n_filled)}] "

    def _line(self, now: float) -> str:
        n_done, elapsed_s = self.n_good + self.n_failed, now - self._start_s
        parts = [f"{n_done:,} of {self._total:,} recordings"]
        if self._n_embedded:
            parts.append(f"{span(self._sound_s)} of sound, {self._sound_s / max(elapsed_s, 1e-9):,.0f} x real time")
            n_computed = self._n_embedded + self.n_failed
            if elapsed_s > RATE_S or n_computed * 100 > self._total:
                parts.append(f"{span(elapsed_s / n_computed * self._left())} left")
        if self.n_failed:
            parts.append(f"{self.n_failed:,} failed")
        return ", ".join(parts)

    def _left(self) -> int:
        return self._total - self.n_good - self.n_failed

    def _summary(self, ended: Ended) -> str:
        parts = [f"embedded {ended.n_embedded:,} of {count(self._total)}"]
        if ended.n_embedded:
            speed = ended.sound_s / max(ended.elapsed_s, 1e-9)
            parts.append(f"{span(ended.sound_s)} of sound in {span(ended.elapsed_s)}, {speed:,.0f} x real time")
        if ended.n_kept:
            parts.append(f"{ended.n_kept:,} were embedded already")
        if ended.n_failed:
            parts.append(f"{ended.n_failed:,} failed, see {self._folder / 'failures.csv'}")
        if ended.marks:
            marks = ", ".join(f"{n:,} {mark}" for mark, n in ended.marks.items())
            parts.append(f"{marks} (see note and level_dbfs in the outputs)")
        if ended.skipped:
            parts.append(f"left out, since they are not read: {in_words(ended.skipped)}")
        return "; ".join(parts)
