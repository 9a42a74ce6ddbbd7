"""The package as it is used from Python: what it lists, shows, refuses, assumes and raises."""

from __future__ import annotations

import errno
import math
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

import sonyc_ml
from sonyc_ml import errors, features
from sonyc_ml.bundles.golden import unpack
from sonyc_ml.model import Model, PCMModel, SpecModel
from sonyc_ml.outputs.archive.embeddings import Embeddings
from sonyc_ml.outputs.files import read_output, write_output
from sonyc_ml.outputs.reading import read_embeddings
from sonyc_ml.sound import files, recording
from tests.conftest import needs
from tests.support import networks
from tests.support.outputs import PROVENANCE, output_of

Floats = npt.NDArray[np.float32]

LONG_REPR = 300
ADVICE = re.compile(r"allow_pickle|pickle\.load|atleast|dtype=object|np\.|numpy", re.IGNORECASE)
METHODS = ("get_features", "get_embedding", "get_outputs")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of five numbers that reads the default features."""
    path = tmp_path_factory.mktemp("api") / "tiny.tflite"
    path.write_bytes(networks.dense((1, 64, 51, 1)))
    return path


@pytest.fixture
def model(network: Path) -> SpecModel:
    return SpecModel(network)


def noise(n_samples: int) -> Floats:
    return np.random.default_rng(1).normal(0, 0.05, n_samples).astype(np.float32)


def run(program: str) -> str:
    """What a program prints in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout


# --- what there is ----------------------------------------------------------------------------------------------------


def test_dir_lists_the_public_names() -> None:
    """Every public name is listed before it is used, nothing of the package's own working is, and each is there."""
    listed = [name for name in dir(sonyc_ml) if not name.startswith("__")]
    assert listed == sorted(sonyc_ml.__all__)
    assert all(hasattr(sonyc_ml, name) for name in listed)
    assert not hasattr(sonyc_ml, "nothing")


def test_help_shows_how_to_use_it() -> None:
    """`help(sonyc_ml)` begins with a program and describes every class and function that is listed."""
    shown = run("import sonyc_ml; help(sonyc_ml)")
    assert "embedding = model.get_embedding(y, sr)" in shown
    for name in set(sonyc_ml.__all__) - {"errors"}:
        assert re.search(rf"^    (class )?{name}\(", shown, re.MULTILINE), name
    assert "__getattr__" not in shown


def test_errors_are_reached_from_the_package() -> None:
    """After `import sonyc_ml` alone, and without numpy."""
    program = "import sys, sonyc_ml; print(sonyc_ml.errors.RecordingError.__name__, 'numpy' in sys.modules)"
    assert run(program) == "RecordingError False\n"


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_a_models_repr_says_what_it_is(network: Path, tmp_path: Path) -> None:
    """Its kind, name, windows, rate and outputs."""
    assert repr(SpecModel(network)) == ("<SpecModel tiny: windows of 1 s every 0.1 s at 8000 Hz; embedding (5)>")
    path = tmp_path / "A.tflite"
    path.write_bytes(networks.reshaping(networks.Spec((1, 9)), networks.Spec((1, 9)), networks.Spec((1, 3, 3))))
    model = PCMModel(path, target_sr=100, hop_size=0.25, outputs={"scores": 0, "embedding": 1})
    assert repr(model) == "<PCMModel A: windows of 0.09 s every 0.25 s at 100 Hz; scores (9), embedding (9)>"


def test_outputs_are_shown_without_their_numbers() -> None:
    """However many windows, labels and segments there are."""
    output = output_of("a.wav", 100_000)
    segments = "[" + ", ".join(f"[{i}, 5]" for i in range(10_000)) + "]"
    output = replace(output, provenance=replace(output.provenance, segments=segments, note="odd"))
    assert repr(output) == "<Output of 'a.wav': 100000 windows, embedding (100000, 3), scores (100000, 2)>"
    assert len(repr(output.provenance)) < LONG_REPR
    assert all(
        text in repr(output.provenance) for text in ("'a.wav'", "10 s at 44100 Hz", "triggered", PROVENANCE.bundle)
    )


