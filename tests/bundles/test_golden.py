"""Golden vectors: what a bundle's maker computed is what this machine computes, or the bundle is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml.authoring import make as maker
from sonyc_ml.bundles.bundle import read_bundle
from sonyc_ml.bundles.golden import GOLDEN_CHOICES, N_SAMPLES, SAMPLE_RATE, golden_signal
from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.model.loading import check_golden, load_model
from tests.conftest import needs, require_shared
from tests.support import networks

pytestmark = pytest.mark.numeric

Arrays = dict[str, npt.NDArray[Any]]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's machine remembers what it has checked."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "sonyc-ml" / "bundles.json"


@pytest.fixture
def bundle(state: Path, tmp_path: Path) -> Path:
    """A bundle with an embedding and, from a head, scores."""
    path = tmp_path / "a.tflite"
    path.write_bytes(networks.dense((1, 64, 51, 1)))
    path.with_name("head.tflite").write_bytes(networks.dense((1, 5), 2))
    maker.make_bundle(path, head="head.tflite", labels=("dog", "siren"), activation="none")
    return path


def change_golden(bundle: Path, change: Callable[[Arrays], object]) -> None:
    """Change what the maker is said to have computed, and vouch for it."""
    path = bundle.with_suffix(".golden.npz")
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    change(arrays)
    np.savez(path, **arrays)
    maker.trust(bundle)


def add(name: str, difference: float) -> Callable[[Arrays], object]:
    """Change the first of a golden vector's values."""

    def change(arrays: Arrays) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name].flat[0] += difference

    return change


def refusal(bundle: Path, golden: str = "once") -> str:
    with pytest.raises(BundleMismatchError) as caught:
        load_model(bundle, golden=golden)
    assert str(caught.value).isprintable()
    return str(caught.value)


def remembered(state: Path) -> list[str]:
    """What the state file says was checked."""
    return list(json.loads(state.read_bytes())["golden"])


# --- right and wrong --------------------------------------------------------------------------------------------------


def test_a_bundle_computes_its_golden_vector(bundle: Path) -> None:
    """Right after it is made, a bundle computes on the same machine what it computed."""
    differences = check_golden(load_model(bundle, golden="never"))
    assert differences["features_db"] == 0
    assert differences["cosine"] == pytest.approx(1, abs=1e-6)
    assert differences["scores"] == 0


def test_a_golden_vector_holds_all_there_is(bundle: Path) -> None:
    """The signal, its features, embedding and scores are in the file."""
    with np.load(bundle.with_suffix(".golden.npz"), allow_pickle=False) as arrays:
        shapes = {name: arrays[name].shape for name in arrays.files}
        np.testing.assert_array_equal(arrays["y"], golden_signal())
        assert arrays["sample_rate"] == SAMPLE_RATE
    n = shapes["features"][0]
    assert n > 1
    assert shapes == {
        "y": (N_SAMPLES,),
        "sample_rate": (),
        "features": (n, 64, 51),
        "embedding": (n, 5),
        "scores": (n, 2),
    }


def test_the_golden_signal_is_the_same_everywhere() -> None:
    """The signal is whole 16-bit samples, of noise, chirp and silence, within [-1, 1]."""
    y = golden_signal()
    assert y.dtype == np.float32
    assert y.shape == (N_SAMPLES,)
    np.testing.assert_array_equal(y * 32768, np.round(y * 32768))
    assert 0.3 < np.abs(y).max() < 1
    assert not y[-1000:].any()


@pytest.mark.parametrize(
    ("name", "difference", "message"),
    [
        ("features", 0.5, "features differ by up to 0.5, allowed are 0.005"),
        ("features", -0.5, "features differ by up to 0.5, allowed are 0.005"),
        ("features", np.nan, "features differ by up to nan, allowed are 0.005"),
        ("embedding", 1e3, r"an embedding's cosine is as low as -?0.\d{6}, allowed is 0.9997"),
        ("embedding", np.nan, "an embedding's cosine is as low as nan, allowed is 0.9997"),
        ("scores", 0.25, "scores differ by up to 0.25, allowed are 0.05"),
        ("scores", -0.25, "scores differ by up to 0.25, allowed are 0.05"),
        ("scores", np.nan, "scores differ by up to nan, allowed are 0.05"),
    ],
)
def test_a_difference_is_refused_by_its_size(bundle: Path, name: str, difference: float, message: str) -> None:
    """What is further off than allowed is refused with the largest difference, and with what to do."""
    change_golden(bundle, add(name, difference))
    with pytest.raises(BundleMismatchError, match=message) as caught:
        load_model(bundle)
    assert "this machine does not compute what the bundle's golden vector says" in str(caught.value)
    assert "make the bundle again here" in str(caught.value)


