"""What a network reads of which nothing says it: recognised where one reading fits, said, recorded; else asked for."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.errors import AssumedInputWarning, BundleError
from sonyc_ml.model.loading import load_model
from tests.conftest import write_recording
from tests.support import networks
from tests.support.networks import Spec

SAMPLES: list[tuple[int, ...]] = [(1, 2000), (2000,), (1, 2000, 1)]


def lone(tmp_path: Path, shape: tuple[int, ...]) -> Path:
    path = tmp_path / "a.tflite"
    path.write_bytes(networks.reshaping(Spec(shape), Spec((1, math.prod(shape)))))
    return path


@pytest.mark.parametrize(
    ("shape", "kind", "keywords"),
    [
        *((shape, "pcm", {"target_sr": 8000}) for shape in SAMPLES),
        ((1, 64, 51), "log_mel", {}),
        ((1, 64, 51, 1), "log_mel", {}),
        ((1, 64, 101), "log_mel", {"duration": 2.0}),
        ((1, 40, 51), "log_mel", {"n_mels": 40}),
    ],
)
def test_one_reading_fits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, shape: tuple[int, ...], kind: str, keywords: dict[str, Any]
) -> None:
    """It is taken, said in the log, recorded in the output, and `bundle make` takes the same."""
    path = lone(tmp_path, shape)
    model = load_model(path, **keywords)
    assert f"it was taken for {kind}" in caplog.text
    output = model.embed_file(write_recording(tmp_path / "a.wav", seconds=2))
    assert json.loads(output.provenance.parameters)["input_kind"] == kind
    assert make_bundle(path, **keywords).input.kind == kind
    caplog.clear()
    load_model(path)
    assert "taken for" not in caplog.text


@pytest.mark.parametrize("shape", [(1, 51, 64), (1, 96, 64), (1, 64, 52), (1, 224, 224, 3), (1, 2, 257)])
def test_nothing_fits(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """What could be read in several ways, or in none, is asked for in one sentence, by both."""
    path = lone(tmp_path, shape)
    for load in (load_model, make_bundle):
        with pytest.raises(BundleError, match="nothing says what that is: give --input-kind"):
            load(path)


def test_what_was_said_is_not_said_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who gives the kind is not warned, and the output is the same as with the guess."""
    path = lone(tmp_path, (1, 64, 51))
    model = load_model(path, input_kind="log_mel")
    assert caplog.text == ""
    assert model.fingerprint() == load_model(path).fingerprint()


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        (Spec((1, 1960), "int8", 0.1, -128), "1,960 samples are a short window and its numbers reach to 25.5"),
        (Spec((-1, 640)), "640 samples are a short window:"),
        (Spec((1, 3000), "int8", 0.39, 89), "its numbers reach to 84.6, and samples to 1:"),
    ],
    ids=str,
)
def test_a_row_that_may_be_no_samples_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spec: Spec, part: str
) -> None:
    """A short row, or one whose numbers reach far beyond 1, is taken for samples with that doubt, by both."""
    path = tmp_path / "a.tflite"
    path.write_bytes(networks.reshaping(spec, Spec(spec.shape, spec.dtype, spec.scale, spec.zero_point)))
    load_model(path, target_sr=16000)
    assert "it was taken for pcm" in caplog.text
    assert part in caplog.text
    assert "--input-kind" in caplog.text
    with pytest.warns(AssumedInputWarning, match=re.escape(part)):
        make_bundle(path, target_sr=16000)
    make_bundle(path, target_sr=16000, input_kind="pcm")  # warnings are errors here


@pytest.mark.parametrize("shape", [(1, -1), (-1,), (1, -1, 1), (-1, -1)])
def test_samples_of_any_length(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """A network that takes any length is one of samples, and asks for the length of a window."""
    graph = networks.Graph()
    source, target = graph.tensor(Spec(shape)), graph.tensor(Spec(shape))
    graph.operator("TANH", [source], target)
    path = tmp_path / "a.tflite"
    path.write_bytes(graph.pack([source], [target]))
    with pytest.raises(ValueError, match=r"windows of any length: give one as duration \(--duration\)"):
        load_model(path, target_sr=8000)
    make_bundle(path, target_sr=8000, duration=0.5)
    model = load_model(path)
    y = np.random.default_rng(1).normal(0, 0.1, 8000).astype(np.float32)
    found = model.get_embedding(y, 8000, 0.5)
    np.testing.assert_allclose(found, np.tanh(y).reshape(2, 4000), rtol=0, atol=1e-6)


def test_a_network_of_several_inputs_is_recognised_by_the_one_that_is_left(tmp_path: Path) -> None:
    """Constants and state do not count: what reads the features decides."""
    path = tmp_path / "a.tflite"
    path.write_bytes(networks.placed(4000))
    constants = {"place": 0, "week": 0}
    assert load_model(path, constants=constants, target_sr=8000).bundle.assumed_kind == "pcm"
    assert make_bundle(path, constants=constants, target_sr=8000).input.kind == "pcm"
    path.write_bytes(networks.recurrent(4000))
    made = make_bundle(path, state=[("memory_in", "memory_out")], target_sr=8000)
    assert (made.input.kind, made.hop_size_s) == ("pcm", 0.5)
