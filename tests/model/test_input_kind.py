"""What a network reads of which nothing says it: recognised where one reading fits, said, recorded; else asked for."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.errors import BundleError
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
