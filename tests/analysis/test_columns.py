"""What each column of a picture shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonyc_ml.analysis.plots.columns import NONE, MelScale, Spectrogram, Timeline, envelope, shown_values, shown_windows
from sonyc_ml.features import LogMel
from tests.conftest import floats

SAMPLE_RATE = 8000


@pytest.mark.parametrize(
    ("n_columns", "step_s", "wanted"),
    [(2, 1.0, [[0.5], [1.5]]), (2, 0.5, [[0.25, 0.75], [1.25, 1.75]]), (4, 1.0, [[0.25], [0.75], [1.25], [1.75]])],
)
def test_moments_are_no_further_apart_than_a_step(n_columns: int, step_s: float, wanted: list[list[float]]) -> None:
    """A column has one moment in its middle, or as many as it is longer than a step."""
    np.testing.assert_allclose(Timeline(0.0, 2.0, n_columns).moments(step_s), wanted)


def test_a_moment_shows_the_window_whose_middle_is_nearest() -> None:
    """Of overlapping windows; before, between and behind the windows there is none."""
    starts_s = np.array([0.0, 0.5, 1.0, 4.0])
    moments_s = np.array([-0.1, 0.0, 0.74, 0.76, 1.24, 1.26, 1.9, 2.1, 3.9, 4.1, 5.0, 5.1])
    wanted = [NONE, 0, 0, 1, 1, 2, 2, NONE, NONE, 3, 3, NONE]
    assert shown_windows(moments_s, starts_s, 1.0).tolist() == wanted


@settings(deadline=None)  # a machine may be slow
@given(
    hops=st.lists(st.integers(1, 30), max_size=8),
    size=st.integers(1, 30),
    moments=st.lists(st.integers(-50, 300), min_size=1, max_size=20),
)
def test_the_nearest_window_is_the_nearest(hops: list[int], size: int, moments: list[int]) -> None:
    """Whatever the hops: no window that holds the moment has a nearer middle, and none is shown that does not."""
    starts = np.cumsum([0, *hops]).astype(float)
    shown = shown_windows(np.array(moments, float), starts, float(size))
    for moment, window in zip(moments, shown, strict=True):
        distances = np.abs(starts + size / 2 - moment)
        holds = distances <= size / 2
        assert (window == NONE) == (not holds.any())
        if window != NONE:
            assert holds[window]
            assert distances[window] == distances.min()


def test_values_of_short_columns_are_those_of_one_window() -> None:
    """Where columns are shorter than the hop each shows one window as it is; where there is none, NaN."""
    values = np.array([[1, 10], [2, 20]], np.float32)
    shown = shown_values(Timeline(0.0, 5.0, 10), np.array([0.0, 3.0]), 1.0, values)
    nan = np.nan
    np.testing.assert_array_equal(shown[0], [1, 1, nan, nan, nan, nan, 2, 2, nan, nan])
    np.testing.assert_array_equal(shown[1], [10, 10, nan, nan, nan, nan, 20, 20, nan, nan])


def test_values_of_long_columns_are_means() -> None:
    """A column that is as long as several windows shows their mean."""
    values = np.arange(8, dtype=np.float32)[:, None]
    shown = shown_values(Timeline(0.0, 8.0, 2), np.arange(8.0), 1.0, values)
    np.testing.assert_array_equal(shown, [[1.5, 5.5]])


@pytest.mark.parametrize("hop_size_s", [0.1, 0.25, 1.0, 1.5])
@pytest.mark.parametrize("block_length", [1, 7, 1000])
def test_the_spectrogram_is_what_the_network_read(hop_size_s: float, block_length: int) -> None:
    """A column is a frame of the features, the nearest of the window with the nearest middle, in blocks or whole."""
    y = np.random.default_rng(0).normal(0, 0.1, 5 * SAMPLE_RATE).astype(np.float32)
    extractor = LogMel(hop_size=hop_size_s)
    features = extractor(y, SAMPLE_RATE)
    starts_s = extractor.framing(len(y), SAMPLE_RATE).starts() / SAMPLE_RATE
    timeline = Timeline(0.0, 5.0, 1800)
    spectrogram = _spectrogram(timeline, starts_s, extractor)
    for first in range(0, len(features), block_length):
        spectrogram.add(features[first : first + block_length])
    levels = spectrogram.levels()
    for column, moment_s in enumerate(timeline.moments(1.0)[:, 0]):
        distances_s = np.abs(starts_s + 0.5 - moment_s)
        window = int(distances_s.argmin())
        if distances_s[window] > 0.5 + 1e-9:
            assert np.isnan(levels[:, column]).all()
            continue
        frame = min(max(round((moment_s - starts_s[window]) / 0.02), 0), 50)
        np.testing.assert_array_equal(levels[:, column], features[window, :, frame])


def test_a_long_spectrogram_is_means_of_frames() -> None:
    """Where a column is as long as many frames it shows the mean of all that are in it."""
    features = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    spectrogram = Spectrogram(
        Timeline(0.0, 2.0, 2), np.array([0.0, 1.0]), 1.0, n_bands=3, n_frames=4, first_s=0.125, step_s=0.25
    )
    spectrogram.add(features)
    np.testing.assert_allclose(spectrogram.levels(), features.mean(axis=2).T)


def _spectrogram(timeline: Timeline, starts_s: npt.NDArray[np.float64], extractor: LogMel) -> Spectrogram:
    n_bands, n_frames = extractor.feature_shape
    return Spectrogram(timeline, starts_s, 1.0, n_bands=n_bands, n_frames=n_frames, first_s=0.0, step_s=0.02)


@settings(deadline=None)  # a machine may be slow
@given(
    samples=st.lists(floats(-1, 1, width=32), min_size=1, max_size=200),
    n_columns=st.integers(1, 60),
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=10),
)
def test_the_envelope_holds_every_sample(samples: list[float], n_columns: int, lengths: list[int]) -> None:
    """Lowest and highest of equal spans, whatever blocks the samples come in."""
    y = np.array(samples, np.float32)
    low, high = envelope(_blocks(y, lengths), len(y), n_columns)
    n_columns = min(n_columns, len(y))
    bounds = [column * len(y) // n_columns for column in range(n_columns + 1)]
    spans = [y[bounds[column] : bounds[column + 1]] for column in range(n_columns)]
    np.testing.assert_array_equal(low, [span.min() for span in spans])
    np.testing.assert_array_equal(high, [span.max() for span in spans])


def _blocks(y: npt.NDArray[Any], lengths: list[int]) -> list[npt.NDArray[Any]]:
    cuts = np.cumsum(lengths * (1 + len(y) // sum(lengths)))
    return [block for block in np.split(y, cuts[cuts < len(y)]) if len(block)]


def test_frequencies_lie_where_the_filterbank_has_them() -> None:
    """The middle of each mel band is at that band's number."""
    scale = MelScale(64, 0.0, 4000.0)
    mels = np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 66)
    middles_hz = 700 * (10 ** (mels[1:-1] / 2595) - 1)
    np.testing.assert_allclose([scale.position(hz) for hz in middles_hz], np.arange(64), atol=1e-9)
