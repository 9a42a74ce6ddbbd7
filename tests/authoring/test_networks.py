"""Bundles of networks with several inputs, a state, logits: made, loaded, and the same in whatever blocks."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.cli import main
from sonyc_ml.errors import BundleError, RawScoresWarning
from sonyc_ml.model import PCMModel
from sonyc_ml.model.interpreter import Interpreter
from sonyc_ml.model.loading import load_model
from tests.conftest import require_shared
from tests.support import networks

Floats = npt.NDArray[np.float32]

N_VALUES, SR = 400, 8000


def sound(n_samples: int, seed: int = 5) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.1, n_samples).astype(np.float32)


def bundle(folder: Path, network: bytes, **parameters: Any) -> Path:
    path = folder / "net.tflite"
    path.write_bytes(network)
    make_bundle(path, input_kind="pcm", target_sr=SR, **parameters)
    return path


# --- constants --------------------------------------------------------------------------------------------------------


def test_constants_of_a_manifest_are_heard_and_can_be_changed(tmp_path: Path) -> None:
    """Where a node stands is in the manifest, or in what it is loaded with, which is recorded; both decide scores."""
    constants = {"place": [0.1, 0.2, 0.3], "week": 0}
    path = bundle(tmp_path, networks.placed(N_VALUES), outputs={"scores": 0}, constants=constants, activation="none")
    model, moved = load_model(path), load_model(path, constants={"place": [1.1, 0.2, 0.3]})
    difference = moved.get_outputs(sound(4000), SR)["scores"] - model.get_outputs(sound(4000), SR)["scores"]
    np.testing.assert_allclose(difference, np.broadcast_to([1, 0, 0], difference.shape), rtol=0, atol=1e-6)
    assert moved.fingerprint() != model.fingerprint()


def test_the_command_makes_such_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--constant`` says what the inputs hold; `info` shows it."""
    path = tmp_path / "net.tflite"
    path.write_bytes(networks.placed(N_VALUES))
    flags = ["--input-kind", "pcm", "--target-sr", "8000", "--outputs", "scores=0", "--activation", "sigmoid"]
    given = ["--constant", "place=48.1,11.6,2", "--constant", "week=12"]
    assert main(["bundle", "make", str(path), *flags, *given, "--sensitivity", "1.25"]) == 0
    manifest = json.loads(path.with_suffix(".json").read_text())
    assert manifest["constants"] == {"place": [48.1, 11.6, 2], "week": 12}
    assert (manifest["activation"], manifest["sensitivity"]) == ("sigmoid", 1.25)
    assert main(["info", str(path)]) == 0
    assert main(["bundle", "info", str(path)]) == 0
    text = capsys.readouterr().out
    assert "place = [48.1, 11.6, 2]" in text
    assert "sigmoid, of the scores" in text


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--constant", "week"], "--constant takes INPUT=NUMBER"),
        (["--constant", "week=soon"], "--constant takes INPUT=NUMBER"),
        (["--state", "a"], "--state takes INPUT=OUTPUT"),
        (["--constant", "place=1", "--constant", "week=1", "--sensitivity", "1.2"], "sensitivity is that of"),
        (["--constant", "place=1"], "3 inputs (0: place [any, 3] float32; 1: samples"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_said_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], sentence: str
) -> None:
    """A flag that cannot be meant, or inputs that nothing is given for, end the command with what to give."""
    path = tmp_path / "net.tflite"
    path.write_bytes(networks.placed(N_VALUES))
    make = ["bundle", "make", str(path), "--input-kind", "pcm", "--target-sr", "8000", "--outputs", "scores=0"]
    assert main([*make, *flags]) == 2
    assert sentence in capsys.readouterr().err
    assert not path.with_suffix(".json").exists()


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("constants", {"week": "now"}, "constants.week must be a number or a list of numbers"),
        ("constants", {"week": []}, "constants.week must be a number or a list of numbers"),
        ("activation", "relu", "activation must be one of sigmoid, softmax, rec"),
        ("sensitivity", 1.0, "sensitivity is that of the activation sigmoid"),
        ("state", [{"in": "a"}], "state.out is missing"),
    ],
)
def test_a_manifest_that_says_nonsense_is_refused(tmp_path: Path, key: str, value: Any, sentence: str) -> None:
    """Every key of the network is checked where the manifest is read."""
    path = bundle(tmp_path, networks.dense((1, N_VALUES)))
    table = json.loads(path.with_suffix(".json").read_text()) | {key: value}
    path.with_suffix(".json").write_text(json.dumps(table))
    with pytest.raises(BundleError) as caught:
        load_model(path)
    assert sentence in str(caught.value)


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def recurrent(tmp_path: Path) -> Path:
    """A bundle of a network that hands on a state."""
    return bundle(tmp_path, networks.recurrent(N_VALUES), state=[("memory_in", "memory_out")])


