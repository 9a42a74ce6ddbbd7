"""Resampling: kaiser_best equals its definition and what SONYC's nodes heard, soxr equals librosa's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml.features import KaiserBest, LogMel, Soxr, make_resampler, n_resampled
from sonyc_ml.sound.files import read_recording
from tests.conftest import examples, needs, require_shared
from tests.support.oracle import RECORDINGS, oracle

pytestmark = pytest.mark.numeric

Floats = npt.NDArray[np.float32]

MAX_DIFFERENCE = 2e-6


def noise(n_samples: int, level: float = 0.2) -> Floats:
    return np.random.default_rng(5).normal(0, level, n_samples).astype(np.float32).clip(-1, 1)


def resampled(y: Floats, sr: int, target_sr: int, res_type: str = "kaiser_best") -> Floats:
    return np.concatenate(list(make_resampler(sr, target_sr, res_type).stream([y], len(y))))


def half_filter() -> npt.NDArray[np.float64]:
    """The ``kaiser_best`` table of resampy 0.2: 64 zero crossings, 512 entries each, from its published parameters."""
    n_zeros, precision, beta, rolloff = 64, 512, 14.769656459379492, 0.9475937167399596
    t = np.arange(n_zeros * precision + 1) / precision
    half: npt.NDArray[np.float64] = rolloff * np.sinc(rolloff * t) * np.kaiser(2 * len(t) - 1, beta)[len(t) - 1 :]
    return half


def by_definition(y: Floats, sr: int, target_sr: int, outputs: Iterable[int]) -> list[float]:
    """Chosen output samples, one by one in float64, each at its exact rational time."""
    scale = min(1.0, target_sr / sr)
    table = np.append(half_filter() * scale, 0.0)
    table_step = int(scale * 512)
    x = y.astype(np.float64)
    values = []
    for output in outputs:
        nearest, remainder = divmod(output * sr, target_sr)
        left = scale * (remainder / target_sr)
        total = 0.0
        for position, taps in ((left, x[nearest::-1]), (scale - left, x[nearest + 1 :])):
            entry, eta = int(position * 512), position * 512 - int(position * 512)
            n_taps = min(len(taps), (len(table) - 1 - entry) // table_step)
            entries = entry + table_step * np.arange(n_taps)
            total += float(taps[:n_taps] @ ((1 - eta) * table[entries] + eta * table[entries + 1]))
        values.append(total)
    return values


def outputs_of_interest(n_outputs: int, sr: int, target_sr: int) -> list[int]:
    """Both ends, the edges of our inner blocks, and a scatter of others."""
    resampler = KaiserBest(sr, target_sr)
    edges = range(0, n_outputs, resampler.n_outputs_at_once)
    near = {edge + offset for edge in [*edges, 8192, n_outputs] for offset in range(-30, 30)}
    scatter = np.random.default_rng(0).integers(0, n_outputs, 300).tolist()
    return sorted(i for i in near.union(scatter) if 0 <= i < n_outputs)


RATES = [
    (44100, 8000),
    (48000, 8000),
    (22050, 8000),
    (32000, 8000),
    (8000, 16000),
    (11025, 8000),
    (8000, 44100),
    (44099, 8000),  # a ratio that repeats only after 8,000 outputs
    (44101, 44100),
    (192001, 8000),  # the same, with filters too many to keep
    (384000, 8000),
    (250000, 22050),
    (1000, 999),
]


@pytest.mark.parametrize(("sr", "target_sr"), RATES)
def test_kaiser_best_equals_its_definition(sr: int, target_sr: int) -> None:
    """From any rate to any other, every sample is the published sum, within 2e-6."""
    n_samples = 20_000 * sr // target_sr + 7
    y = noise(n_samples)
    n_computed = n_samples * target_sr // sr
    outputs = outputs_of_interest(n_computed, sr, target_sr)
    ours = resampled(y, sr, target_sr)
    assert len(ours) == n_resampled(n_samples, sr, target_sr)
    np.testing.assert_allclose(ours[outputs], by_definition(y, sr, target_sr, outputs), rtol=0, atol=MAX_DIFFERENCE)
    assert not ours[n_computed:].any()


@pytest.mark.parametrize("sr", [44100, 48000, 11025])
@pytest.mark.parametrize("n_outputs", [1, 2, 63, 64, 65, 8159, 8160, 8161, 8191, 8192, 8193, 16383, 16384])
def test_kaiser_best_equals_its_definition_at_block_edges(sr: int, n_outputs: int) -> None:
    """Recordings that end at, just before or just behind an inner block end as the definition says."""
    for n_samples in (n_outputs * sr // 8000, -(-n_outputs * sr // 8000)):
        y = noise(n_samples)
        ours = resampled(y, sr, 8000)
        outputs = range(max(0, n_samples * 8000 // sr - 20), n_samples * 8000 // sr)
        assert len(ours) == -(-n_samples * 8000 // sr)
        np.testing.assert_allclose(ours[outputs], by_definition(y, sr, 8000, outputs), rtol=0, atol=MAX_DIFFERENCE)


def test_a_sine_stays_a_sine() -> None:
    """A tone below the new half rate keeps its frequency, level and phase; one above it vanishes."""
    t, t_new = np.arange(44100) / 44100, np.arange(8000) / 8000
    kept = resampled(np.sin(2 * np.pi * 1000 * t).astype(np.float32), 44100, 8000)
    gone = resampled(np.sin(2 * np.pi * 6000 * t).astype(np.float32), 44100, 8000)
    middle, sine = slice(200, -200), np.sin(2 * np.pi * 1000 * t_new)
    gain = kept[middle] @ sine[middle] / (sine[middle] @ sine[middle])
    assert abs(gain - 1) < 0.01  # not quite 1: the truncated step through the table is part of the definition
    np.testing.assert_allclose(kept[middle], gain * sine[middle], atol=1e-3)
    assert np.abs(gone[middle]).max() < 1e-3


@pytest.mark.parametrize("name", RECORDINGS)
def test_kaiser_best_hears_what_sonycs_nodes_heard(name: str) -> None:
    """The 44.1 kHz recordings become the oracle's 8 kHz samples: within 1e-3, and within 2e-6 but at phase 0."""
    y, sr = read_recording(require_shared(f"recordings/{name}.wav"))
    ours, wanted = resampled(y, sr, 8000), oracle(name)["y"]
    assert ours.shape == wanted.shape
    cosine = ours @ wanted / (np.linalg.norm(ours) * np.linalg.norm(wanted))
    assert cosine > 0.99999
    difference = np.abs(ours - wanted)
    assert difference.max() <= 1e-3
    # The published loop adds up its time, which falls just below a whole number where ours is exact.
    elsewhere = np.arange(len(ours)) * sr % 8000 != 0
    assert difference[elsewhere].max(initial=0) <= MAX_DIFFERENCE


