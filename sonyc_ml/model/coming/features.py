"""Windows of sound that is still coming: each is computed when its last sample is there, or soon after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.features import BLOCK_S, MAX_WINDOWS_AT_ONCE, Framing
from sonyc_ml.model.coming.resampling import Coming, coming

Floats = npt.NDArray[np.float32]

SHORTEST_BLOCK_S = 1.0  # in shorter ones the numbers of some windows are a step off
STEP_S = 0.25  # windows of less sound wait for each other
OURS = "WindowExtractor.stream"  # of extractors in pickles, too


def stream_as_it_comes(
    extractor: Any,
    blocks: Iterable[Floats],
    sr: int,
    n_samples: int,
    hop_size: float | None = None,
    is_there: Callable[[], bool] = lambda: True,
) -> Iterator[Floats]:
    """Yield the features of sound that is still coming, with little left to do when the last of it has come.

    The numbers are those of :meth:`Extractor.stream`, bit for bit: products of few rows would round otherwise, so new
    windows are computed with others before them, up to a second in all. An extractor that is not one of ours does as
    it always does.

    Parameters
    ----------
    extractor : Extractor
    blocks, sr, n_samples, hop_size
        Those of its `stream`.
    is_there : callable
        Whether the next block can be had at once.
    """
    if getattr(type(extractor).stream, "__qualname__", "") != OURS or not hasattr(extractor, "_window_features"):
        yield from extractor.stream(blocks, sr, n_samples, hop_size)
        return
    framing = extractor.framing(n_samples, sr, hop_size)
    compute = extractor._window_features()  # noqa: SLF001  pickles of ours have it too
    n_most = min(MAX_WINDOWS_AT_ONCE, max(1, int(BLOCK_S * extractor.sample_rate) // framing.hop_length))
    n_step, n_least = (
        max(1, int(extractor.sample_rate * seconds) // framing.hop_length) for seconds in (STEP_S, SHORTEST_BLOCK_S)
    )
    held = Held(coming(extractor, blocks, sr, n_samples), framing)
    n_done = 0
    while n_done < framing.n_windows:
        n_new = min(n_most, held.ready(max(n_step, n_least - n_done), n_most, is_there))
        n_behind = max(0, min(n_done, n_least - n_new))
        piece = held.piece(n_done - n_behind, n_behind + n_new)
        yield compute(piece, framing.hop_length, n_behind + n_new)[n_behind:]
        n_done = held.n_done = n_done + n_new


class Held:
    """Samples of a stream, from some window on.

    Parameters
    ----------
    samples : Coming
    framing : Framing

    Attributes
    ----------
    n_done : int
        Windows that are computed.
    """

    def __init__(self, samples: Coming, framing: Framing) -> None:
        self._coming, self._framing, self.n_done = samples, framing, 0
        self._samples = np.zeros(framing.lead, np.float32)
        self._position = 0  # of the first sample, counted from that of the first window

    def ready(self, n_wanted: int, n_most: int, is_there: Callable[[], bool]) -> int:
        """How many further windows are whole; waits until so many are, if there will be, and takes what is there.

        Parameters
        ----------
        n_wanted : int
        n_most : int
            How many are enough.
        is_there : callable
            Whether there is more without waiting.
        """
        n_left, is_over = self._framing.n_windows - self.n_done, False
        while not is_over:
            n_ready = self._n_whole(self._position + len(self._samples) + self._coming.n_known) - self.n_done
            if n_ready >= min(n_left, n_most) or (n_ready >= min(n_left, n_wanted) and not is_there()):
                break
            is_over = not self._coming.pull()
        self._samples = np.concatenate([self._samples, self._coming.read()])
        return n_left if is_over else min(n_left, n_ready)

    def piece(self, first: int, n_windows: int) -> Floats:
        """The samples of some windows; what lies before them is not asked for again. Beyond the end is silence."""
        start = first * self._framing.hop_length
        length = (n_windows - 1) * self._framing.hop_length + self._framing.window_length
        n_missing = start + length - self._position - len(self._samples)
        if n_missing > 0:
            self._samples = np.concatenate([self._samples, np.zeros(n_missing, np.float32)])
        self._samples = self._samples[start - self._position :]
        self._position = start
        return self._samples[:length]

    def _n_whole(self, n_samples: int) -> int:
        """How many windows lie within so many samples from the first window's first one on."""
        length, hop_length = self._framing.window_length, self._framing.hop_length
        return 0 if n_samples < length else (n_samples - length) // hop_length + 1