def test_windows_of_a_network_with_state_follow_each_other(recurrent: Path) -> None:
    """The hop is the window where nothing else is said, and every window hears of those before, in this recording."""
    model = load_model(recurrent)
    assert model.extractor.hop_size_s == model.extractor.window_size_s == N_VALUES / SR
    y = sound(8 * N_VALUES)
    embedding = model.get_embedding(y, SR)
    assert len(embedding) == 8
    without = PCMModel(
        recurrent.rename(recurrent.with_name("alone.tflite")),
        constants={"memory_in": 0},
        outputs={"embedding": 1},
        target_sr=SR,
    )
    heard = without.get_outputs(y, SR, N_VALUES / SR)["embedding"]
    np.testing.assert_allclose(heard[0], embedding[0], rtol=0, atol=1e-6)
    assert np.abs(heard[1:] - embedding[1:]).max() > 1e-3


def test_any_blocks_are_the_whole_bit_for_bit(recurrent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that is embedded in blocks gives the bits of one piece, and a second one starts from nothing."""
    whole = load_model(recurrent).get_embedding(sound(90 * N_VALUES + 77), SR)
    monkeypatch.setattr("sonyc_ml.features.MAX_WINDOWS_AT_ONCE", 7)
    model = load_model(recurrent)
    for _ in range(2):
        np.testing.assert_array_equal(model.get_embedding(sound(90 * N_VALUES + 77), SR), whole)


def test_another_hop_is_refused(recurrent: Path) -> None:
    """Windows that overlap or leave gaps would hear a state that is not theirs."""
    model = load_model(recurrent)
    with pytest.raises(ValueError, match=r"carries its state from window to window: they are 0\.05 s apart"):
        model.get_embedding(sound(4000), SR, 0.01)
    np.testing.assert_array_equal(model.get_embedding(sound(4000), SR, 0.05), model.get_embedding(sound(4000), SR))


# --- activation -------------------------------------------------------------------------------------------------------


def logits(path: Path) -> Floats:
    """What the network itself gives for some sound."""
    raw: Floats = load_model(path, activation="none").get_outputs(sound(4000), SR)["scores"]
    return raw


@pytest.mark.parametrize("sensitivity", [None, 0.5, 1.0, 1.5])
def test_sigmoid_of_the_manifest(tmp_path: Path, sensitivity: float | None) -> None:
    """Scores are the sigmoid of the network's logits, made steeper or flatter as BirdNET's sensitivity does."""
    said = {"activation": "sigmoid", "sensitivity": sensitivity}
    path = bundle(tmp_path, networks.dense((1, N_VALUES)), outputs={"scores": 0}, **said)
    scores = load_model(path).get_outputs(sound(4000), SR)["scores"]
    wanted = 1 / (1 + np.exp(-(2 - (sensitivity or 1.0)) * logits(path).astype(np.float64)))
    np.testing.assert_allclose(scores, wanted, rtol=0, atol=1e-6)


def test_softmax_of_a_head(tmp_path: Path) -> None:
    """The activation is that of the scores wherever they come from, of a head too, and the rows add up to 1."""
    (tmp_path / "head.tflite").write_bytes(networks.dense((1, 5), 4))
    path = bundle(tmp_path, networks.dense((1, N_VALUES)), head="head.tflite", activation="softmax")
    scores = load_model(path).get_outputs(sound(4000), SR)["scores"]
    powers = np.exp(logits(path).astype(np.float64))
    np.testing.assert_allclose(scores, powers / powers.sum(axis=1, keepdims=True), rtol=0, atol=1e-6)


def test_an_activation_is_recorded(tmp_path: Path) -> None:
    """An output says which activation made its scores; another sensitivity is another way of making them."""
    path = bundle(tmp_path, networks.dense((1, N_VALUES)), outputs={"scores": 0}, activation="sigmoid")
    model, keen = load_model(path), load_model(path, sensitivity=1.25)
    assert model.fingerprint() != keen.fingerprint()
    assert load_model(path, activation="none").fingerprint() != model.fingerprint()


def test_logits_are_never_scores_unseen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Making such a bundle warns and says so in the manifest; loading one of before says it once, in the log."""
    with pytest.warns(RawScoresWarning, match=r"outside \[0, 1\].*--activation sigmoid"):
        path = bundle(tmp_path, networks.dense((1, N_VALUES)), outputs={"scores": 0})
    table = json.loads(path.with_suffix(".json").read_text())
    assert table["activation"] == "none"
    with caplog.at_level(logging.WARNING):
        load_model(path).get_outputs(sound(4000), SR)
        assert not caplog.records  # it is said in the manifest that they are meant so
        del table["activation"]
        path.with_suffix(".json").write_text(json.dumps(table))
        model = load_model(path)
        for _ in range(3):
            model.get_outputs(sound(4000), SR)
    assert [record.message.count("outside [0, 1]") for record in caplog.records] == [1]


def test_scores_from_0_to_1_need_no_activation(tmp_path: Path) -> None:
    """A network that gives scores makes the manifest that it made before."""
    graph = networks.Graph()
    source, target = (graph.tensor(networks.Spec((1, N_VALUES))) for _ in range(2))
    graph.operator("LOGISTIC", [source], target)
    path = bundle(tmp_path, graph.pack([source], [target]), outputs={"scores": 0})
    assert not {"activation", "sensitivity", "constants", "state"} & set(
        json.loads(path.with_suffix(".json").read_text())
    )


# --- autoencoders -----------------------------------------------------------------------------------------------------


def test_an_autoencoders_score_is_how_far_its_output_is(tmp_path: Path) -> None:
    """One score for each window: the mean of the squared differences between what it reads and what it gives."""
    path = bundle(tmp_path, networks.scaling(N_VALUES, 0.5), outputs={"scores": 0}, activation="reconstruction_error")
    y = sound(4 * N_VALUES)
    output = load_model(path, golden="always").get_outputs(y, SR)
    wanted = ((0.5 * y.reshape(4, N_VALUES)) ** 2).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(output["scores"], wanted, rtol=1e-5, atol=0)


def test_the_anomaly_detector_of_mlperf(tmp_path: Path) -> None:
    """The published int8 autoencoder, by its manifest alone: its score is that of a plain loop."""
    path = tmp_path / "ad.tflite"
    path.write_bytes(require_shared("networks/mlperf_ad01_int8.tflite").read_bytes())
    said: dict[str, Any] = {"outputs": {"scores": 0}, "activation": "reconstruction_error"}
    spectra: dict[str, Any] = {
        "target_sr": 16000,
        "duration": 0.192,
        "n_fft": 1024,
        "mel_hop_len": 512,
        "n_mels": 128,
        "power": 2,
    }
    make_bundle(path, input_kind="log_mel", center=False, flat=True, **spectra, **said)
    model = load_model(path)
    y = sound(16000)
    features = model.get_features(y, 16000).reshape(-1, 640)
    interpreter = Interpreter(path.read_bytes())
    interpreter.fit((640,))
    wanted = ((interpreter(features)[0].astype(np.float64) - features) ** 2).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(model.get_outputs(y, 16000)["scores"], wanted, rtol=1e-5, atol=0)


def test_only_an_autoencoder_has_such_a_score(tmp_path: Path) -> None:
    """A network whose output is of another size than its input is refused, and so is one without such an output."""
    for outputs in ({"scores": 0}, {"embedding": 0}):
        with pytest.raises(BundleError, match="as many numbers as its input, 400; it has"):
            bundle(tmp_path, networks.dense((1, N_VALUES)), outputs=outputs, activation="reconstruction_error")
