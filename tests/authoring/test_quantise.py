"""Float32 bundles to smaller ones: the loss is measured on recordings that did not calibrate, and reported truly."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sonyc_ml.authoring import export as exporter
from sonyc_ml.authoring.describe import card
from sonyc_ml.authoring.heads import dense_head
from sonyc_ml.authoring.make import make_bundle, verify
from sonyc_ml.authoring.quantise import measure_quantised, quantise
from sonyc_ml.authoring.quantising.loss import Comparison
from sonyc_ml.authoring.quantising.material import Choice, find_material
from sonyc_ml.bundles.manifest import Manifest, parse_manifest
from sonyc_ml.errors import BundleError, ConfigError
from sonyc_ml.model.interpreter import Interpreter
from sonyc_ml.model.loading import load_model
from sonyc_ml.sound.files import read_recording
from tests.conftest import needs
from tests.support import layers, networks
from tests.support.command import sonyc_ml
from tests.support.networks import Spec

CLASSES = ("hum", "siren", "wind")
N_OF_EACH = 14
RECIPES = ("int8", "int16x8", "dynamic", "float16")
QUANTISER = needs("ai_edge_quantizer")  # scripts/test-extras has it


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of three classes, with short recordings of it that are all different."""
    folder = tmp_path_factory.mktemp("labelled")
    time_s = np.arange(16000) / 8000
    for i in range(N_OF_EACH):
        rng = np.random.default_rng(i)
        pitch_hz = 150 + 10 * i
        sweep = 800 * time_s + 30 * np.sin(2 * np.pi * (1 + i / 8) * time_s)
        noise = rng.normal(0, 1, len(time_s))
        for name, y in (
            ("hum", np.sin(2 * np.pi * pitch_hz * time_s) + 0.1 * noise),
            ("siren", np.sin(2 * np.pi * sweep) + 0.1 * noise),
            ("wind", noise),
        ):
            path = folder / f"{CLASSES.index(name):03}-{name}" / f"{i}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, y * 10 ** (-(i % 3) / 8 - 1), 8000)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, recordings: Path) -> Path:
    """A float32 bundle with a head that knows the classes: what is nearest to each one's mean embedding."""
    path = tmp_path_factory.mktemp("models") / "float.tflite"
    path.write_bytes(layers.convolutional())
    make_bundle(path, input_kind="log_mel")
    model = load_model(path)
    means = []
    for folder in sorted(recordings.iterdir()):
        rows = [model.get_embedding(*read_recording(one), hop_size=1.0) for one in sorted(folder.iterdir())[::2]]
        means.append(np.concatenate(rows).mean(axis=0))
    weights = np.array(means) / np.std(means)
    path.with_name("head.tflite").write_bytes(dense_head(weights, -0.5 * (np.array(means) * weights).sum(axis=1)))
    make_bundle(path, version="3.2.1", licence="CC0-1.0", input_kind="log_mel", head="head.tflite", labels=CLASSES)
    return path


@pytest.fixture
def bundle(trained: Path, tmp_path: Path) -> Path:
    """The same in a folder of the test's own."""
    shutil.copytree(trained.parent, tmp_path / "models")
    return tmp_path / "models" / trained.name


def written(path: Path) -> Manifest:
    return parse_manifest(path.with_suffix(".json").read_bytes(), str(path))


# --- what comes of it -------------------------------------------------------------------------------------------------


@QUANTISER
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_makes_a_bundle_of_its_own(bundle: Path, recordings: Path, recipe: str) -> None:
    """Each recipe gives a smaller bundle with all that the old one had, which passes every check and loads."""
    report = quantise(bundle, recordings, recipe, version="4.0.0")
    path = bundle.with_name(f"float_{recipe}.tflite")
    before, after = written(bundle), written(path)
    assert report.path == str(path)
    assert report.bytes_after < 0.6 * report.bytes_before == 0.6 * bundle.stat().st_size
    assert (after.name, after.version) == (path.stem, "4.0.0")
    same = ("sample_rate", "window_size_s", "hop_size_s", "input", "licence", "labels", "head", "outputs")
    assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]
    assert after.quantisation == report.quantisation
    assert (report.quantisation.recipe, report.quantisation.source) == (recipe, "float 3.2.1")
    assert report.quantisation.source_sha256 == before.files[bundle.name]
    verify(path)
    assert load_model(path, golden="always").labels == CLASSES


