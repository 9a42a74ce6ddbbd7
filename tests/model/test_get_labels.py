"""Samples to labels: what `sonyc-ml labels` makes of the output of the same sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import sonyc_ml
from sonyc_ml.analysis.labels import label_output
from sonyc_ml.authoring.make import make_bundle
from tests.support import networks


def make(path: Path, **said: Any) -> Path:
    """A bundle whose scores are a sigmoid of its samples: eight samples of a window are eight classes."""
    path.write_bytes(networks.reshaping(networks.Spec((1, 8)), networks.Spec((1, 8))))
    make_bundle(
        path, input_kind="pcm", target_sr=8000, hop_size=0.001, outputs={"scores": 0}, activation="sigmoid", **said
    )
    return path


@pytest.mark.parametrize(
    "rules", [{}, {"threshold": 0.2}, {"thresholds": {"c": 0.9}, "classes": ("b", "c"), "merge_s": 0.002}]
)
def test_labels_of_samples_are_those_of_the_output(rules: dict[str, Any], tmp_path: Path) -> None:
    """`get_labels` gives what `label_output` gives of the output of the same samples, by the same rules."""
    model = sonyc_ml.load_model(make(tmp_path / "a.tflite", labels=tuple("abcdefgh")))
    y = np.random.default_rng(0).normal(0, 2, 4001).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", y, 8000, subtype="FLOAT")
    found = model.get_labels(y, 8000, **rules)
    assert found == label_output(model.embed_file(tmp_path / "a.wav"), rules)
    assert found
    assert {label.label for label in found} <= set(rules.get("classes", "abcdefgh"))


def test_rules_of_the_bundle_hold_where_none_are_given(tmp_path: Path) -> None:
    """Rules in the manifest are the defaults, and what the call says wins over them."""
    y = np.full(800, 0.7, np.float32)
    model = sonyc_ml.load_model(make(tmp_path / "a.tflite", detections={"threshold": 0.8}))
    assert model.get_labels(y, 8000) == []
    assert len(model.get_labels(y, 8000, threshold=0.6)) == 8
    assert model.get_labels(y, 8000, threshold=0.6, classes=("scores_3",))[0].end_s == pytest.approx(0.1)


def test_what_cannot_be_labelled_is_refused(tmp_path: Path) -> None:
    """A model without scores, a class that it does not have, and rules that there are not are refused in words."""
    y = np.zeros(800, np.float32)
    model = sonyc_ml.load_model(make(tmp_path / "a.tflite"))
    with pytest.raises(ValueError, match="no class gone"):
        model.get_labels(y, 8000, classes=("gone",))
    with pytest.raises(TypeError, match="loudness"):
        model.get_labels(y, 8000, loudness=1)
    (tmp_path / "b.tflite").write_bytes(networks.dense((1, 8)))
    make_bundle(tmp_path / "b.tflite", input_kind="pcm", target_sr=8000, hop_size=0.001)
    with pytest.raises(ValueError, match="labels need scores"):
        sonyc_ml.load_model(tmp_path / "b.tflite").get_labels(y, 8000)
