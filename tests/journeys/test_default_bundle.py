"""The default bundle: it is in the wheel, and everything works without naming a model."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sonyc_ml
from sonyc_ml.bundles.location import DEFAULT, default_bundle
from sonyc_ml.errors import BundleError
from sonyc_ml.node.config import load_config
from tests.conftest import ROOT, write_recording

MOST_BYTES = 1 << 20


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, as pip puts it there."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        sizes = {one.filename: one.file_size for one in file.infolist()}
        file.extractall(folder / "site")
    assert sum(size for name, size in sizes.items() if name.startswith("sonyc_ml/models/")) <= MOST_BYTES
    return folder / "site"


def run(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the wheel's content first on its path, in a folder that has nothing of the check-out."""
    environment = {**os.environ, "PYTHONPATH": str(site), "XDG_STATE_HOME": str(folder / "state")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def test_a_folder_alone_is_enough(installed: Path, tmp_path: Path) -> None:
    """``sonyc-ml embed FOLDER`` says which bundle it takes, and writes embeddings."""
    write_recording(tmp_path / "recordings" / "a.wav", seconds=2)
    done = run(installed, tmp_path, "-m", "sonyc_ml", "embed", "recordings")
    assert done.stderr.startswith(f"the model is the default bundle, {DEFAULT.removesuffix('.tflite')}\n")
    assert (tmp_path / "embeddings" / "a.wav.npz").exists()


def test_load_model_alone_is_enough(installed: Path, tmp_path: Path) -> None:
    """It is the one in the wheel."""
    done = run(installed, tmp_path, "-c", "import sonyc_ml; print(sonyc_ml.load_model().bundle.path)")
    assert done.stdout.strip() == str(installed / "sonyc_ml" / "models" / DEFAULT)


def test_a_check_out_has_its_own() -> None:
    """Where the package is not installed from a wheel, the bundle lies beside it."""
    assert default_bundle() == ROOT / "models" / DEFAULT
    assert sonyc_ml.load_model().bundle.path == default_bundle()


def test_a_node_needs_no_model(tmp_path: Path) -> None:
    """It takes the default bundle; levels alone go without."""
    said = {"spool": {"folder": "in"}, "output": {"folder": "out"}}
    assert [model.path for model in load_config(None, said).model] == [default_bundle()]
    with_hop = load_config(None, {**said, "model": {"hop_size": 0.5}})
    assert [(model.path, model.hop_size) for model in with_hop.model] == [(default_bundle(), 0.5)]
    assert load_config(None, {**said, "levels": {"period_s": 1.0}}).model == ()


def test_a_bundle_that_was_taken_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence says what to do."""
    monkeypatch.setattr("sonyc_ml.bundles.location.DEFAULT", "gone.tflite")
    with pytest.raises(BundleError, match="install sonyc-ml again, or name a model"):
        default_bundle()
