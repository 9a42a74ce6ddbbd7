"""A connection's bytes to what they say: a stream begins, samples, something is missing, it ends.

What comes is told by its first bytes: a WAV header, or Wyoming's events; raw PCM where the user has said what it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, TypeAlias

from sonyc_ml.base.human import seconds_of
from sonyc_ml.errors import ProtocolError
from sonyc_ml.sound.header import Layout
from sonyc_ml.sound.live.audio_format import read_audio_format
from sonyc_ml.sound.live.formats import layout_of
from sonyc_ml.sound.live.wav import MAGIC, WavHeader
from sonyc_ml.sound.live.wyoming import AUDIO_CHUNK, AUDIO_START, AUDIO_STOP, DESCRIBE, Event, EventReader

# What is often seen instead, by its first bytes.
OTHER_KINDS = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"\xff\xfb": "MP3",
    b"FORM": "AIFF",
    b".snd": "AU",
    b"caff": "CAF",
    b"GET ": "an HTTP request",
    b"POST": "an HTTP request",
}
N_SNIFFED = 4  # bytes
SHOWN_LENGTH = 32


class Begins(NamedTuple):
    """A stream of samples begins.

    Attributes
    ----------
    layout : Layout
    source : str
        What the other side calls itself; empty where it does not say.
    start_s : float or None
        When the first sample was taken (in seconds since 1970), where the other side says.
    """

    layout: Layout
    source: str = ""
    start_s: float | None = None


class Sound(NamedTuple):
    """Bytes of samples; the last frame may not be whole yet."""

    content: bytes | memoryview


class Missing(NamedTuple):
    """The other side says that something is missing.

    Attributes
    ----------
    n_bytes : int
        How much sound that would have been.
    detail : str
    """

    n_bytes: int
    detail: str


class Ends(NamedTuple):
    """The stream ends; the connection may go on."""


class Asked(NamedTuple):
    """The other side asks what this is."""


class Requested(NamedTuple):
    """Part of a recording whose outputs the other side asks for; it is none of the stream's.

    Attributes
    ----------
    event : Event
        ``audio-start`` with ``n_samples``, ``audio-chunk`` or ``audio-stop``.
    """

    event: Event


Item: TypeAlias = Begins | Sound | Missing | Ends | Asked | Requested


class Stream(Protocol):
    """What makes items of bytes."""

    def feed(self, content: bytes) -> Iterator[Item]:
        """Take bytes in; yield what they say.

        Raises
        ------
        ProtocolError
        """
        ...


class RawStream:
    """Raw PCM: all of it is samples."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._has_begun = False

    def feed(self, content: bytes) -> Iterator[Item]:
        """Yield the beginning, once, and samples."""
        if not self._has_begun:
            self._has_begun = True
            yield Begins(self._layout)
        yield Sound(content)


class WavStream:
    """A WAV header and the samples behind it; another one may follow where its length was known."""

    def __init__(self) -> None:
        self._header = WavHeader()
        self._has_begun = False

    def feed(self, content: bytes) -> Iterator[Item]:
        """Yield the beginning, samples, and the end where the header says when that is."""
        rest = content
        if not self._has_begun:
            rest = self._header.feed(content)
            if self._header.layout is None:
                return
            self._has_begun = True
            yield Begins(self._header.layout)
        n_left = self._header.n_left
        if n_left is None:
            yield Sound(rest)
            return
        if n_left:
            yield Sound(rest[:n_left])
            self._header.n_left = n_left - min(n_left, len(rest))
            if self._header.n_left == 0:
                yield Ends()
        rest = rest[n_left:]
        if rest[:4] in MAGIC:  # several files, one after another
            self._header, self._has_begun = WavHeader(), False
            yield from self.feed(rest)