@pytest.mark.parametrize(("name", "difference"), [("features", 0.0005), ("embedding", 1e-6), ("scores", 0.04)])
def test_a_tolerated_difference_is_fine(bundle: Path, name: str, difference: float) -> None:
    """What is less off than allowed loads; another board rounds otherwise."""
    change_golden(bundle, add(name, difference))
    load_model(bundle)


def test_tolerances_are_the_manifests(bundle: Path) -> None:
    """The manifest says how far a bundle may be off."""
    change_golden(bundle, add("features", 0.5))
    manifest = bundle.with_suffix(".json")
    content = json.loads(manifest.read_bytes())
    content["golden"]["features_db"] = 0.6
    manifest.write_text(json.dumps(content))
    load_model(bundle)


def test_another_network_is_noticed(bundle: Path) -> None:
    """A network that was swapped and vouched for does not compute what the first one did."""
    bundle.write_bytes(networks.dense((1, 64, 51, 1), 6))
    bundle.with_name("head.tflite").write_bytes(networks.dense((1, 6), 2))
    maker.trust(bundle)
    assert "the golden vector has embedding of shape" in refusal(bundle)


# --- once, always, never ----------------------------------------------------------------------------------------------


def test_once_is_remembered(bundle: Path, state: Path) -> None:
    """What was right is remembered by bundle, runtime, numpy and Python."""
    load_model(bundle)
    (key,) = remembered(state)
    assert key.startswith(f"{read_bundle(bundle).sha256} ")
    kernels = "XNNPACK" if find_spec("ai_edge_litert") else "reference kernels"
    for word in (kernels, f"numpy {np.__version__}", "Python 3."):
        assert word in key
    content = state.read_bytes()
    load_model(bundle)
    assert state.read_bytes() == content


def test_once_does_not_check_again(bundle: Path, state: Path) -> None:
    """A golden vector that would fail is not computed where it is remembered as right, unless it always is."""
    load_model(bundle)
    (key,) = remembered(state)
    change_golden(bundle, add("features", 0.5))
    assert "features differ" in refusal(bundle)
    digest = read_bundle(bundle).sha256
    state.write_text(json.dumps({"golden": {f"{digest} {key.partition(' ')[2]}": "passed"}}))
    load_model(bundle)
    assert "features differ" in refusal(bundle, "always")


def test_what_failed_is_not_remembered(bundle: Path, state: Path) -> None:
    """A bundle that is refused is refused at the next start, too."""
    change_golden(bundle, add("features", 0.5))
    for _ in range(2):
        assert "features differ" in refusal(bundle)
    assert not state.exists()


@needs("ai_edge_litert")
def test_other_kernels_are_checked_for_themselves(bundle: Path, state: Path) -> None:
    """Another way to compute is another thing to prove."""
    load_model(bundle)
    load_model(bundle, reference_kernels=True)
    assert len(remembered(state)) == 2


def test_another_bundle_is_checked_for_itself(bundle: Path, state: Path) -> None:
    """A bundle that was made again has to prove itself again."""
    load_model(bundle)
    maker.make_bundle(bundle, version="1.0.1")
    load_model(bundle)
    assert len(remembered(state)) == 2


@pytest.mark.parametrize(
    "keywords", [{"golden": "never"}, {"input_kind": "log_mel"}, {"n_fft": 1024}, {"target_sr": 8000}], ids=str
)
def test_what_is_not_as_made_is_not_checked(bundle: Path, state: Path, keywords: dict[str, Any]) -> None:
    """`never` checks nothing; nor is a golden vector one of parameters that the maker did not choose."""
    change_golden(bundle, add("features", 0.5))
    load_model(bundle, **keywords)
    assert not state.exists()


@pytest.mark.parametrize("keywords", [{"num_threads": 2}, {"hop_size": 0.5}, {"channel": 0}], ids=str)
def test_how_it_runs_does_not_matter(bundle: Path, keywords: dict[str, Any]) -> None:
    """Threads, hop and channel are no way round the golden vector, and the vector is right with any of them."""
    load_model(bundle, golden="always", **keywords)
    change_golden(bundle, add("features", 0.5))
    with pytest.raises(BundleMismatchError, match="features differ"):
        load_model(bundle, **keywords)


def test_another_choice_is_refused() -> None:
    """A choice that is none is a mistake in the call, whatever the path."""
    assert GOLDEN_CHOICES == ("once", "always", "never")
    with pytest.raises(ValueError, match="golden 'sometimes' is not known; use one of once, always, never"):
        load_model("nothing.tflite", golden="sometimes")