@QUANTISER
def test_little_is_lost_and_the_report_is_true(bundle: Path, recordings: Path) -> None:
    """int8 loses a point of accuracy at most, and every figure is what both bundles give on the held-out recordings."""
    report = quantise(bundle, recordings, "int8", min_cosine=0.0)
    models = [load_model(path) for path in (bundle, Path(report.path))]
    right, cosines, agreeing = [0, 0], [], []
    for name in report.held_out:
        y, sr = read_recording(recordings / name)
        outputs = [model.get_outputs(y, sr, 1.0) for model in models]
        wanted = CLASSES.index(name.partition("/")[0][4:])
        for i, one in enumerate(outputs):
            right[i] += int(one["scores"].mean(axis=0).argmax() == wanted)
        a, b = (one["embedding"].astype(float) for one in outputs)
        cosines += list((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))
        agreeing += list(outputs[0]["scores"].argmax(axis=1) == outputs[1]["scores"].argmax(axis=1))
    found, n = report.quantisation, len(report.held_out)
    assert found.n_held_out == found.n_of_classes == n > 5
    assert (found.accuracy_before, found.accuracy_after) == pytest.approx((right[0] / n, right[1] / n), abs=1e-6)
    assert found.cosine == pytest.approx(np.mean(cosines), abs=2e-6)
    assert found.lowest_cosine == pytest.approx(np.min(cosines), abs=2e-6)
    assert found.agreement == pytest.approx(np.mean(agreeing), abs=2e-6)
    assert right[0] / n > 0.9  # or nothing would be proved
    assert report.accuracy_lost is not None
    assert report.accuracy_lost <= 1
    assert report.ms_before > 0 < report.ms_after


@QUANTISER
@pytest.mark.parametrize("kind", ["samples", "any number of windows", "pickled", "scores alone"])
def test_every_kind_of_bundle_is_quantised(tmp_path: Path, recordings: Path, kind: str) -> None:
    """Networks that read samples, that take any number of windows, with a pickle, and with scores alone are too."""
    path = tmp_path / "models" / "a.tflite"
    path.parent.mkdir()
    named: dict[str, Any] = {"input_kind": "log_mel"}
    if kind == "samples":
        path.write_bytes(networks.dense((1, 8000), 40))
        named = {"input_kind": "pcm", "target_sr": 8000}
    elif kind == "any number of windows":
        path.write_bytes(layers.multiplying((-1, 800), 40))
        named = {"input_kind": "pcm", "target_sr": 8000}
    elif kind == "pickled":
        path.write_bytes(networks.dense((1, 64, 51, 1), 40))
        exporter.export(path.with_suffix(".pkl"))
        named = {}
    else:
        path.write_bytes(layers.scoring((1, 64, 51, 1), 3))
        named |= {"outputs": {"scores": 0}, "labels": CLASSES}
    make_bundle(path, **named)
    report = quantise(path, recordings, "int8", max_loss=100, min_agreement=0)
    verify(report.path)
    assert load_model(report.path).embed_file(next(recordings.rglob("*.wav"))).timestamps.size
    assert (report.accuracy_lost is not None) == (kind == "scores alone")
    assert "quantised" in card(report.path)[0]


@QUANTISER
def test_the_same_bytes_come_again(bundle: Path, recordings: Path) -> None:
    """The same choice of the same recordings gives the same network; another seed measures others."""
    networks_ = [
        measure_quantised(bundle, recordings, "int8", choice=Choice(seed=seed)).model.bundle.network
        for seed in (0, 0, 5)
    ]
    assert networks_[0] == networks_[1] != networks_[2]


@QUANTISER
def test_loud_and_rare_sound_is_not_clipped(bundle: Path, recordings: Path, tmp_path: Path) -> None:
    """Ranges are the widest that were heard, not an average: the loudest window is within the input's range."""
    report = quantise(bundle, recordings, "int8")
    (tensor,) = Interpreter(Path(report.path).read_bytes()).inputs
    material = find_material(recordings, Choice())
    model = load_model(bundle)
    loudest = max(float(model.get_features(*read_recording(path), 1.0).max()) for path in material.calibrating)
    assert (127 - tensor.zero_point) * tensor.scale > loudest - 2 * tensor.scale


@QUANTISER
def test_a_signature_that_is_there_is_used(bundle: Path, recordings: Path) -> None:
    """A network with a signature keeps its own, and one without gets one."""
    first = quantise(bundle, recordings, "dynamic")  # has got one by this
    bare, signed = (layers.signatures_of(path.read_bytes()) for path in (bundle, Path(first.path)))
    assert (bare, signed) == ([], ["serving_default"])
    bundle.write_bytes(layers.signed(bundle.read_bytes(), "listen", "sound"))
    make_bundle(bundle, input_kind="log_mel", head="head.tflite", labels=CLASSES)
    again = quantise(bundle, recordings, "int8")
    assert layers.signatures_of(Path(again.path).read_bytes()) == ["listen"]


