"""Networks of other families: their layout is found, what is off is named, and manifests say what new bundles read."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml.authoring import export as exporter
from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.bundles.bundle import load_extractor, read_bundle
from sonyc_ml.bundles.manifest import Manifest, parse_manifest
from sonyc_ml.bundles.own_extractor import is_own_extractor
from sonyc_ml.errors import BundleError, BundleMismatchError
from sonyc_ml.features import LogMel
from sonyc_ml.model import PCMModel, SpecModel
from sonyc_ml.model.loading import load_model
from tests.conftest import require_shared, vouch, write_recording
from tests.support import networks
from tests.support.networks import Spec

Floats = npt.NDArray[np.float32]

FROM_START: dict[str, Any] = {"target_sr": 16000, "n_fft": 512, "win_length": 480, "win_pad": "end", "center": False}


def noise(n_samples: int) -> Floats:
    return np.random.default_rng(1).normal(0, 0.05, n_samples).astype(np.float32)


def lone(folder: Path, shape: tuple[int, ...]) -> Path:
    """A network whose output is what it reads."""
    path = folder / "a.tflite"
    path.write_bytes(networks.reshaping(Spec(shape), Spec((1, math.prod(shape)))))
    return path


def written(path: Path) -> Manifest:
    return parse_manifest(path.with_suffix(".json").read_bytes(), "a.json")


# --- the layout -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "parameters", "found"),
    [
        ((1, 40, 51), {"n_mels": 40}, {}),
        ((1, 51, 40), {"n_mels": 40}, {"layout": "time_first"}),
        ((1, 51, 40, 1), {"n_mels": 40}, {"layout": "time_first"}),
        ((1, 1, 51, 40), {"n_mels": 40}, {"layout": "time_first"}),
        ((1, 51 * 40), {"n_mels": 40}, {"layout": "time_first", "flat": True}),
        ((1, 51 * 40), {"n_mels": 40, "layout": "mels_first"}, {"flat": True}),
        ((1, 51, 40), {"n_mels": 40, "layout": "time_first"}, {}),
        ((1, 51, 51), {"n_mels": 51}, {}),
        ((1, 64, 96), {"preset": "yamnet"}, {"layout": "mels_first"}),
    ],
)
def test_the_layout_that_fits_is_found(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    shape: tuple[int, ...],
    parameters: dict[str, Any],
    found: dict[str, Any],
) -> None:
    """What the network's shape decides is logged once, recorded in outputs and manifest, and is the features turned."""
    path = lone(tmp_path, shape)
    model = SpecModel(path, **parameters)
    assert dict(model.found) == found
    assert caplog.text.count("nothing says the layout") == bool(found)
    output = model.embed_file(write_recording(tmp_path / "a.wav", seconds=2))
    assert output.embedding is not None
    turned = LogMel(**{"res_type": "sinc", **parameters, **found})
    y = noise(20_000)
    np.testing.assert_array_equal(model.get_embedding(y, 16000), turned(y, 16000).reshape(-1, math.prod(shape)))
    recorded = json.loads(output.provenance.parameters)
    assert {name: recorded[name] for name in found} == found
    made = make_bundle(path, input_kind="log_mel", **parameters)
    assert {name: made.input.parameters[name] for name in found} == found
    caplog.clear()
    loaded = load_model(path, golden="always")
    assert caplog.text == ""
    np.testing.assert_array_equal(loaded.get_embedding(y, 16000), model.get_embedding(y, 16000))


