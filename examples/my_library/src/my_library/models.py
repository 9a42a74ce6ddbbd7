"""Octave-band levels instead of log-mel: for a network that was trained on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sonyc_ml.features import WindowExtractor
from sonyc_ml.model import Model

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Parameters:
    """What the manifest says under ``parameters``; a wrong key or type is refused by name."""

    lowest_hz: float
    n_bands: int = 6
    window_size_s: float = 1.0


class OctaveLevels(WindowExtractor):
    """Level of each octave band of a window, `(n_windows, n_bands)`, in dB."""

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters.window_size_s, hop_size=0.5, target_sr=8000, res_type="kaiser_best")
        edges_hz = parameters.lowest_hz * 2.0 ** np.arange(parameters.n_bands + 1)
        hz = np.fft.rfftfreq(self.window_length, 1 / self.sample_rate)
        self._bands = (hz >= edges_hz[:-1, None]) & (hz < edges_hz[1:, None])
        self.feature_shape = (parameters.n_bands,)

    def window_features(self, piece: Floats, hop_length: int, n_windows: int) -> Floats:
        """Return the levels of the first `n_windows` windows of samples, the first of which begins at the first."""
        starts = np.arange(n_windows) * hop_length
        windows = piece[starts[:, None] + np.arange(self.window_length)]
        power = np.abs(np.fft.rfft(windows)) ** 2
        return (10 * np.log10(power @ self._bands.T + 1e-12)).astype(np.float32)


class OctaveModel(Model):
    """A network that reads octave-band levels."""

    Parameters = Parameters

    def make_extractor(self, parameters: Parameters) -> OctaveLevels:
        """Return what turns samples into this network's features."""
        return OctaveLevels(parameters)
