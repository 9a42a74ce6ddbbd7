"""A stream to a model in another process: blocks of sound in, and the outputs of each segment back."""

from __future__ import annotations

from collections import deque

from sonyc_ml.client.session import Session, chunks
from sonyc_ml.client.transport import HungUpError, SilenceError
from sonyc_ml.errors import LostModelError
from sonyc_ml.sound.live.answers import OUTPUTS, read_error, read_outputs
from sonyc_ml.sound.live.wyoming import AUDIO_START, AUDIO_STOP, ERROR, encode

TYPE_CHECKING = False  # typing takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self

    import numpy.typing as npt

    from sonyc_ml.sound.live.audio_format import AudioFormat
    from sonyc_ml.sound.live.wyoming import Event

MAX_UNSENT_S = 60.0  # of sound that the other side has not taken yet; beyond it the sender waits


class Answer:
    """What a segment of a stream has become.

    Attributes
    ----------
    said : dict
        What the other side says beside the outputs: ``first_sample`` and ``n_samples``; of a daemon ``recording``,
        ``start_time``, ``detections`` and more.
    """

    def __init__(self, event: Event) -> None:
        self._event = event
        self.said = {name: value for name, value in event.data.items() if name != "arrays"}

    def __repr__(self) -> str:
        return f"<Answer {self._event.type}: {self.said}>"

    @property
    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        """The outputs, as :meth:`sonyc_ml.AudioModel.get_outputs` gives them; times count from the segment's beginning.

        Raises
        ------
        RecordingError, ValueError …
            What was raised for this segment over there.
        """
        if self._event.type == ERROR:
            raise read_error(self._event)
        return read_outputs(self._event)


