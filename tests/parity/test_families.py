"""Log-mel features of other families: equal to librosa's, to TensorFlow's, and to what SONYC's evaluation computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml.features import LogMel, make_resampler
from sonyc_ml.model import SpecModel
from sonyc_ml.model.interpreter import Interpreter
from sonyc_ml.sound.files import read_recording
from tests.conftest import ROOT, require_shared
from tests.support.oracle import STREET

pytestmark = pytest.mark.numeric

Floats = npt.NDArray[np.float32]

MAX_DIFFERENCE_DB, MAX_DIFFERENCE = 1e-3, 1e-4
RATE = 16000


def noise(n_samples: int, level: float = 0.05, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(0, level, n_samples).astype(np.float32)


def chirp(seconds: float = 2.0) -> Floats:
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * (50 + 1800 * t) * t)).astype(np.float32)


def librosa_features(samples: Floats, **p: Any) -> Floats:
    """One window by librosa, `(n_bands, n_frames)`, with the parameters that it has itself."""
    import librosa

    spectrum = librosa.stft(
        samples,
        n_fft=p["n_fft"],
        hop_length=p.get("mel_hop_len", 160),
        win_length=p.get("win_length"),
        window=p.get("window", "hann"),
        center=p.get("center", True),
        pad_mode=p.get("pad_mode", "constant"),
    )
    bands = np.abs(spectrum) ** p.get("power", 1)
    if p.get("mel_scale", "htk") != "none":
        how = {"htk": p.get("mel_scale", "htk") == "htk", "norm": None if p.get("mel_norm") == "none" else "slaney"}
        bands = (
            librosa.filters.mel(
                sr=RATE, n_fft=p["n_fft"], n_mels=p.get("n_mels", 64), fmin=p.get("fmin", 0), fmax=p.get("fmax"), **how
            )
            @ bands
        )
    return np.asarray(librosa_levels(bands, **p), np.float32)


def librosa_levels(bands: Floats, **p: Any) -> Any:
    import librosa
    import scipy.fft

    ref: Any = np.max if p.get("ref") == "max" else p.get("ref", 1.0)
    amin, log = p.get("amin", 1e-10), p.get("log", "10log10")
    if log == "10log10":
        levels = librosa.power_to_db(bands, ref=ref, amin=amin, top_db=p.get("top_db", 80.0))
    elif log == "20log10":
        levels = librosa.amplitude_to_db(bands, ref=ref, amin=amin, top_db=p.get("top_db", 80.0))
    else:
        levels = bands if log == "none" else np.maximum(bands, amin) + p.get("log_offset", 0)
        levels = np.log(levels) if log == "ln" else np.log10(levels) if log == "log10" else levels
    if p.get("n_mfcc"):
        levels = scipy.fft.dct(levels, axis=0, type=2, norm="ortho")[: p["n_mfcc"]]
    if p.get("normalise") == "min_max":
        levels = (levels - levels.min()) / (levels.max() - levels.min())
    elif p.get("normalise") == "mean_variance":
        levels = (levels - levels.mean()) / levels.std()
    return (levels - p.get("mean", 0)) / p.get("std", 1)


FAMILIES: list[dict[str, Any]] = [
    {"center": False},
    {"center": False, "mel_hop_len": 512, "n_fft": 4096, "n_mels": 40},
    {"pad_mode": "reflect"},
    {"pad_mode": "reflect", "n_fft": 4096, "mel_hop_len": 77},
    {"win_length": 400},
    {"win_length": 399, "center": False},
    {"win_length": 400, "window": "hamming", "center": False},
    {"window": "hamming"},
    {"power": 2},
    {"power": 2, "top_db": None},
    {"power": 2, "ref": "max"},
    {"log": "20log10", "amin": 1e-5},
    {"log": "20log10", "amin": 1e-5, "ref": "max", "top_db": 60.0},
    {"log": "20log10", "amin": 1e-5, "ref": 0.25, "top_db": None},
    {"ref": 20.0},
    {"log": "ln", "log_offset": 0.01},
    {"log": "ln", "amin": 1e-6},
    {"log": "log10", "amin": 1e-6},
    {"log": "none", "power": 2},
    {"mel_scale": "slaney"},
    {"mel_scale": "slaney", "mel_norm": "none", "power": 2},
    {"mel_norm": "none", "fmin": 125.0, "fmax": 7500.0},
    {"mel_scale": "none"},
    {"mel_scale": "none", "power": 2, "ref": "max"},
    {"power": 2, "n_mfcc": 13},
    {"mel_scale": "slaney", "power": 2, "n_mels": 128, "n_fft": 2048, "n_mfcc": 20, "center": False},
    {"normalise": "min_max"},
    {"normalise": "mean_variance", "power": 2},
    {"log": "ln", "log_offset": 1e-5, "mean": -4.3, "std": 4.6},
]


@pytest.mark.librosa
@pytest.mark.parametrize("parameters", FAMILIES, ids=str)
@pytest.mark.parametrize("signal", [noise(3 * RATE), chirp()], ids=["noise", "chirp"])
def test_features_of_a_family_equal_librosas(parameters: dict[str, Any], signal: Floats) -> None:
    """Whatever the family, each window is what librosa makes of it alone: within 1e-3 dB, or 1e-4 of what is no dB."""
    parameters = {"n_fft": 1024, **parameters}
    extractor = LogMel(target_sr=RATE, hop_size=0.3, align="start", **parameters)
    ours = extractor(signal, RATE)
    in_db = parameters.get("log", "10log10") in ("10log10", "20log10") and "normalise" not in parameters
    for i, window in enumerate(ours):
        samples = np.zeros(RATE, np.float32)
        part = signal[i * 4800 : i * 4800 + RATE]
        samples[: len(part)] = part
        theirs = librosa_features(samples, **parameters)
        assert window.shape == theirs.shape
        scale = float(np.abs(theirs).max()) if parameters.get("log") == "none" else 1.0
        assert np.abs(window - theirs).max() <= (MAX_DIFFERENCE_DB if in_db else MAX_DIFFERENCE) * max(scale, 1e-30)


@pytest.mark.parametrize("name", ["yamnet", "mlperf_kws"])
def test_presets_equal_tensorflows_own_front_ends(name: str) -> None:
    """YAMNet's log-mel and MLPerf's MFCC are those that tf.signal computes, within 1e-4."""
    with np.load(ROOT / "tests/support/data/spectra/tensorflow_reference.npz", allow_pickle=False) as arrays:
        y, theirs = (arrays["y"] / np.float32(32768)).astype(np.float32), arrays[name]
    ours = LogMel(preset=name)(y[:15600] if name == "yamnet" else y, RATE)
    assert ours.shape == (1, *theirs.shape)
    assert np.abs(ours[0] - theirs).max() <= MAX_DIFFERENCE


def test_bins_equal_tensorflows() -> None:
    """A spectrogram of power without mel, not centred and padded at the end, is tf.signal's to 1e-6 of its peak."""
    with np.load(ROOT / "tests/support/data/spectra/tensorflow_reference.npz", allow_pickle=False) as arrays:
        y, theirs = (arrays["y"] / np.float32(32768)).astype(np.float32), arrays["power_of_bins"]
    family: dict[str, Any] = {"mel_scale": "none", "power": 2, "log": "none", "window": "hamming", "center": False}
    extractor = LogMel(target_sr=RATE, n_fft=512, mel_hop_len=320, win_length=480, win_pad="end", **family)
    ours = extractor(y, RATE)[0].T[::12]
    assert np.abs(ours - theirs).max() <= 1e-6 * theirs.max()


