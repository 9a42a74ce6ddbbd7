"""A function of the user's own as an extractor."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.bundles.bundle import Bundle
from sonyc_ml.errors import BundleMismatchError, RecordingError
from sonyc_ml.features import Framing, frame, overlapping
from sonyc_ml.model.extractor import apart

Floats = npt.NDArray[np.float32]

TOLERANCE = 1e-4  # of the largest feature; rounding, and a resampler at the ends of a block


class FunctionExtractor:
    """A function ``get_features(y, sr, hop_size=None)`` of the user's own, as an :class:`~sonyc_ml.model.Extractor`.

    With `n_channels`, `y` has the shape `(n_channels, n_samples)`; else it is mono.

    A recording of up to :data:`WHOLE_S` seconds is given to the function as it is. A longer one is given in blocks of
    whole windows that overlap by a window less a hop, so that every window is seen once and whole. That is the same
    as giving it the recording if each window's features depend on that window alone; a function that looks further
    (a mean over the recording, padding of its own at the ends) sees a block where it would have seen a recording.
    """

    WHOLE_S = 120.0
    N_WINDOWS = 300
    TRIAL_SAMPLE_RATE = 44100

    def __init__(
        self,
        function: Callable[..., Any],
        bundle: Bundle,
        duration: float | None,
        hop_size: float | None,
        n_channels: int | None = None,
    ) -> None:
        self.n_channels = n_channels
        self._function, self._source = function, bundle.pickle_path
        described = bundle.description.parameters if bundle.description else {}
        manifest = bundle.manifest  # zero while it is being made; says what the outputs until now were made with
        made_with = (manifest.window_size_s, manifest.hop_size_s) if manifest else (0.0, 0.0)
        own = _defaults(function)
        self.window_size_s = _seconds(
            "duration", duration, described.get("duration"), made_with[0] or None, own.get("duration"), 1.0
        )
        self.hop_size_s = _seconds(
            "hop_size", hop_size, described.get("hop_size"), made_with[1] or None, own.get("hop_size"), 0.1
        )
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
            yield self._call(np.concatenate(list(blocks), axis=-1), sr, hop_size)
            return
        yield from self._in_blocks(blocks, sr, n_samples, hop_size, self.N_WINDOWS)

    def _in_blocks(
        self, blocks: Iterable[Floats], sr: int, n_samples: int, hop_size: float, n_at_once: int
    ) -> Iterator[Floats]:
        window_length, hop_length = round(self.window_size_s * sr), max(1, round(hop_size * sr))
        step = n_at_once * hop_length
        n_windows = max(1, 1 + (n_samples - window_length) // hop_length)
        n_left = n_samples
        for piece in self._pieces(blocks, step - hop_length + window_length, step, -(-n_windows // n_at_once)):
            features = self._call(piece[..., :n_left], sr, hop_size)
            if n_left > piece.shape[-1] and len(features) != n_at_once:
                raise BundleMismatchError(
                    f"{self._source} gave {len(features)} windows for a block of {n_at_once}: a long recording "
                    f"is embedded in blocks of windows of {self.window_size_s:g} s every {hop_size:g} s; say the "
                    "extractor's own with duration and hop_size"
                )
            yield features
            n_left -= step

    def _pieces(self, blocks: Iterable[Floats], length: int, step: int, n_pieces: int) -> Iterator[Floats]:
        """Overlapping pieces of the recording, with its channels where the function reads several."""
        if self.n_channels is None:
            return overlapping(blocks, length, step, n_pieces)
        streams = (overlapping(one, length, step, n_pieces) for one in apart(blocks, self.n_channels))
        return map(np.stack, zip(*streams, strict=True))

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

    def difference_in_blocks(self) -> str:
        """Try what a long recording becomes in blocks, against the same in one piece.

        Returns
        -------
        str
            What differs, as a sentence; empty where nothing does.
        """
        sr, hop_size = self.sample_rate or self.TRIAL_SAMPLE_RATE, self.hop_size_s
        n_at_once = 1 + math.ceil(self.WHOLE_S / hop_size) // 3
        window_length, hop_length = round(self.window_size_s * sr), max(1, round(hop_size * sr))
        y = self._channels(_uneven(window_length + (3 * n_at_once - 1) * hop_length + 1))  # three blocks and a sample
        beginning = f"{self._source}: recordings of more than {self.WHOLE_S:g} s are embedded in blocks, and"
        try:
            whole = self._call(y, sr, hop_size)
        except RecordingError as error:
            return f"{beginning} in one piece the function fails on one: {error}"
        try:
            pieces = list(self._in_blocks([y], sr, y.shape[-1], hop_size, n_at_once))
        except (BundleMismatchError, RecordingError) as error:
            return f"{beginning} will be refused: {error}"
        parts = np.concatenate(pieces)
        if len(parts) != len(whole):
            return f"{beginning} have {len(parts)} windows where the function alone gives {len(whole)}"
        largest = float(np.abs(whole).max())
        n_different = int((np.abs(parts - whole).reshape(len(whole), -1).max(axis=1) > TOLERANCE * largest).sum())
        if n_different:
            return (
                f"{beginning} the function gives other features there, in {n_different} of {len(whole)} windows: it "
                "looks further than a window (it pads, or normalises over the recording)"
            )
        return ""

    def _channels(self, y: Floats) -> Floats:
        """Sound to try the function with: each channel has it a little later."""
        return y if self.n_channels is None else np.stack([np.roll(y, 3 * i) for i in range(self.n_channels)])

    def _try(self) -> tuple[int, ...]:
        """Shape of a window's features, from a window of faint noise."""
        sr = self.sample_rate or self.TRIAL_SAMPLE_RATE
        noise = np.random.default_rng(0).normal(0, 1e-3, round(self.window_size_s * sr)).astype(np.float32)
        try:
            return self._call(self._channels(noise), sr, self.hop_size_s).shape[1:]
        except RecordingError as error:
            raise BundleMismatchError(str(error)) from error


def _defaults(function: Callable[..., Any]) -> dict[str, float]:
    """The defaults of a function's keywords that are times."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):  # written in another language
        return {}
    defaults = {parameter.name: parameter.default for parameter in parameters}
    return {name: value for name, value in defaults.items() if _is_time(value)}


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _uneven(n_samples: int) -> Floats:
    """Noise that is ten times louder at either end than in the middle: no third of it has the levels of the whole."""
    rng = np.random.default_rng(0)
    level = 0.01 + 0.09 * np.abs(np.linspace(-1, 1, n_samples, dtype=np.float32))
    y: Floats = rng.standard_normal(n_samples, dtype=np.float32)
    y *= level
    return y


def _seconds(name: str, *values: float | None) -> float:
    """The first of some values that is given; it must be a time."""
    value = next(value for value in values if value is not None)
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number above 0, not {value!r}")
    return float(value)