class Stream:
    """A stream; made by :meth:`sonyc_ml.client.RemoteModel.stream`.

    Parameters
    ----------
    session : Session
        For this stream alone.
    audio : AudioFormat
    said : dict
        Of ``audio-start``, beside the format.
    dtype : str
        Of arrays; empty for bytes alone.
    timeout_s : float
    on_end : callable
        Called when it is over.
    """

    def __init__(
        self,
        session: Session,
        audio: AudioFormat,
        said: dict[str, Any],
        dtype: str,
        timeout_s: float,
        on_end: Callable[[], None],
    ) -> None:
        self._session, self._audio, self._said, self._dtype = session, audio, said, dtype
        self._timeout_s, self._on_end = timeout_s, on_end
        self._frame_length = audio.width * audio.n_channels
        self._kept = bytearray()  # sent to a process of our own, and not answered: a new one begins with it
        self._n_answered = 0  # samples of each channel
        self._has_restarted = self._is_ending = self._is_over = False
        self._unsent: deque[bytes | memoryview] = deque()
        self._events: deque[Event] = deque()
        session.persist(self._start, "began a stream", 4)
        self._is_ours = session.peer is not None and session.peer.is_ours

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_over:  # nobody wants the rest: the conversation stands in the middle of it
            self._leave()

    def send(self, frames: Any) -> list[Answer]:
        """Send sound, and return what has been answered meanwhile.

        Does not wait for the other side, unless it has more than a minute of sound to take yet.

        Parameters
        ----------
        frames : np.ndarray [shape=(n,) or (n, n_channels)] or bytes
            Of the stream's dtype; as bytes, the channels one after another, the last frame not necessarily whole.

        Returns
        -------
        list of Answer

        Raises
        ------
        LostModelError
            The other process ended, twice within a segment, or hangs.
        """
        if self._is_ending:
            raise ValueError("the stream has ended")
        content = self._bytes_of(frames)
        if self._is_ours:
            self._kept += content
        self._unsent.extend(chunks(content))
        self._move(0.0)
        while sum(map(len, self._unsent)) > MAX_UNSENT_S * self._audio.sample_rate * self._frame_length:
            self._move(self._timeout_s)
        return self._answers()

    def end(self) -> list[Answer]:
        """Say that no more comes, wait for the rest of the answers, and return them; the last segment may be short."""
        if not self._is_ending:
            self._is_ending = True
            self._unsent.append(encode(AUDIO_STOP))
        while not self._is_over:
            self._move(self._timeout_s)
        return self._answers()

    def _bytes_of(self, frames: Any) -> bytes:
        """A copy: whoever records uses the memory again."""
        dtype = getattr(frames, "dtype", None)
        if dtype is None:
            return memoryview(frames).tobytes()
        if str(dtype) != self._dtype:
            raise TypeError(f"frames must be {self._dtype or 'bytes'}, as the stream was begun, not {dtype}")
        n_channels = self._audio.n_channels
        if frames.ndim > 2 or (frames.ndim == 2 and frames.shape[1] != n_channels):
            raise ValueError(f"frames must have the shape (n, {n_channels}), not {frames.shape}")
        content: bytes = frames.tobytes()
        return content

    def _start(self, _peer: object) -> None:
        """Begin, or begin again with what has not been answered."""
        said = {**self._audio.data, **self._said}
        if self._n_answered:
            said["first_sample"] = self._n_answered
        self._unsent = deque([encode(AUDIO_START, said), *chunks(bytes(self._kept))])
        if self._is_ending:
            self._unsent.append(encode(AUDIO_STOP))

    def _move(self, patience_s: float) -> None:
        """Send what is taken, and take what has come; wait for either where there is neither."""
        try:
            moved = self._send_some()
            link = self._link
            for event in link.received():
                moved = True
                self._take(event)
            if link.is_closed_there and not self._is_over:
                raise HungUpError
            if not moved and patience_s and not self._is_over:
                link.wait(patience_s, to_send=bool(self._unsent))
        except HungUpError:
            self._begin_again()
        except SilenceError:
            error = self._session.hangs(patience_s, self._what)
            self._leave()
            raise error from None

    def _send_some(self) -> bool:
        has_moved = False
        while self._unsent and (n_sent := self._link.send_what_fits(memoryview(self._unsent[0]))):
            has_moved = True
            part = self._unsent.popleft()
            if n_sent < len(part):
                self._unsent.appendleft(memoryview(part)[n_sent:])
                break
            if self._is_ending and not self._unsent and not self._is_ours:
                self._link.finish()  # a daemon closes once all is answered
        return has_moved

    def _take(self, event: Event) -> None:
        if event.type in (OUTPUTS, ERROR):
            self._events.append(event)
            self._has_restarted = False
            first, n_samples = event.data.get("first_sample"), event.data.get("n_samples")
            if self._is_ours and isinstance(first, int) and isinstance(n_samples, int):
                del self._kept[: (first + n_samples - self._n_answered) * self._frame_length]
                self._n_answered = first + n_samples
        elif event.type == AUDIO_STOP:
            self._is_over = True
            self._on_end()

    def _begin_again(self) -> None:
        """The other side has hung up: a daemon at the end, or where it has said why; else something is wrong."""
        is_refused = bool(self._events) and self._events[-1].type == ERROR
        if not self._is_ours and (is_refused or (self._is_ending and not self._unsent)):
            self._leave()
            return
        loss = f"{self._session.drop()} while it {self._what}"
        if self._has_restarted or not self._is_ours:
            self._leave()
            raise LostModelError(f"{self._session.name}: the process {loss}{', for the second time' * self._is_ours}")
        self._has_restarted = True
        self._session.warn_of(loss, 4)
        try:
            self._session.persist(self._start, self._what, 5)
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        """Let go of the other side in the middle of the stream."""
        self._is_ending = self._is_over = True
        self._session.drop()
        self._on_end()

    def _answers(self) -> list[Answer]:
        found = [Answer(event) for event in self._events]
        self._events.clear()
        return found

    @property
    def _link(self) -> Any:
        if self._session.peer is None:
            raise HungUpError
        return self._session.peer.link

    @property
    def _what(self) -> str:
        return f"computed the segment from {self._n_answered / self._audio.sample_rate:.1f} s of the stream on"
