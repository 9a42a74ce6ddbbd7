"""Recordings of an AudioMoth that wrote down only what was above its trigger's threshold.

For each stretch of time below it the firmware (AudioMoth-Firmware-Basic, since 1.4) writes one block of 512 bytes: 32
samples of 1 or -1, the bits of how many blocks of 512 bytes are left out, the lowest first, and zeros behind them.
Where it cannot, in the first and the last buffer of 32 KB, it writes zeros for what was below the threshold.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sonyc_ml.errors import EmptyRecordingError, UnreadableRecordingError
from sonyc_ml.sound.header import PCM, Layout

BLOCK_SIZE, N_BITS, SAMPLE_SIZE = 512, 32, 2  # bytes, samples, bytes
BITS_SIZE = N_BITS * SAMPLE_SIZE
ZEROS = bytes(BLOCK_SIZE - BITS_SIZE)
NO_ZERO = re.compile(rb"[^\0]")
BUFFER_SIZE = 1 << 15  # bytes, at either end of a recording, in which zeros stand for what was left out
READ_SIZE = 1 << 20  # bytes
LONGEST_S = 2 * 86400  # no AudioMoth records for longer without beginning another file

NAME = re.compile(r"\dT\.wav$", re.IGNORECASE | re.ASCII)
COMMENT = re.compile(r"AudioMoth.*(threshold|trigger)", re.IGNORECASE | re.DOTALL)


class Segment(NamedTuple):
    """A stretch of a recording without a gap.

    Attributes
    ----------
    start : int
        When it begins, in samples since the recording began; what was not recorded counts.
    n_samples : int
        Of each channel.
    """

    start: int
    n_samples: int


class Triggered(NamedTuple):
    """What a triggered recording holds.

    Attributes
    ----------
    segments : tuple of Segment
    pieces : list of tuple of int
        Of each segment, where it begins in the file (in bytes), and its number of samples.
    n_elapsed : int
        Length of the recording in time (in samples), with what was not recorded.
    """

    segments: tuple[Segment, ...]
    pieces: list[tuple[int, int]]
    n_elapsed: int


def find_segments(descriptor: int, layout: Layout, name: str, comment: str) -> Triggered | None:
    """What a recording holds, if it is a triggered one; None for every other recording, most of which are not read.

    Parameters
    ----------
    descriptor : int
        Of the open file; its position is not touched.
    layout : Layout
        As long as the sound is.
    name, comment : str
        Of the file. They tell where it is worth to look; what is in it decides.

    Raises
    ------
    EmptyRecordingError
        Nothing was above the threshold.
    UnreadableRecordingError
        It would be longer than any recorder records.
    """
    is_told = COMMENT.search(comment) is not None
    is_plain = (layout.tag, layout.bits, layout.n_channels, layout.order) == (PCM, 16, 1, "<")
    if not is_plain or not (is_told or NAME.search(name)):
        return None
    blocks = list(_encoded_blocks(descriptor, layout))
    if not (blocks or is_told):
        return None
    segments, pieces, n_elapsed = _between(_gaps(descriptor, layout, blocks), layout)
    _check_duration(n_elapsed / max(1, layout.sample_rate))
    if not segments:
        raise EmptyRecordingError("it holds no sound: nothing was above its trigger's threshold")
    n_recorded = sum(segment.n_samples for segment in segments)
    return Triggered(tuple(segments), pieces, n_elapsed) if n_recorded < max(n_elapsed, layout.n_samples) else None


def _between(gaps: list[tuple[int, int, int]], layout: Layout) -> tuple[list[Segment], list[tuple[int, int]], int]:
    """The sound between gaps, as :class:`Triggered` has it: its segments, where they lie, and how long all takes."""
    segments: list[Segment] = []
    pieces: list[tuple[int, int]] = []
    elapsed, place = 0, layout.position
    for position, length, n_left_out in [*gaps, (layout.position + layout.n_samples * SAMPLE_SIZE, 0, 0)]:
        n_samples = (position - place) // SAMPLE_SIZE
        if n_samples > 0:
            segments.append(Segment(elapsed, n_samples))
            pieces.append((place, n_samples))
        elapsed += n_samples + n_left_out
        place = position + length
    return segments, pieces, elapsed


def _check_duration(duration_s: float) -> None:
    if duration_s > LONGEST_S:
        raise UnreadableRecordingError(
            f"it is damaged: it says that {duration_s:,.0f} s passed in it, most of them below its trigger's "
            "threshold; no recorder records for so long"
        )


def _gaps(descriptor: int, layout: Layout, blocks: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """What is no sound: where it begins and how long it is (in bytes), and the samples that it stands for."""
    gaps = [(position, BLOCK_SIZE, n_blocks * BLOCK_SIZE // SAMPLE_SIZE) for position, n_blocks in blocks]
    first = layout.position
    last = first + layout.n_samples * SAMPLE_SIZE
    head = os.pread(descriptor, max(0, min(last, BUFFER_SIZE, gaps[0][0] if gaps else last) - first), first)
    n_zeros = (len(head) - len(head.lstrip(b"\0"))) // SAMPLE_SIZE * SAMPLE_SIZE
    if n_zeros >= BLOCK_SIZE:
        gaps.insert(0, (first, n_zeros, n_zeros // SAMPLE_SIZE))
    start = max(first, last - BUFFER_SIZE, gaps[-1][0] + gaps[-1][1] if gaps else first)
    tail = os.pread(descriptor, max(0, last - start), start)
    n_zeros = (len(tail) - len(tail.rstrip(b"\0"))) // SAMPLE_SIZE * SAMPLE_SIZE
    if n_zeros >= BLOCK_SIZE:
        gaps.append((last - n_zeros, n_zeros, n_zeros // SAMPLE_SIZE))
    return gaps


def _encoded_blocks(descriptor: int, layout: Layout) -> Iterator[tuple[int, int]]:
    """Yield where each block begins that stands for time, and for how many blocks it does.

    They lie at multiples of 512 bytes of the file, but for a file that another program wrote a new header for.
    """
    end = layout.position + layout.n_samples * SAMPLE_SIZE
    start, held = layout.position, b""
    while start + len(held) < end:
        place = start + len(held)
        content = held + os.pread(descriptor, min(READ_SIZE, end - place), place)
        if len(content) == len(held):
            return  # it became shorter, which is seen when it is read
        for offset, n_blocks in _blocks_in(content):
            if (start + offset - layout.position) % SAMPLE_SIZE == 0:
                yield start + offset, n_blocks
        # A block that is whole in this content was found; one that is not is whole in the next.
        n_kept = min(len(content), BLOCK_SIZE - 1)
        start, held = start + len(content) - n_kept, content[len(content) - n_kept :]


def _blocks_in(content: bytes) -> Iterator[tuple[int, int]]:
    place = content.find(ZEROS)
    while place >= 0:
        # A sample of 1 ends with a zero byte, which belongs to it and not to the zeros.
        for zeros in (place, place + 1):
            bits = np.frombuffer(content[max(0, zeros - BITS_SIZE) : zeros], "<i2" if zeros >= BITS_SIZE else np.int8)
            if len(bits) == N_BITS and content[zeros : zeros + len(ZEROS)] == ZEROS and (np.abs(bits) == 1).all():
                yield zeros - BITS_SIZE, sum(1 << i for i, bit in enumerate(bits.tolist()) if bit == 1)
                break
        behind = NO_ZERO.search(content, place)
        place = content.find(ZEROS, behind.start()) if behind else -1
