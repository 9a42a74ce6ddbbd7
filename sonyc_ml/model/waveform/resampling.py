"""Streams of sound whose length nobody knows: to another rate, and apart into rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from sonyc_ml.features import Resampler, n_resampled

Floats = npt.NDArray[np.float32]

ENDLESS = 1 << 50  # samples: more than any sound has


class Counted:
    """Blocks, and how many samples they had in all.

    Attributes
    ----------
    n_samples : int
        Of each row, until now.
    is_over : bool
        Whether there are no more blocks.
    """

    def __init__(self, blocks: Iterable[Floats]) -> None:
        self._blocks = iter(blocks)
        self.n_samples, self.is_over = 0, False

    def __iter__(self) -> Iterator[Floats]:
        return self

    def __next__(self) -> Floats:
        block = next(self._blocks, None)
        if block is None:
            self.is_over = True
            raise StopIteration
        self.n_samples += block.shape[-1]
        return block


def resampled(blocks: Iterable[Floats], resampler: Resampler | None, sr: int, target_sr: int) -> Iterator[Floats]:
    """Samples at another rate; as many as :func:`sonyc_ml.features.n_resampled` says once they are all there.

    Parameters
    ----------
    blocks : iterable of np.ndarray [shape=(any,), dtype=float32]
    resampler : Resampler or None
        From `sr` to `target_sr` (in Hz); None where they are the same.
    sr, target_sr : int > 0
        In Hz.

    Yields
    ------
    np.ndarray [shape=(n,), dtype=float32]
    """
    if resampler is None:
        yield from blocks
        return
    counted, n_given = Counted(blocks), 0
    for piece in resampler.stream(counted, ENDLESS):
        if counted.is_over:  # behind the last sample there is silence, as far as the resampler goes
            n_wanted = n_resampled(counted.n_samples, sr, target_sr)
            piece = piece[: n_wanted - n_given]  # noqa: PLW2901
        if len(piece):
            n_given += len(piece)
            yield piece
        if counted.is_over and n_given >= n_wanted:
            return


def rows_of(blocks: Iterator[Floats], n_rows: int) -> list[Iterator[Floats]]:
    """The rows of a stream of arrays, each as a stream of its own.

    Whoever reads them takes about as much of each: what one is ahead of the others is kept.

    Parameters
    ----------
    blocks : iterator of np.ndarray [shape=(n_rows, any), dtype=float32]
    n_rows : int > 0
    """
    waiting: list[deque[Floats]] = [deque() for _ in range(n_rows)]

    def row(number: int) -> Iterator[Floats]:
        while True:
            if not waiting[number]:
                block = next(blocks, None)
                if block is None:
                    return
                for queue, part in zip(waiting, block, strict=True):
                    queue.append(part)
            yield waiting[number].popleft()

    return [row(number) for number in range(n_rows)]