def test_a_table_is_shown_without_its_numbers(tmp_path: Path) -> None:
    """A folder of outputs is shown as how much of what it has."""
    for name in ("a.wav", "b.wav"):
        write_output(output_of(name, 500), tmp_path / f"{name}.npz")
    embeddings = read_embeddings(tmp_path)
    assert repr(embeddings) == (
        "<Embeddings of 2 recordings: 1000 windows, embedding (1000, 3), scores (1000, 2) of 2 labels>"
    )


# --- what is refused --------------------------------------------------------------------------------------------------


def with_one(value: float, dtype: type = np.float32) -> npt.NDArray[Any]:
    y: npt.NDArray[Any] = np.zeros(9000, dtype)
    y[4321] = value
    return y


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("y", "error", "sentence"),
    [
        (with_one(math.nan), ValueError, "y holds NaN or infinity"),
        (with_one(math.inf), ValueError, "y holds NaN or infinity"),
        (with_one(-math.inf), ValueError, "y holds NaN or infinity"),
        (with_one(2.0**33), ValueError, "y holds samples as large as no sound is; full scale is 1"),
        (with_one(-1e30), ValueError, "y holds samples as large as no sound is; full scale is 1"),
        (with_one(1e300, np.float64), ValueError, "y holds samples as large as no sound is; full scale is 1"),
        (with_one(math.inf, np.float16), ValueError, "y holds NaN or infinity"),
        (np.zeros(9000, np.int32), TypeError, "divide integer samples by their full scale"),
        (np.zeros(9000, np.uint8), TypeError, "divide integer samples by their full scale"),
        (np.zeros(9000, bool), TypeError, "y must be floating point in [-1, 1], not bool"),
        (np.zeros(9000, complex), TypeError, "y must be an array of floating point samples in [-1, 1], not of complex"),
        (np.zeros((1, 9000)), ValueError, "y must be mono, shape (n_samples,), not (1, 9000)"),
        (np.float32(0), ValueError, "y must be mono, shape (n_samples,), not ()"),
        (np.zeros(0), ValueError, "there is not a single sample"),
        ([[0.0, 0.1], [0.2]], TypeError, "y must be an array of samples, and cannot be made one: it is a list"),
        ("a.wav", TypeError, "y must be an array of floating point samples in [-1, 1], not of <U5"),
        (None, TypeError, "y must be an array of floating point samples in [-1, 1], not of object"),
    ],
)
def test_samples_that_are_none_are_refused(
    method: str, y: Any, error: type[Exception], sentence: str, model: SpecModel
) -> None:
    """As the commands refuse them, each in one sentence, and without a warning of numpy's."""
    with pytest.raises(error, match=re.escape(sentence)) as caught:
        getattr(model, method)(y, 8000)
    assert not ADVICE.search(str(caught.value))
    with pytest.raises(error, match=re.escape(sentence)):
        features.get_features(y, 8000)


def test_samples_are_as_loud_as_those_of_the_commands() -> None:
    """What is refused in a file is refused in an array, and nothing else."""
    assert features.LOUDEST == recording.LOUDEST
    assert features.checked_samples(with_one(features.LOUDEST)).max() == features.LOUDEST


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sr", [0, -8000, 0.5, 8000.5, math.nan, math.inf, "8000", True])
def test_sample_rates_that_are_none_are_refused(method: str, sr: Any, model: SpecModel) -> None:
    """Zero too, which is not the same as no rate at all."""
    with pytest.raises(ValueError, match=r"^sr must be a (whole )?number"):
        getattr(model, method)(noise(9000), sr)
    with pytest.raises(ValueError, match=r"^sr must be a (whole )?number"):
        features.get_features(noise(9000), sr)


