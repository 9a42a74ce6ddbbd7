"""The extractor of a model: what turns samples into the features that its network reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sonyc_ml.features import Framing

Floats = npt.NDArray[np.float32]


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
