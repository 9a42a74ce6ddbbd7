"""Models: the oracle's embeddings, blocks that equal the whole, and what is refused with which sentence."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml.authoring import export as exporter
from sonyc_ml.bundles.bundle import Bundle
from sonyc_ml.errors import (
    AssumedSampleRateWarning,
    BundleError,
    BundleMismatchError,
    EmptyRecordingError,
    RecordingError,
    UnfinishedRecordingError,
)
from sonyc_ml.features import LogMel
from sonyc_ml.model import AudioModel, Model, PCMModel, SpecModel
from sonyc_ml.model.function_extractor import FunctionExtractor
from sonyc_ml.model.interpreter import Interpreter
from sonyc_ml.model.loading import load_model
from sonyc_ml.outputs.files import read_provenance, write_output
from sonyc_ml.sound.files import open_recording, read_recording
from sonyc_ml.sound.start_time import StartTimes
from tests.conftest import ROOT, examples, require_shared, vouch
from tests.support import networks, wavs
from tests.support.networks import Spec
from tests.support.oracle import RECORDINGS, SAMPLES, STREET, at_an_edge, long_if_street, oracle

pytestmark = pytest.mark.numeric

Floats = npt.NDArray[np.float32]

TFLITE_RUNTIME = ROOT / ".venv-tflite-runtime" / "bin" / "python"
# SONYC's network averages three cells of an int8 map with this step: values one step apart differ by a third of it.
STEP = 0.1530602 / 3
EQUAL = 0.01 * STEP  # float rounding behind the quantised part


def noise(n_samples: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.05, n_samples).astype(np.float32)


def lowest_cosine(ours: Floats, theirs: Floats) -> float:
    assert ours.shape == theirs.shape
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(axis=1) / norms).min())


def assert_almost_the_oracles(embeddings: dict[str, Floats]) -> None:
    """But where a feature's last bit decides, embeddings are the oracle's; there, a value is a step away at most.

    One level of sound at an edge is in up to ten windows that overlap: seen were 0.4 % of all values.
    """
    differences = []
    for name, embedding in embeddings.items():
        expected = oracle(name)
        assert embedding.shape == expected["embedding"].shape
        difference = np.abs(embedding - expected["embedding"])
        assert difference[~at_an_edge(expected["features"])].max(initial=0) < EQUAL
        assert difference.max() <= STEP + EQUAL
        differences.append(difference.ravel())
    assert (np.concatenate(differences) < EQUAL).mean() >= 0.995


def write_wav(path: Path, y: Floats, sr: int) -> Path:
    soundfile.write(path, y, sr, subtype="FLOAT")
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that reads SONYC's features, without an extractor beside it."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.tflite"
    path.write_bytes(networks.dense((1, 64, 51, 1)))
    return path


@pytest.fixture
def tiny_with_pickle(tiny: Path, tmp_path: Path) -> Path:
    """The same with our extractor exported beside it."""
    path = Path(shutil.copy(tiny, tmp_path))
    exporter.export(path.with_suffix(".pkl"))
    return vouch(path)


@pytest.fixture(scope="session")
def waveform(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that reads a quarter of a second of sound at 8 kHz and returns its samples."""
    path = tmp_path_factory.mktemp("waveform") / "waveform.tflite"
    path.write_bytes(networks.reshaping(Spec((1, 2000)), Spec((1, 2000))))
    return path


# --- the numbers are right --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", long_if_street(SAMPLES))
def test_the_oracles_features_give_its_embedding(name: str, sonyc_bundle: Path) -> None:
    """From the oracle's features the reference kernels give its embedding, but where LiteRT's division decides."""
    expected = oracle(name)
    (embedding,) = AudioModel(sonyc_bundle, reference_kernels=True).interpreter(expected["features"])
    assert_almost_the_oracles({name: embedding.reshape(expected["embedding"].shape)})


# Together: where a feature lies at the edge of a quantisation step its last bit, the processor's own, decides.
@pytest.mark.parametrize(
    "names",
    [
        pytest.param(SAMPLES, marks=pytest.mark.long, id="all"),
        pytest.param([name for name in SAMPLES if name not in STREET], id="short"),
    ],
)
def test_reference_kernels_give_the_oracles_embedding(names: Sequence[str], sonyc_bundle: Path) -> None:
    """From the oracle's samples, 99.5 % of all values are the oracle's, the others where a bit decides."""
    model = AudioModel(sonyc_bundle, reference_kernels=True)
    assert_almost_the_oracles({name: model.get_embedding(oracle(name)["y"], 8000) for name in names})


