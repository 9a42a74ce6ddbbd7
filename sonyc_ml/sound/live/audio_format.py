"""What the samples of a stream are: sample rate, width, channels, as an ``audio-start`` event says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sonyc_ml.errors import ProtocolError

MAX_SAMPLE_RATE = 1_000_000  # in Hz; bats are recorded at 500,000
MAX_N_CHANNELS = 256
INTEGER_WIDTHS, FLOAT_WIDTHS = (2, 3, 4), (4, 8)


class AudioFormat(NamedTuple):
    """PCM, little-endian, the channels of a frame one after another.

    Attributes
    ----------
    sample_rate : int
        In Hz.
    width : int
        Of one sample (in bytes): 2, 3 or 4 of integers, 4 or 8 of floating point numbers.
    n_channels : int
    is_float : bool
        Whether samples are floating point numbers in [-1, 1]; else they are signed integers.
    """

    sample_rate: int
    width: int
    n_channels: int
    is_float: bool = False

    @property
    def frame_length(self) -> int:
        """One sample of every channel (in bytes)."""
        return self.width * self.n_channels

    @property
    def data(self) -> dict[str, Any]:
        """What ``audio-start`` and ``audio-chunk`` say of it; ``format`` is ours, others leave it out."""
        said = {"rate": self.sample_rate, "width": self.width, "channels": self.n_channels}
        return {**said, "format": "float"} if self.is_float else said

    def __str__(self) -> str:
        kind = "float" if self.is_float else "integers"
        channels = f"{self.n_channels} channel{'s' * (self.n_channels != 1)}"
        return f"{self.sample_rate} Hz, {channels}, {8 * self.width}-bit {kind}"


def read_audio_format(data: Mapping[str, Any]) -> AudioFormat:
    """Read what an ``audio-start`` (or ``audio-chunk``) event says of its samples.

    Parameters
    ----------
    data : mapping
        ``rate`` (in Hz), ``width`` (in bytes), ``channels``; optionally ``format``, ``"int"`` (where not given) or
        ``"float"``.

    Raises
    ------
    ProtocolError
        Something of it is missing, or no sound has it.
    """
    kind = data.get("format") or "int"
    if kind not in ("int", "float"):
        raise ProtocolError(f"format must be 'int' or 'float', not {kind!r:.40}")
    widths = FLOAT_WIDTHS if kind == "float" else INTEGER_WIDTHS
    rate = _whole(data, "rate", "the sample rate in Hz", range(1, MAX_SAMPLE_RATE + 1))
    width = _whole(data, "width", f"bytes in a sample of kind {kind!r}", widths)
    channels = _whole(data, "channels", "a number of channels", range(1, MAX_N_CHANNELS + 1))
    return AudioFormat(rate, width, channels, kind == "float")


def _whole(data: Mapping[str, Any], name: str, meaning: str, known: range | tuple[int, ...]) -> int:
    value = data.get(name)
    if type(value) is not int or value not in known:
        choices = f"{known[0]} to {known[-1]:,}" if isinstance(known, range) else ", ".join(map(str, known))
        seen = "is missing" if value is None else f"cannot be {value!r:.40}"
        raise ProtocolError(f"{name} ({meaning}: {choices}) {seen}")
    return value
