"""Log-mel features: equal to the oracle and to librosa, whatever the parameters and however the samples come."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml.features import (
    PRESETS,
    LogMel,
    PCMWindows,
    WindowExtractor,
    frame,
    frame_from_start,
    get_features,
    mel_filterbank,
    n_resampled,
    overlapping,
)
from tests.conftest import examples, needs
from tests.support.oracle import FEATURES_DB, SAMPLES, oracle

pytestmark = pytest.mark.numeric

Floats = npt.NDArray[np.float32]

MAX_DIFFERENCE_DB = 1e-4
RATE = 8000


def noise(n_samples: int, level: float = 0.05, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(0, level, n_samples).astype(np.float32)


def sine(frequency_hz: float, level: float = 0.5, seconds: float = 2.0) -> Floats:
    return (level * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def chirp(low_hz: float, high_hz: float, seconds: float = 2.0) -> Floats:
    t = np.arange(round(seconds * RATE)) / RATE
    return np.sin(2 * np.pi * (low_hz * t + (high_hz - low_hz) / (2 * seconds) * t**2)).astype(np.float32)


def padded_windows(y: Floats, window_length: int, hop_length: int) -> list[Floats]:
    """The windows of a recording as SONYC's nodes cut them: padded to whole windows, half in front, one by one."""
    n_windows = 1
    while (n_windows - 1) * hop_length + window_length < len(y):
        n_windows += 1
    missing = (n_windows - 1) * hop_length + window_length - len(y)
    padded = np.concatenate([np.zeros(missing // 2), y, np.zeros(missing - missing // 2)]).astype(np.float32)
    return [padded[i * hop_length : i * hop_length + window_length] for i in range(n_windows)]


def librosa_features(
    y: Floats,
    *,
    duration: float = 1.0,
    hop_size: float = 0.1,
    target_sr: int = RATE,
    n_fft: int = 1024,
    n_mels: int = 64,
    mel_hop_len: int = 160,
    fmax: float | None = None,
    fmin: float = 0.0,
) -> Floats:
    """The same by librosa, window by window.

    The windows are float32, as ours are: librosa multiplies them with a float64 Hann window and transforms the
    float64 product, so both take the logarithm of a spectrum with the same precision.
    """
    import librosa

    filters = librosa.filters.mel(sr=target_sr, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, htk=True)
    levels = []
    for window in padded_windows(y, round(duration * target_sr), round(hop_size * target_sr)):
        spectrum = librosa.stft(window, n_fft=n_fft, hop_length=mel_hop_len, center=True, pad_mode="constant")
        levels.append(librosa.power_to_db(filters @ np.abs(spectrum), ref=1.0, amin=1e-10, top_db=80.0))
    return np.stack(levels)


def difference_db(y: Floats, **parameters: Any) -> float:
    """Largest difference between ours and librosa's, in dB."""
    ours = LogMel(**parameters)(y, parameters.get("target_sr", RATE))
    theirs = librosa_features(y, **parameters)
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    return float(np.abs(ours - theirs).max())


# --- the numbers are right --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_features_equal_what_sonycs_nodes_computed(name: str) -> None:
    """From the oracle's samples come the oracle's features, but for the last bit."""
    expected = oracle(name)
    features = get_features(expected["y"], int(expected["sample_rate"]))
    assert features.shape == expected["features"].shape
    assert np.abs(features - expected["features"]).max() <= FEATURES_DB


SIGNALS = {
    "sine of 50 Hz": sine(50),
    "sine of 440 Hz": sine(440),
    "sine of 1 kHz, on a bin": sine(1000, 1.0),
    "faint sine of 3999 Hz": sine(3999, 1e-4),
    "chirp up": chirp(0, 4000),
    "chirp down": chirp(3900, 20),
    "DC": np.full(2 * RATE, 0.7, np.float32),
    "noise": noise(2 * RATE),
    "faint noise": noise(2 * RATE, 1e-6),
    "silence": np.zeros(2 * RATE, np.float32),
    "click in silence": np.eye(1, 2 * RATE, 9000, dtype=np.float32)[0],
    "noise after silence": np.concatenate([np.zeros(RATE, np.float32), noise(RATE)]),
    "full scale square": np.sign(sine(100)),
}


@pytest.mark.librosa
@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
def test_features_equal_librosas_on_signals(signal: Floats) -> None:
    """Tones, chirps, DC, noise, clicks and silence give librosa's features within 1e-4 dB."""
    assert difference_db(signal) <= MAX_DIFFERENCE_DB


@pytest.mark.librosa
@pytest.mark.parametrize("n_samples", [1, 2, 511, 512, 7999, 8000, 8001, 8799, 8800, 8801, 12345, 15999, 16001])
def test_features_equal_librosas_at_odd_lengths(n_samples: int) -> None:
    """Recordings of any length, shorter than a window too, give librosa's features within 1e-4 dB."""
    assert difference_db(noise(n_samples)) <= MAX_DIFFERENCE_DB


PARAMETERS: list[dict[str, Any]] = [
    {"hop_size": 0.13},  # windows whose frames never coincide
    {"hop_size": 0.12},  # every third window's frames coincide
    {"hop_size": 1.0},
    {"hop_size": 1.7},  # samples between the windows belong to none
    {"mel_hop_len": 100},
    {"mel_hop_len": 1500},
    {"mel_hop_len": 7},
    {"n_fft": 512},
    {"n_fft": 1023},
    {"n_fft": 1001, "mel_hop_len": 333},
    {"n_fft": 2048, "duration": 0.5},
    {"n_fft": 6000, "duration": 0.5},  # every frame reaches over an edge
    {"n_fft": 4096, "duration": 0.25, "hop_size": 0.05},  # frames longer than the window
    {"n_mels": 40},
    {"n_mels": 128, "n_fft": 4096},
    {"n_mels": 1},
    {"fmax": 3000.0},
    {"fmin": 50.0, "fmax": 2000.0},
    {"duration": 0.5},
    {"duration": 0.96, "hop_size": 0.48},
    {"duration": 2.0, "hop_size": 0.5},
    {"duration": 3.7, "hop_size": 0.5},  # longer than the recording
    {"target_sr": 16000, "n_fft": 400, "mel_hop_len": 160, "duration": 0.975, "hop_size": 0.4875, "fmin": 125.0},
    {"target_sr": 22050, "n_fft": 2048, "mel_hop_len": 242, "hop_size": 0.1},
]


@pytest.mark.librosa
@pytest.mark.filterwarnings("ignore:n_fft=.* is too large for input signal:UserWarning")  # librosa.stft; is on purpose
@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
@pytest.mark.parametrize("signal", [noise(22222), chirp(10, 3990, 2.5)], ids=["noise", "chirp"])
def test_features_equal_librosas_with_other_parameters(parameters: dict[str, Any], signal: Floats) -> None:
    """Whether frames can be shared between windows or not, the features are librosa's within 1e-4 dB."""
    assert difference_db(signal, **parameters) <= MAX_DIFFERENCE_DB


@pytest.mark.librosa
@pytest.mark.filterwarnings("ignore:Empty filters detected:UserWarning")  # librosa.filters.mel; such bands stay empty
@pytest.mark.parametrize(
    ("sample_rate", "n_fft", "n_mels", "fmin", "fmax"),
    [
        (8000, 1024, 64, 0.0, 4000.0),
        (8000, 1023, 40, 0.0, 4000.0),
        (8000, 512, 128, 0.0, 4000.0),
        (16000, 400, 64, 125.0, 7500.0),
        (22050, 2048, 128, 20.0, 11025.0),
        (44100, 2048, 256, 0.0, 22050.0),
    ],
)
def test_mel_filterbank_equals_librosas(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> None:
    """The filterbank is librosa's HTK one, Slaney-normalised, to float32 rounding, and with its defaults to the bit."""
    ours = mel_filterbank(sample_rate, n_fft, n_mels, fmin, fmax)
    import librosa

    theirs = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, htk=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-9)
    if (sample_rate, n_fft, n_mels, fmin) == (8000, 1024, 64, 0.0):
        np.testing.assert_array_equal(ours, theirs)


def test_get_features_is_an_extractor_with_its_parameters() -> None:
    """`get_features` gives what `LogMel` with the same parameters gives, and takes a hop of its own."""
    y = noise(RATE * 3)
    np.testing.assert_array_equal(get_features(y, RATE, n_mels=40), LogMel(n_mels=40)(y, RATE))
    np.testing.assert_array_equal(get_features(y, RATE, hop_size=0.5), LogMel(hop_size=0.5)(y, RATE))


def test_pcm_windows_are_the_samples_themselves() -> None:
    """Windows of samples are those of the padded recording, bit for bit."""
    y = noise(10_007)
    windows = PCMWindows(0.25, 0.1, RATE)(y, RATE)
    np.testing.assert_array_equal(windows, np.stack(padded_windows(y, 2000, 800)))


def test_float64_samples_give_the_features_of_float32_ones() -> None:
    """Samples of another float type are read as float32."""
    y = noise(RATE)
    np.testing.assert_array_equal(get_features(y.astype(np.float64), RATE), get_features(y, RATE))


# --- framing ----------------------------------------------------------------------------------------------------------

LENGTHS = st.integers(1, 5000)


@given(n_samples=st.integers(1, 100_000), window_length=LENGTHS, hop_length=LENGTHS)
def test_windows_are_whole_and_lie_in_the_middle(n_samples: int, window_length: int, hop_length: int) -> None:
    """Whole windows, as few as hold the recording, with its padding split evenly before and behind."""
    framing = frame(n_samples, window_length, hop_length)
    n_padded = (framing.n_windows - 1) * hop_length + window_length
    tail = n_padded - framing.lead - n_samples
    assert framing.n_windows >= 1
    assert 0 <= tail - framing.lead <= 1
    assert framing.n_windows == 1 or n_padded - hop_length < n_samples
    assert framing.starts().tolist() == [i * hop_length - framing.lead for i in range(framing.n_windows)]


@given(
    n_samples=st.integers(1, 100_000),
    window_length=LENGTHS,
    hop_length=LENGTHS,
    lead=st.integers(0, 4000),
    shortest=st.none() | st.integers(1, 5000),
)
def test_windows_from_the_start_hold_what_is_asked(
    n_samples: int, window_length: int, hop_length: int, lead: int, shortest: int | None
) -> None:
    """From the start on, as few windows as hold every sample, or every window that holds so many; one at least."""
    lead = min(lead, window_length - 1)
    framing = frame_from_start(n_samples, window_length, hop_length, lead, shortest)
    starts = framing.starts().tolist()
    assert starts == [i * hop_length - lead for i in range(framing.n_windows)]
    following = starts[-1] + hop_length
    if shortest is None:
        assert starts[-1] < n_samples
        assert starts[-1] + window_length >= n_samples or following >= n_samples
        assert framing.n_windows == 1 or starts[-2] + window_length < n_samples
    else:
        assert n_samples - following < shortest
        assert framing.n_windows == 1 or n_samples - starts[-1] >= shortest


@given(n_samples=st.integers(1, 5000), window_length=st.integers(1, 600), hop_length=st.integers(1, 600))
def test_every_sample_is_seen_where_windows_overlap(n_samples: int, window_length: int, hop_length: int) -> None:
    """Where the hop is no longer than the window, every sample lies in at least one window."""
    hop_length = min(hop_length, window_length)
    seen = np.zeros(n_samples, bool)
    for start in frame(n_samples, window_length, hop_length).starts():
        seen[max(0, start) : max(0, start + window_length)] = True
    assert seen.all()


@given(data=st.data(), length=st.integers(1, 40), step=st.integers(1, 60), n_pieces=st.integers(0, 9))
def test_pieces_are_slices_of_the_padded_stream(data: st.DataObject, length: int, step: int, n_pieces: int) -> None:
    """`overlapping` cuts a stream in blocks as slices cut an array with silence at both ends."""
    lead = data.draw(st.integers(0, 50))
    blocks = [noise(n, seed=i) for i, n in enumerate(data.draw(st.lists(st.integers(0, 90), max_size=6)))]
    padded = np.concatenate([np.zeros(lead), *blocks, np.zeros(1000)]).astype(np.float32)
    expected = [padded[i * step : i * step + length] for i in range(n_pieces)]
    pieces = list(overlapping(iter(blocks), length, step, n_pieces, lead))
    assert len(pieces) == n_pieces
    for piece, wanted in zip(pieces, expected, strict=True):
        np.testing.assert_array_equal(piece, wanted)


# --- blocks -----------------------------------------------------------------------------------------------------------

N_LONG = 61 * 8000 + 123  # five inner blocks of windows at the default hop


def in_blocks(y: Floats, cuts: list[int]) -> Iterator[Floats]:
    edges = [0, *sorted(cut % len(y) for cut in cuts), len(y)]
    return (y[first:last] for first, last in pairwise(edges))


def assert_blocks_equal_whole(
    extractor: WindowExtractor, y: Floats, sr: int, cuts: list[int], hop_size: float | None = None
) -> None:
    whole = extractor(y, sr, hop_size)
    streamed = list(extractor.stream(in_blocks(y, cuts), sr, len(y), hop_size))
    np.testing.assert_array_equal(np.concatenate(streamed), whole)


CUTS = st.lists(st.integers(0, 10**7), max_size=8)
STREAM_SETTINGS = examples(12)
LONG_8K, LONG_44K = noise(N_LONG), noise(44100 * 32 + 17, seed=2)


@STREAM_SETTINGS
@given(cuts=CUTS, hop_size=st.sampled_from([None, 0.13, 1.0, 2.5]))
def test_blocks_give_the_features_of_the_whole(cuts: list[int], hop_size: float | None) -> None:
    """A recording read in blocks of any size has, bit for bit, the features of the whole."""
    assert_blocks_equal_whole(LogMel(), LONG_8K, RATE, cuts, hop_size)


BLOCKED: list[dict[str, Any]] = [
    {"center": False, "layout": "time_first"},
    {"center": False, "win_length": 480, "win_pad": "end", "window": "hamming", "power": 2},
    {"pad_mode": "reflect", "mel_scale": "slaney", "mel_norm": "none"},
    {"mel_scale": "none", "log": "ln", "log_offset": 0.01, "flat": True},
    {"n_mfcc": 13, "power": 2, "normalise": "mean_variance"},
    {"normalise": "min_max", "align": "start"},
    {"preset": "sonyc_published"},
    {"preset": "yamnet", "target_sr": 8000, "fmax": 3900.0},
    {"preset": "micro_speech"},
    {"align": "start", "lead_s": 0.3, "shortest_s": 0.5},
]


@pytest.mark.parametrize("parameters", BLOCKED, ids=str)
@examples(5)
@given(cuts=CUTS, hop_size=st.sampled_from([None, 0.13, 2.5]))
def test_blocks_give_the_features_of_the_whole_for_every_family(
    parameters: dict[str, Any], cuts: list[int], hop_size: float | None
) -> None:
    """Whatever the family and wherever windows begin, blocks of any size make no difference of a bit."""
    assert_blocks_equal_whole(LogMel(**parameters), LONG_8K, RATE, cuts, hop_size)


@pytest.mark.parametrize("res_type", ["kaiser_best", "sinc", pytest.param("soxr_hq", marks=needs("soxr"))])
@examples(5)
@given(cuts=CUTS)
def test_blocks_of_resampled_recordings_give_the_features_of_the_whole(res_type: str, cuts: list[int]) -> None:
    """The same holds where the recording is resampled on the way."""
    assert_blocks_equal_whole(LogMel(res_type=res_type), LONG_44K, 44100, cuts)


@STREAM_SETTINGS
@given(cuts=CUTS)
def test_blocks_give_the_samples_of_the_whole(cuts: list[int]) -> None:
    """Windows of samples do not depend on the blocks either."""
    assert_blocks_equal_whole(PCMWindows(0.975, 0.1, 16000), LONG_44K[:500_000], 44100, cuts)


@pytest.mark.librosa
@pytest.mark.parametrize("hop_size", [0.1, 0.37, 1.7])
def test_the_windows_of_a_long_recording_equal_librosas(hop_size: float) -> None:
    """Windows behind the first inner block are where they belong: librosa's features within 1e-4 dB."""
    assert difference_db(LONG_8K, hop_size=hop_size) <= MAX_DIFFERENCE_DB


def test_the_samples_of_a_long_recording_are_in_their_windows() -> None:
    """So are windows of samples, bit for bit."""
    windows = PCMWindows(0.5, 0.3, RATE)(LONG_8K, RATE)
    np.testing.assert_array_equal(windows, np.stack(padded_windows(LONG_8K, 4000, 2400)))


def test_a_stream_of_single_samples_is_read() -> None:
    """Even blocks of one sample each do."""
    y = noise(3000)
    streamed = list(LogMel().stream((y[i : i + 1] for i in range(len(y))), RATE, len(y)))
    np.testing.assert_array_equal(np.concatenate(streamed), LogMel()(y, RATE))


def test_the_windows_of_a_long_recording_come_in_blocks() -> None:
    """Features leave as they are computed, no more than 128 windows at once."""
    sizes = [len(block) for block in LogMel().stream([LONG_8K], RATE, N_LONG)]
    assert len(sizes) == 5
    assert max(sizes) == 128
    assert sum(sizes) == LogMel().framing(N_LONG, RATE).n_windows


def test_an_extractor_serves_recordings_of_different_rates() -> None:
    """One extractor reads 44.1 kHz, 48 kHz and again 44.1 kHz as a new one each would."""
    extractor, y = LogMel(), noise(50_000)
    for sr in (44100, 48000, 44100, 8000):
        np.testing.assert_array_equal(extractor(y, sr), LogMel()(y, sr))


# --- mistakes in a call -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"duration": 0}, "duration must be a number above 0, not 0"),
        ({"duration": "1"}, "duration must be a number above 0, not '1'"),
        ({"hop_size": -0.1}, "hop_size must be a number above 0, not -0.1"),
        ({"hop_size": math.nan}, "hop_size must be a number above 0, not nan"),
        ({"duration": math.inf}, "duration must be a number above 0, not inf"),
        ({"hop_size": 1e-6}, "hop_size of 1e-06 s is less than one sample at 8000 Hz"),
        ({"target_sr": 8000.5}, "target_sr must be a whole number, not 8000.5"),
        ({"n_fft": 0}, "n_fft must be a number above 0"),
        ({"n_mels": None}, "n_mels must be a number above 0, not None"),
        ({"fmax": 5000}, "0 <= fmin < fmax <= half of target_sr must hold"),
        ({"fmin": 4000}, "0 <= fmin < fmax <= half of target_sr must hold"),
        ({"layout": "bands_first"}, "layout must be one of mels_first, time_first, not 'bands_first'"),
        ({"center": 0}, "center must be one of True, False, not 0"),
        ({"power": 3}, "power must be one of 1, 2, not 3"),
        ({"power": True}, "power must be one of 1, 2, not True"),
        ({"win_length": 2048}, "win_length must be at most n_fft, 1024, not 2048"),
        ({"win_length": 0}, "win_length must be a number above 0, not 0"),
        ({"n_mfcc": 65}, "n_mfcc must be at most the number of bands, 64, not 65"),
        ({"amin": 0}, "amin or log_offset must be above 0: silence has no logarithm"),
        ({"amin": -1}, "amin must be 0 or more, not -1"),
        ({"ref": "loudest"}, "ref must be a number above 0, not 'loudest'"),
        ({"top_db": -1}, "top_db must be a number above 0, not -1"),
        ({"log": "ln", "top_db": 60}, "top_db is of levels in dB (log of 10log10 or 20log10), not of log='ln'"),
        ({"std": 0}, "std must be a number above 0, not 0"),
        ({"mean": math.nan}, "mean must be a number, not nan"),
        ({"mel_sr": 1000, "fmax": 600}, "0 <= fmin < fmax <= half of mel_sr must hold"),
        ({"pad_mode": "reflect", "duration": 0.05}, "pad_mode='reflect' needs windows of more than half a frame"),
        ({"mel_scale": "none", "fmin": 1.0, "fmax": 2.0}, "no bin of the FFT lies from fmin, 1.0 Hz, to fmax, 2.0 Hz"),
        ({"front_end": "micro"}, "front_end='micro' goes with center=False, win_pad='end' and front_end, pcan, layout"),
        ({"preset": "micro_speech", "log": "ln"}, "not with log"),
        ({"preset": "micro_speech", "n_fft": 1024}, "n_fft of the integer front end must be 8, 32, 128, 512 or 2048"),
        ({"align": "end"}, "align must be one of middle, start, not 'end'"),
        ({"lead_s": 0.5}, "lead_s and shortest_s are of windows that begin at the start: give align='start' too"),
        ({"align": "start", "lead_s": 1.0}, "lead_s must be shorter than a window of 1 s, not 1.0"),
        ({"align": "start", "shortest_s": 1.1}, "shortest_s must be at most a window of 1 s, not 1.1"),
        ({"preset": "yam"}, "preset must be one of sonyc_published, yamnet, mlperf_kws, micro_speech, not 'yam'"),
        ({"res_type": "soxr_lq"}, "res_type 'soxr_lq' is not known; use one of kaiser_best, sinc, soxr_vhq"),
    ],
    ids=str,
)
def test_parameters_that_cannot_be_meant_are_refused(parameters: dict[str, Any], sentence: str) -> None:
    """A parameter that cannot be meant raises ValueError and is named."""
    with pytest.raises(ValueError, match=re.escape(sentence)):
        LogMel(**parameters)


def test_a_parameter_that_is_none_is_named() -> None:
    """A keyword that there is not raises TypeError and is named, with those that there are."""
    with pytest.raises(TypeError, match=r"LogMel takes no colour; it takes duration, hop_size, .*, mel_scale"):
        LogMel(colour=1)


def test_by_default_only_the_old_parameters_are_told() -> None:
    """What makes an equal extractor has no new names in it where they are as by default, said or not."""
    names = ["duration", "hop_size", "target_sr", "n_fft", "n_mels", "mel_hop_len", "fmax", "fmin", "res_type"]
    assert list(LogMel().parameters) == names
    assert list(LogMel(center=True, power=1, align="middle", top_db=80, mel_norm="slaney").parameters) == names


@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_presets_extractor_is_made_again_by_its_parameters(preset: str) -> None:
    """The parameters of an extractor that a preset made are enough without its name, and what is given wins."""
    extractor, y = LogMel(preset=preset), noise(30_000)
    again = LogMel(**extractor.parameters)
    assert "preset" not in extractor.parameters
    assert repr(again) == repr(extractor)
    np.testing.assert_array_equal(again(y, 22050), extractor(y, 22050))
    assert LogMel(preset=preset, hop_size=0.25).hop_size_s == LogMel(1.5, 0.25, preset=preset).hop_size_s == 0.25
    assert LogMel(preset=preset, mel_hop_len=80).mel_hop_len == 80


def test_windows_that_are_all_the_same_are_zero() -> None:
    """Silence, and what has one level, has no variance to divide by: the features are 0, not NaN."""
    for normalise in ("min_max", "mean_variance"):
        assert not LogMel(normalise=normalise)(np.zeros(RATE, np.float32), RATE).any()
    assert np.isfinite(LogMel(log="none", ref="max", top_db=80)(np.zeros(RATE, np.float32), RATE)).all()


@pytest.mark.parametrize(
    ("y", "sr", "hop_size", "error", "sentence"),
    [
        (np.zeros(10, np.int16), RATE, None, TypeError, "y must be floating point in [-1, 1], not int16"),
        (np.zeros((2, 10), np.float32), RATE, None, ValueError, "y must be mono, shape (n_samples,), not (2, 10)"),
        (np.zeros(0, np.float32), RATE, None, ValueError, "not a single sample"),
        (np.zeros(10, np.float32), RATE, -1.0, ValueError, "hop_size must be a number above 0, not -1.0"),
        (np.zeros(10, np.float32), RATE, 0, ValueError, "hop_size must be a number above 0, not 0"),
        (np.zeros(10, np.float32), 0, None, ValueError, "sr must be a number above 0, not 0"),
        (np.zeros(10, np.float32), -8000, None, ValueError, "sr must be a number above 0, not -8000"),
        (np.zeros(10, np.float32), 44100.5, None, ValueError, "sr must be a whole number, not 44100.5"),
    ],
    ids=["integers", "stereo", "empty", "negative hop", "no hop", "no rate", "negative rate", "odd rate"],
)
def test_samples_that_cannot_be_meant_are_refused(
    y: Any, sr: Any, hop_size: float | None, error: type[Exception], sentence: str
) -> None:
    """Samples, rates and hops that cannot be meant raise, and the sentence says what they are."""
    with pytest.raises(error, match=re.escape(sentence)):
        get_features(y, sr, hop_size)


@pytest.mark.parametrize("sr", [44100.0, np.int64(44100), np.float32(44100)], ids=["float", "int64", "float32"])
def test_a_whole_rate_of_any_type_is_a_rate(sr: Any) -> None:
    """A rate read from an array or a header, whatever its type, is that rate."""
    y = noise(10_000)
    np.testing.assert_array_equal(get_features(y, sr), get_features(y, 44100))


@given(n_samples=st.integers(1, 10**9), sr=st.integers(1000, 10**6), target_sr=st.integers(1000, 96000))
def test_the_resampled_length_is_rounded_up(n_samples: int, sr: int, target_sr: int) -> None:
    """The length after resampling is the exact quotient, rounded up."""
    assert (n_resampled(n_samples, sr, target_sr) - 1) * sr < n_samples * target_sr
    assert n_samples * target_sr <= n_resampled(n_samples, sr, target_sr) * sr