def test_each_figure_is_of_its_own_outputs() -> None:
    """Of four recordings, of which two are right before and one is after, each figure is what it is called."""
    compared = Comparison()
    for name, before, after in (("a", 0, 0), ("b", 0, 1), ("c", 1, 1), ("d", 2, 1)):
        one, other = (np.eye(3, dtype=np.float32)[[top, top]] for top in (before, after))
        compared.add(name, {"embedding": one, "scores": one}, {"embedding": other, "scores": other}, wanted=0)
    figures = compared.figures()
    assert (figures["accuracy_before"], figures["accuracy_after"]) == (0.5, 0.25)
    assert (figures["cosine"], figures["lowest_cosine"], figures["agreement"]) == (0.5, 0.0, 0.5)
    assert (figures["n_held_out"], figures["n_of_classes"], compared.n_windows) == (4, 4, 8)


# --- what is refused --------------------------------------------------------------------------------------------------


@QUANTISER
def test_too_great_a_loss_is_refused(bundle: Path, recordings: Path) -> None:
    """A bundle that loses more than is allowed is not written; the command shows the report all the same, and why."""
    before = sorted(bundle.parent.iterdir())
    command = ("bundle", "quantise", bundle, "--recordings", recordings, "--recipe", "int8")
    found = sonyc_ml(*command, "--min-cosine", "1", "--json")
    assert found.returncode == 2
    assert json.loads(found.stdout)["written"] is False
    assert "the mean cosine is" in found.stderr
    assert "--min-cosine" in found.stderr
    assert sorted(bundle.parent.iterdir()) == before
    with pytest.raises(BundleError, match=r"points of accuracy are lost, allowed are -101 \(--max-loss\)"):
        quantise(bundle, recordings, "int8", max_loss=-101)
    assert sorted(bundle.parent.iterdir()) == before
    allowed = sonyc_ml(*command, "--min-cosine", "0.5")
    assert (allowed.returncode, allowed.stderr) == (0, "")
    assert "float_int8.tflite: a bundle of its own" in allowed.stdout


@QUANTISER
def test_agreement_counts_where_no_class_is_known(bundle: Path, recordings: Path, tmp_path: Path) -> None:
    """Where no folder is named as a class, the share of windows with the same top class must be high enough."""
    for i, path in enumerate(sorted(recordings.rglob("*.wav"))):
        (tmp_path / "all").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "all" / f"{i}.wav")
    made = measure_quantised(bundle, tmp_path / "all", "int8")
    assert made.report.accuracy_lost is None
    assert "the top class is the same in" in made.report.refusal(min_agreement=1.01)
    assert made.report.refusal(min_agreement=0.5) == ""


@QUANTISER
def test_what_is_quantised_already_is_refused(bundle: Path, recordings: Path) -> None:
    """A network of fewer bits than float32 is not quantised a second time."""
    report = quantise(bundle, recordings, "int8", min_cosine=0)
    with pytest.raises(BundleError, match="give the float32 network"):
        quantise(report.path, recordings, "dynamic")


@QUANTISER
def test_what_has_nothing_to_quantise_is_refused(tmp_path: Path, recordings: Path) -> None:
    """A network without a layer that a recipe applies to is refused, instead of being written as it is."""
    path = tmp_path / "plain.tflite"
    path.write_bytes(networks.reshaping(Spec((1, 8000)), Spec((1, 8000))))
    make_bundle(path, input_kind="pcm", target_sr=8000)
    with pytest.raises(BundleError, match="changes nothing of this network"):
        quantise(path, recordings, "dynamic")


@QUANTISER
def test_what_does_not_run_is_refused(tmp_path: Path, recordings: Path) -> None:
    """A network that cannot run once its numbers are rounded is refused, with the runtime's reason; nothing is left."""
    path = tmp_path / "models" / "a.tflite"
    path.parent.mkdir()
    path.write_bytes(layers.dividing(800))
    make_bundle(path, input_kind="pcm", target_sr=8000)
    before = sorted(path.parent.iterdir())
    with pytest.raises(
        BundleError, match=r"what the recipe int8 makes of a 1\.0\.0 does not run, try another recipe: "
    ):
        quantise(path, recordings, "int8")
    assert sorted(path.parent.iterdir()) == before


def test_a_network_with_state_is_refused(tmp_path: Path, recordings: Path) -> None:
    """A network that keeps something from window to window is refused, and says why."""
    path = tmp_path / "state.tflite"
    path.write_bytes(networks.remembering(800))
    make_bundle(path, input_kind="pcm", target_sr=8000)
    with pytest.raises(BundleError, match="cannot be quantised here"):
        quantise(path, recordings, "int8")


def test_a_network_without_manifest_is_refused(tmp_path: Path, recordings: Path) -> None:
    """A network alone is refused with the command that makes a bundle of it."""
    path = tmp_path / "a network.tflite"
    path.write_bytes(layers.convolutional())
    with pytest.raises(BundleError, match=r"`sonyc-ml bundle make '.*a network\.tflite'`"):
        quantise(path, recordings, "int8")