@pytest.mark.parametrize("name", ["micro_speech", "micro_without_pcan", "micro_loud", "micro_faint"])
def test_the_integer_front_end_equals_tensorflows(name: str) -> None:
    """Every feature of micro-speech's front end is that of TensorFlow's operator, to the last bit."""
    with np.load(ROOT / "tests/support/data/spectra/tensorflow_reference.npz", allow_pickle=False) as arrays:
        y, theirs = arrays["y"].astype(np.int32), arrays[name]
    y = {"micro_loud": (20 * y).clip(-32768, 32767), "micro_faint": y // 300}.get(name, y)
    extractor = LogMel(preset="micro_speech", pcan=name != "micro_without_pcan", std=1.0)
    ours = extractor((y / np.float32(32768)).astype(np.float32), RATE)
    assert theirs.max() > 400
    np.testing.assert_array_equal(ours[0], theirs)


def published_by_librosa(y: Floats) -> Floats:
    """What SONYC's evaluation computes of samples at 8 kHz, from its published description."""
    import librosa

    filters = librosa.filters.mel(sr=44100, n_fft=1024, n_mels=64, htk=True)
    n_windows = 1 + max(0, -(-(len(y) + 4000 - 8000) // 800))
    padded = np.zeros((n_windows - 1) * 800 + 8000, np.float32)
    padded[4000 : 4000 + len(y)] = y[: len(padded) - 4000]
    windows = []
    for i in range(n_windows):
        window = padded[i * 800 : i * 800 + 8000]
        mel = filters @ np.abs(librosa.stft(window, n_fft=1024, hop_length=160, center=True, pad_mode="constant"))
        levels = 10 * np.log10(np.maximum(1e-10, mel.astype(np.float64) ** 2))
        windows.append(np.maximum(levels - levels.max(), -80))
    return np.asarray(windows, np.float32)


@pytest.mark.librosa
@pytest.mark.filterwarnings("ignore:Empty filters detected:UserWarning")  # filters for 44.1 kHz on spectra of 8 kHz
@pytest.mark.parametrize("n_samples", [1, 3999, 8000, 12345, 80000])
def test_sonycs_published_front_end_is_as_published(n_samples: int) -> None:
    """Half a second of silence in front, filters for 44.1 kHz, dB below each window's maximum: within 1e-3 dB."""
    y = noise(n_samples, 0.1)
    ours, theirs = LogMel(preset="sonyc_published")(y, 8000), published_by_librosa(y)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= MAX_DIFFERENCE_DB


def sonyc_tags(name: str) -> Floats:
    """What SONYC's network and head say of a recording, on the mean of its windows, by the published front end."""
    model = SpecModel(require_shared("models/quantized_default_int8.tflite"), preset="sonyc_published")
    head = Interpreter(require_shared("models/mlp_ust.tflite").read_bytes())
    head.fit((256,))
    embedding = model.get_embedding(*read_recording(require_shared(f"recordings/{name}.wav")))
    return np.asarray(head(embedding)[0].mean(axis=0))


PUBLISHED = [0.2620, 0.0934, 0.0651, 0.0030, 0.5264, 0.1746, 0.6457, 0.0600]


@pytest.mark.long
def test_sonycs_one_published_row_of_tags_is_reproduced() -> None:
    """06_002911 has the tags that SONYC has published of it, within 0.001."""
    np.testing.assert_allclose(sonyc_tags("06_002911"), PUBLISHED, atol=1e-3)


@pytest.mark.long
@pytest.mark.librosa
@pytest.mark.filterwarnings("ignore:Empty filters detected:UserWarning")
@pytest.mark.parametrize("name", STREET[:2])
def test_tags_by_the_preset_are_those_by_librosa(name: str) -> None:
    """The network says of the preset's features what it says of librosa's, within 0.001."""
    y, sr = read_recording(require_shared(f"recordings/{name}.wav"))
    network = Interpreter(require_shared("models/quantized_default_int8.tflite").read_bytes())
    head = Interpreter(require_shared("models/mlp_ust.tflite").read_bytes())
    network.fit((64, 51))
    head.fit((256,))
    samples = np.concatenate(list(make_resampler(sr, 8000, "kaiser_best").stream([y], len(y))))
    theirs = head(network(published_by_librosa(samples))[0])[0].mean(axis=0)
    np.testing.assert_allclose(sonyc_tags(name), theirs, atol=1e-3)
