"""How the samples of a stream lie in its bytes: by the names that ALSA, SoX and ffmpeg have for them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sonyc_ml.sound.header import ALAW, FLOAT, MULAW, PCM, Layout

if TYPE_CHECKING:
    from sonyc_ml.sound.live.audio_format import AudioFormat

# Names of arecord's --format; each with format tag, order of bytes, bits of the place, bits of the sample, signed.
ORDERS = (("L", "<"), ("B", ">"))
SAMPLE_FORMATS = {
    "S8": (PCM, "<", 8, 8, True),
    "U8": (PCM, "<", 8, 8, False),
    **{f"S16_{end}E": (PCM, order, 16, 16, False) for end, order in ORDERS},
    **{f"S24_3{end}E": (PCM, order, 24, 24, False) for end, order in ORDERS},
    **{f"S24_{end}E": (PCM, order, 32, 24, False) for end, order in ORDERS},
    **{f"S32_{end}E": (PCM, order, 32, 32, False) for end, order in ORDERS},
    **{f"FLOAT_{end}E": (FLOAT, order, 32, 32, False) for end, order in ORDERS},
    **{f"FLOAT64_{end}E": (FLOAT, order, 64, 64, False) for end, order in ORDERS},
    "MU_LAW": (MULAW, "<", 8, 8, False),
    "A_LAW": (ALAW, "<", 8, 8, False),
}
KINDS = {PCM: "integers", FLOAT: "float", MULAW: "mu-law", ALAW: "A-law"}
SAMPLE_RATES_HZ = range(1000, 1_000_001)  # those of files, in sonyc_ml.sound.opening
MAX_N_CHANNELS = 256


def raw_layout(sample_rate: int, sample_format: str = "S16_LE", n_channels: int = 1) -> Layout:
    """The layout of raw PCM.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    sample_format : str
        One of :data:`SAMPLE_FORMATS`, in capitals or not.
    n_channels : int

    Raises
    ------
    ValueError
        There is no such sound.
    """
    name = sample_format.upper()
    if name not in SAMPLE_FORMATS:
        raise ValueError(f"sample_format must be one of {', '.join(SAMPLE_FORMATS)}, not {sample_format!r}")
    tag, order, bits, valid_bits, is_signed = SAMPLE_FORMATS[name]
    layout = Layout(0, 0, tag, order, bits, n_channels, sample_rate, valid_bits, is_signed)
    check_layout(layout)
    return layout


def layout_of(audio: AudioFormat) -> Layout:
    """The layout of what an ``audio-start`` event describes."""
    tag, bits = FLOAT if audio.is_float else PCM, 8 * audio.width
    layout = Layout(0, 0, tag, "<", bits, audio.n_channels, audio.sample_rate, bits)
    check_layout(layout)
    return layout


def check_layout(layout: Layout) -> None:
    """Refuse a sample rate or a number of channels that no recorder has.

    Raises
    ------
    ValueError
    """
    if layout.sample_rate not in SAMPLE_RATES_HZ:
        low, high = SAMPLE_RATES_HZ[0], SAMPLE_RATES_HZ[-1]
        raise ValueError(f"the sample rate must be from {low:,} to {high:,} Hz, not {layout.sample_rate:,}")
    if not 1 <= layout.n_channels <= MAX_N_CHANNELS:
        raise ValueError(f"there must be from 1 to {MAX_N_CHANNELS} channels, not {layout.n_channels:,}")


def describe(layout: Layout) -> str:
    """A layout in words: ``48000 Hz, 2 channels, 16-bit integers``."""
    channels = f"{layout.n_channels} channel{'s' * (layout.n_channels != 1)}"
    bits = layout.valid_bits or layout.bits
    of = f" in {layout.bits}" if bits != layout.bits else ""
    return f"{layout.sample_rate} Hz, {channels}, {bits}-bit{of} {KINDS[layout.tag]}"


def is_same_sound(one: Layout, other: Layout) -> bool:
    """Whether samples of both can follow each other in one recording."""
    return replace(one, position=0, n_bytes=0) == replace(other, position=0, n_bytes=0)
