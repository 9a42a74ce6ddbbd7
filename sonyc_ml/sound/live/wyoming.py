r"""Events of the Wyoming protocol, between bytes and Python: no sockets, no numpy, the standard library alone.

An event is a line of JSON, then ``data_length`` bytes of further JSON, then ``payload_length`` bytes that are no text::

    {"type": "audio-chunk", "data_length": 43, "payload_length": 2048}\n
    {"rate": 16000, "width": 2, "channels": 1}…2048 bytes of samples…

The format is that of https://github.com/OHF-Voice/wyoming. ``data`` may stand in the line itself too; what comes behind
the line goes before it. A reader leaves out what it does not know.

>>> reader = EventReader()
>>> for event in reader.feed(received):  # bytes, however they arrive
...     if event.type == AUDIO_START:
...         audio = read_audio_format(event.data)
>>> reader.end()  # the other side has closed: raises where it did so within an event
>>> connection.sendall(encode(INFO, {"asr": []}))
"""

from __future__ import annotations

import json

from sonyc_ml.errors import ProtocolError

TYPE_CHECKING = False  # typing takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

DESCRIBE, INFO, ERROR = "describe", "info", "error"
AUDIO_START, AUDIO_CHUNK, AUDIO_STOP = "audio-start", "audio-chunk", "audio-stop"

# In bytes. Nobody's memory is filled by a peer that announces more than it will send.
MAX_LINE_LENGTH = 1 << 16  # what the reference implementation reads at most
MAX_DATA_LENGTH = 1 << 20
MAX_PAYLOAD_LENGTH = 1 << 24
SHOWN_LENGTH = 40  # of what was seen, in a message


class Event:
    """One event.

    Attributes
    ----------
    type : str
        As in ``"audio-chunk"``.
    data : dict of str to value
        What JSON can hold.
    payload : bytes
        Empty where there is none.
    """

    __slots__ = ("data", "payload", "type")

    def __init__(self, type: str, data: dict[str, Any], payload: bytes = b"") -> None:  # noqa: A002
        self.type, self.data, self.payload = type, data, payload

    def __repr__(self) -> str:
        return f"Event({self.type!r}, {self.data!r}, {len(self.payload)} bytes)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and (self.type, self.data, self.payload) == (
            other.type,
            other.data,
            other.payload,
        )

    __hash__ = None  # type: ignore[assignment]  # its data can change


def encode(type: str, data: Mapping[str, Any] | None = None, payload_length: int = 0) -> bytes:  # noqa: A002
    """Return what is sent of an event before its payload, which is `payload_length` bytes long.

    A payload is sent behind it, and is not copied here: it may be megabytes.

    Raises
    ------
    ValueError, TypeError
        JSON cannot hold the data: NaN and infinity are no numbers there.
    """
    line: dict[str, Any] = {"type": type}
    further = json.dumps(data, ensure_ascii=False, allow_nan=False).encode() if data else b""
    if further:
        line["data_length"] = len(further)
    if payload_length:
        line["payload_length"] = payload_length
    return json.dumps(line, ensure_ascii=False).encode() + b"\n" + further


class EventReader:
    """Events out of bytes, however these arrive; holds no more than one unfinished event.

    After an error there is no telling where the next event begins: every later call raises the same.

    Parameters
    ----------
    max_payload_length : int > 0
        The longest payload that is taken (in bytes).
    """

    def __init__(self, max_payload_length: int = MAX_PAYLOAD_LENGTH) -> None:
        self._max_payload_length = max_payload_length
        self._received = bytearray()
        self._n_searched = 0  # bytes that hold no end of line
        self._line: dict[str, Any] | None = None  # of the event whose data and payload are awaited
        self._data_length = self._payload_length = 0
        self._error: ProtocolError | None = None

    def feed(self, received: bytes | bytearray | memoryview) -> Iterator[Event]:
        """Take bytes in, and return an iterator over the events that they complete.

        Raises
        ------
        ProtocolError
            What comes next is no event; raised by the iterator, once the whole events before it have been given.
        """
        self._received += received
        return iter(self._next, None)

    def end(self) -> None:
        """Make sure that no event is unfinished: the other side has closed.

        Raises
        ------
        ProtocolError
        """
        if self._error is not None:
            raise self._error
        if self._line is not None:
            n_bytes = self._data_length + self._payload_length
            raise ProtocolError(
                f"the connection ended within the event {self._line['type']!r}, after {len(self._received):,} of the "
                f"{n_bytes:,} bytes that belong to it"
            )
        if self._received:
            raise ProtocolError(f"the connection ended within a line: {_shown(self._received)}")

    def _next(self) -> Event | None:
        if self._error is not None:
            raise self._error
        try:
            return self._event() if self._line is not None or self._begin() else None
        except ProtocolError as error:
            self._error = error
            self._received.clear()
            raise

    def _begin(self) -> bool:
        """Whether the line of an event has come; read it."""
        end = self._received.find(b"\n", self._n_searched, MAX_LINE_LENGTH)
        if end < 0:
            self._n_searched = len(self._received)
            if self._received and self._received[0] not in b"{ \t\r":
                raise ProtocolError(f"a line of JSON must begin an event, not {_shown(self._received)}")
            if self._n_searched >= MAX_LINE_LENGTH:
                raise ProtocolError(f"the first line of an event is longer than {MAX_LINE_LENGTH:,} bytes")
            return False
        content = bytes(self._received[:end])
        del self._received[: end + 1]
        self._n_searched = 0
        line = _read_object(content, "the first line of an event")
        if not isinstance(line.get("type"), str) or not line["type"]:
            raise ProtocolError(f"the first line of an event must say its type, not {_shown(content)}")
        self._data_length = _length(line, "data_length", MAX_DATA_LENGTH)
        self._payload_length = _length(line, "payload_length", self._max_payload_length)
        self._line = line
        return True

    def _event(self) -> Event | None:
        """The event whose line has come, once all of it has."""
        if self._line is None or len(self._received) < self._data_length + self._payload_length:
            return None
        line, self._line = self._line, None
        data = line.get("data")
        if data is not None and not isinstance(data, dict):
            raise ProtocolError(f"data of the event {line['type']!r} must be an object, not {_shown(repr(data))}")
        end = self._data_length + self._payload_length
        with memoryview(self._received) as view:
            further, payload = bytes(view[: self._data_length]), bytes(view[self._data_length : end])
        del self._received[:end]
        if further:
            data = {**(data or {}), **_read_object(further, f"data of the event {line['type']!r}")}
        return Event(line["type"], data or {}, payload)


def _read_object(content: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ProtocolError(f"{where} must be an object of JSON, not {_shown(content)}")
    return value


def _length(line: dict[str, Any], name: str, longest: int) -> int:
    value = line.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= longest:
        shown = _shown(repr(value))
        raise ProtocolError(f"{name} of the event {line['type']!r} must be from 0 to {longest:,} bytes, not {shown}")
    return value


def _shown(seen: bytes | bytearray | str) -> str:
    """The beginning of what was seen, for a message."""
    text = bytes(seen[: SHOWN_LENGTH + 1]) if not isinstance(seen, str) else seen
    shown = repr(text[:SHOWN_LENGTH]).removeprefix("b") if isinstance(text, bytes) else text[:SHOWN_LENGTH]
    return shown + "…" * (len(text) > SHOWN_LENGTH)
