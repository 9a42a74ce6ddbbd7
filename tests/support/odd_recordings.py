"""Recordings whose headers are wrong, as recorders, encoders and power cuts leave them; all sound is seeded noise."""

from __future__ import annotations

import io
import struct
from functools import cache

import numpy as np
import numpy.typing as npt
import soundfile

from tests.support import wavs

SAMPLE_RATE = 8000
AUDIOMOTH = "Recorded at 06:30:00 01/05/2024 (UTC) by AudioMoth 0123456789ABCDEF at medium gain. "
THRESHOLD = AUDIOMOTH + "Amplitude threshold was 4% with 1s minimum trigger duration."


def noise(n_samples: int, seed: int = 0) -> npt.NDArray[np.int16]:
    """Loud noise without a zero among its samples."""
    y = np.random.default_rng(seed).normal(0, 3000, n_samples).astype(np.int16)
    y[y == 0] = 7
    return y


@cache
def flac(n_samples: int = 20_000, subtype: str = "PCM_16") -> bytes:
    """A FLAC file of noise, as libsndfile writes it."""
    content = io.BytesIO()
    soundfile.write(content, noise(n_samples), SAMPLE_RATE, format="FLAC", subtype=subtype)
    return content.getvalue()


def flac_saying(n_samples: int, content: bytes | None = None) -> bytes:
    """The same under a header that says another length; 0 where it leaves it open."""
    changed = bytearray(flac() if content is None else content)
    value = int.from_bytes(changed[18:26], "big")
    changed[18:26] = (value >> 36 << 36 | n_samples).to_bytes(8, "big")
    return bytes(changed)


def ogg_flac(content: bytes, page_size: int = 9000) -> bytes:
    """A FLAC file in the pages of Ogg: its header in the first, the rest cut anywhere, as packets may be continued."""
    head, rest = content[:42], content[42:]
    pieces = [rest[start : start + page_size] for start in range(0, len(rest), page_size)]
    pages = [wavs.ogg_page(b"\x7fFLAC\1\0\0\1" + head, 2, 0)]
    pages += [wavs.ogg_page(piece, 4 * (i == len(pieces)), i) for i, piece in enumerate(pieces, 1)]
    return b"".join(pages)


def comment(text: str, length: int = 0) -> tuple[bytes, bytes]:
    """A LIST chunk that holds a comment, filled up to a length."""
    content = b"INFO" + wavs.chunk(b"ICMT", text.encode() + b"\0")
    return b"LIST", content.ljust(length, b"\0")


def skipped(n_blocks: int) -> bytes:
    """What AudioMoth writes for so many blocks of 512 bytes that were below its threshold."""
    return struct.pack("<32h", *(1 if n_blocks >> bit & 1 else -1 for bit in range(32))) + bytes(448)


def triggered(*parts: bytes, text: str = THRESHOLD, before: int = 488) -> bytes:
    """A triggered recording whose sound begins at a byte of the file."""
    fixed = len(wavs.wav(b"", before=[(b"LIST", b"")]))
    return wavs.wav(b"".join(parts), before=[comment(text, before - fixed)])
