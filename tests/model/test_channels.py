"""Networks and functions that read the channels of a recording as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sonyc_ml.authoring.export import by_value
from sonyc_ml.authoring.make import make_bundle, verify
from sonyc_ml.cli import main
from sonyc_ml.errors import BundleMismatchError, RecordingError
from sonyc_ml.model.loading import load_model
from tests.support import networks

Floats = npt.NDArray[np.float32]

N = 80  # samples of a window


def stereo(n_samples: int, sample_rate: int = 8000) -> Floats:
    """Two channels, the second not the first."""
    y = np.random.default_rng(0).normal(0, 0.1, (2, n_samples))
    y[1] = 0.5 * y[1] + 0.1 * np.sin(np.arange(n_samples) * 440 * 2 * np.pi / sample_rate)
    return (np.round(y * 32767) / 32768).astype(np.float32)


def written(path: Path, y: Floats, sample_rate: int = 8000) -> Path:
    soundfile.write(path, y.T, sample_rate, subtype="PCM_16")
    return path


def echo(path: Path, shape: tuple[int, ...]) -> Path:
    """A network that gives what it reads, in a row."""
    path.write_bytes(networks.reshaping(networks.Spec(shape), networks.Spec((1, int(np.prod(shape))))))
    return path


@pytest.mark.parametrize("sample_rate", [8000, 44100])
@pytest.mark.parametrize("is_last", [False, True])
def test_samples_of_both_channels(is_last: bool, sample_rate: int, tmp_path: Path) -> None:
    """A network of `(2, n)` or `(n, 2)` gets each channel as a mono network would, in files, blocks and from Python."""
    both = echo(tmp_path / "both.tflite", (1, N, 2) if is_last else (1, 2, N))
    mono = echo(tmp_path / "mono.tflite", (1, N))
    for path, more in ((both, {"n_channels": 2}), (mono, {})):
        make_bundle(path, input_kind="pcm", target_sr=8000, hop_size=0.005, **more)
    y = stereo(400_000 if sample_rate == 44100 else 20_011, sample_rate)
    output = load_model(both).embed_file(written(tmp_path / "a.wav", y, sample_rate))
    windows = output.by_kind()["embedding"].reshape(-1, *((N, 2) if is_last else (2, N)))
    model = load_model(mono)
    for number, channel in enumerate(y):
        wanted = model.get_embedding(channel, sample_rate)
        np.testing.assert_array_equal(windows[:, :, number] if is_last else windows[:, number], wanted)
    np.testing.assert_array_equal(load_model(both).get_embedding(y, sample_rate), output.by_kind()["embedding"])
    table = json.loads(both.with_suffix(".json").read_text())
    assert table["input"]["parameters"]["n_channels"] == json.loads(output.provenance.parameters)["n_channels"] == 2
    verify(both)


def test_log_mel_of_both_channels(tmp_path: Path) -> None:
    """Bands and frames of two channels are as those of one, side by side; the command makes and runs such a bundle."""
    shapes = {"both": (1, 64, 51, 2), "mono": (1, 64, 51)}
    paths = {name: echo(tmp_path / f"{name}.tflite", shape) for name, shape in shapes.items()}
    assert main(["bundle", "make", str(paths["both"]), "--n-channels", "2"]) == 0
    make_bundle(paths["mono"])
    y = stereo(20_000)
    model = load_model(paths["mono"])
    wanted = np.stack([model.get_features(channel, 8000) for channel in y], axis=-1)
    np.testing.assert_array_equal(load_model(paths["both"]).get_features(y, 8000), wanted)
    written(tmp_path / "a.wav", y)
    arguments = [str(tmp_path / "a.wav"), "--output", str(tmp_path / "out"), "--quiet"]
    assert main(["embed", *arguments, "--model", str(paths["both"])]) == 0
    with np.load(tmp_path / "out" / "a.wav.npz") as arrays:
        np.testing.assert_array_equal(arrays["embedding"], wanted.reshape(len(wanted), -1))


def test_other_recordings_are_refused(tmp_path: Path) -> None:
    """A recording of one channel, or of three, is refused with both numbers; from Python, the shape."""
    path = echo(tmp_path / "both.tflite", (1, 2, N))
    make_bundle(path, input_kind="pcm", target_sr=8000, n_channels=2)
    model = load_model(path)
    for y, text in (
        (stereo(8000)[:1], "it has 1 channel, and the bundle reads 2"),
        (np.tile(stereo(99), (2, 1)), "has 4"),
    ):
        with pytest.raises(RecordingError, match=text):
            model.embed_file(written(tmp_path / "a.wav", y))
    with pytest.raises(ValueError, match=r"must have the shape \(2, n_samples\)"):
        model.get_embedding(stereo(8000)[0], 8000)
    with pytest.raises(ValueError, match="give one of the two"):
        load_model(path, channel=0)
    with pytest.raises(BundleMismatchError, match="has 3 channels"):
        load_model(path, n_channels=3)


def levels(y: Floats, sr: int, hop_size: float | None = None) -> Floats:
    """The largest sample of each channel, and of their difference, in windows of half a second."""
    import numpy as np

    window, hop = round(0.5 * sr), round((hop_size or 0.25) * sr)
    n_windows = max(1, 1 + (y.shape[-1] - window) // hop)
    parts = [y[:, i * hop : i * hop + window] for i in range(n_windows)]
    return np.array([[*np.abs(part).max(axis=1), np.abs(part[0] - part[1]).max()] for part in parts], np.float32)


def test_a_function_of_both_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of the user's own gets `(2, n)`, and gives the same numbers where a recording comes in blocks."""
    path = echo(tmp_path / "own.tflite", (1, 3))
    path.with_suffix(".pkl").write_bytes(by_value(levels))
    make_bundle(path, n_channels=2, duration=0.5, hop_size=0.25)
    y = stereo(60_000)
    recording = written(tmp_path / "a.wav", y)
    model: Any = load_model(path)
    output = model.embed_file(recording)
    np.testing.assert_allclose(output.by_kind()["embedding"], levels(y, 8000, 0.25), atol=1e-6)
    monkeypatch.setattr(model.extractor, "WHOLE_S", 1.0)
    monkeypatch.setattr(model.extractor, "N_WINDOWS", 4)
    np.testing.assert_array_equal(model.embed_file(recording).by_kind()["embedding"], output.by_kind()["embedding"])