@pytest.mark.parametrize("sr", [8000, 8000.0, np.int32(8000), np.float64(8000)])
def test_sample_rates_of_any_kind_of_number_are_taken(sr: Any, model: SpecModel) -> None:
    """A whole number is one, whatever type it has."""
    np.testing.assert_array_equal(model.get_embedding(noise(9000), sr), model.get_embedding(noise(9000), 8000))


# --- what is assumed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get_embedding", "get_outputs"])
def test_a_rate_that_is_assumed_is_said_once(method: str, model: SpecModel) -> None:
    """Where it was called, with the rate and whose it is; a rate that is given is taken in silence."""
    sentence = "y is taken to be at 8000 Hz, the rate of tiny: if it is not, give its own as sr"
    getattr(model, method)(noise(9000), 8000)
    with pytest.warns(errors.AssumedSampleRateWarning, match=sentence) as caught:
        getattr(model, method)(noise(9000))
    assert [warning.filename for warning in caught] == [__file__]
    for other in ("get_embedding", "get_outputs"):
        getattr(model, other)(noise(9000))  # warnings are errors here


def test_outputs_of_samples_have_their_times(model: SpecModel, tmp_path: Path) -> None:
    """Those of the same sound as a file."""
    y = noise(20_000)
    soundfile.write(path := tmp_path / "a.wav", y, 8000, subtype="FLOAT")
    outputs, output = model.get_outputs(y, 8000, 0.3), model.embed_file(path, 0.3)
    assert list(outputs) == ["timestamps", "embedding"]
    assert outputs["timestamps"].dtype == np.float64
    np.testing.assert_array_equal(outputs["timestamps"], output.timestamps)
    np.testing.assert_array_equal(outputs["embedding"], output.embedding)


# --- what is not there ------------------------------------------------------------------------------------------------


MISSING: list[tuple[Callable[[Path], object], type[errors.SonycMLError]]] = [
    (lambda folder: sonyc_ml.read_recording(folder / "a.wav"), errors.VanishedRecordingError),
    (lambda folder: sonyc_ml.load_model(folder / "a.tflite"), errors.MissingBundleError),
    (lambda folder: sonyc_ml.AudioModel(folder / "a.tflite"), errors.MissingBundleError),
    (lambda folder: sonyc_ml.read_embeddings(folder / "outputs"), errors.MissingOutputsError),
]


@pytest.mark.parametrize(("call", "kind"), MISSING)
def test_a_missing_file_is_also_a_filenotfounderror(
    call: Callable[[Path], object], kind: type[errors.SonycMLError], tmp_path: Path
) -> None:
    """Whoever expects Python's own error catches it; it says what every error of ours says, in any process."""
    with pytest.raises(FileNotFoundError) as caught:
        call(tmp_path)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert type(error).__name__ == kind.__name__
        assert issubclass(kind, errors.SonycMLError)
        assert str(error).startswith(str(tmp_path))
        assert "Errno" not in str(error)
        assert error.errno == errno.ENOENT
        assert error.strerror == "No such file or directory"


def test_an_extractor_that_is_missing_is_a_missing_file(network: Path) -> None:
    """A bundle that lacks one of its files lacks a file."""
    with pytest.raises(FileNotFoundError, match=r"tiny\.pkl does not exist; make it with `sonyc-ml features export`"):
        sonyc_ml.AudioModel(network)


