"""A function of the user's own as an extractor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.bundles.bundle import Bundle
from sonyc_ml.errors import BundleMismatchError, RecordingError
from sonyc_ml.features import Framing, frame, overlapping

Floats = npt.NDArray[np.float32]


class FunctionExtractor:
    """A function ``get_features(y, sr, hop_size=None)`` of the user's own, as an :class:`~sonyc_ml.model.Extractor`.

    A recording of up to :data:`WHOLE_S` seconds is given to the function as it is. A longer one is given in blocks of
    whole windows that overlap by a window less a hop, so that every window is seen once and whole. That is the same
    as giving it the recording if each window's features depend on that window alone; a function that looks further
    (a mean over the recording, padding of its own at the ends) sees a block where it would have seen a recording.
    """

    WHOLE_S = 120.0
    N_WINDOWS = 300
    TRIAL_SAMPLE_RATE = 44100

    def __init__(
        self, function: Callable[..., Any], bundle: Bundle, duration: float | None, hop_size: float | None
    ) -> None:
        self._function, self._source = function, bundle.pickle_path
        described = bundle.description.parameters if bundle.description else {}
        self.window_size_s = _seconds("duration", duration, described.get("duration"), 1.0)
        self.hop_size_s = _seconds("hop_size", hop_size, described.get("hop_size"), 0.1)
        self.sample_rate = int(described.get("target_sr") or 0)  # 0: not known, windows are counted in the recording's
        self.res_type = ""
        self.feature_shape: tuple[int, ...] = ()
        self.feature_shape = self._try()

    def stream(
        self, blocks: Iterable[Floats], sr: int, n_samples: int, hop_size: float | None = None
    ) -> Iterator[Floats]:
        """Yield the function's features, of the whole recording or block by block."""
        hop_size = _seconds("hop_size", hop_size, self.hop_size_s)
        if n_samples <= self.WHOLE_S * sr:
            yield self._call(np.concatenate(list(blocks)), sr, hop_size)
            return
        window_length, hop_length = round(self.window_size_s * sr), max(1, round(hop_size * sr))
        step = self.N_WINDOWS * hop_length
        n_windows = max(1, 1 + (n_samples - window_length) // hop_length)
        n_left = n_samples
        for piece in overlapping(blocks, step - hop_length + window_length, step, -(-n_windows // self.N_WINDOWS)):
            features = self._call(piece[:n_left], sr, hop_size)
            if n_left > len(piece) and len(features) != self.N_WINDOWS:
                raise BundleMismatchError(
                    f"{self._source} gave {len(features)} windows for a block of {self.N_WINDOWS}: a long recording "
                    f"is embedded in blocks of windows of {self.window_size_s:g} s every {hop_size:g} s; say the "
                    "extractor's own with duration and hop_size"
                )
            yield features
            n_left -= step

    def framing(self, n_samples: int, sr: int, hop_size: float | None = None) -> Framing:
        """Windows from the first sample on: how a function of the user's own pads is not known."""
        rate = self.sample_rate or sr
        hop_length = max(1, round(_seconds("hop_size", hop_size, self.hop_size_s) * rate))
        return frame(n_samples * rate // sr, round(self.window_size_s * rate), hop_length)._replace(lead=0)

    def _call(self, y: Floats, sr: int, hop_size: float) -> Floats:
        try:
            features = np.asarray(self._function(y, sr, hop_size=hop_size), np.float32)
        except MemoryError:
            raise  # this machine's trouble, not the recording's
        except Exception as error:  # foreign code can raise anything; the next recording may be fine
            reason = f"{type(error).__name__}: {error}"
            raise RecordingError(f"the extractor {self._source} failed on it ({reason})") from error
        expected = self.feature_shape or features.shape[1:]
        if features.ndim < 2 or len(features) == 0 or features.shape[1:] != expected:
            wanted = ", ".join(("n_windows", *map(str, expected or "…")))
            raise RecordingError(f"the extractor {self._source} returned shape {features.shape}, not ({wanted})")
        if not np.isfinite(features).all():
            raise RecordingError(f"the extractor {self._source} returned NaN or infinity")
        return features

    def _try(self) -> tuple[int, ...]:
        """Shape of a window's features, from a window of faint noise."""
        sr = self.sample_rate or self.TRIAL_SAMPLE_RATE
        noise = np.random.default_rng(0).normal(0, 1e-3, round(self.window_size_s * sr)).astype(np.float32)
        try:
            return self._call(noise, sr, self.hop_size_s).shape[1:]
        except RecordingError as error:
            raise BundleMismatchError(str(error)) from error


def _seconds(name: str, *values: float | None) -> float:
    """The first of some values that is given; it must be a time."""
    value = next(value for value in values if value is not None)
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number above 0, not {value!r}")
    return float(value)
