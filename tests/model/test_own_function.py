"""Functions of the user's own: their defaults are kept, and long recordings are tried when a bundle is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml.authoring import export as exporter
from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.bundles.bundle import Bundle
from sonyc_ml.errors import OwnFunctionWarning
from sonyc_ml.model.function_extractor import FunctionExtractor
from sonyc_ml.model.loading import load_model
from tests.support import networks
from tests.support.command import sonyc_ml

Floats = npt.NDArray[np.float32]


def windowed(y: Floats, sr: int, hop_size: float | None = None) -> Floats:
    """Levels of whole windows of half a second, each by itself."""
    length, hop = sr // 2, round((hop_size or 0.25) * sr)
    starts = range(0, max(1, len(y) - length + 1), hop)
    return np.array([[y[i : i + length].std(), np.abs(y[i : i + length]).max()] for i in starts], np.float32)


def less_the_mean(y: Floats, sr: int, hop_size: float | None = None) -> Floats:
    features = windowed(y, sr, hop_size)
    centred: Floats = np.subtract(features, features.mean(axis=0), dtype=np.float32)
    return centred


def by_the_peak(y: Floats, sr: int, hop_size: float | None = None) -> Floats:
    return windowed(y / np.abs(y).max(), sr, hop_size)


def centred(y: Floats, sr: int, hop_size: float | None = None) -> Floats:
    return windowed(np.pad(y, sr // 4), sr, hop_size)


def padded_at_the_end(y: Floats, sr: int, hop_size: float | None = None) -> Floats:
    return windowed(np.pad(y, (0, -(len(y) - sr // 2) % round((hop_size or 0.25) * sr))), sr, hop_size)


def too_much(y: Floats, sr: int, hop_size: float | None = None) -> Floats:
    if len(y) > 100 * sr:
        raise ValueError("too much for me")
    return windowed(y, sr, hop_size)


def with_a_hop_of_its_own(y: Floats, sr: int, hop_size: float = 0.5) -> Floats:
    return windowed(y, sr, hop_size)


def with_a_window_of_its_own(y: Floats, sr: int, hop_size: float | None = None, duration: float = 0.5) -> Floats:
    return windowed(y, sr, hop_size)


def with_an_odd_default(y: Floats, sr: int, hop_size: Any = "as always") -> Floats:
    return windowed(y, sr, hop_size)


def extractor_of(function: Callable[..., Floats], **given: Any) -> FunctionExtractor:
    bundle = Bundle("A", Path("models/A.tflite"), None, {"A.tflite": b"", "A.pkl": b""}, "")
    return FunctionExtractor(function, bundle, **{"duration": 0.5, "hop_size": 0.25, **given})


@pytest.mark.parametrize("hop_size", [0.1, 0.25, 1.0, 50.0])
def test_a_function_of_windows_is_the_same_in_blocks(hop_size: float) -> None:
    """Nothing is said of a function that looks at one window at a time, whatever its hop."""
    assert extractor_of(windowed, hop_size=hop_size).difference_in_blocks() == ""


@pytest.mark.parametrize("hop_size", [0.25, 1.0, 50.0])
@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (less_the_mean, "the function gives other features there"),
        (by_the_peak, "the function gives other features there"),
        (padded_at_the_end, "windows where the function alone gives"),
        (too_much, "in one piece the function fails on one: the extractor models/A.pkl failed on it (ValueError"),
    ],
)
def test_a_function_that_looks_further_is_found_out(
    function: Callable[..., Floats], sentence: str, hop_size: float
) -> None:
    """What normalises, pads or fails on long recordings is said in one sentence."""
    said = extractor_of(function, hop_size=hop_size).difference_in_blocks()
    assert said.startswith("models/A.pkl: recordings of more than 120 s are embedded in blocks, and ")
    assert sentence in said


def test_a_function_that_adds_windows_is_found_out() -> None:
    """A function that pads every block would have long recordings refused, and that is said."""
    said = extractor_of(centred).difference_in_blocks()
    assert "will be refused: models/A.pkl gave 163 windows for a block of 161" in said


@pytest.mark.parametrize(
    ("function", "given", "expected"),
    [
        (with_a_hop_of_its_own, {"hop_size": None}, (0.5, 0.5)),
        (with_a_hop_of_its_own, {"hop_size": 0.2}, (0.5, 0.2)),
        (with_a_window_of_its_own, {"duration": None}, (0.5, 0.25)),
        (windowed, {"duration": None, "hop_size": None}, (1.0, 0.1)),
        (with_an_odd_default, {"hop_size": None}, (0.5, 0.1)),
        (lambda y, sr, hop_size=True: windowed(y, sr, hop_size), {"hop_size": None}, (0.5, 0.1)),
        (lambda y, sr, hop_size=-1.0: windowed(y, sr, hop_size), {"hop_size": None}, (0.5, 0.1)),
    ],
)
def test_a_functions_own_defaults_hold(
    function: Callable[..., Floats], given: dict[str, float | None], expected: tuple[float, float]
) -> None:
    """Where nobody says otherwise, window and hop are the defaults of the function, where these are times."""
    extractor = extractor_of(function, **given)
    assert (extractor.window_size_s, extractor.hop_size_s) == expected


MODULE = """
import numpy as np

def features(y, sr, hop_size=0.5):
    starts = range(0, max(1, len(y) - sr + 1), round(hop_size * sr))
    return np.stack([np.resize(y[i : i + sr], sr)[:: sr // 4][:4] for i in starts]).astype(np.float32)

def normalised(y, sr, hop_size=0.5):
    return features(y / np.abs(y).max(), sr, hop_size)
"""


def bundle_of(function: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network beside the function of a user's module, exported."""
    (folder / "own_function_test_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    path = folder / "a.tflite"
    path.write_bytes(networks.reshaping(networks.Spec((1, 4)), networks.Spec((1, 4))))
    exporter.export_function(path.with_suffix(".pkl"), f"own_function_test_module:{function}")
    return path


def test_make_warns_of_a_function_that_normalises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle is made, and whoever made it hears of long recordings; from Python, and in the command."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = bundle_of("normalised", tmp_path, monkeypatch)
    with pytest.warns(OwnFunctionWarning, match="more than 120 s are embedded in blocks, and the function gives other"):
        make_bundle(path)
    for command in (("bundle", "make", path), ("bundle", "trust", path)):
        path.with_suffix(".json").unlink()
        done = sonyc_ml(*command)
        assert done.returncode == 0
        assert done.stderr.startswith("sonyc-ml: warning: ")
        assert "more than 120 s are embedded in blocks" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_bundle_keeps_the_hop_it_was_made_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new bundle has the function's own hop; one whose manifest says another, as before, is read with that.

    A pickle that was not made by `features export` does not say its keywords at its end.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = bundle_of("features", tmp_path, monkeypatch)
    pickle_path = path.with_suffix(".pkl")
    pickle_path.write_bytes(pickle_path.read_bytes().rstrip(b"\n").rpartition(b"\n")[0])
    assert make_bundle(path).hop_size_s == 0.5
    assert load_model(path).extractor.hop_size_s == 0.5
    manifest = path.with_suffix(".json")
    manifest.write_text(manifest.read_text().replace('"hop_size_s": 0.5', '"hop_size_s": 0.1'))
    assert load_model(path, golden="never").extractor.hop_size_s == 0.1
    assert load_model(path, golden="never", hop_size=0.3).extractor.hop_size_s == 0.3
