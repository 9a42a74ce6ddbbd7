"""A batch or a separation as it is seen: a bar on a terminal, lines in a log, one event per line for programs."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from sonyc_ml.base.human import count, shown, span
from sonyc_ml.batch.events import (
    BatchBegun,
    BatchEnded,
    BatchEvent,
    RecordingEmbedded,
    RecordingFailed,
    RecordingKept,
    RecordingProgress,
    RecordingSeparated,
    SeparationEnded,
    SeparationEvent,
)
from sonyc_ml.sound.kinds import in_words
from sonyc_ml.sound.start_time.words import in_words as start_times_in_words

LINE_S = 30.0  # between two lines in a log
RATE_S = 10.0  # nothing is said of what is left before so much time has passed, or a hundredth of the recordings
# The time left comes before what a narrow terminal has no room for.
BAR_FORMAT = "|{bar:10}| {n_fmt} of {total_fmt} recordings, {remaining} left{postfix}"


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

    DONE = "embedded"  # what is done with recordings

    def __init__(self, parsed: argparse.Namespace) -> None:
        self._quiet, self._verbose, self._json = parsed.quiet, parsed.verbose, parsed.json
        self._folder = parsed.output
        self._total = self._n_done = self._n_kept = self.n_failed = 0
        self._sound_s = 0.0
        self._begun: dict[str, RecordingProgress] = {}  # recordings that take long
        self._start_s = self._next_s = time.monotonic()
        self._bar: Any = None

    @property
    def n_good(self) -> int:
        """How many recordings have their output."""
        return self._n_done + self._n_kept

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def show(self, event: BatchEvent | SeparationEvent) -> None:
        """Show one event."""
        self._count(event)
        if self._json:
            print(json.dumps({"event": event.kind, **asdict(event)}), flush=True)
        if isinstance(event, RecordingFailed):
            self._say(f"failed ({event.reason}): {event.detail}")
        elif self._quiet:
            return
        elif isinstance(event, RecordingEmbedded | RecordingSeparated) and self._verbose:
            self._say(_line(event))
        elif isinstance(event, BatchEnded | SeparationEnded):
            self.close()
            self._say(self._summary(event) if isinstance(event, BatchEnded) else self._summary_of_tracks(event))
            return
        self._draw()

    def stopped(self) -> None:
        """A signal stopped it."""
        self.close()
        if not self._total:
            self._say("stopped before it began")
            return
        done = f"{count(self._n_done)} {self.DONE}"
        self._say(f"stopped: {done}, {self._left():,} left; the same command goes on from there")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _count(self, event: BatchEvent | SeparationEvent) -> None:
        if isinstance(event, BatchBegun):
            self._total = event.n_recordings
            self._start_s = time.monotonic()
            self._next_s = self._start_s + LINE_S
            if sys.stderr.isatty() and not self._quiet:
                self._bar = _new_bar(self._total)
        if isinstance(event, RecordingProgress):
            self._begun[event.recording] = event
        elif isinstance(event, RecordingEmbedded | RecordingFailed):
            self._begun.pop(event.recording, None)
        self._n_done += isinstance(event, RecordingEmbedded | RecordingSeparated)
        self._n_kept += isinstance(event, RecordingKept)
        self.n_failed += isinstance(event, RecordingFailed)
        self._sound_s += event.duration_s if isinstance(event, RecordingEmbedded | RecordingSeparated) else 0.0

    def _say(self, text: str) -> None:
        """A line that stays, above the bar."""
        if self._bar is not None:
            self._bar.clear()
        print(shown(text), file=sys.stderr, flush=True)

    def _draw(self) -> None:
        """How far it is, at most as often as is of use."""
        now = time.monotonic()
        n_done = self.n_good + self.n_failed
        if self._bar is not None:
            self._bar.ncols = _width()
            self._bar.set_postfix_str(", ".join(self._extras(now)), refresh=False)
            self._bar.update(n_done - self._bar.n)
        elif not (self._quiet or self._json) and now >= self._next_s:
            self._next_s = now + LINE_S
            parts = [f"{n_done:,} of {self._total:,} recordings", *self._time_left(now), *self._extras(now)]
            print(", ".join(parts), file=sys.stderr, flush=True)

    def _time_left(self, now: float) -> list[str]:
        n_computed, elapsed_s = self._n_done + self.n_failed, now - self._start_s
        if not self._n_done or (elapsed_s <= RATE_S and n_computed * 100 <= self._total):
            return []
        return [f"{span(elapsed_s / n_computed * self._left())} left"]

    def _extras(self, now: float) -> list[str]:
        parts = [f"{self.n_failed:,} failed"] if self.n_failed else []
        begun_s = sum(event.done_s for event in self._begun.values())
        if self._n_done or begun_s:
            sound_s = self._sound_s + begun_s
            parts += [f"{sound_s / max(now - self._start_s, 1e-9):,.0f} x real time", f"{span(sound_s)} of sound"]
        if begun_s:
            parts.append(f"{span(begun_s)} of {span(sum(event.duration_s for event in self._begun.values()))} begun")
        return parts

    def _left(self) -> int:
        return self._total - self.n_good - self.n_failed

    def _summary(self, ended: BatchEnded) -> str:
        parts = [f"embedded {ended.n_embedded:,} of {count(self._total)}"]
        if ended.n_embedded:
            speed = ended.sound_s / max(ended.elapsed_s, 1e-9)
            parts.append(f"{span(ended.sound_s)} of sound in {span(ended.elapsed_s)}, {speed:,.0f} x real time")
        if ended.n_kept:
            parts.append(f"{ended.n_kept:,} were embedded already")
        if ended.n_replaced:
            parts.append(f"{ended.n_replaced:,} replaced earlier outputs")
        if ended.n_apart:
            parts.append(f"{ended.n_apart:,} have their time in their output's name, as another recording has theirs")
        if ended.n_failed:
            parts.append(f"{ended.n_failed:,} failed, see {self._folder}/failures.csv")
        if ended.marks:
            parts.append(f"{_marks(ended)} (see note and level_dbfs in the outputs)")
        if starts := start_times_in_words(ended.start_time_sources, ended.start_time_doubts, "--start-pattern"):
            parts.append(starts)
        if ended.skipped:
            parts.append(f"left out, since they are not read: {in_words(ended.skipped)}")
        return "; ".join(parts)

    def _summary_of_tracks(self, ended: SeparationEnded) -> str:
        parts = [f"separated {ended.n_separated:,} of {count(self._total)}"]
        if ended.n_separated:
            speed = ended.sound_s / max(ended.elapsed_s, 1e-9)
            parts.append(f"{span(ended.sound_s)} of sound in {span(ended.elapsed_s)}, {speed:,.0f} x real time")
        if ended.n_kept:
            parts.append(f"{ended.n_kept:,} were separated already")
        if ended.n_failed:
            parts.append(f"{ended.n_failed:,} failed")
        if ended.n_saturated:
            parts.append(
                f"{count(ended.n_saturated, 'sample')} in {count(ended.n_with_saturated)} were too loud for PCM and "
                "are at full scale (--subtype FLOAT keeps them)"
            )
        if ended.largest_difference:
            parts.append(f"tracks and remainder add up to within {ended.largest_difference:.2g} of full scale")
        if ended.marks:
            parts.append(f"{_marks(ended)} (see provenance in the tracks' .json)")
        if ended.n_outdated:
            parts.append(f"left as they are, though made in another way than these: {count(ended.n_outdated, 'track')}")
        if ended.n_tracks_left_out:
            parts.append(f"left out, since they were made here before: {count(ended.n_tracks_left_out, 'track')}")
        if ended.skipped:
            parts.append(f"left out, since they are not read: {in_words(ended.skipped)}")
        return "; ".join(parts)


class SeparationProgress(Progress):
    """Shows the events of a separation; see :class:`Progress`."""

    DONE = "separated"


def _line(event: RecordingEmbedded | RecordingSeparated) -> str:
    """A recording that is done, in a line."""
    took = f"{event.duration_s:.1f} s in {event.elapsed_s * 1e3:.0f} ms"
    if isinstance(event, RecordingEmbedded):
        return f"{event.output}  {count(event.n_windows, 'window')}, {took}"
    return f"{', '.join(event.outputs)}  {took}"


def _marks(ended: BatchEnded | SeparationEnded) -> str:
    return ", ".join(f"{n:,} {mark}" for mark, n in ended.marks.items())


def _new_bar(total: int) -> Any:
    """A bar for a terminal; None where there is no tqdm, as on 32-bit ARM."""
    try:
        from tqdm import tqdm  # noqa: PLC0415  comes with LiteRT
    except ImportError:
        return None

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no thread that wakes it

    Bar.set_lock(threading.RLock())  # the default is one of several processes, which needs semaphores of the system
    look: dict[str, Any] = {"bar_format": BAR_FORMAT, "ascii": " =", "ncols": _width()}
    # One row is all that it needs, also where the terminal does not say how many it has.
    return Bar(total=total, file=sys.stderr, leave=False, nrows=2, **look)


def _width() -> int:
    """Columns of the terminal that the bar is on, but for the last, where some begin a new line."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns):
        return int(columns) - 1
    try:
        return (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1
    except (OSError, ValueError):
        return 79
