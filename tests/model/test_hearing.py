"""A model makes detections while it embeds, and keeps what is asked for of its scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml.analysis.labels import Rules, label_output
from sonyc_ml.authoring.describe import card
from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.errors import BundleError, ConfigError, RecordingError
from sonyc_ml.model.loading import load_model
from sonyc_ml.outputs.detections import highest_of
from sonyc_ml.outputs.files import read_output, write_output
from tests.support import networks
from tests.support.detections import make_echo, write_scores

LABELS = ("dog", "siren", "rain", "Turdus merula_Eurasian Blackbird")
RULES = {
    "usual": {"threshold": 0.6},
    "merged": {"threshold": 0.7, "merge_s": 0.002, "min_duration_s": 0.001},
    "single windows": {"threshold": 0.5, "merge_s": False, "top_k": 1},
    "of some": {"threshold": 0.9, "thresholds": {"siren": 0.2}, "classes": ("siren", "rain"), "cool_down_s": 0.003},
}


@pytest.fixture(scope="module")
def scores() -> npt.NDArray[np.float32]:
    return np.random.default_rng(2).random((500, len(LABELS)), np.float32)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_echo(tmp_path_factory.mktemp("echo") / "echo.tflite", LABELS)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, scores: npt.NDArray[np.float32]) -> Path:
    return write_scores(tmp_path_factory.mktemp("recordings") / "a.wav", scores)


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("keep", ["all", "top-k", "none"])
def test_detections_are_the_labels_of_the_scores(
    rules: dict[str, Any], keep: str, echo: Path, recording: Path, tmp_path: Path
) -> None:
    """What is detected while it embeds is what `labels` makes of an output with all scores; in a file too."""
    whole = load_model(echo).embed_file(recording)
    output = load_model(echo, detections=rules, keep={"scores": keep}).embed_file(recording, scratch=tmp_path)
    assert output.detections == tuple(label_output(whole, Rules(**rules)))
    assert len(output.detections) > 10
    assert (output.scores is None) == (keep != "all")
    write_output(output, tmp_path / "a.wav.npz")
    assert read_output(tmp_path / "a.wav.npz").detections == output.detections


def test_the_highest_scores_are_kept(
    echo: Path, recording: Path, scores: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    """As many as are asked for, with their classes; in float16 they are those, rounded."""
    keep = {"scores": "top-k", "top_k": 2, "score_dtype": "float16"}
    output = load_model(echo, keep=keep).embed_file(recording)
    classes, highest = highest_of(scores, 2)
    assert output.top_scores is not None
    np.testing.assert_array_equal(output.top_classes, classes)
    np.testing.assert_array_equal(output.top_scores, highest.astype(np.float16))
    assert output.top_scores.dtype == np.float16
    assert (output.detections, output.labels) == (None, LABELS)


def test_nothing_changes_unless_it_is_asked_for(echo: Path, recording: Path) -> None:
    """Without detections a model's fingerprint and outputs are what they were, and with any they are others."""
    plain = load_model(echo)
    output = plain.embed_file(recording)
    assert not {"detections", "keep"} & json.loads(output.provenance.parameters).keys()
    assert (output.detections, output.label_numbers) == (None, ())
    asked: list[dict[str, Any]] = [
        {"detections": {"threshold": 0.5}},
        {"detections": {"threshold": 0.6}},
        {"detections": {"threshold": 0.6, "merge_s": False}},
        {"keep": {"scores": "none"}},
        {"keep": {"scores": "top-k"}},
        {"keep": {"scores": "top-k", "top_k": 6}},
        {"keep": {"score_dtype": "float16"}},
    ]
    fingerprints = {load_model(echo, **some).fingerprint() for some in asked}
    assert len(fingerprints | {plain.fingerprint()}) == len(asked) + 1
    assert load_model(echo, keep={"scores": "all"}).fingerprint() == plain.fingerprint()


def test_a_manifest_says_it_and_whoever_loads_it_wins(tmp_path: Path, recording: Path) -> None:
    """Key by key: what is not said anew stays as the manifest has it; the card shows it."""
    path = make_echo(
        tmp_path / "echo.tflite", LABELS, detections={"threshold": 0.9, "merge_s": False}, keep={"scores": "none"}
    )
    said = json.loads(path.with_suffix(".json").read_text())
    assert (said["detections"], said["keep"]) == ({"threshold": 0.9, "merge_s": False}, {"scores": "none"})
    assert "threshold 0.9, merge_s False" in card(path)[0]
    output = load_model(path).embed_file(recording)
    assert output.scores is None
    assert output.detections
    assert min(one.score_max for one in output.detections) >= 0.9
    changed = load_model(path, detections={"threshold": 0.99}).embed_file(recording)
    assert json.loads(changed.provenance.parameters)["detections"] == {"threshold": 0.99, "merge_s": None}
    assert 0 < len(changed.detections or ()) < len(output.detections)


