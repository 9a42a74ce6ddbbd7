"""The sound of a WAV file that its writer never finished, read without libsndfile."""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sonyc_ml.sound.header import ALAW, FLOAT, MULAW, Layout

Floats = npt.NDArray[np.float32]


class RawSound:
    """The whole samples of a WAV file whose header is wrong about its length, read without libsndfile.

    libsndfile takes a length of 0 at its word, and reads headerless sound from the first byte of a file only. The
    numbers are those that it gives for the finished file. Nothing is read from, or changed in, the descriptor's
    position.

    Parameters
    ----------
    descriptor : int
        Of the open file, which is not closed.
    layout : Layout
        With at least one whole sample.
    comment : str
        That of the file.
    """

    format, subtype = "WAV", "RAW"

    def __init__(self, descriptor: int, layout: Layout, comment: str) -> None:
        self.samplerate, self.channels, self.frames = layout.sample_rate, layout.n_channels, layout.n_samples
        self.comment = comment
        self._descriptor, self._layout = descriptor, layout
        self._n_read = 0

    def read(self, length: int, dtype: str = "float32", always_2d: bool = True) -> Floats:  # noqa: ARG002  soundfile's
        """Read on, `(n, n_channels)` float32; fewer than `length` where the file has become shorter."""
        layout = self._layout
        frame_size = layout.n_channels * layout.bits // 8
        length = min(length, self.frames - self._n_read)
        content = os.pread(self._descriptor, length * frame_size, layout.position + self._n_read * frame_size)
        n_frames = len(content) // frame_size
        self._n_read += n_frames
        return _decode(content[: n_frames * frame_size], layout).reshape(n_frames, layout.n_channels)

    def close(self) -> None:
        """The file is closed by who opened it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _decode(content: bytes, layout: Layout) -> Floats:
    """Bytes to float32 in [-1, 1), each the number that libsndfile gives."""
    size = layout.bits // 8
    values: npt.NDArray[Any] = np.frombuffer(content, np.uint8)
    if layout.tag in (MULAW, ALAW):
        return np.take(_mulaw() if layout.tag == MULAW else _alaw(), values)
    if layout.tag == FLOAT:
        with np.errstate(over="ignore"):  # becomes infinity, which is refused in words
            return values.view(f"{layout.order}f{size}").astype(np.float32)
    if size == 1:
        values = values.astype(np.int16) - 128  # 8 bits are unsigned in WAV files, and only they
    elif size == 3:  # numpy has no such type: the upper three bytes of four
        padded = np.zeros((len(values) // 3, 4), np.uint8)
        padded[:, 1:] = values.reshape(-1, 3)[:, :: 1 if layout.order == "<" else -1]
        values, size = padded.view("<i4")[:, 0], 4
    else:
        values = values.view(f"{layout.order}i{size}")
    return np.multiply(values, np.float32(2.0 ** (1 - 8 * size)), dtype=np.float32)


def _mulaw() -> Floats:
    """What each byte of mu-law stands for (ITU-T G.711, table 2), in 16 bits scaled to [-1, 1)."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = ((mantissa * 8 + 132) << exponent) - 132
    return (np.where(code & 128, -magnitude, magnitude) / 32768).astype(np.float32)


def _alaw() -> Floats:
    """What each byte of A-law stands for (ITU-T G.711, table 1), in 16 bits scaled to [-1, 1)."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = np.where(exponent == 0, mantissa * 16 + 8, (mantissa * 16 + 264) << np.maximum(exponent - 1, 0))
    return (np.where(code & 128, magnitude, -magnitude) / 32768).astype(np.float32)
