"""What a model asks of whatever turns samples into features, and where the windows lie."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sonyc_ml.features import Framing

Floats = npt.NDArray[np.float32]

STARTS_AT_ONCE = 1 << 16


class Extractor(Protocol):
    """What a model asks of its extractor. Pickles of years ago have just this, so it does not change."""

    sample_rate: int
    window_size_s: float
    hop_size_s: float
    feature_shape: tuple[int, ...]
    res_type: str

    def stream(
        self, blocks: Iterable[Floats], sr: int, n_samples: int, hop_size: float | None = None
    ) -> Iterator[Floats]:
        """Yield the features of blocks of samples."""
        ...

    def framing(self, n_samples: int, sr: int, hop_size: float | None = None) -> Framing:
        """Where the windows lie, in samples at `sample_rate`."""
        ...


def window_starts(framing: Framing, n_windows: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the first sample of each window, `(n,)`, so many at a time.

    Of an extractor that cuts other windows than it said they are counted from the first sample of the recording.
    """
    lead = framing.lead if framing.n_windows == n_windows else 0
    for first in range(0, n_windows, STARTS_AT_ONCE):
        numbers = np.arange(first, min(n_windows, first + STARTS_AT_ONCE), dtype=np.int64)
        yield numbers * framing.hop_length - lead


def describe_windows(extractor: Extractor) -> str:
    """What an extractor cuts, in words: the windows' length and distance, and the sample rate."""
    rate = f"{extractor.sample_rate} Hz" if extractor.sample_rate else "any sample rate"
    return f"windows of {extractor.window_size_s:g} s every {extractor.hop_size_s:g} s at {rate}"


def check_keywords(kind: str, function: Callable[..., Any], keywords: Mapping[str, Any]) -> None:
    """Refuse keywords that a function does not take, by their name.

    Raises
    ------
    TypeError
    """
    known = inspect.signature(function).parameters
    for name in keywords:
        if name not in known:
            raise TypeError(f"{kind} takes no {name}; it takes {', '.join(known)}")