def test_what_a_manifest_detects_can_be_turned_off(tmp_path: Path, recording: Path) -> None:
    """By whoever loads it; and a manifest's may be off until somebody asks."""
    on = make_echo(tmp_path / "on.tflite", LABELS, detections={"threshold": 0.9})
    off = make_echo(tmp_path / "off.tflite", LABELS, detections={"enabled": False, "threshold": 0.9})
    asked: dict[str, Any] | None
    for path, asked in ((on, {"enabled": False, "threshold": 0.5}), (off, None)):
        output = load_model(path, detections=asked).embed_file(recording)
        assert output.detections is None
        assert "detections" not in json.loads(output.provenance.parameters or "{}")
    for path, asked in ((on, None), (off, {"enabled": True}), (on, {"enabled": True})):
        assert load_model(path, detections=asked).embed_file(recording).detections
    found = load_model(off, detections={"merge_s": False}).embed_file(recording)
    assert min(one.score_max for one in found.detections or ()) >= 0.9


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ({"threshold": 2.0}, r"a threshold must be in \[0, 1\]"),
        ({"thresholds": {"cat": 0.5}}, "detections: the bundle has no class cat; its classes are dog, siren"),
        ({"classes": ("cow",)}, "no class cow"),
    ],
)
def test_rules_that_do_not_fit_are_refused_when_it_is_loaded(
    rules: dict[str, Any], complaint: str, echo: Path, tmp_path: Path
) -> None:
    """By whoever asks for them, and in a manifest."""
    with pytest.raises(ValueError, match=complaint):
        load_model(echo, detections=rules)
    with pytest.raises((ValueError, BundleError), match=complaint):
        make_echo(tmp_path / "echo.tflite", LABELS, detections=rules)


def test_detections_need_scores(tmp_path: Path) -> None:
    """A bundle with an embedding alone says so."""
    path = tmp_path / "plain.tflite"
    path.write_bytes(networks.reshaping(networks.Spec((1, 8)), networks.Spec((1, 8))))
    make_bundle(path, input_kind="pcm", target_sr=8000, hop_size=0.001)
    with pytest.raises(ValueError, match="detections need scores, and the bundle has none"):
        load_model(path, detections={"threshold": 0.5})


def test_a_number_that_float16_has_not_is_no_infinity(tmp_path: Path) -> None:
    """The recording is refused with a sentence."""
    path = make_echo(tmp_path / "echo.tflite", LABELS, keep={"score_dtype": "float16"})
    write_scores(tmp_path / "loud.wav", np.full((4, len(LABELS)), 70000, np.float32))
    with pytest.raises(RecordingError, match=r"scores has values up to 70000, and float16 ends at 65504: use float32"):
        load_model(path).embed_file(tmp_path / "loud.wav")


# --- labels of outputs that hold detections ---------------------------------------------------------------------------


def test_labels_are_the_detections_that_are_stored(echo: Path, recording: Path) -> None:
    """Unless other rules are asked for; then, with all scores, the others are those that were stored."""
    rules = {"threshold": 0.7, "merge_s": False}
    whole = load_model(echo).embed_file(recording)
    output = load_model(echo, detections=rules).embed_file(recording)
    assert label_output(output) == list(output.detections or ())
    assert label_output(output, {"classes": ("dog",)}) == [one for one in output.detections or () if one.label == "dog"]
    assert label_output(output, {"threshold": 0.2}) == label_output(whole, Rules(threshold=0.2, merge_s=False))
    assert label_output(output, Rules()) == label_output(whole, Rules())


def test_without_scores_some_detections_can_be_taken(echo: Path, recording: Path) -> None:
    """By a higher threshold, by class, by duration; what they cannot give is refused with the way to it."""
    output = load_model(echo, detections={"threshold": 0.7}, keep={"scores": "none"}).embed_file(recording)
    found = list(output.detections or ())
    assert label_output(output) == found
    assert label_output(output, {"classes": ("dog",)}) == [one for one in found if one.label == "dog"]
    at = float(f"{sorted(one.score_max for one in found)[5]:.9g}")  # as somebody types it
    assert len(label_output(output, {"threshold": at})) == len(found) - 5
    assert label_output(output, {"threshold": 0.9}) == [one for one in found if one.score_max >= 0.9]
    long = label_output(output, {"min_duration_s": 0.001})
    assert 0 < len(long) < len(found)
    for asked, way in (
        ({"threshold": 0.5}, "--detect 0.5"),
        ({"thresholds": {"dog": 0.1}}, "--detect 0.1"),
        ({"merge_s": 1.0}, "merge_s in"),
        ({"cool_down_s": 1.0}, "cool_down_s in"),
    ):
        with pytest.raises(ConfigError, match=way):
            label_output(output, asked)


@pytest.mark.parametrize("keep", ["all", "none"])
def test_what_is_no_number_is_noted(keep: str, tmp_path: Path, recording: Path) -> None:
    """A network that gives NaN or infinity is no reason to end; the output says for how many windows it did."""
    path = tmp_path / "unbounded.tflite"
    path.write_bytes(networks.scaling(80, np.inf))
    parameters: dict[str, Any] = {
        "input_kind": "pcm",
        "target_sr": 8000,
        "outputs": {"scores": 0},
        "keep": {"scores": keep},
    }
    output = load_model(path, **parameters).embed_file(recording)
    n_windows = len(output.timestamps)
    assert output.provenance.note == f"the network gave NaN or infinity for {n_windows:,} windows"
    assert output.provenance.marks == ("with NaN or infinity",)
