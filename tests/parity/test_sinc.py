"""The exact resampler: a windowed sinc that is 100 dB from the ideal, and the same in blocks as in one piece."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml.features import LogMel, PCMWindows, Sinc, make_resampler, n_resampled
from tests.conftest import examples

pytestmark = pytest.mark.numeric

Floats = npt.NDArray[np.float32]

FROM = (8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000, 250000, 384000)
TO = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
RATES = [(sr, target_sr) for sr in FROM for target_sr in TO if sr != target_sr]


def resampled(y: Floats, sr: int, target_sr: int) -> Floats:
    return np.concatenate(list(make_resampler(sr, target_sr, "sinc").stream([y], len(y))))


def sine(hz: float, rate: int, n_samples: int) -> npt.NDArray[np.float64]:
    return np.asarray(np.sin(2 * np.pi * hz * np.arange(n_samples) / rate + 0.3))


def level_db(difference: npt.NDArray[np.float64]) -> float:
    """Level in dB below a sine of full scale."""
    return float(10 * np.log10(2 * np.mean(difference**2)))


@pytest.mark.parametrize(("sr", "target_sr"), RATES)
def test_sines_are_the_ideal_ones(sr: int, target_sr: int) -> None:
    """From 8–384 kHz to 8–48 kHz every sine up to nine tenths of the lower half rate is right to 100 dB."""
    half_rate, n_samples = min(sr, target_sr) / 2, min(max(sr // 10, 6000), 80_000)
    edge = 60 + 100 * target_sr // min(sr, target_sr)  # beyond the sine's ends there is silence
    for share in (0.003, 0.2, 0.5, 0.77, 0.9):
        ours = resampled(sine(share * half_rate, sr, n_samples).astype(np.float32), sr, target_sr)
        ideal = sine(share * half_rate, target_sr, len(ours))
        assert level_db((ours - ideal)[edge:-edge]) <= -100


@pytest.mark.parametrize(("sr", "target_sr"), [(sr, target_sr) for sr, target_sr in RATES if sr > target_sr])
def test_what_the_new_rate_cannot_hold_is_gone(sr: int, target_sr: int) -> None:
    """Where the rate falls, every sine from just above the new half rate on is 100 dB down: nothing is mirrored."""
    half_rate, n_samples = target_sr / 2, min(max(sr // 10, 6000), 80_000)
    for share in (1.002, 1.02, 1.3, 1.9, 0.999 * sr / target_sr):
        if share * half_rate < sr / 2:
            ours = resampled(sine(share * half_rate, sr, n_samples).astype(np.float32), sr, target_sr)
            assert level_db(ours[160:-160].astype(np.float64)) <= -100


@pytest.mark.parametrize(("sr", "target_sr"), [(44100, 8000), (48000, 16000), (8000, 44100), (44099, 8000)])
def test_every_sample_is_the_published_sum(sr: int, target_sr: int) -> None:
    """Each is the sum of its neighbours, weighted by sinc and window at their exact distances, to float32 rounding."""
    y = np.random.default_rng(5).normal(0, 0.2, 9001).astype(np.float32)
    ours, scale = resampled(y, sr, target_sr), min(1.0, target_sr / sr)
    assert len(ours) == n_resampled(len(y), sr, target_sr)
    for output in (0, 1, 100, len(ours) // 2, len(ours) - 2, len(ours) - 1):
        t = scale * np.abs(output * sr / target_sr - np.arange(len(y)))
        window = np.where(t < 80, np.exp(11.8 * (np.sqrt(np.maximum(0, 1 - (t / 80) ** 2)) - 1)), 0)
        weights = scale * 0.952 * np.sinc(0.952 * t) * window
        assert abs(ours[output] - y.astype(np.float64) @ weights) <= 2e-6


@examples(25)
@given(
    n_samples=st.integers(1, 150_000),
    cuts=st.lists(st.integers(0, 150_000), max_size=5),
    rates=st.sampled_from([(44100, 8000), (48000, 16000), (16000, 24000), (250000, 22050)]),
)
def test_blocks_are_resampled_as_the_whole(n_samples: int, cuts: list[int], rates: tuple[int, int]) -> None:
    """A recording in blocks of any size is resampled, bit for bit, as the whole, to the promised length."""
    y = np.random.default_rng(5).normal(0, 0.2, n_samples).astype(np.float32)
    edges = [0, *sorted(min(cut, n_samples) for cut in cuts), n_samples]
    blocks = (y[first:last] for first, last in pairwise(edges))
    streamed = np.concatenate(list(make_resampler(*rates, "sinc").stream(blocks, n_samples)))
    np.testing.assert_array_equal(streamed, resampled(y, *rates))
    assert len(streamed) == n_resampled(n_samples, *rates)


def test_it_needs_no_package() -> None:
    """Log-mel features and windows of samples are resampled with it by its name, in numpy alone."""
    y = np.random.default_rng(5).normal(0, 0.2, 50_000).astype(np.float32)
    for extractor in (LogMel(res_type="sinc"), PCMWindows(0.5, 0.5, 16000, "sinc")):
        assert np.isfinite(extractor(y, 44100)).all()
        assert isinstance(extractor.resampler, Sinc)