@pytest.mark.parametrize("name", long_if_street(SAMPLES))
def test_default_kernels_give_almost_the_oracles_embedding(name: str, sonyc_bundle: Path) -> None:
    """With XNNPACK, every window of the oracle's samples has a cosine of 0.999 to the oracle's embedding."""
    expected = oracle(name)
    assert lowest_cosine(AudioModel(sonyc_bundle).get_embedding(expected["y"], 8000), expected["embedding"]) >= 0.999


@pytest.mark.parametrize("reference_kernels", [False, True])
@pytest.mark.parametrize("name", long_if_street(RECORDINGS))
def test_recordings_give_almost_the_oracles_embedding(
    name: str, reference_kernels: bool, sonyc_bundle: Path, street: Path
) -> None:
    """The recordings as they are, resampled by us, have a cosine of 0.999 to the oracle in every window."""
    output = AudioModel(sonyc_bundle, reference_kernels=reference_kernels).embed_file(street / f"{name}.wav")
    assert output.embedding is not None
    assert lowest_cosine(output.embedding, oracle(name)["embedding"]) >= 0.999


@pytest.mark.parametrize("name", SAMPLES)
def test_the_head_gives_the_oracles_tags(name: str) -> None:
    """SONYC's urban-sound head, given the oracle's embedding, gives the oracle's tags."""
    expected = oracle(name)
    head = Interpreter(require_shared("models/mlp_ust.tflite").read_bytes(), reference_kernels=True)
    head.fit((256,))
    assert np.abs(head(expected["embedding"])[0] - expected["urban_sound_tags"]).max() <= 1e-5


PARITY_PROGRAM = """
import sys
import numpy as np
from sonyc_ml import load_model
model = load_model(sys.argv[1], backend="tflite-runtime")
for path in sys.argv[3:]:
    with np.load(path, allow_pickle=False) as oracle:
        embedding, = model.interpreter(oracle["features"])
        np.savez(sys.argv[2] + path[path.rindex("/") :], heard=model.get_embedding(oracle["y"], 8000), run=embedding)
print(model.interpreter.backend)
"""