@pytest.mark.librosa
@pytest.mark.parametrize("res_type", ["soxr_vhq", "soxr_hq", "soxr_mq"])
@pytest.mark.parametrize(("sr", "target_sr"), [(44100, 8000), (48000, 8000), (22050, 16000), (8000, 16000)])
@pytest.mark.parametrize("n_samples", [1, 1000, 65535, 65536, 65537, 65546, 131072, 200_000])
def test_soxr_equals_librosas(res_type: str, sr: int, target_sr: int, n_samples: int) -> None:
    """The SoX resampler in blocks gives librosa's samples, and as many of them."""
    y = noise(n_samples)
    import librosa

    theirs = librosa.resample(y, orig_sr=sr, target_sr=target_sr, res_type=res_type)
    ours = resampled(y, sr, target_sr, res_type)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=MAX_DIFFERENCE)


@pytest.mark.parametrize("res_type", ["kaiser_best", pytest.param("soxr_hq", marks=needs("soxr"))])
@examples(25)
@given(n_samples=st.integers(1, 150_000), cuts=st.lists(st.integers(0, 150_000), max_size=5))
def test_blocks_are_resampled_as_the_whole(res_type: str, n_samples: int, cuts: list[int]) -> None:
    """A recording in blocks of any size is resampled, bit for bit, as the whole, to the promised length."""
    y = noise(n_samples)
    edges = [0, *sorted(min(cut, n_samples) for cut in cuts), n_samples]
    blocks = (y[first:last] for first, last in pairwise(edges))
    streamed = np.concatenate(list(make_resampler(44100, 8000, res_type).stream(blocks, n_samples)))
    np.testing.assert_array_equal(streamed, resampled(y, 44100, 8000, res_type))
    assert len(streamed) == n_resampled(n_samples, 44100, 8000)


def test_a_ratio_beyond_the_table_is_refused() -> None:
    """kaiser_best's table has 512 entries a zero crossing: more than 512 to 1 it cannot resample, and says so."""
    assert len(resampled(noise(1024), 512_000, 1000)) == 2
    with pytest.raises(ValueError, match="kaiser_best cannot resample 513000 Hz to 1000 Hz: over 512 to 1"):
        make_resampler(513_000, 1000, "kaiser_best")


@pytest.mark.parametrize("sr", [0, -44100, 44100.5, "44100"])
def test_a_rate_that_is_none_is_refused(sr: int) -> None:
    """A sample rate is a whole number above 0."""
    with pytest.raises(ValueError, match="sr must be a"):
        make_resampler(sr, 8000, "kaiser_best")


def test_no_soxr_says_what_to_do() -> None:
    """Where soxr is chosen and not installed, the sentence says how to get it or do without."""
    program = (
        "import sys; sys.modules['soxr'] = None\n"
        "from sonyc_ml.features import LogMel; import numpy as np\n"
        "y = np.zeros(9000, np.float32)\n"
        "LogMel()(y, 44100)\n"
        "try: LogMel(res_type='soxr_hq')\n"
        "except ValueError as error: print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == (
        "this extractor resamples with soxr_hq, and the package soxr is not installed here; `pip install soxr`, "
        "or export the extractor with --res_type=kaiser_best\n"
    )


def test_the_resampler_is_kept_between_recordings() -> None:
    """A node's recordings all have one rate: the filters are made once."""
    extractor = LogMel()
    extractor(noise(1000), 44100)
    first = extractor.resampler
    extractor(noise(2000), 44100)
    assert extractor.resampler is first
    extractor(noise(2000), 48000)
    assert isinstance(extractor.resampler, KaiserBest)
    assert extractor.resampler.sr == 48000


@needs("soxr")
def test_soxr_is_taken_where_it_is_asked_for() -> None:
    """It is not the usual one."""
    assert isinstance(make_resampler(48000, 8000, "soxr_hq"), Soxr)