@pytest.mark.parametrize(
    ("shape", "parameters", "hint"),
    [
        ((1, 40, 133), {"target_sr": 24000, "duration": 3, "n_fft": 4096, "mel_hop_len": 512}, "center=false"),
        ((1, 64, 98), {"target_sr": 16000, "n_fft": 400, "mel_hop_len": 160}, "center=false would give 98"),
        ((1, 49, 257), {**FROM_START, "mel_scale": "none", "mel_hop_len": 160}, "mel_hop_len="),
        ((1, 64, 52), {}, "mel_hop_len=156 would give 52 frames instead of 51"),
        ((1, 64, 52), {}, "duration=1.02 would give 52 frames instead of 51"),
        ((1, 64, 49), {"target_sr": 16000, "n_fft": 512, "mel_hop_len": 320}, "center=false"),
        ((1, 32, 51), {}, "n_mels=32 would give 32 bands instead of 64"),
        ((1, 51, 13), {"n_mfcc": 10}, "n_mfcc=13 would give 13 bands instead of 10"),
        ((1, 51, 257), {"mel_scale": "none"}, "n_fft=512 would give 257 bands instead of 513"),
    ],
)
def test_what_is_off_is_named(tmp_path: Path, shape: tuple[int, ...], parameters: dict[str, Any], hint: str) -> None:
    """Where no layout fits, both shapes are said, and which parameter would make them one; what is said is true."""
    if shape[1] == 40:
        parameters = {**parameters, "n_mels": 40}
    path = lone(tmp_path, shape)
    for make in (lambda: SpecModel(path, **parameters), lambda: make_bundle(path, input_kind="log_mel", **parameters)):
        with pytest.raises(BundleMismatchError, match="the network reads windows of shape") as caught:
            make()
        assert hint in str(caught.value)
        assert "the extractor makes windows of shape" in str(caught.value)


def test_every_hint_is_true(tmp_path: Path) -> None:
    """Each parameter that is named, taken as it is said, makes the network fit."""
    path = lone(tmp_path, (1, 40, 133))
    parameters: dict[str, Any] = {"target_sr": 24000, "duration": 3.0, "n_fft": 4096, "mel_hop_len": 512, "n_mels": 40}
    with pytest.raises(BundleMismatchError) as caught:
        SpecModel(path, **parameters)
    hints = [hint.partition(" would")[0] for hint in str(caught.value).partition("; ")[2].split(", or ")]
    assert len(hints) >= 3
    for hint in hints:
        changes = dict(assignment.split("=") for assignment in hint.split(" with "))
        values: dict[str, Any] = {
            name: value if name == "win_pad" else json.loads(value) for name, value in changes.items()
        }
        assert SpecModel(path, **{**parameters, **values}).extractor.feature_shape == (40, 133)


PUBLIC: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("mlperf_kws_ref_model", {"preset": "mlperf_kws"}, (49, 10)),
    (
        "biodcase_test_model",
        {"target_sr": 24000, "duration": 3, "n_fft": 4096, "mel_hop_len": 512, "n_mels": 40, "center": False},
        (40, 133),
    ),
    (
        "araobp_environment",
        {"target_sr": 16000, "duration": 1.04, "n_fft": 512, "mel_hop_len": 256, "n_mels": 40, "center": False},
        (64, 40),
    ),
    ("tflm_micro_speech_lstm", {**FROM_START, "mel_hop_len": 320, "mel_scale": "none"}, (49, 257)),
    ("tflm_micro_speech_quantized", {"preset": "micro_speech"}, (1960,)),
]