# --- where it cannot be remembered ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"5",
        b'{"golden": 5}',
        b'{"golden": ["a"]}',
        b'{"versions": {"a": 5}}',
        b"[" * 100_000,
    ],
    ids=lambda content: str(content[:12]),
)
def test_a_damaged_state_costs_a_check(bundle: Path, state: Path, content: bytes) -> None:
    """Whatever is in the state file, the vector is checked, and then remembered."""
    state.parent.mkdir(parents=True)
    state.write_bytes(content)
    load_model(bundle)
    assert len(remembered(state)) == 1


def test_a_state_file_that_is_none_costs_a_check(bundle: Path, state: Path) -> None:
    """A folder where the state file should be is no reason not to start."""
    state.mkdir(parents=True)
    for _ in range(2):
        load_model(bundle)
    assert state.is_dir()
    change_golden(bundle, add("features", 0.5))
    assert "features differ" in refusal(bundle)  # it is checked each time


def test_a_state_folder_that_is_none_costs_a_check(bundle: Path, state: Path) -> None:
    """A state that cannot be written, as on a read-only disk, costs a check at each start and nothing else."""
    state.parent.parent.write_text("no folder")  # root may write to a folder of mode 0500; nobody into a file
    for _ in range(2):
        load_model(bundle)
    change_golden(bundle, add("features", 0.5))
    assert "features differ" in refusal(bundle)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("how", ["read-only", "no home"])