def test_tflite_runtime_gives_the_oracles_embedding(sonyc_bundle: Path, tmp_path: Path) -> None:
    """The runtime of SONYC's nodes, in an environment of its own, gives the oracle's embedding of its features."""
    if not TFLITE_RUNTIME.exists():
        pytest.skip(".venv-tflite-runtime is not in this check-out (scripts/test makes it where there is Python 3.11)")
    paths = [require_shared(f"oracle/{name}.npz") for name in SAMPLES]
    result = subprocess.run(
        [TFLITE_RUNTIME, "-c", PARITY_PROGRAM, sonyc_bundle, tmp_path, *paths],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("tflite-runtime 2.14")
    assert result.stderr == ""
    heard = {}
    for name in SAMPLES:
        with np.load(tmp_path / f"{name}.npz") as arrays:
            heard[name] = arrays["heard"]
            expected = oracle(name)["embedding"]
            assert np.abs(arrays["run"].reshape(expected.shape) - expected).max() < EQUAL
    assert_almost_the_oracles(heard)


def test_yamnet_hears_the_dog(street: Path) -> None:
    """YAMNet runs as it is, its first output named as scores: the bark of a dog is a dog's."""
    model = load_model(require_shared("models/yamnet.tflite"), outputs={"scores": 0}, target_sr=16000)
    assert isinstance(model, PCMModel)
    output = model.embed_file(street / "dog_1.wav", hop_size=0.4875)
    with require_shared("models/yamnet_class_map.csv").open() as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    assert output.embedding is None
    assert output.scores is not None
    assert output.scores.shape == (2, 521)
    assert 0 <= output.scores.min() <= output.scores.max() <= 1
    assert names[output.scores.mean(axis=0).argmax()] in {"Dog", "Animal", "Domestic animals, pets", "Bark"}


def test_yamnets_other_output_is_named_by_number_or_name() -> None:
    """Every output can be named, several at once, and its windows become rows."""
    path = require_shared("models/yamnet.tflite")
    named = PCMModel(path, outputs={"scores": "Identity", "embedding": 1}, target_sr=16000)
    outputs = named.get_outputs(noise(20_000), 16000)
    assert {kind: rows.shape for kind, rows in outputs.items()} == {
        "timestamps": (2,),
        "scores": (2, 521),
        "embedding": (2, 96 * 64),
    }


# --- the three kinds --------------------------------------------------------------------------------------------------


def test_a_pickle_and_its_parameters_give_the_same(tiny_with_pickle: Path) -> None:
    """An `AudioModel` with our extractor and a `SpecModel` with its parameters differ in nothing."""
    audio, spec, y = AudioModel(tiny_with_pickle), SpecModel(tiny_with_pickle), noise(60_000)
    np.testing.assert_array_equal(audio.get_features(y, 44100), spec.get_features(y, 44100))
    np.testing.assert_array_equal(audio.get_embedding(y, 44100), spec.get_embedding(y, 44100))
    np.testing.assert_array_equal(audio.get_embedding(y, 44100, 0.3), spec.get_embedding(y, 44100, 0.3))


def test_get_features_is_what_the_network_reads(tiny: Path) -> None:
    """`get_features` returns the extractor's features, at its own hop or another."""
    model, y = SpecModel(tiny), noise(20_000)
    np.testing.assert_array_equal(model.get_features(y, 8000), LogMel()(y, 8000))
    np.testing.assert_array_equal(model.get_features(y, 8000, 0.5), LogMel()(y, 8000, 0.5))


def test_without_a_rate_samples_are_at_the_extractors(tiny: Path) -> None:
    """`get_embedding(y)` takes `y` to be at the extractor's sample rate, and says so."""
    model, y = SpecModel(tiny), noise(20_000)
    with pytest.warns(AssumedSampleRateWarning, match="y is taken to be at 8000 Hz, the rate of tiny"):
        assumed = model.get_embedding(y)
    np.testing.assert_array_equal(assumed, model.get_embedding(y, 8000))


def test_samples_pass_through_a_pcm_model(waveform: Path) -> None:
    """A `PCMModel` only windows the samples."""
    y = noise(10_000)
    embedding = PCMModel(waveform, target_sr=8000, hop_size=0.25).get_embedding(y, 8000)
    np.testing.assert_array_equal(embedding, y.reshape(5, 2000))


@pytest.mark.parametrize(
    ("declared", "parameters"),
    [((1, 2000), {}), ((-1, 2000), {"batch_size": 3}), ((4, 2000), {}), ((2000,), {}), ((1, -1), {"duration": 0.25})],
    ids=str,
)
def test_a_pcm_models_window_is_its_input(
    declared: tuple[int, ...], parameters: dict[str, Any], tmp_path: Path
) -> None:
    """The window is as long as the input, whatever the batch; a given one where the input is of any length."""
    path = tmp_path / "A.tflite"
    path.write_bytes(networks.reshaping(Spec(declared), Spec((-1, 2000))))
    model = load_model(path, target_sr=8000, hop_size=0.25, **parameters)
    assert isinstance(model, PCMModel)
    assert model.extractor.window_size_s == 0.25
    np.testing.assert_array_equal(model.get_embedding(noise(14_000), 8000), noise(14_000).reshape(7, 2000))


def test_load_model_tells_the_kinds_apart(tiny: Path, tiny_with_pickle: Path, waveform: Path) -> None:
    """A vouched pickle makes an `AudioModel`, a row of samples a `PCMModel`, anything else a `SpecModel`."""
    assert type(load_model(tiny_with_pickle)) is AudioModel
    assert type(load_model(tiny)) is SpecModel
    assert type(load_model(waveform, target_sr=8000)) is PCMModel


def test_load_model_can_be_told(tiny_with_pickle: Path, waveform: Path) -> None:
    """What the input is can be said, and wins, over the manifest too."""
    assert type(load_model(tiny_with_pickle, input_kind="log_mel")) is SpecModel
    assert type(load_model(str(tiny_with_pickle), input_kind="pickled")) is AudioModel
    assert type(load_model(waveform, input_kind="pcm", target_sr=8000)) is PCMModel


def test_threads_and_batches_do_not_change_results(tmp_path: Path) -> None:
    """Threads and batches are a matter of speed alone."""
    path, y = tmp_path / "A.tflite", noise(30_000)
    path.write_bytes(networks.dense((-1, 64, 51, 1)))
    expected = load_model(path).get_embedding(y, 8000)
    for parameters in ({"num_threads": 2}, {"batch_size": 8}, {"reference_kernels": True}):
        rows = load_model(path, **parameters).get_embedding(y, 8000)
        np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_blocks_of_a_long_recording_equal_the_whole(tiny: Path, tmp_path: Path) -> None:
    """Five minutes at 48 kHz, read in blocks, give bit for bit the embedding of the samples in one array."""
    y = noise(300 * 48000 + 11)
    model = SpecModel(tiny, hop_size=1.0)
    output = model.embed_file(write_wav(tmp_path / "long.wav", y, 48000))
    with open_recording(tmp_path / "long.wav") as recording:
        assert sum(1 for _ in recording.blocks()) > 20
    assert output.embedding is not None
    assert output.embedding.shape == (301, 5)
    np.testing.assert_array_equal(output.embedding, model.get_embedding(y, 48000))


@pytest.mark.long
def test_blocks_equal_the_whole_for_sonycs_network(sonyc_bundle: Path, tmp_path: Path) -> None:
    """The same with SONYC's own network and its pickled extractor."""
    y = noise(300 * 48000)
    model = AudioModel(sonyc_bundle)
    output = model.embed_file(write_wav(tmp_path / "long.wav", y, 48000), hop_size=1.0)
    assert output.embedding is not None
    assert output.embedding.shape == (300, 256)
    np.testing.assert_array_equal(output.embedding, model.get_embedding(y, 48000, 1.0))


@pytest.mark.parametrize(
    ("n_samples", "hop_size", "first", "n_windows"),
    [
        (8000, 0.1, 0.0, 1),
        (16000, 0.1, 0.0, 11),
        (12345, 0.1, -227 / 8000, 7),
        (4000, 0.1, -2000 / 8000, 1),
        (12345, 0.5, -1827 / 8000, 3),
        (16000, 0.3, -800 / 8000, 5),
    ],
)
def test_timestamps_are_where_the_windows_begin(
    n_samples: int, hop_size: float, first: float, n_windows: int, tiny: Path, tmp_path: Path
) -> None:
    """Windows lie in the middle of the recording: the first may begin before it, each next one a hop later."""
    output = SpecModel(tiny).embed_file(write_wav(tmp_path / "a.wav", noise(n_samples), 8000), hop_size)
    expected = (first * 8000 + np.arange(n_windows) * round(hop_size * 8000)) / 8000
    assert output.timestamps.dtype == np.float64
    np.testing.assert_array_equal(output.timestamps, expected)
    assert output.provenance.hop_size_s == hop_size


def test_timestamps_do_not_drift(waveform: Path, tmp_path: Path) -> None:
    """Times come from whole sample positions: the last window of a long recording is not a rounding error late."""
    path = write_wav(tmp_path / "a.wav", noise(8000 * 100), 8000)
    timestamps = PCMModel(waveform, target_sr=8000, hop_size=0.1).embed_file(path).timestamps
    first = timestamps[0] * 8000
    assert [round(t * 8000 - first) / 800 for t in timestamps] == list(range(len(timestamps)))
    assert timestamps[-1] == (first + 800 * (len(timestamps) - 1)) / 8000


def test_process_file_writes_beside_the_recording(tiny: Path, tmp_path: Path) -> None:
    """Without a place given, the output is `NAME.wav.npz` beside the recording."""
    recording = write_wav(tmp_path / "a.wav", noise(9000), 8000)
    assert SpecModel(tiny).process_file(str(recording)) == tmp_path / "a.wav.npz"
    with np.load(tmp_path / "a.wav.npz", allow_pickle=False) as output:
        assert output["embedding"].shape == (3, 5)
        assert str(output["recording"]) == "a.wav"
        assert str(output["bundle"]) == "tiny"
        assert "scores" not in output


def test_process_file_writes_where_it_is_told(tiny: Path, tmp_path: Path) -> None:
    """A place given is used, its suffix names the format, and the hop is taken."""
    recording = write_wav(tmp_path / "a.wav", noise(16000), 8000)
    path = SpecModel(tiny).process_file(recording, tmp_path / "out" / "b.csv", hop_size=0.5)
    assert path == tmp_path / "out" / "b.csv"
    rows = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert [row.partition(",")[0] for row in rows] == ["timestamp", "0.0", "0.5", "1.0"]


def test_one_channel_of_several_can_be_chosen(waveform: Path, tmp_path: Path) -> None:
    """A model reads the channel it was told to, or the mean of all."""
    left, right = noise(2000, 1), noise(2000, 2)
    path = write_wav(tmp_path / "stereo.wav", np.stack([left, right], axis=1), 8000)
    for channel, expected in ((0, left), (1, right), (None, np.stack([left, right]).mean(axis=0))):
        output = PCMModel(waveform, target_sr=8000, channel=channel).embed_file(path)
        np.testing.assert_array_equal(output.embedding, [expected])


# --- mistakes and mismatches ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "error", "sentence"),
    [
        ({"n_mel": 64}, TypeError, "SpecModel takes no n_mel; it takes duration, hop_size, target_sr, n_fft"),
        ({"input_kind": "pcm", "n_mels": 64}, TypeError, "PCMModel takes no n_mels; it takes target_sr, duration"),
        ({"input_kind": "spec"}, ValueError, "input_kind 'spec' is not known; use one of pickled, log_mel, pcm"),
        ({"hop_size": -1}, ValueError, "hop_size must be a number above 0, not -1"),
        ({"input_kind": "pcm"}, ValueError, "say their rate: give it as target_sr (--target-sr)"),
        ({"input_kind": "pcm", "target_sr": 0}, ValueError, "say their rate: give it as target_sr (--target-sr)"),
        ({"outputs": {"tags": 0}}, ValueError, "an output is embedding or scores, not 'tags'"),
        ({"outputs": {"scores": 3}}, BundleMismatchError, "the network has no output 3; it has 0: embedding [1, 5]"),
        ({"outputs": {"scores": "x"}}, BundleMismatchError, "the network has no output 'x'; it has 0: embedding"),
        (
            {"n_mels": 40},
            BundleMismatchError,
            "of shape (64, 51, 1), and the extractor makes windows of shape (40, 51)",
        ),
        ({"input_kind": "pickled"}, BundleError, "tiny.pkl does not exist; make it with `sonyc-ml features export`"),
        ({"num_threads": 0}, ValueError, "num_threads and batch_size must be at least 1, not 0 and 1"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_at_load(
    parameters: dict[str, Any], error: type[Exception], sentence: str, tiny: Path
) -> None:
    """Keywords that do not belong, shapes that do not fit and outputs that do not exist are refused by name."""
    with pytest.raises(error, match=re.escape(sentence)):
        load_model(tiny, **parameters)


@pytest.mark.parametrize(
    ("parameters", "error", "sentence"),
    [
        ({"n_mels": 64}, TypeError, "AudioModel takes no n_mels; it takes duration, hop_size"),
        ({"duration": 2.0}, BundleMismatchError, "tiny.pkl cuts windows of 1 s, not 2 s"),
        ({"hop_size": -1.0}, ValueError, "hop_size must be a number above 0, not -1.0"),
        ({"hop_size": 0}, ValueError, "hop_size must be a number above 0, not 0"),
    ],
    ids=str,
)
def test_what_an_extractor_does_not_take_is_refused(
    parameters: dict[str, Any], error: type[Exception], sentence: str, tiny_with_pickle: Path
) -> None:
    """A pickled extractor keeps its window, and takes another hop only if it is one."""
    with pytest.raises(error, match=re.escape(sentence)):
        load_model(tiny_with_pickle, **parameters)
    model = load_model(tiny_with_pickle, duration=1, hop_size=0.5)
    assert model.get_embedding(noise(16000), 8000).shape == (3, 5)


def test_several_outputs_must_be_named(tmp_path: Path) -> None:
    """A network with two outputs and no names for them is refused with what they are."""
    path = tmp_path / "A.tflite"
    path.write_bytes(networks.reshaping(Spec((1, 9)), Spec((1, 9), name="first"), Spec((1, 3, 3), name="second")))
    sentence = (
        "the network has 2 outputs (0: first [1, 9] float32; 1: second [1, 3, 3] float32): say which is what, "
        "as in outputs={'scores': 0} (--outputs scores=0)"
    )
    with pytest.raises(BundleMismatchError, match=re.escape(sentence)):
        load_model(path, target_sr=100)
    model = load_model(path, target_sr=100, outputs={"embedding": "second", "scores": 0})
    y = noise(9)
    assert {kind: rows.tolist() for kind, rows in model.get_outputs(y, 100).items()} == {
        "timestamps": [0.0],
        "embedding": [y.tolist()],
        "scores": [y.tolist()],
    }


def test_an_input_of_any_length_needs_a_duration(tmp_path: Path) -> None:
    """A network that reads windows of any length asks for one."""
    path = tmp_path / "A.tflite"
    path.write_bytes(networks.reshaping(Spec((1, -1)), Spec((1, -1))))
    with pytest.raises(ValueError, match=r"any length: give one as duration \(--duration\)"):
        load_model(path, target_sr=8000)


def test_a_model_without_an_embedding_says_what_it_has(waveform: Path) -> None:
    """Asking scores for an embedding names what there is."""
    model = load_model(waveform, target_sr=8000, outputs={"scores": 0})
    with pytest.raises(ValueError, match="waveform has no embedding, only scores: use get_outputs"):
        model.get_embedding(noise(2000), 8000)


@pytest.mark.parametrize("method", ["get_features", "get_embedding", "get_outputs"])
@pytest.mark.parametrize(
    ("y", "error", "sentence"),
    [
        (np.zeros(9000, np.int16), TypeError, "y must be floating point in [-1, 1], not int16"),
        (np.zeros((2, 9000), np.float32), ValueError, "y must be mono, shape (n_samples,), not (2, 9000)"),
        (np.zeros(0, np.float32), ValueError, "there is not a single sample"),
    ],
    ids=["integers", "stereo", "empty"],
)
def test_samples_that_cannot_be_meant_are_refused(
    method: str, y: Any, error: type[Exception], sentence: str, tiny: Path
) -> None:
    """Integers, several channels and nothing at all are refused instead of embedded as noise."""
    with pytest.raises(error, match=re.escape(sentence)):
        getattr(SpecModel(tiny), method)(y, 8000)


def test_a_rate_that_cannot_be_resampled_refuses_the_recording(tiny: Path, tmp_path: Path) -> None:
    """A recording whose rate the extractor cannot resample is refused by its name; the next one is not."""
    model = SpecModel(tiny, target_sr=1000, n_fft=128, mel_hop_len=20, fmax=500.0, res_type="kaiser_best")
    path = write_wav(tmp_path / "odd.wav", noise(1000), 600_000)
    with pytest.raises(RecordingError, match=r"odd\.wav: kaiser_best cannot resample 600000 Hz to 1000 Hz"):
        model.embed_file(path)
    with pytest.raises(ValueError, match="hop_size must be a number above 0"):
        model.embed_file(path, hop_size=-1)


def test_a_recording_without_sound_is_refused(tiny: Path, tmp_path: Path) -> None:
    """A header and no sound is an empty recording, not a crash."""
    with pytest.raises(EmptyRecordingError):
        SpecModel(tiny).embed_file(write_wav(tmp_path / "a.wav", noise(0), 8000))


# --- a function of the user's own -------------------------------------------------------------------------------------


def windowed(y: Floats, sr: int, hop_size: float | None = None) -> Floats:
    """Four numbers of each whole window of half a second, that depend on the window alone."""
    length, hop = sr // 2, round((hop_size or 0.25) * sr)
    starts = range(0, max(1, len(y) - length + 1), hop)
    return np.stack([np.resize(y[i : i + length], length)[:: length // 4][:4] for i in starts]).astype(np.float32)


def twice(y: Floats, sr: int, hop_size: float | None = None) -> Floats:
    return np.repeat(windowed(y, sr, hop_size), 2, axis=0)


def failing(y: Floats, sr: int, hop_size: float | None = None) -> Floats:
    if len(y) > 100_000:
        raise KeyError("band")
    return windowed(y, sr, hop_size)


def reshaping(y: Floats, sr: int, hop_size: float | None = None) -> Floats:
    return windowed(y, sr, hop_size)[:, : 4 if len(y) < 100_000 else 3]


def raising(y: Floats, sr: int, hop_size: float | None = None) -> Floats:
    raise ZeroDivisionError("division by zero")


def flat(y: Floats, sr: int, hop_size: float | None = None) -> Floats:
    return y


def empty(y: Floats, sr: int, hop_size: float | None = None) -> Floats:
    return windowed(y, sr, hop_size)[:0]


def without_hop(y: Floats, sr: int) -> Floats:
    return y


def function_extractor(
    function: Callable[..., Floats], duration: float | None = 0.5, hop_size: float | None = 0.25
) -> FunctionExtractor:
    bundle = Bundle("A", Path("models/A.tflite"), None, {"A.tflite": b"", "A.pkl": b""}, "")
    return FunctionExtractor(function, bundle, duration, hop_size)


def in_blocks(y: Floats, cuts: list[int]) -> Iterator[Floats]:
    yield from np.split(y, sorted(cut % len(y) for cut in cuts))


@examples(20)
@given(
    n_samples=st.integers(121 * 1000, 400 * 1000),
    hop_size=st.sampled_from([0.1, 0.25, 0.5, 1.3]),
    cuts=st.lists(st.integers(0, 10**6), max_size=5),
)
def test_a_function_sees_every_window_of_a_long_recording(n_samples: int, hop_size: float, cuts: list[int]) -> None:
    """In overlapping blocks, a function of windows gives what it gives for the whole recording."""
    y, sr = noise(n_samples), 1000
    extractor = function_extractor(windowed)
    blocks = list(extractor.stream(in_blocks(y, cuts), sr, n_samples, hop_size))
    np.testing.assert_array_equal(np.concatenate(blocks), windowed(y, sr, hop_size))


def test_a_function_sees_a_short_recording_as_it_is() -> None:
    """Up to two minutes are given to the function in one piece, whatever it does with them."""
    y = noise(120 * 1000)
    (features,) = function_extractor(lambda y, sr, hop_size=None: np.array([[len(y), sr, hop_size, y.sum()]])).stream(
        in_blocks(y, [5, 70_000]), 1000, len(y)
    )
    assert features.tolist() == [[120_000, 1000, 0.25, y.sum()]]


def test_a_function_of_other_windows_is_found_out() -> None:
    """Where a block gives another number of windows than it holds, the recording is refused with what to say."""
    y = noise(200 * 1000)
    sentence = (
        "models/A.pkl gave 600 windows for a block of 300: a long recording is embedded in blocks of windows of "
        "0.5 s every 0.25 s; say the extractor's own with duration and hop_size"
    )
    with pytest.raises(BundleMismatchError, match=re.escape(sentence)):
        list(function_extractor(twice).stream([y], 1000, len(y)))


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (failing, "the extractor models/A.pkl failed on it (KeyError: 'band')"),
        (reshaping, "the extractor models/A.pkl returned shape (439, 3), not (n_windows, 4)"),
    ],
)
def test_a_function_that_fails_refuses_the_recording(function: Callable[..., Floats], sentence: str) -> None:
    """A function that raises, or returns another shape, refuses this recording; the next may be fine."""
    extractor = function_extractor(function)
    with pytest.raises(RecordingError, match=re.escape(sentence)):
        list(extractor.stream([noise(110_000)], 1000, 110_000))
    assert next(extractor.stream([noise(99_000)], 1000, 99_000)).shape[1:] == (4,)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (raising, "failed on it (ZeroDivisionError: division by zero)"),
        (flat, "returned shape (22050,), not (n_windows, …)"),
        (empty, "returned shape (0, 4), not (n_windows, 4)"),
        (without_hop, "failed on it (TypeError: "),
    ],
)
def test_a_function_that_cannot_work_is_refused_at_load(function: Callable[..., Floats], sentence: str) -> None:
    """A function is tried on a window of faint noise before anything depends on it."""
    with pytest.raises(BundleMismatchError, match=re.escape(f"the extractor models/A.pkl {sentence}")):
        function_extractor(function)


@pytest.mark.parametrize(("duration", "hop_size"), [(0, 0.1), (-1.0, 0.1), (0.5, 0), (0.5, -1.0), (math.inf, 0.1)])
def test_a_function_takes_no_impossible_windows(duration: float, hop_size: float) -> None:
    """A window or hop that is none is a mistake in the call."""
    with pytest.raises(ValueError, match="must be a number above 0"):
        function_extractor(windowed, duration, hop_size)


USER_MODULE = """
import numpy as np

def my_features(y, sr, hop_size=None, duration=0.25, target_sr=8000):
    length, hop = round(duration * sr), round((hop_size or 0.5) * sr)
    starts = range(0, len(y) - length + 1, hop)
    return np.stack([y[i : i + length] for i in starts])
"""


@pytest.fixture
def users_bundle(waveform: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network that reads samples, with a function of the user's own as its extractor."""
    (tmp_path / "model_test_module.py").write_text(USER_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    path = Path(shutil.copy(waveform, tmp_path / "user.tflite"))
    exporter.export_function(path.with_suffix(".pkl"), "model_test_module:my_features", duration=0.25)
    (tmp_path / "model_test_module.py").unlink()
    return vouch(path, window_size_s=0.25)


def test_a_function_of_the_users_own_becomes_a_model(users_bundle: Path, tmp_path: Path) -> None:
    """A user's function, exported and loaded, embeds recordings; window, rate and timestamps are its own."""
    model, y = load_model(users_bundle, hop_size=0.5), noise(80_000)
    output = model.embed_file(write_wav(tmp_path / "a.wav", y, 8000))
    assert isinstance(model.extractor, FunctionExtractor)
    assert (model.extractor.window_size_s, model.extractor.sample_rate) == (0.25, 8000)
    assert output.embedding is not None
    np.testing.assert_array_equal(output.embedding[3], y[12000:14000])
    np.testing.assert_array_equal(output.timestamps, np.arange(20) * 0.5)
    np.testing.assert_array_equal(model.get_embedding(y, 8000), output.embedding)


def test_a_function_that_fails_names_the_recording(users_bundle: Path, tmp_path: Path) -> None:
    """A recording that a user's function fails on is refused by the recording's name."""
    model = load_model(users_bundle)
    with pytest.raises(RecordingError, match=r"short\.wav: the extractor .*user\.pkl failed on it \(ValueError"):
        model.embed_file(write_wav(tmp_path / "short.wav", noise(100), 8000))


def test_a_function_of_unknown_rate_needs_the_samples(waveform: Path, tmp_path: Path) -> None:
    """Where the extractor does not say its rate, samples must come with theirs."""
    extractor = function_extractor(windowed)
    assert extractor.sample_rate == 0
    assert extractor.framing(10_000, 1000).starts().tolist() == [*range(0, 9501, 250)]
    model: Model = load_model(waveform, target_sr=8000)
    model.extractor = extractor
    with pytest.raises(ValueError, match="does not say its sample rate: give the one of y as sr"):
        model.get_embedding(noise(10_000))


def test_the_provenance_says_when(tiny: Path, tmp_path: Path) -> None:
    """An output says when its recording begins, who says so, and whether the machine's clock was right."""
    model, path = SpecModel(tiny), write_wav(tmp_path / "20240501_120000.wav", noise(9000), 8000)
    provenance = model.embed_file(path).provenance
    assert (provenance.start_time, provenance.start_time_source) == ("2024-05-01T12:00:00+00:00", "name")
    assert provenance.clock_synchronised in {"yes", "no", "unknown"}
    start_times = StartTimes(("%j-%Y",), "Asia/Kathmandu")
    provenance = model.embed_file(path, name="sub/060-2024.wav", start_times=start_times).provenance
    assert (provenance.start_time, provenance.start_time_source) == ("2024-02-29T00:00:00+05:45", "name")
    assert model.embed_file(path, name="a.wav").provenance.start_time_source == "mtime"


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_the_provenance_has_what_decides_the_numbers(suffix: str, tiny: Path, tmp_path: Path) -> None:
    """What was not left as it comes is in the output, and is what its fingerprint is made of."""
    path = write_wav(tmp_path / "a.wav", noise(9000), 8000)
    plain = SpecModel(tiny).embed_file(path).provenance
    assert plain.parameters == ""
    model = SpecModel(tiny, channel=0, fmin=50.0, hop_size=0.5)
    write_output(model.embed_file(path, start_times=StartTimes(time_zone="Asia/Tokyo")), tmp_path / f"a.{suffix}")
    provenance = read_provenance(tmp_path / f"a.{suffix}")
    assert provenance is not None
    assert json.loads(provenance.parameters) == {"channel": 0, "fmin": 50.0, "time_zone": "Asia/Tokyo"}
    assert provenance.fingerprint == model.fingerprint(start_times=StartTimes(time_zone="Asia/Tokyo"))
    others = {SpecModel(tiny).fingerprint(), SpecModel(tiny).fingerprint(0.5), model.fingerprint(), plain.fingerprint}
    assert len(others) == 3
    assert provenance.fingerprint not in others


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_a_salvaged_recording_is_embedded_and_says_so(suffix: str, tiny: Path, tmp_path: Path) -> None:
    """What there is of an unfinished recording has the embedding of just that sound, and its output tells."""
    model, y = SpecModel(tiny), noise(9000)
    content = wavs.wav(y.tobytes(), wavs.fmt(wavs.FLOAT, bits=32), promised=0)
    (path := tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(UnfinishedRecordingError):
        model.embed_file(path)
    output = model.embed_file(path, salvage=True)
    assert output.embedding is not None
    np.testing.assert_array_equal(output.embedding, model.get_embedding(y, 8000))
    assert output.provenance.salvaged
    write_output(output, published := tmp_path / f"a.{suffix}")
    assert read_provenance(published) == output.provenance
    whole = model.embed_file(write_wav(tmp_path / "b.wav", y, 8000), salvage=True)
    assert not whole.provenance.salvaged


def test_nothing_is_left_behind(tiny: Path, tmp_path: Path) -> None:
    """Embedding a recording opens no more than it closes."""
    model, path = SpecModel(tiny), write_wav(tmp_path / "a.wav", noise(9000), 8000)
    model.embed_file(path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        model.embed_file(path)
        read_recording(path)
    assert len(os.listdir("/proc/self/fd")) <= before  # what earlier tests left may be closed meanwhile