@pytest.mark.parametrize(("name", "parameters", "shape"), PUBLIC, ids=[name for name, _, _ in PUBLIC])
def test_public_networks_fit(tmp_path: Path, name: str, parameters: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Five public networks are made bundles by parameters alone, and give the same numbers in blocks as whole."""
    path = Path(shutil.copy(require_shared(f"networks/{name}.tflite"), tmp_path))
    make_bundle(path, input_kind="log_mel", outputs={"scores": 0}, hop_size=0.5, **parameters)
    model = load_model(path, golden="always")
    assert model.extractor.feature_shape == shape
    scores = model.get_outputs(noise(5 * 44100), 44100)["scores"]
    assert len(scores) >= 4
    assert np.isfinite(scores).all()


# --- what new bundles say ---------------------------------------------------------------------------------------------


def test_a_presets_parameters_are_written_out(tmp_path: Path) -> None:
    """The manifest names the preset and says each of its parameters; what is given beside it wins."""
    path = lone(tmp_path, (1, 96, 64))
    parameters = make_bundle(path, input_kind="log_mel", preset="yamnet", hop_size=0.96).input.parameters
    assert (parameters["preset"], parameters["n_fft"], parameters["layout"]) == ("yamnet", 512, "time_first")
    assert (parameters["hop_size"], parameters["align"], parameters["res_type"]) == (0.96, "start", "sinc")
    with pytest.raises(ValueError, match=r"preset must be one of .*yamnet, mlperf_kws.*, not 'yamnets'"):
        make_bundle(path, input_kind="log_mel", preset="yamnets")


@pytest.mark.parametrize(
    ("shape", "parameters", "res_type"),
    [
        ((1, 64, 51), {"input_kind": "log_mel"}, "kaiser_best"),
        ((1, 64, 101), {"input_kind": "log_mel", "duration": 2}, "kaiser_best"),
        ((1, 64, 51), {"input_kind": "log_mel", "preset": "sonyc_published"}, "kaiser_best"),
        ((1, 40, 51), {"input_kind": "log_mel", "n_mels": 40}, "sinc"),
        ((1, 64, 51), {"input_kind": "log_mel", "power": 2}, "sinc"),
        ((1, 64, 51), {"input_kind": "log_mel", "power": 2, "res_type": "kaiser_best"}, "kaiser_best"),
        ((1, 2000), {"target_sr": 8000}, "sinc"),
        ((1, 2000), {"target_sr": 8000, "res_type": "kaiser_best"}, "kaiser_best"),
    ],
)
def test_the_resampler_of_a_new_bundle(
    tmp_path: Path, shape: tuple[int, ...], parameters: dict[str, Any], res_type: str
) -> None:
    """SONYC's own features keep kaiser_best; all else is resampled exactly, and the manifest says so."""
    path = lone(tmp_path, shape)
    alone = load_model(path, golden="never", **parameters)
    made = make_bundle(path, **parameters)
    loaded = load_model(path)
    assert alone.extractor.res_type == loaded.extractor.res_type == res_type
    if res_type == "sinc":
        assert made.input.parameters["res_type"] == "sinc"


def test_a_manifest_of_before_means_what_it_meant(tmp_path: Path) -> None:
    """A manifest of samples without resampler and hop means kaiser_best and the hop that it says beside them."""
    path = lone(tmp_path, (1, 2000))
    make_bundle(path, target_sr=8000, res_type="kaiser_best", hop_size=0.1)
    manifest = json.loads(path.with_suffix(".json").read_text())
    manifest["input"]["parameters"] = {"target_sr": 8000}
    path.with_suffix(".json").write_text(json.dumps(manifest))
    model = load_model(path, golden="always")
    assert (model.extractor.res_type, model.extractor.hop_size_s) == ("kaiser_best", 0.1)
    wanted = PCMModel(path, target_sr=8000, res_type="kaiser_best", hop_size=0.1)
    y = noise(44100)
    np.testing.assert_array_equal(model.get_embedding(y, 44100), wanted.get_embedding(y, 44100))
    assert json.loads(model.embed_file(write_recording(tmp_path / "a.wav")).provenance.parameters) == {
        "target_sr": 8000
    }


def test_windows_of_samples_follow_each_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing says a hop, it is the window; that is logged where there is no manifest, and written where made."""
    path = lone(tmp_path, (1, 2000))
    model = PCMModel(path, target_sr=8000)
    assert model.extractor.hop_size_s == 0.25
    assert "they follow each other, every 0.25 s" in caplog.text
    caplog.clear()
    assert PCMModel(path, target_sr=8000, hop_size=0.1).extractor.hop_size_s == 0.1
    made = make_bundle(path, target_sr=8000)
    assert made.hop_size_s == 0.25
    assert load_model(path).extractor.hop_size_s == 0.25
    assert caplog.text == ""


def test_windows_begin_where_the_manifest_says(tmp_path: Path) -> None:
    """From the start, the first at 0 and the last one filled up; a window must hold as much as is asked."""
    path = lone(tmp_path, (1, 24000))
    recording = write_recording(tmp_path / "a.wav", seconds=10.2, sample_rate=8000)
    make_bundle(path, target_sr=8000, align="start")
    assert load_model(path).embed_file(recording).timestamps.tolist() == [0, 3, 6, 9]
    make_bundle(path, target_sr=8000, align="start", shortest_s=1.5)
    output = load_model(path).embed_file(recording)
    assert output.timestamps.tolist() == [0, 3, 6]
    assert json.loads(output.provenance.parameters)["shortest_s"] == 1.5
    make_bundle(path, target_sr=8000, align="start", lead_s=0.5, hop_size=1.5)
    assert load_model(path).embed_file(recording).timestamps.tolist() == [-0.5 + 1.5 * i for i in range(7)]


def test_flags_reach_every_parameter(tmp_path: Path) -> None:
    """`bundle make` takes the parameters as flags, says what it chose, and `info` shows them."""
    path = lone(tmp_path, (1, 98, 64))
    flags = ["--target-sr=16000", "--n-fft=400", "--center", "false", "--log=ln", "--log-offset=0.01", "--top-db=None"]
    command = [sys.executable, "-m", "sonyc_ml"]
    make = [*command, "bundle", "make", str(path), *flags]
    done = subprocess.run(make, capture_output=True, text=True, check=True)
    assert "chosen:  res_type=sinc, layout=time_first, hop_size=0.1" in done.stdout
    parameters = written(path).input.parameters
    assert (parameters["center"], parameters["log_offset"], parameters["top_db"]) == (False, 0.01, None)
    shown = subprocess.run([*command, "info", str(path)], capture_output=True, text=True, check=True).stdout
    for text in ("center=False", "log='ln'", "layout='time_first'", "res_type='sinc'"):
        assert text in shown
    refused = subprocess.run([*make, "--center=perhaps"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "center must be one of True, False, not 'perhaps'" in refused.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("win_length", 1 << 40), ("n_mfcc", 1 << 30), ("lead_s", 1e9), ("mel_sr", 1e12)]
)
def test_numbers_beyond_reason_are_refused(tmp_path: Path, name: str, value: float) -> None:
    """A manifest cannot ask for what takes all memory by the new parameters either."""
    path = lone(tmp_path, (1, 64, 51))
    make_bundle(path, input_kind="log_mel")
    manifest = json.loads(path.with_suffix(".json").read_text())
    manifest["input"]["parameters"][name] = value
    path.with_suffix(".json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=f"{name} must be at most"):
        load_model(path)


def test_an_exported_family_is_the_family(tmp_path: Path) -> None:
    """An exported extractor of another family is recognised as this package's own, and gives its features."""
    path = tmp_path / "A.pkl"
    description = exporter.export(path, preset="yamnet", ref="max")
    assert is_own_extractor(path.read_bytes())
    assert description.requires == ("numpy",)
    path.with_suffix(".tflite").write_bytes(b"")
    loaded, ours, y = (
        load_extractor(read_bundle(vouch(path.with_suffix(".tflite")))),
        LogMel(preset="yamnet", ref="max"),
        noise(60_000),
    )
    np.testing.assert_array_equal(loaded(y, 44100), ours(y, 44100))
    assert repr(loaded) == repr(ours)


def test_what_is_off_of_a_pickle_is_named(tmp_path: Path) -> None:
    """Where exported features do not fit the network, the flag that would make them is said."""
    path = lone(tmp_path, (1, 51, 64))
    exporter.export(path.with_suffix(".pkl"))
    with pytest.raises(BundleMismatchError, match="export it with --layout=time_first to make them fit"):
        make_bundle(path)
    exporter.export(path.with_suffix(".pkl"), layout="time_first")
    assert make_bundle(path).input.kind == "pickled"
    exporter.export(path.with_suffix(".pkl"), layout="time_first", center=False, n_fft=160)
    with pytest.raises(BundleMismatchError, match="center=true would give 51 frames instead of 50"):
        make_bundle(path)


def test_the_golden_vector_of_rounded_features_allows_for_the_last_bit(tmp_path: Path) -> None:
    """Integers jump where a sample is rounded otherwise: their tolerance is wider than that of log-mel features."""
    usual = make_bundle(lone(tmp_path, (1, 64, 51)), input_kind="log_mel").golden
    rounded = make_bundle(lone(tmp_path, (1, 49, 40)), input_kind="log_mel", preset="micro_speech").golden
    assert usual is not None
    assert rounded is not None
    assert usual.features_db == 0.005
    assert 0.03 < rounded.features_db <= 1
