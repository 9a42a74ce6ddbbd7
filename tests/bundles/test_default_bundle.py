"""The bundle that comes with the repository: whole, small, and right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml import load_model
from sonyc_ml.authoring.make import verify
from sonyc_ml.bundles.bundle import read_description
from sonyc_ml.bundles.manifest import parse_manifest
from tests.conftest import ROOT, require_shared, write_recording

pytestmark = pytest.mark.numeric

Floats = npt.NDArray[np.float32]

SHIPPED = ROOT / "models" / "quantized_default_int8.tflite"
MANIFEST = SHIPPED.with_suffix(".json")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped files, as they are where only their owner can write: a check-out may have other modes."""
    folder = tmp_path_factory.mktemp("models")
    for path in SHIPPED.parent.iterdir():
        shutil.copyfile(path, folder / path.name)
    return folder / SHIPPED.name


def test_it_is_what_its_manifest_vouches_for(bundle: Path) -> None:
    """Owners, modes, digests and the golden vector hold."""
    read, differences = verify(bundle)
    assert read.manifest is not None
    golden = read.manifest.golden
    assert golden is not None
    # The bundle's own tolerances, which `verify` holds; they are of no use if they are wide.
    assert differences["features_db"] <= golden.features_db <= 0.005
    assert differences["cosine"] >= golden.cosine >= 0.998
    assert differences["scores"] <= golden.scores <= 0.05


def test_its_features_are_the_makers_where_there_is_sound(bundle: Path) -> None:
    """Features within 20 dB of their window's loudest are the maker's to 1e-4 dB.

    The golden signal is resampled, and each processor's matrix products add in another order: the samples differ by one
    in ten million of full scale. That is 2e-5 dB here, and up to 1.4e-3 dB in bands that are 40 dB down.
    """
    with np.load(bundle.with_suffix(".golden.npz"), allow_pickle=False) as golden:
        wanted, y, sample_rate = golden["features"], golden["y"], int(golden["sample_rate"])
    computed = load_model(bundle, golden="never").get_features(y, sample_rate)
    is_loud = wanted >= wanted.max(axis=(1, 2), keepdims=True) - 20
    assert is_loud.mean() > 0.1
    assert np.abs(computed - wanted)[is_loud].max() <= 1e-4


@pytest.mark.parametrize("reference_kernels", [False, True])
def test_the_golden_vector_holds_on_all_kernels(bundle: Path, *, reference_kernels: bool) -> None:
    """With and without the delegate, the outputs are within the manifest's tolerances."""
    model = load_model(bundle, golden="always", reference_kernels=reference_kernels)
    assert len(model.labels) == 10


def test_its_manifest_fits_the_schema() -> None:
    """The manifest is one that the published schema describes, and names every file of the bundle."""
    schema = json.loads((ROOT / "sonyc_ml" / "bundles" / "bundle.schema.json").read_text())
    jsonschema.validate(json.loads(MANIFEST.read_text()), schema)
    manifest = parse_manifest(MANIFEST.read_bytes(), str(MANIFEST))
    assert all((SHIPPED.parent / name).exists() for name in manifest.files)
    assert manifest.licence
    assert manifest.description


def test_it_is_small() -> None:
    """It travels in every wheel: 1 MB in all at most, and 700 kB of it are the network."""
    assert SHIPPED.stat().st_size <= 700_000
    assert sum(path.stat().st_size for path in SHIPPED.parent.iterdir()) <= 1_000_000


def test_its_pickle_needs_numpy_only() -> None:
    """The extractor is our own, from source text, and reads in any Python."""
    description = read_description(SHIPPED.with_suffix(".pkl").read_bytes())
    assert description is not None
    assert description.any_python
    assert description.requires == ("numpy",)


def test_its_pickle_computes_what_the_package_does(bundle: Path, tmp_path: Path) -> None:
    """The pickled features are those of `get_features` today: nobody's numbers changed since the bundle was made."""
    recording = write_recording(tmp_path / "a.wav", seconds=3, sample_rate=44100)
    pickled = load_model(bundle).embed_file(recording)
    built_in = load_model(bundle, input_kind="log_mel").embed_file(recording)
    np.testing.assert_array_equal(pickled.embedding, built_in.embedding)


def test_a_recording_gets_scores(bundle: Path, tmp_path: Path) -> None:
    """Embedding and scores have their shapes, and scores are between 0 and 1."""
    output = load_model(bundle).embed_file(write_recording(tmp_path / "a.wav", seconds=2))
    assert output.embedding is not None
    assert output.scores is not None
    assert output.embedding.shape == (11, 256)
    assert output.scores.shape == (11, 10)
    assert 0 <= output.scores.min() <= output.scores.max() <= 1


def sounds_of_no_class() -> dict[str, Floats]:
    """Ten seconds each at 16 kHz, some of them as loud as can be."""
    rng, t = np.random.default_rng(3), np.arange(10 * 16_000) / 16_000
    white = rng.normal(0, 0.1, len(t))
    return {
        "silence": np.zeros(len(t), np.float32),
        "hiss": (1e-3 * white).astype(np.float32),
        "low noise": np.convolve(white, np.full(40, 0.1), "same").astype(np.float32),
        "hum": np.sum([0.3 / n * np.sin(2 * np.pi * 50 * n * t) for n in range(1, 9)], axis=0, dtype=np.float32),
    }


@pytest.mark.parametrize("kind", list(sounds_of_no_class()))
def test_it_hears_nothing_where_nothing_is(bundle: Path, kind: str) -> None:
    """Scores need not add up to 1: of sounds of no class none reaches 0.5."""
    scores = load_model(bundle).get_outputs(sounds_of_no_class()[kind], 16_000)["scores"]
    assert scores.max() < 0.5


@pytest.mark.parametrize(("folder", "label"), [("001-dog_bark", "dog_bark"), ("009-rooster", "rooster")])
def test_it_hears_what_it_was_trained_on(bundle: Path, folder: str, label: str) -> None:
    """On clips it has been trained on, the likeliest class is nearly always theirs: the labels are in order."""
    model = load_model(bundle)
    clips = sorted(require_shared(f"esc10/{folder}").glob("*.ogg"))[:10]
    heard = [model.embed_file(clip).likeliest().split()[0] for clip in clips]
    assert heard.count(label) >= 8
