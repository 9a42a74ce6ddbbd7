"""The samples of a stream cut into recordings: chunks of any size in, stretches of whole frames out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonyc_ml.sound.header import Layout
from sonyc_ml.sound.live.clock import Moment, StreamClock
from sonyc_ml.sound.live.segment import LiveSegment


class Cutter:
    """Cuts one stream.

    Attributes
    ----------
    open : LiveSegment or None
        The recording whose samples come now.

    Parameters
    ----------
    source : str
        Its name.
    layout : Layout
    segment_s : float > 0
        How long a recording is (in seconds).
    overlap_s : float
        How far a recording reaches into the next, so that windows run on across the cut (in seconds).
    start_s : float, optional
        When the first sample was taken, where the other side says.
    reason, detail : str
        Why the stream does not begin where the one before it ended.
    microphone : mapping, optional
        Goes with each recording; see :class:`~sonyc_ml.sound.live.segment.LiveSegment`.
    """

    def __init__(
        self,
        source: str,
        layout: Layout,
        segment_s: float,
        overlap_s: float = 0.0,
        *,
        start_s: float | None = None,
        reason: str = "",
        detail: str = "",
        microphone: Mapping[str, Any] | None = None,
    ) -> None:
        self._microphone = microphone or {}
        self.source, self.layout = source, layout
        self._n_segment = max(1, round(segment_s * layout.sample_rate))
        self._n_overlap = round(overlap_s * layout.sample_rate)
        self._size = (self._n_segment + self._n_overlap) * layout.frame_size
        self._start_s, self._why = start_s, (reason, detail)
        self.open: LiveSegment | None = None
        self._rest = bytearray()  # of a frame that is not whole yet
        self._n_before = 0  # samples before those that are held
        self._clock: StreamClock | None = None

    @property
    def n_bytes(self) -> int:
        """Sound that is in no finished recording yet."""
        return len(self.open.content) if self.open else 0

    @property
    def n_missing(self) -> int:
        """Samples of each channel that are missing of the recording that is open."""
        return self.open.n_planned - self.open.n_samples if self.open else 0

    @property
    def missing_s(self) -> float:
        """How soon the last sample of the recording that is open should come (in seconds)."""
        lag_s = self._clock.lag_s if self._clock else 0.0
        return max(0.0, self.n_missing / self.layout.sample_rate - max(0.0, lag_s))

    def is_live(self, moment: Moment) -> bool:
        """Whether the sound has come in its own time for a while."""
        return self._clock is not None and self._clock.is_proven(moment.timer_s)

    def is_ahead(self, moment: Moment) -> bool:
        """Whether the sound comes faster than it can have been recorded."""
        return self._clock is not None and self._clock.is_ahead(moment.timer_s)

    def feed(self, content: bytes | memoryview, moment: Moment) -> list[LiveSegment]:
        """Take a chunk in; return the recordings that it completes.

        Parameters
        ----------
        content : bytes
            Need not end with a whole frame.
        moment : Moment
            When it came.
        """
        frame_size = self.layout.frame_size
        if self._rest or len(content) % frame_size:
            self._rest += content
            n_whole = len(self._rest) // frame_size * frame_size
            content, self._rest = bytes(self._rest[:n_whole]), self._rest[n_whole:]
        if not content:
            return []
        n_come = self._n_before + (self.n_bytes + len(content)) // frame_size
        if self._clock is None:
            self._clock = StreamClock(self.layout.sample_rate, n_come - self._n_before, moment, self._start_s)
        self._clock.arrived(n_come, moment.timer_s)
        found = []
        self.open = self.open or self._begin(bytearray())
        self.open.content += content
        while self.open is not None and len(self.open.content) >= self._size:
            found.append(self._cut(self.open, self._n_segment, moment))
        return found

    def interrupt(self, moment: Moment, reason: str, detail: str, n_missing_bytes: int = 0) -> list[LiveSegment]:
        """End the recording here; the next one begins when sound comes again.

        Parameters
        ----------
        moment : Moment
        reason, detail : str
            Why.
        n_missing_bytes : int
            How much sound is known to be missing.
        """
        found = []
        while self.open is not None:  # with an overlap, two recordings may be open
            found.append(self._cut(self.open, min(self._n_segment, self.open.n_samples), moment))
        self._rest.clear()
        self._n_before += n_missing_bytes // self.layout.frame_size
        self._why = (reason, detail)
        return found

    def _begin(self, content: bytearray) -> LiveSegment:
        assert self._clock is not None
        start_s, size = self._clock.time_of(self._n_before), self.layout.frame_size
        n_planned = self._size // size
        found = LiveSegment(self.source, self.layout, content, start_s, self._n_segment, n_planned=n_planned)
        found.is_open, found.microphone = True, self._microphone
        return found

    def _cut(self, segment: LiveSegment, n_own: int, moment: Moment) -> LiveSegment:
        """Finish the recording that is open, and begin the next with what lies behind it."""
        assert self._clock is not None
        size = self.layout.frame_size
        kept = segment.content[n_own * size :]
        del segment.content[(n_own + self._n_overlap) * size :]
        placement = self._clock.place(self._n_before, n_own, moment)
        segment.start_s, segment.n_own, segment.salvaged = (
            placement.start_s,
            n_own,
            segment.n_samples < segment.n_planned,
        )
        segment.reason, segment.detail = self._why if self._why[0] else placement[1:]
        segment.note = placement.detail if placement.reason in ("drift", "clock set") else ""
        segment.is_open = False  # the last: who reads it finds everything in its place
        self._n_before, self._why = self._n_before + n_own, ("", "")
        self._clock.begin()
        self.open = self._begin(kept) if kept else None
        return segment