@needs("ai_edge_litert")  # makes the head
def test_nothing_is_overwritten(bundle: Path, recordings: Path) -> None:
    """A file of the new bundle's name stays as it is."""
    other = bundle.with_name("float_int8.tflite")
    other.write_bytes(b"something of mine")
    with pytest.raises(BundleError, match="is there already"):
        quantise(bundle, recordings, "int8")
    assert other.read_bytes() == b"something of mine"


@needs("ai_edge_litert")  # makes the head
@pytest.mark.skipif(find_spec("ai_edge_quantizer") is not None, reason="ai_edge_quantizer is installed here")
def test_what_is_not_installed_is_named(bundle: Path, recordings: Path) -> None:
    """Without the extra, one sentence says what to install."""
    found = sonyc_ml("bundle", "quantise", bundle, "--recordings", recordings, "--recipe", "int8")
    assert found.returncode == 2
    assert "install the extra quantise: " in found.stderr
    assert "Traceback" not in found.stderr


# --- the recordings ---------------------------------------------------------------------------------------------------


def test_no_recording_is_in_both_parts(recordings: Path) -> None:
    """What calibrates does not judge, every class is in both parts, and none is left out that is not said."""
    material = find_material(recordings, Choice())
    parts = [set(part) for part in (material.calibrating, material.held_out)]
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == set(recordings.rglob("*.wav"))
    for part in parts:
        assert {path.parent for path in part} == set(recordings.iterdir())


def test_a_recording_stays_in_its_part(recordings: Path, tmp_path: Path) -> None:
    """When recordings are added, none of those before changes from one part to the other."""
    shutil.copytree(recordings, tmp_path / "more")
    before = find_material(tmp_path / "more", Choice())
    for path in list((tmp_path / "more").rglob("*.wav")):
        shutil.copy(path, path.with_name(f"new {path.name}"))
    after = find_material(tmp_path / "more", Choice(n_calibrating=1000, n_held_out=1000))
    assert set(before.calibrating) <= set(after.calibrating)
    assert set(before.held_out) <= set(after.held_out)


def test_few_are_of_every_class(recordings: Path) -> None:
    """A few of many are taken from each folder in turn."""
    material = find_material(recordings, Choice(n_calibrating=3, n_held_out=3))
    assert len({path.parent for path in material.calibrating}) == 3
    assert len({path.parent for path in material.held_out}) == 3


@pytest.mark.parametrize(("n", "message"), [(0, "there are no recordings in"), (1, "there is 1 recording in")])
def test_too_few_recordings_are_refused(tmp_path: Path, n: int, message: str) -> None:
    """Fewer recordings than two cannot be split."""
    for i in range(n):
        soundfile.write(tmp_path / f"{i}.wav", np.zeros(8000), 8000)
    (tmp_path / "text.txt").write_text("no sound")
    with pytest.raises(ConfigError, match=message):
        find_material(tmp_path, Choice())


@pytest.mark.parametrize("seed", range(6))
def test_two_are_enough(tmp_path: Path, seed: int) -> None:
    """Two recordings are split in any case, one for each part."""
    for i in range(2):
        soundfile.write(tmp_path / f"{i}.wav", np.zeros(8000), 8000)
    material = find_material(tmp_path, Choice(seed=seed))
    assert (len(material.calibrating), len(material.held_out)) == (1, 1)


@QUANTISER
def test_what_is_left_out_is_said(bundle: Path, recordings: Path, tmp_path: Path) -> None:
    """Unreadable recordings, copies, long ones and other kinds are named in the report, and do not end the work."""
    folder = tmp_path / "odd"
    shutil.copytree(recordings, folder)
    material = find_material(folder, Choice(n_calibrating=1000, n_held_out=1000))
    shutil.copy(material.calibrating[0], material.held_out[0])
    material.held_out[1].write_bytes(b"no sound at all")
    soundfile.write(material.held_out[2], np.random.default_rng(0).normal(0, 0.1, 8000 * 61), 8000)
    (folder / "song.mp3").write_bytes(b"")
    report = quantise(bundle, folder, "dynamic", max_loss=100)
    assert len(report.lost_recordings) == 1
    assert str(material.held_out[1]) in report.lost_recordings[0]
    notes = "; ".join(report.notes)
    for text in ("1 held out", "of 1 long ones", "1 .mp3"):
        assert text in notes
    assert report.quantisation.n_held_out == len(material.held_out) - 2


def test_a_choice_of_nothing_is_refused() -> None:
    """No windows and no recordings are a mistake, by name."""
    for name in ("n_windows", "n_calibrating", "n_held_out"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1"):
            replace(Choice(), **{name: 0})
