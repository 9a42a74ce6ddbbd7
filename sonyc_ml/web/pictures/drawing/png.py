"""An image of values as a PNG with a palette: lightness rises with the value."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

# https://www.w3.org/TR/png-3/
SIGNATURE = b"\x89PNG\r\n\x1a\n"
N_COLOURS = 256
EMPTY = 0  # the place in the palette of what is no number: it is transparent
# From black to white through violet, red and yellow, so that lightness (L* of CIELAB) rises evenly: 0, 25, 50, 75, 97.
STOPS = ((0, 0, 4), (88, 24, 120), (201, 58, 94), (246, 163, 90), (252, 250, 200))


def palette() -> npt.NDArray[np.uint8]:
    """Colours of the places from 1 on, dark to light, `(255, 3)`; place 0 is what is empty."""
    places = np.linspace(0, len(STOPS) - 1, N_COLOURS - 1)
    channels = [np.interp(places, np.arange(len(STOPS)), channel) for channel in np.array(STOPS, float).T]
    colours: npt.NDArray[np.uint8] = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return colours


def to_png(values: npt.NDArray[np.floating], low: float, high: float) -> bytes:
    """Make an image.

    Parameters
    ----------
    values : np.ndarray [shape=(n_rows, n_columns)]
        The first row is the top; where there is no number, the ground shows.
    low, high : float
        What is darkest and lightest.
    """
    with np.errstate(invalid="ignore"):
        scaled = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * (N_COLOURS - 2) + 1
    places = np.where(np.isfinite(scaled), scaled, EMPTY).astype(np.uint8)
    n_rows, n_columns = places.shape
    rows = np.concatenate([np.zeros((n_rows, 1), np.uint8), places], axis=1)  # each behind its filter: none
    header = struct.pack(">IIBBBBB", n_columns, n_rows, 8, 3, 0, 0, 0)  # 8 bits, of a palette
    chunks = (
        (b"IHDR", header),
        (b"PLTE", bytes(3) + palette().tobytes()),
        (b"tRNS", b"\0"),
        (b"IDAT", zlib.compress(rows.tobytes(), 6)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
