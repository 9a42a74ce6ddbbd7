"""The published networks of a DTLN as one model: what a plain loop gives, in blocks as in one piece."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml.authoring.waveform import Recipe, make_waveform_bundle
from sonyc_ml.model.runtime import load_runtime
from sonyc_ml.model.waveform import WaveformModel
from sonyc_ml.model.waveform.loading import load_waveform_model
from tests.conftest import require_shared
from tests.support.waveforms import streamed

Floats = npt.NDArray[np.float32]

KINDS = {"float": ("dtln_model_1.tflite", "dtln_model_2.tflite")}
KINDS["quantised"] = ("dtln_model_quant_1.tflite", "dtln_model_quant_2.tflite")


@pytest.fixture(params=KINDS)
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A bundle of the two networks, made as the documentation says."""
    names = KINDS[request.param]
    for name in names:
        shutil.copy(require_shared(f"networks/{name}"), tmp_path)
    recipe = Recipe(sample_rate=16000, tracks=("denoised",), stages=names[1:], between="dtln")
    make_waveform_bundle(tmp_path / names[0], recipe)
    return tmp_path / names[0]


def speech_like(n_samples: int) -> Floats:
    """Harmonics that come and go, in noise."""
    t = np.arange(n_samples) / 16000
    voice = sum(np.sin(2 * np.pi * 140 * k * t + k) / k for k in range(1, 12)) * (np.sin(2 * np.pi * 1.5 * t) > 0)
    return (0.1 * voice + np.random.default_rng(0).normal(0, 0.02, n_samples)).astype(np.float32)


def plain_loop(paths: list[Path], y: Floats) -> npt.NDArray[np.float64]:
    """The two networks block by block, with silence around so that the delay of a block can be cut off."""
    _, runtime = load_runtime(None)
    first, second = (runtime.Interpreter(model_path=str(path), num_threads=1) for path in paths)
    states = [np.zeros((1, 2, 128, 2), np.float32) for _ in range(2)]

    def run(number: int, network: Any, values: npt.NDArray[np.floating[Any]]) -> Floats:
        inputs, outputs = network.get_input_details(), network.get_output_details()
        network.set_tensor(inputs[0]["index"], values.reshape(1, 1, -1).astype(np.float32))
        network.set_tensor(inputs[1]["index"], states[number])
        network.invoke()
        states[number] = network.get_tensor(outputs[1]["index"])
        result: Floats = network.get_tensor(outputs[0]["index"]).reshape(-1)
        return result

    for network in (first, second):
        network.allocate_tensors()
    padded = np.concatenate([np.zeros(384), y, np.zeros(384 + -len(y) % 128)])
    out = np.zeros(len(padded))
    for start in range(0, len(padded) - 511, 128):
        spectrum = np.fft.rfft(padded[start : start + 512])
        magnitude, phase = np.abs(spectrum).astype(np.float32), np.angle(spectrum)
        mask = run(0, first, magnitude)
        masked = np.fft.irfft(magnitude * mask * np.exp(1j * phase))
        out[start : start + 512] += run(1, second, masked)
    return out[384 : 384 + len(y)]


def test_it_gives_what_a_plain_loop_gives(bundle: Path) -> None:
    """The track is that of a plain loop over the networks, to the last bits, and aligned with the sound."""
    y = speech_like(5 * 16000 + 77)
    track = load_waveform_model(bundle).separate(y, 16000)["denoised"]
    names = KINDS["quantised" if "quant" in bundle.name else "float"]
    expected = plain_loop([bundle.with_name(name) for name in names], y)
    assert track.shape == (1, len(y))
    assert np.abs(expected).max() > 0.05
    if "quant" in bundle.name:  # where a processor rounds one magnitude otherwise, int8 makes steps of it
        assert np.sqrt(np.mean((track[0] - expected) ** 2)) < 0.02 * np.sqrt(np.mean(expected**2))
    else:
        np.testing.assert_allclose(track[0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sr", [16000, 44100])
def test_blocks_give_what_the_whole_gives(bundle: Path, sr: int) -> None:
    """A stream in blocks of any size gives the track of the whole, bit for bit."""
    y = speech_like(3 * 16000 + 1)
    model = WaveformModel(bundle)
    whole = model.separate(y, sr)["denoised"]
    rng = np.random.default_rng(0)
    for n_cuts in (3, 1000):
        blocks = streamed(model, y, sr, rng.integers(0, len(y) + 1, n_cuts))
        np.testing.assert_array_equal(blocks["denoised"], whole)
