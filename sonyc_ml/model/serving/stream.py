"""Sound that comes as a stream, cut into segments; each is embedded as a recording of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from sonyc_ml.errors import ProtocolError
from sonyc_ml.model import Model
from sonyc_ml.model.serving.computing import compute
from sonyc_ml.sound.live.streams import layout_of_event
from sonyc_ml.sound.live.wyoming import AUDIO_STOP, encode
from sonyc_ml.sound.recording import to_mono
from sonyc_ml.sound.unfinished import decode

SEGMENT_S = 10.0


class StreamedSound:
    """One stream.

    Parameters
    ----------
    data : mapping
        Of ``audio-start``: what the samples are; optionally ``segment_s``, ``hop_size``, and ``first_sample``, how many
        samples of the stream were answered before.
    model : Model

    Raises
    ------
    ProtocolError
        There is no such sound, or no such segment.
    """

    def __init__(self, data: dict[str, Any], model: Model) -> None:
        self._model, self._hop_size = model, data.get("hop_size")
        self._layout = layout_of_event(data)
        if model.channel is not None and model.channel >= self._layout.n_channels:
            n_channels = self._layout.n_channels
            raise ProtocolError(f"there is no channel {model.channel}; the stream has {n_channels}, counted from 0")
        self._n_answered = _number(data, "first_sample", 0)
        segment_s = _number(data, "segment_s", SEGMENT_S)
        self._size = max(1, round(segment_s * self._layout.sample_rate)) * self._layout.frame_size
        self._held = bytearray()

    def add(self, payload: bytes) -> Iterator[bytes]:
        """Take samples in, of which the last frame need not be whole; yield the answers of segments that are."""
        self._held += payload
        while len(self._held) >= self._size:
            content = bytes(self._held[: self._size])
            del self._held[: self._size]
            yield self._answer(content)

    def end(self) -> Iterator[bytes]:
        """Yield the answer of the rest, and that there is no more."""
        frame_size = self._layout.frame_size
        if content := bytes(self._held[: len(self._held) // frame_size * frame_size]):
            yield self._answer(content)
        yield encode(AUDIO_STOP, {"n_samples": self._n_answered})

    def _answer(self, content: bytes) -> bytes:
        layout = self._layout
        y = to_mono(decode(content, layout).reshape(-1, layout.n_channels), self._model.channel)
        first, self._n_answered = self._n_answered, self._n_answered + len(y)
        return compute(self._model, y, layout.sample_rate, self._hop_size, first_sample=first)


def _number(data: dict[str, Any], name: str, default: Any) -> Any:
    """A number of at least the default's kind: whole where that is whole."""
    value = data.get(name)
    if value is None:
        return default
    is_right = type(value) is int if isinstance(default, int) else type(value) in (int, float)
    if not is_right or not 0 <= value < math.inf:
        raise ProtocolError(f"{name} must be a number of at least 0, not {value!r:.40}")
    return value