def test_a_user_without_a_state_can_load(bundle: Path, state: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A service user who may write nowhere, or is in no passwd and has no home, loads what is root's."""
    state.parent.mkdir(parents=True)
    if how == "no home":
        monkeypatch.delenv("XDG_STATE_HOME")
        monkeypatch.delenv("HOME", raising=False)
    for folder in (*bundle.parents[:-2], state.parent, state.parent.parent):
        folder.chmod(0o755)
    os.setresuid(54321, 54321, 0)
    try:
        load_model(bundle)
    finally:
        os.setresuid(0, 0, 0)
        for folder in bundle.parents[:-2]:
            folder.chmod(0o700)
    assert not state.exists()


def test_the_service_managers_folder_is_used(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What systemd says is where state goes; the first of several."""
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path / 'service'}:{tmp_path / 'other'}")
    load_model(bundle)
    assert len(remembered(tmp_path / "service" / "bundles.json")) == 1


def test_the_state_does_not_grow(bundle: Path, state: Path) -> None:
    """Of a hundred bundles and more, the latest hundred are remembered."""
    state.parent.mkdir(parents=True)
    state.write_text(json.dumps({"golden": {f"key {i}": "passed" for i in range(150)}}))
    load_model(bundle)
    assert remembered(state)[:-1] == [f"key {i}" for i in range(51, 150)]


# --- what is no golden vector -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.golden.npz is not an .npz of arrays"),
        (b"rubbish", "a.golden.npz is not an .npz of arrays"),
        (b"PK\3\4 but no more", "a.golden.npz is not an .npz of arrays"),
        (networks.dense((1, 5), 2), "a.golden.npz is not an .npz of arrays"),
    ],
    ids=["empty", "rubbish", "truncated", "network"],
)
def test_what_is_no_npz_is_refused(bundle: Path, content: bytes, message: str) -> None:
    """A file that is no .npz is refused by its name."""
    bundle.with_suffix(".golden.npz").write_bytes(content)
    maker.trust(bundle)
    assert message in refusal(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.update(y=np.zeros(61 * SAMPLE_RATE, np.float32)), "are more than a minute of sound"),
        (lambda arrays: arrays.update(sample_rate=np.array(10**12)), "are more than a minute of sound"),
        (lambda arrays: arrays.update(y=np.zeros((1 << 28) + 1, np.int8)), "it would unpack to 268,"),
    ],
)
def test_a_golden_vector_is_short(bundle: Path, change: Callable[[Arrays], object], message: str) -> None:
    """A few bytes that would unpack to more than memory holds, or to hours of sound, are not computed."""
    change_golden(bundle, change)
    assert message in refusal(bundle)


def test_a_lone_array_is_refused(bundle: Path) -> None:
    """One array is not a golden vector, though numpy reads it."""
    with bundle.with_suffix(".golden.npz").open("wb") as file:
        np.save(file, golden_signal())
    maker.trust(bundle)
    assert "a.golden.npz is not an .npz of arrays" in refusal(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("y"), "it has no y"),
        (lambda arrays: arrays.clear(), "it has no features, sample_rate, y"),
        (lambda arrays: arrays.pop("embedding"), "the golden vector has no embedding: make the bundle again"),
        (lambda arrays: arrays.pop("scores"), "the golden vector has no scores: make the bundle again"),
        (lambda arrays: arrays.update(y=np.zeros((2, 9))), "a.golden.npz cannot be computed here"),
        (lambda arrays: arrays.update(y=np.zeros(0, np.float32)), "a.golden.npz cannot be computed here"),
        (lambda arrays: arrays.update(y=np.full(9000, np.nan)), "a.golden.npz cannot be computed here"),
        (lambda arrays: arrays.update(y=np.array(["a"])), "its y is <U1 of shape (1,)"),
        (lambda arrays: arrays.update(y=np.array([{}])), "a.golden.npz is not an .npz of arrays"),
        (lambda arrays: arrays.update(sample_rate=np.array(0)), "a.golden.npz"),
        (lambda arrays: arrays.update(sample_rate=np.array(-5)), "a.golden.npz cannot be computed here"),
        (lambda arrays: arrays.update(sample_rate=np.array(np.inf)), "a.golden.npz cannot be computed here"),
        (
            lambda arrays: arrays.update(sample_rate=np.arange(2, dtype=np.int64)),
            "its sample_rate is int64 of shape (2,)",
        ),
        (lambda arrays: arrays.update(features=arrays["features"][1:]), "has features of shape"),
        (lambda arrays: arrays.update(scores=arrays["scores"][:, 1:]), "has scores of shape"),
        (lambda arrays: arrays.update(y=arrays["y"][:10_000]), "the golden vector has features of shape"),
    ],
)
def test_a_damaged_golden_vector_is_refused(bundle: Path, change: Callable[[Arrays], object], message: str) -> None:
    """Whatever is wrong with a golden vector, it is said, and nothing else is raised."""
    change_golden(bundle, change)
    assert message in refusal(bundle)


def test_a_golden_vector_is_not_unpickled(bundle: Path) -> None:
    """Objects in a golden vector are refused: it holds numbers, and no code."""
    change_golden(bundle, lambda arrays: arrays.update(extra=np.array([{"a": 1}], object)))
    assert "a.golden.npz is not an .npz of arrays" in refusal(bundle)


def test_silence_is_like_silence(bundle: Path, tmp_path: Path) -> None:
    """An embedding of zeros is what it should be where it should be zeros."""
    path = Path(shutil.copy(bundle, tmp_path / "silent.tflite"))
    path.write_bytes(networks.reshaping(networks.Spec((1, 8000)), networks.Spec((1, 8000))))
    maker.make_bundle(path, input_kind="pcm", target_sr=8000)
    change_golden(
        path, lambda arrays: arrays.update({name: arrays[name] * 0 for name in ("y", "features", "embedding")})
    )
    assert check_golden(load_model(path))["cosine"] == 1


# --- two kinds of kernels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("makers_kernels", [False, True])
def test_a_network_of_dynamic_range_is_right_on_both_kinds_of_kernels(tmp_path: Path, makers_kernels: bool) -> None:
    """YAMNet rounds otherwise on each kind of kernels: its golden vector holds both, and either is right."""
    path = Path(shutil.copy(require_shared("models/yamnet.tflite"), tmp_path))
    made = maker.make_bundle(path, input_kind="pcm", target_sr=16000, hop_size=0.48, outputs={"scores": 0})
    assert made.golden is not None
    with np.load(path.with_suffix(".golden.npz")) as stored:
        arrays = dict(stored)
    difference = np.abs(arrays["scores"] - arrays["scores_reference"]).max()
    assert difference > 0.05
    assert made.golden.scores == pytest.approx(min(0.5, max(0.05, difference / 2)))
    assert check_golden(load_model(path, reference_kernels=makers_kernels))["scores"] <= made.golden.scores
    for name in ("scores", "scores_reference"):
        change_golden(path, add(name, 5.0))
    assert "scores differ by up to" in refusal(path)


def test_explicit_tolerances_win(tmp_path: Path) -> None:
    """A tolerance that was given is not widened."""
    path = Path(shutil.copy(require_shared("models/yamnet.tflite"), tmp_path))
    keywords: dict[str, Any] = {"input_kind": "pcm", "target_sr": 16000, "hop_size": 0.48, "outputs": {"scores": 0}}
    made = maker.make_bundle(path, tolerances={"scores": 0.01}, **keywords)
    assert made.golden is not None
    assert made.golden.scores == 0.01


def test_a_usual_network_has_one_golden_output(bundle: Path) -> None:
    """Where both kinds of kernels agree within the usual tolerance, it stays, and one of them is enough."""
    with np.load(bundle.with_suffix(".golden.npz")) as arrays:
        assert not [name for name in arrays.files if name.endswith("_reference")]