def test_a_missing_file_is_told_across_processes(tmp_path: Path) -> None:
    """An error that another process raised is the same here."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        future = pool.submit(files.read_recording, tmp_path / "a.wav")
        with pytest.raises(errors.VanishedRecordingError, match=r"a\.wav: No such file or directory"):
            future.result(timeout=60)


# --- what is damaged --------------------------------------------------------------------------------------------------


def objects(path: Path) -> None:
    arrays: Any = {"timestamps": np.array([{}], dtype=object)}
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (objects, "it holds Python objects, which are never read, where numbers should be"),
        (lambda path: path.write_bytes(pickle.dumps({})), "it is not an archive of arrays"),
        (lambda path: path.write_bytes(b"\x93NUMPY\1\0"), "it is not an archive of arrays"),
        (lambda path: path.write_bytes(b""), "it is empty"),
    ],
)
def test_nobody_is_told_to_load_pickles(write: Callable[[Path], object], sentence: str, tmp_path: Path) -> None:
    """Damaged archives are refused in our own words: numpy advises to run what they hold."""
    write(path := tmp_path / "a.npz")
    for read in (read_output, lambda path: unpack(path.read_bytes(), "a.golden.npz")):
        with pytest.raises((ValueError, errors.BundleError), match=sentence) as caught:
            read(path)
        assert not ADVICE.search(str(caught.value))


# --- tables -----------------------------------------------------------------------------------------------------------


def embeddings_of(folder: Path, **changes: Any) -> Embeddings:
    for name, start_time in (("a.wav", "2026-11-21T12:00:00+01:00"), ("sub/b.wav", "")):
        write_output(replace(output_of(name, 3, start_time), **changes), folder / f"{name}.npz")
    return read_embeddings(folder)


@needs("pandas")
def test_a_table_has_a_row_for_each_window(tmp_path: Path) -> None:
    """With its recording, times, embedding and scores."""
    embeddings = embeddings_of(tmp_path)
    table = embeddings.to_pandas()
    numbers = [f"embedding_{i}" for i in range(3)]
    assert list(table.columns) == ["recording", "time", "start_s", *numbers, "dog", "siren"]
    assert table["recording"].tolist() == ["a.wav"] * 3 + ["sub/b.wav"] * 3
    assert str(table["time"][0]) == "2026-11-21 10:59:59.750000+00:00"
    assert table["time"].isna().tolist() == [False] * 3 + [True] * 3
    np.testing.assert_array_equal(table["start_s"], embeddings.start_s)
    np.testing.assert_array_equal(table[numbers].to_numpy(), embeddings.embedding)
    np.testing.assert_array_equal(table[["dog", "siren"]].to_numpy(), embeddings.scores)
    assert (table["dog"].dtype, table["start_s"].dtype) == (np.float32, np.float64)


@needs("pandas")
@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"labels": ()}, ["embedding_0", "embedding_1", "embedding_2", "scores_0", "scores_1"]),
        ({"scores": None, "labels": ()}, ["embedding_0", "embedding_1", "embedding_2"]),
        ({"embedding": None}, ["dog", "siren"]),
        ({"embedding": None, "labels": ("time", "recording")}, ["scores_time", "scores_recording"]),
    ],
)
def test_a_table_has_the_columns_that_there_are(changes: dict[str, Any], names: list[str], tmp_path: Path) -> None:
    """Without labels by number; a label that is a column's name already does not take its place."""
    table = embeddings_of(tmp_path, **changes).to_pandas()
    assert list(table.columns) == ["recording", "time", "start_s", *names]
    assert table["recording"].tolist() == ["a.wav"] * 3 + ["sub/b.wav"] * 3


@needs("pandas")
def test_pandas_is_imported_for_tables_alone() -> None:
    """Nobody else waits for it, and who has none is told what to install."""
    program = """
import sys
from sonyc_ml.outputs.archive.embeddings import Embeddings
import numpy as np, sonyc_ml
empty = np.zeros(0)
embeddings = Embeddings(labels=(), start_s=empty, time=empty, number=empty, provenances=())
print('pandas' in sys.modules)
sys.modules['pandas'] = None
try:
    embeddings.to_pandas()
except sonyc_ml.errors.ConfigError as error:
    print(error)
"""
    assert run(program) == "False\na table needs pandas: pip install pandas\n"


def test_no_warning_is_needed_to_use_it(network: Path) -> None:
    """The usage that the package shows gives no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded: Model = sonyc_ml.load_model(network)
        assert loaded.get_embedding(noise(9000), 8000).shape[1] == 5