class WyomingStream:
    """Wyoming's events; see :mod:`sonyc_ml.sound.live.wyoming`.

    ``audio-start`` may say ``source`` and ``start_time`` (ISO 8601) too, and ``audio-chunk`` a ``sequence``, which is
    one more from chunk to chunk. Where it says ``n_samples``, all up to ``audio-stop`` is :class:`Requested`.
    """

    def __init__(self) -> None:
        self._reader = EventReader()
        self._layout: Layout | None = None
        self._sequence: int | None = None
        self._is_requested = False

    def feed(self, content: bytes) -> Iterator[Item]:
        """Yield what the events say; those that are about no sound are left out."""
        for event in self._reader.feed(content):
            if event.type == AUDIO_START and "n_samples" in event.data:
                yield from self._end()
                self._is_requested = True
                yield Requested(event)
            elif self._is_requested and event.type in (AUDIO_CHUNK, AUDIO_STOP):
                self._is_requested = event.type == AUDIO_CHUNK
                yield Requested(event)
            elif event.type == AUDIO_START:
                self._is_requested = False
                yield from self._end()
                self._layout = layout_of_event(event.data)
                yield Begins(self._layout, str(event.data.get("source") or ""), _start_of(event.data))
            elif event.type == AUDIO_CHUNK:
                yield from self._chunk(event.data, event.payload)
            elif event.type == AUDIO_STOP:
                yield from self._end()
            elif event.type == DESCRIBE:
                yield Asked()

    def _chunk(self, data: dict[str, object], payload: bytes) -> Iterator[Item]:
        if self._layout is None:  # the chunk says itself what it holds
            self._layout = layout_of_event(data)
            yield Begins(self._layout)
        elif "rate" in data and (found := layout_of_event(data)) != self._layout:
            self._layout = found
            yield Ends()
            yield Begins(found)
        sequence = data.get("sequence")
        if isinstance(sequence, int):
            if self._sequence is not None and sequence > self._sequence + 1:
                n = sequence - self._sequence - 1
                yield Missing(n * len(payload), f"chunks {self._sequence + 1} to {sequence - 1} did not come")
            self._sequence = sequence
        yield Sound(payload)

    def _end(self) -> Iterator[Item]:
        if self._layout is not None:
            self._layout = self._sequence = None
            yield Ends()


class AnyStream:
    """Finds out by the first bytes what a connection sends.

    Attributes
    ----------
    stream : Stream or None
        What reads it; None until that is known.
    """

    def __init__(self) -> None:
        self._received = b""
        self.stream: Stream | None = None

    def feed(self, content: bytes) -> Iterator[Item]:
        """Yield what the bytes say.

        Raises
        ------
        ProtocolError
            It is nothing that is known; says what was seen.
        """
        if self.stream is None:
            self._received += content
            if len(self._received) < N_SNIFFED:
                return
            content, self._received = self._received, b""
            self.stream = _stream_of(content)
        yield from self.stream.feed(content)


def stream_for(layout: Layout | None) -> Stream:
    """What reads a connection: raw PCM where its layout is given."""
    return AnyStream() if layout is None else RawStream(layout)


def _stream_of(content: bytes) -> Stream:
    if content[:4] in MAGIC:
        return WavStream()
    if content[:1] == b"{":
        return WyomingStream()
    kind = next((kind for magic, kind in OTHER_KINDS.items() if content.startswith(magic)), "")
    named = f"{kind}, " if kind else ""
    raise ProtocolError(
        f"what came is {named}neither WAV nor Wyoming's events: it begins with {content[:SHOWN_LENGTH]!r}; "
        "for raw PCM say its sample rate, format and channels"
    )


def layout_of_event(data: dict[str, object]) -> Layout:
    """The layout that an event describes.

    Raises
    ------
    ProtocolError
    """
    try:
        return layout_of(read_audio_format(data))
    except ValueError as error:
        raise ProtocolError(str(error)) from error


def _start_of(data: dict[str, object]) -> float | None:
    start = data.get("start_time")
    if start is None:
        return None
    try:
        return float(start) if isinstance(start, (int, float)) else seconds_of(str(start))
    except ValueError as error:
        raise ProtocolError(f"start_time must be a time in ISO 8601, not {start!r:.40}") from error
