"""The sound of a WAV or AIFF file that libsndfile cannot read, or reads wrongly, such as one that is unfinished."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sonyc_ml.errors import UnreadableRecordingError
from sonyc_ml.sound.header import ALAW, FLOAT, MULAW, Layout
from sonyc_ml.sound.parts import Parts

Floats = npt.NDArray[np.float32]

BLOCK_SIZE = 1 << 18  # bytes


class RawSound:
    """The samples of a file that libsndfile reads wrongly, read without it.

    These are the whole samples of a WAV or AIFF file whose header is wrong about its length, those that do not fill
    their place, and those that a triggered recorder wrote. libsndfile takes a length of 0 at its word, and reads
    headerless sound from the first byte of a file only. The numbers are those that it gives for the finished file.
    Nothing is read from, or changed in, the descriptor's position.

    Parameters
    ----------
    descriptor : int
        Of the open file, which is not closed.
    layout : Layout
        With at least one whole sample.
    comment : str
        That of the file.
    pieces : sequence of tuple of int, optional
        Where sound begins in the file (in bytes), and how many samples of each channel there are; all of the layout's
        where not given.
    """

    format, subtype = "WAV", "RAW"

    def __init__(
        self, descriptor: int, layout: Layout, comment: str, pieces: Sequence[tuple[int, int]] | None = None
    ) -> None:
        pieces = [(layout.position, layout.n_samples)] if pieces is None else pieces
        self.samplerate, self.channels, self.frames = layout.sample_rate, layout.n_channels, sum(n for _, n in pieces)
        self.comment = comment
        size = layout.frame_size
        self._bytes = Parts(descriptor, [(position, n_samples * size) for position, n_samples in pieces])
        self._descriptor, self._layout = descriptor, layout
        self._n_read = 0

    @property
    def bits(self) -> int:
        """Of a sample."""
        return self._layout.valid_bits

    def read(self, length: int, dtype: str = "float32", always_2d: bool = True) -> Floats:  # noqa: ARG002  soundfile's
        """Read on, `(n, n_channels)` float32; fewer than `length` where the file has become shorter."""
        layout = self._layout
        frame_size = layout.frame_size
        length = min(length, self.frames - self._n_read)
        content = self._bytes.content(self._n_read * frame_size, length * frame_size)
        n_frames = len(content) // frame_size
        self._n_read += n_frames
        return decode(content[: n_frames * frame_size], layout).reshape(n_frames, layout.n_channels)

    def close(self) -> None:
        """The file is closed by who opened it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def in_place(descriptor: int, layout: Layout) -> Layout:
    """Tell in which bits of their place the samples of a file lie; see :func:`placed`."""
    step = BLOCK_SIZE // layout.frame_size * layout.frame_size
    n_bytes = layout.n_samples * layout.frame_size
    starts = range(0, n_bytes, step)
    contents = (os.pread(descriptor, min(step, n_bytes - start), layout.position + start) for start in starts)
    return placed((content[: len(content) // layout.frame_size * layout.frame_size] for content in contents), layout)


def placed(contents: Iterable[bytes | memoryview], layout: Layout) -> Layout:
    """Tell in which bits of their place samples lie that do not fill it; `valid_bits` is `bits` where on top.

    On top is where they belong (Microsoft's WAVEFORMATEXTENSIBLE), and where a decoder takes them to be: what lies at
    the bottom is read as if it were softer. At the bottom nothing stands above a sample but its sign, and something in
    the bits that would be left over.

    Parameters
    ----------
    contents : iterable of bytes
        The sound, in blocks of whole samples.
    layout : Layout
    """
    n_over = layout.bits - layout.valid_bits
    if n_over <= 0:
        return layout
    for content in contents:
        values = integers(content, layout).astype(np.int64)
        values >>= 8 * (layout.bits == 24)
        if (values & (1 << n_over) - 1).any():
            limit = 1 << layout.valid_bits - 1
            is_below = bool(values.min() >= -limit and values.max() < limit)
            if not is_below and 2 * layout.valid_bits <= layout.bits:  # two samples in the place of one?
                raise UnreadableRecordingError(
                    f"its header contradicts itself: samples have {layout.valid_bits} bits and take {layout.bits}, and "
                    "the sound fills them all; correct its channels, bits and block size"
                )
            return layout if is_below else replace(layout, valid_bits=layout.bits)
    return replace(layout, valid_bits=layout.bits)


def decode(content: bytes | bytearray | memoryview, layout: Layout) -> Floats:
    """Bytes of whole samples to float32 in [-1, 1), `(n,)`, each the number that libsndfile gives."""
    if layout.tag in (MULAW, ALAW):
        return np.take(_mulaw() if layout.tag == MULAW else _alaw(), np.frombuffer(content, np.uint8))
    if layout.tag == FLOAT:
        with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are refused in words
            return np.frombuffer(content, f"{layout.order}f{layout.bits // 8}").astype(np.float32)
    scale = np.float32(2.0 ** (1 - (layout.valid_bits or layout.bits) - 8 * (layout.bits == 24)))
    samples: Floats = np.multiply(integers(content, layout), scale, dtype=np.float32)
    return samples


def integers(content: bytes | bytearray | memoryview, layout: Layout) -> npt.NDArray[Any]:
    """Bytes to whole numbers; those of 24 bits are 256 times as large."""
    size = layout.bits // 8
    values: npt.NDArray[Any] = np.frombuffer(content, np.uint8)
    if size == 1:  # unsigned in WAV files
        return values.view(np.int8) if layout.is_signed else values.astype(np.int16) - 128
    if size == 3:  # numpy has no such type: the upper three bytes of four
        padded = np.zeros((len(values) // 3, 4), np.uint8)
        padded[:, 1:] = values.reshape(-1, 3)[:, :: 1 if layout.order == "<" else -1]
        return padded.view("<i4")[:, 0]
    return values.view(f"{layout.order}i{size}")


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
