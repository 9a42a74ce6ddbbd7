"""One channel's samples to blocks for the networks, and what they give back to as many samples of each track.

Where blocks lie is counted from the first sample, so that however the samples arrive, the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from sonyc_ml.bundles.waveform import Overlap, Stream

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Process = Callable[[Floats], npt.NDArray[np.floating]]

LONGEST_PIECE = 1 << 16  # samples: what arrives in one piece is given back in pieces no longer than this
SOFTEST = 1e-8  # a chunk with less of a standard deviation is silence, and is not made louder


class Samples:
    """Samples that arrive in blocks of any size, taken as many at a time as are needed.

    Attributes
    ----------
    n_arrived : int
    is_over : bool
        Whether there are no more than those that arrived.
    """

    def __init__(self, blocks: Iterable[Floats]) -> None:
        self._blocks = iter(blocks)
        self._held: Floats = np.zeros(0, np.float32)
        self.n_arrived, self.is_over = 0, False

    @property
    def n_held(self) -> int:
        """How many have arrived and are not taken yet."""
        return len(self._held)

    def fetch(self, n_wanted: int) -> None:
        """Wait until so many are held, or there are no more."""
        parts, n_held = [self._held], len(self._held)
        while n_held < n_wanted and not self.is_over:
            block = next(self._blocks, None)
            if block is None:
                self.is_over = True
                break
            parts.append(block)
            n_held += len(block)
            self.n_arrived += len(block)
        self._held = np.concatenate(parts) if len(parts) > 1 else self._held

    def first(self, n: int) -> Floats:
        """The first `n` of those that are held; fewer where there are no more."""
        return self._held[:n]

    def drop(self, n: int) -> None:
        """Let go of the first `n` of those that are held."""
        self._held = self._held[n:]


def cut_stream(process: Process, n_tracks: int, blocks: Iterable[Floats], section: Stream) -> Iterator[Floats]:
    """Blocks one after another through networks that carry their state; what overlaps is added.

    The first block ends with the first `hop_length` samples, with silence before them. What is behind the last sample
    is silence too, for as long as a block takes until all of it has come out.

    Parameters
    ----------
    process : callable
        :meth:`~sonyc_ml.model.waveform.blocks.BlockProcessor.process` of the channel's own.
    n_tracks : int > 0
    blocks : iterable of np.ndarray [shape=(any,), dtype=float32]
        At the model's rate.
    section : Stream

    Yields
    ------
    np.ndarray [shape=(n_tracks, n), dtype=float32]
        In all as many samples as arrived, each at the place of its own.
    """
    hop = section.hop_length
    samples, window = Samples(blocks), _MovingBlock(process, n_tracks, section)
    n_early, n_given = section.block_length - hop + section.latency_length, 0  # what comes out before the first sample
    while True:
        samples.fetch(hop)
        n_hops = min(max(1, samples.n_held // hop), max(1, LONGEST_PIECE // hop))
        given = np.empty((n_tracks, n_hops * hop), np.float32)
        for i in range(n_hops):
            given[:, i * hop : (i + 1) * hop] = window.move(samples.first(hop))
            samples.drop(hop)
        n_skipped = min(n_early, given.shape[1])
        n_early -= n_skipped
        given = given[:, n_skipped : n_skipped + samples.n_arrived - n_given]
        n_given += given.shape[1]
        if given.shape[1]:
            yield given
        if samples.is_over and n_given >= samples.n_arrived:
            return


class _MovingBlock:
    """A block that moves over a stream by a hop at a time, and the sum of what it becomes at each place."""

    def __init__(self, process: Process, n_tracks: int, section: Stream) -> None:
        self._process, self._hop = process, section.hop_length
        self._kept = section.block_length - section.hop_length  # samples of a block that the next one holds too
        self._block = np.zeros(section.block_length, np.float32)
        self._added = np.zeros((n_tracks, section.block_length))

    def move(self, incoming: Floats) -> Doubles:
        """Take in the samples of a hop, or fewer before silence; return the hop that no later block adds to."""
        hop, kept, block, added = self._hop, self._kept, self._block, self._added
        block[:kept] = block[hop:]
        block[kept : kept + len(incoming)] = incoming
        block[kept + len(incoming) :] = 0
        added += self._process(block)
        ready = added[:, :hop].copy()
        added[:, :kept] = added[:, hop:]
        added[:, kept:] = 0
        return ready


def cut_overlapping(
    process: Process, n_tracks: int, blocks: Iterable[Floats], section: Overlap, sample_rate: int
) -> Iterator[Floats]:
    """Chunks that overlap through a network without a state; their weighted sum is divided by the sum of the weights.

    The first chunk begins with the first sample; the last one is filled up with silence.

    Parameters
    ----------
    process, n_tracks, blocks
        Those of :func:`cut_stream`.
    section : Overlap
    sample_rate : int > 0
        The model's (in Hz).

    Yields
    ------
    np.ndarray [shape=(n_tracks, n), dtype=float32]
        In all as many samples as arrived.
    """
    length, hop = chunk_lengths(section, sample_rate)
    weights = window_of(section.window, length)
    samples = Samples(blocks)
    added, added_weights = np.zeros((n_tracks, length)), np.zeros(length)
    samples.fetch(1)
    while samples.n_held:
        samples.fetch(length + 1)  # one more than it reads: is it the last?
        added += _of_chunk(process, samples.first(length), length, section.normalise) * weights
        added_weights += weights
        is_last = samples.n_held <= length
        n_ready = samples.n_held if is_last else hop
        yield from _pieces((added[:, :n_ready] / added_weights[:n_ready]).astype(np.float32))
        if is_last:
            return
        samples.drop(hop)
        for sums in (added, added_weights):
            sums[..., :-hop] = sums[..., hop:]
            sums[..., length - hop :] = 0


def chunk_lengths(section: Overlap, sample_rate: int) -> tuple[int, int]:
    """Length of a chunk and distance between two (in samples), at least one each."""
    return max(1, round(section.chunk_s * sample_rate)), max(1, round(section.hop_s * sample_rate))


def window_of(name: str, length: int) -> Doubles:
    """How much each sample of a chunk counts, `(length,)`; more than nothing at either end, for some stand alone."""
    places = (np.arange(length) + 0.5) / length
    if name == "hann":
        return np.asarray(np.sin(np.pi * places) ** 2)
    return 1 - np.abs(2 * places - 1) * (1 - 1 / length) if name == "triangle" else np.ones(length)


def _of_chunk(process: Process, chunk: Floats, length: int, normalise: str) -> Doubles:
    mean, deviation = 0.0, 1.0
    if normalise == "mean_std":  # of what is there, not of the silence that fills it up
        mean, deviation = float(chunk.mean(dtype=np.float64)), float(chunk.std(dtype=np.float64))
        deviation = deviation if deviation > SOFTEST else 1.0
    filled = np.zeros(length, np.float32)
    filled[: len(chunk)] = chunk if normalise == "none" else (chunk - mean) / deviation
    return process(filled).astype(np.float64) * deviation + mean


def _pieces(tracks: Floats) -> Iterator[Floats]:
    for start in range(0, tracks.shape[1], LONGEST_PIECE):
        yield tracks[:, start : start + LONGEST_PIECE]
