"""Sound for streams: samples of every kind as bytes, and the file of the same samples."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from sonyc_ml.sound.header import Layout
from sonyc_ml.sound.live.clock import Moment
from sonyc_ml.sound.live.formats import raw_layout

START_S = 1_795_885_200.0  # 2026-11-28T17:00:00Z
# Names of formats that streams have, each with libsndfile's name for a file of the same samples.
SUBTYPES = {
    "U8": "PCM_U8",
    "S16_LE": "PCM_16",
    "S24_3LE": "PCM_24",
    "S32_LE": "PCM_32",
    "FLOAT_LE": "FLOAT",
    "FLOAT64_LE": "DOUBLE",
}


def samples(sample_format: str, n_samples: int, n_channels: int, seed: int = 0) -> bytes:
    """Noise with a tone, as bytes of a format; full scale is reached now and then."""
    rng = np.random.default_rng(seed)
    tone = 0.3 * np.sin(np.arange(n_samples) / 7)[:, None]
    y = np.clip(rng.normal(0, 0.3, (n_samples, n_channels)) + tone, -1, 1)
    layout = raw_layout(8000, sample_format, n_channels)
    if sample_format.startswith("FLOAT"):
        floats: npt.NDArray[np.float64] = y.astype(f"<f{layout.bits // 8}")
        return floats.tobytes()
    limit = 2 ** (layout.bits - 1)
    numbers: npt.NDArray[np.int64] = np.clip(np.rint(y * limit), -limit, limit - 1).astype(np.int64)
    if layout.bits == 8:
        return bytes((numbers + 128).astype(np.uint8))
    lower: npt.NDArray[np.uint8] = numbers.astype("<i8").reshape(-1, 1).view(np.uint8)[:, : layout.bits // 8]
    return bytes(np.ascontiguousarray(lower))


def wav_header(layout: Layout, n_bytes: int = 0xFFFFFFFF) -> bytes:
    """The header that recorders write into a pipe."""
    form = struct.pack(
        "<HHIIHH",
        layout.tag,
        layout.n_channels,
        layout.sample_rate,
        layout.sample_rate * layout.frame_size,
        layout.frame_size,
        layout.valid_bits,
    )
    size = min(0xFFFFFFFF, n_bytes + 36)
    return (
        b"RIFF"
        + struct.pack("<I", size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", n_bytes)
    )


def write_wav(path: Path, content: bytes, layout: Layout) -> Path:
    """The file of the same samples, written by ourselves; libsndfile reads it."""
    path.write_bytes(wav_header(layout, len(content)) + content)
    assert soundfile.info(path).frames == len(content) // layout.frame_size
    return path


class Clocks:
    """A machine's clocks, which stand still until they are moved."""

    def __init__(self) -> None:
        self.timer_s, self.offset_s = 1000.0, START_S - 1000.0

    def __call__(self) -> Moment:
        return Moment(self.timer_s + self.offset_s, self.timer_s)

    def after(self, seconds: float) -> Moment:
        """So much later."""
        self.timer_s += seconds
        return self()


def cut_at(content: bytes, lengths: npt.ArrayLike) -> list[bytes]:
    """Chunks of these lengths, again and again."""
    found = list[bytes]()
    position, sizes = 0, [max(1, int(n)) for n in np.atleast_1d(lengths)]
    while position < len(content):
        size = sizes[len(found) % len(sizes)]
        found.append(content[position : position + size])
        position += size
    return found
