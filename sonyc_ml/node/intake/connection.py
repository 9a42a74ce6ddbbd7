"""One connection: its bytes to recordings in the buffer, and answers back; nothing in here blocks."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from select import PIPE_BUF
from typing import TYPE_CHECKING, Any

from sonyc_ml.errors import ProtocolError, RecordingError
from sonyc_ml.node.intake.answering import described, line_of
from sonyc_ml.node.intake.buffer import SPOOLED, Buffer, Waiting
from sonyc_ml.node.intake.config import ListenConfig, plain_name
from sonyc_ml.node.intake.pacing import READ_SIZE, capacity_of, enlarge, read_size, rest_s
from sonyc_ml.node.intake.requests import Calls, Requests
from sonyc_ml.sound.header import Layout
from sonyc_ml.sound.live.answers import encode_error, encode_outputs
from sonyc_ml.sound.live.clock import Moment, this_moment
from sonyc_ml.sound.live.cutting import Cutter
from sonyc_ml.sound.live.formats import describe
from sonyc_ml.sound.live.segment import LiveSegment
from sonyc_ml.sound.live.streams import Asked, Begins, Ends, Item, Missing, Requested, Sound, WyomingStream, stream_for
from sonyc_ml.sound.live.wyoming import INFO, encode

if TYPE_CHECKING:
    from sonyc_ml.node.events import OutputPublished, RecordingEnded
    from sonyc_ml.outputs.output import Output

logger = logging.getLogger(__name__)

# The worker goes on with an open recording once, when all but this is there: each turn more costs a tenth of the work.
LEFT_S, LEFT_SHARE = 0.5, 1 / 16  # of its length, where that is more
MAX_UNSENT = 4 << 20  # bytes of answers that nobody fetches
SOURCE_ENDED, STALLED, STOPPED = "source ended", "stalled", "stopped"


class Connection:
    """A pipe or socket that sound comes from.

    Parameters
    ----------
    name : str
        Of its source.
    descriptor : int
        To read from; non-blocking, and closed by :meth:`close`.
    config : ListenConfig
    buffer : Buffer
    requests : Requests
    layout : Layout, optional
        Of raw PCM.
    overlap_s, microphone
        See :class:`~sonyc_ml.sound.live.cutting.Cutter`.
    answers : int, optional
        Where answers go; none where not given.
    claim : callable
        Takes the name that it would have, and returns one that no other connection has.
    post : callable
        Brings what the worker answers to the reader, who calls :meth:`take_answer`.
    why : tuple of str
        Reason and detail of the gap before its first sample.
    now : callable
        Returns a :class:`~sonyc_ml.sound.live.clock.Moment`.
    """

    def __init__(
        self,
        name: str,
        descriptor: int,
        config: ListenConfig,
        buffer: Buffer,
        requests: Requests,
        *,
        layout: Layout | None = None,
        overlap_s: float = 0.0,
        microphone: Mapping[str, Any] | None = None,
        answers: int | None = None,
        claim: Callable[[str], str] = str,
        post: Callable[[Connection, bytes], None] = lambda connection, content: connection.take_answer(content),
        why: tuple[str, str] = ("", ""),
        now: Callable[[], Moment] = this_moment,
    ) -> None:
        self.name, self.descriptor, self.answers = name, descriptor, answers
        self.last_s = now().timer_s  # when sound came last
        self.is_stalled = False
        self._ahead_at = 0  # how many samples may be missing of the open recording when the worker is woken
        self.n_read, self._read_size = 0, READ_SIZE  # bytes: the last time, and at most
        enlarge(descriptor)
        self._capacity = capacity_of(descriptor)
        self._may_be_full = False  # whether it is worth a look
        self.n_waiting = 0  # recordings that are not at their end yet
        self.problem = ""
        self._config, self._buffer, self._overlap_s, self._now = config, buffer, overlap_s, now
        self._calls = Calls(requests, MAX_UNSENT, lambda content: post(self, content))
        self._stream, self._why, self._claim, self._post = stream_for(layout), why, claim, post
        self._cutter: Cutter | None = None
        self._coming: LiveSegment | None = None  # of which the worker knows
        self._last_layout: Layout | None = None
        self._unsent: deque[bytes] = deque()
        self._n_unsent, self._microphone = 0, microphone

    @property
    def current(self) -> str:
        """Name of the source whose sound comes now; empty where none does."""
        return self._cutter.source if self._cutter else ""

    @property
    def is_wyoming(self) -> bool:
        """Whether the other side speaks Wyoming's events."""
        return isinstance(getattr(self._stream, "stream", self._stream), WyomingStream)

    @property
    def must_wait(self) -> bool:
        """Whether the other side is to wait: for an answer, or as it sends sound faster than it can be recorded."""
        cutter = self._cutter
        if self._calls.is_waiting:
            return True
        if not self._may_be_full or cutter is None:
            return False
        self._may_be_full = self._buffer.is_full(cutter.source, self._open_s())
        return self._may_be_full and cutter.is_ahead(self._now())

    # Reading

    def read(self) -> bool:
        """Read what is there; False where the other side has closed, or sent what cannot be understood."""
        try:
            content = os.read(self.descriptor, self._read_size)
        except BlockingIOError:
            self.n_read = 0
            return True
        except ConnectionResetError:  # with answers that it has not read
            return False
        except OSError as error:
            self.problem = error.strerror or str(error)
            return False
        self.n_read = len(content)
        if not content:
            return False
        try:
            for item in self._stream.feed(content):
                self._take(item)
        except ProtocolError as error:
            self.problem = str(error)
            if self.is_wyoming:
                self._send(encode_error(error))
            return False
        return True

    def _take(self, item: Item) -> None:
        now = self._now()
        if isinstance(item, Sound):
            self._take_sound(item, now)
        elif isinstance(item, Begins):
            self._begin(item)
        elif isinstance(item, Missing):
            logger.warning("%s: %s", self.name, item.detail)
            self._interrupt(now, "skipped", item.detail, item.n_bytes)
        elif isinstance(item, Ends):
            self._finish(SOURCE_ENDED, "the stream ended")
        elif isinstance(item, Asked):
            self._send(encode(INFO, self._calls.about()))
        elif isinstance(item, Requested):
            self.n_waiting += self._calls.take(item.event)

    def _begin(self, begins: Begins) -> None:
        name = self._claim(plain_name(begins.source) or self.name)
        before, self._last_layout = self._last_layout, begins.layout
        what = describe(begins.layout)
        if before is not None and before != begins.layout:
            logger.warning("%s: it was %s, and is %s now", name, describe(before), what)
            self._why = ("changed", f"it was {describe(before)}, and is {what} now")
        else:
            logger.info("%s: %s", name, what)
        segment_s, (reason, detail) = self._config.segment_s, self._why
        self._cutter = Cutter(
            *(name, begins.layout, segment_s, self._overlap_s),
            start_s=begins.start_s,
            reason=reason,
            detail=detail,
            microphone=self._microphone,
        )
        self._why = ("", "")
        self._read_size = read_size(begins.layout.sample_rate * begins.layout.frame_size)

    def _take_sound(self, sound: Sound, now: Moment) -> None:
        if self._cutter is None:
            return
        self.last_s = now.timer_s
        if self.is_stalled:
            self.is_stalled = False
            logger.warning("%s: sound comes again", self._cutter.source)
        segments = self._cutter.feed(sound.content, now)
        self._put(segments)
        self._say_what_comes(self._cutter)
        if (segments or self._may_be_full) and not self._cutter.is_ahead(now):  # who can wait does
            self._buffer.make_room(self._cutter.source, self._open_s())

    def _say_what_comes(self, cutter: Cutter) -> None:
        """Let the worker go on with the recording that is open, so that little is left for the end."""
        if cutter.open is not self._coming:
            self._coming = cutter.open
            self._ahead_at = self._next_turn(cutter, is_first=True)
        if cutter.open is not None and cutter.n_missing <= self._ahead_at:
            self._ahead_at = self._next_turn(cutter, is_first=False)
            self._buffer.comes(cutter.open, cutter.source)

    def _next_turn(self, cutter: Cutter, *, is_first: bool) -> int:
        """How many samples are missing of the open recording when the worker is woken for it next; 0 for never."""
        rate, n_missing = cutter.layout.sample_rate, cutter.n_missing
        if self._config.detect_every_s:
            return max(0, n_missing - round(self._config.detect_every_s * rate))
        n_left = max(round(LEFT_S * rate), round(LEFT_SHARE * n_missing))
        return n_left if is_first and n_left < n_missing else 0

    def rest_s(self) -> float:
        """How long nothing is missed where nobody reads on (in seconds).

        When sound comes that is read later is not known: what is not live yet, and may come faster, is read at once.
        """
        cutter = self._cutter
        if cutter is None or cutter.open is None or self.n_read == self._read_size or not cutter.is_live(self._now()):
            return 0.0
        until_s = min(cutter.missing_s - self._ahead_at / cutter.layout.sample_rate, self._config.stall_s / 2)
        return rest_s(self._capacity, cutter.layout.sample_rate * cutter.layout.frame_size, until_s)

    def _put(self, segments: list[LiveSegment]) -> None:
        for segment in segments:
            self._may_be_full = True
            self.n_waiting += 1
            self._buffer.put(Waiting(segment, self))

    def _open_s(self) -> float:
        """How long the open recording will be (in seconds): room for all of it is made at its beginning."""
        segment = self._cutter.open if self._cutter else None
        return segment.n_planned / segment.layout.sample_rate if segment else 0.0

    # Interruptions

    def look_after(self, now: Moment) -> None:
        """See whether sound still comes."""
        silent_s = now.timer_s - self.last_s
        if self._cutter is None or self.is_stalled or silent_s < self._config.stall_s or self.must_wait:
            return
        self.is_stalled = True
        logger.warning("%s: no sound for %.0f s; is the recorder running?", self._cutter.source, silent_s)
        self._interrupt(now, STALLED, "the source sent nothing")
        self._buffer.stopped(self._cutter.source, STALLED, "the source sent nothing")

    def _interrupt(self, now: Moment, reason: str, detail: str, n_missing_bytes: int = 0) -> None:
        if self._cutter is not None:
            self._put(self._cutter.interrupt(now, reason, detail, n_missing_bytes))

    def _finish(self, reason: str, detail: str) -> None:
        """The stream is over; what there is of its last recording is one."""
        if self._cutter is None:
            return
        self._interrupt(self._now(), reason, detail)
        self._buffer.comes(None, self._cutter.source)
        self._buffer.stopped(self._cutter.source, reason, detail)
        self._cutter, self._why = None, (reason, detail)

    def end(self, reason: str = SOURCE_ENDED, detail: str = "") -> None:
        """The connection is over."""
        self._finish(reason, detail or self.problem or "the other side closed it")

    def close(self) -> None:
        """Let go of it."""
        with suppress(OSError):
            os.close(self.descriptor)

    # Answers

    @property
    def has_unsent(self) -> bool:
        """Whether answers wait to be sent."""
        return bool(self._unsent)

    def send(self) -> bool:
        """Send some of what waits; False where the other side takes nothing, or has hung up: nobody misses the rest."""
        if not self._unsent or self.answers is None:
            return False
        content = self._unsent.popleft()
        try:
            n_sent = os.write(self.answers, content[:PIPE_BUF])  # a pipe that is ready takes so much
        except BlockingIOError:
            n_sent = 0
        except OSError:
            self._unsent.clear()
            self._n_unsent, self.answers = 0, None
            return False
        self._n_unsent -= n_sent
        if n_sent < len(content):
            self._unsent.appendleft(content[n_sent:])
        return n_sent > 0

    def _send(self, content: bytes) -> None:
        if self.answers is not None and self._n_unsent + len(content) <= MAX_UNSENT:
            self._unsent.append(content)
            self._n_unsent += len(content)

    def take_answer(self, content: bytes) -> None:
        """Send what the worker answers; nothing of it means that a recording has come to its end."""
        if content:
            self._send(content)
        else:
            self.n_waiting -= 1

    def published(self, event: OutputPublished, output: Output) -> None:
        """Answer with an output; called by the worker."""
        if self.answers is not None:
            said = described(event)
            arrays = {"timestamps": output.timestamps, **output.by_kind()}
            self._post(self, encode_outputs(arrays, **said) if self.is_wyoming else line_of(said))

    def ended(self, event: RecordingEnded) -> None:
        """Answer where there is no output; called by the worker."""
        if event.state == SPOOLED and self.answers is not None:
            said: dict[str, Any] = {"recording": event.recording, "state": SPOOLED}
            self._post(self, encode(SPOOLED, said) if self.is_wyoming else line_of(said))
        elif event.state != "done" and self.answers is not None:
            said = {"recording": event.recording, "state": event.state, "reason": event.reason}
            error = RecordingError(event.detail)
            self._post(
                self, encode_error(error, **said) if self.is_wyoming else line_of({**said, "error": event.detail})
            )
        self._post(self, b"")
