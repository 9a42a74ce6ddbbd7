"""A bundle that names soxr: said where soxr is there, refused where it is not, never resampled in another way."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sonyc_ml.authoring import export as exporter
from sonyc_ml.bundles.manifest import Manifest
from sonyc_ml.bundles.sections import Input
from sonyc_ml.model.loading import golden_key, load_model
from sonyc_ml.outputs.files import read_provenance
from tests.conftest import vouch, write_recording
from tests.support import networks

pytestmark = pytest.mark.numeric

# 32-bit ARM has no soxr; elsewhere it is hidden, as if it were not installed.
WITHOUT_SOXR = "import sys; sys.modules['soxr'] = None; from sonyc_ml.cli import main; sys.exit(main())"
KINDS = ("log_mel", "pcm", "pickled")


def make_bundle(folder: Path, kind: str) -> Path:
    """Write a bundle whose manifest or extractor names soxr, without running it."""
    network = folder / f"{kind}.tflite"
    network.write_bytes(networks.dense((1, 8000) if kind == "pcm" else (1, 64, 51, 1)))
    if kind == "pickled":
        pytest.importorskip("soxr")
        exporter.export(network.with_suffix(".pkl"), res_type="soxr_hq")
        return vouch(network)
    parameters: dict[str, Any] = {"res_type": "soxr_hq"} | ({"target_sr": 8000} if kind == "pcm" else {})
    files = {network.name: hashlib.sha256(network.read_bytes()).hexdigest()}
    manifest = Manifest(1, kind, "1.0.0", 8000, 1.0, 0.1, Input(kind, parameters), files)
    network.with_suffix(".json").write_text(manifest.text())
    return network


def run_without_soxr(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_SOXR, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("kind", KINDS)
def test_without_soxr_it_is_refused(kind: str, tmp_path: Path) -> None:
    """embed and watch refuse a bundle that names soxr with one sentence, and write nothing."""
    bundle = make_bundle(tmp_path, kind)
    write_recording(tmp_path / "recordings" / "a.wav", sample_rate=44100)
    for command in ("embed", "watch"):
        done = run_without_soxr(command, tmp_path / "recordings", "--model", bundle, "--output", tmp_path / "outputs")
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert "soxr" in line
        assert "not installed here" in line
        assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize("kind", KINDS)
def test_without_soxr_info_and_doctor_say_so(kind: str, tmp_path: Path) -> None:
    """info names the trouble in place of an extractor, doctor calls the bundle bad and says how to mend it."""
    bundle = make_bundle(tmp_path, kind)
    told = json.loads(run_without_soxr("info", bundle, "--json").stdout)
    assert "soxr" in told["extractor"]["problem"]
    examined = json.loads(run_without_soxr("doctor", "--model", bundle, "--json").stdout)
    (finding,) = [finding for finding in examined["findings"] if finding["check"] == "bundle"]
    assert finding["verdict"] == "bad"
    assert "soxr" in finding["text"]


def test_with_soxr_it_is_said(tmp_path: Path) -> None:
    """info, the output's provenance and what is remembered of the golden vector name soxr and its version."""
    soxr = pytest.importorskip("soxr")
    bundle = make_bundle(tmp_path, "log_mel")
    write_recording(tmp_path / "recordings" / "a.wav", sample_rate=44100)
    model = load_model(bundle)
    model.process_file(tmp_path / "recordings" / "a.wav", tmp_path / "a.npz")
    provenance = read_provenance(tmp_path / "a.npz")
    assert provenance is not None
    assert provenance.res_type == "soxr_hq"
    assert f"soxr {soxr.__version__}" in provenance.versions.split("; ")
    assert f"soxr_hq, by soxr {soxr.__version__}" in golden_key(model)
    command = [sys.executable, "-m", "sonyc_ml", "info", str(bundle)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"soxr_hq, by soxr {soxr.__version__}" in told


def test_without_a_choice_numpy_resamples(tiny_bundle: Path, tmp_path: Path) -> None:
    """A bundle that names no resampler says kaiser_best in its outputs, whether soxr is installed or not."""
    recording = write_recording(tmp_path / "a.wav", sample_rate=44100)
    done = run_without_soxr("embed", recording, "--model", tiny_bundle, "--output", tmp_path / "outputs")
    assert done.returncode == 0
    provenance = read_provenance(tmp_path / "outputs" / "a.wav.npz")
    assert provenance is not None
    assert provenance.res_type == "kaiser_best"
    assert "soxr" not in provenance.versions
