"""The interpreter: quantisation, batches, layouts, several outputs, and what it refuses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml.errors import BundleError, BundleMismatchError
from sonyc_ml.model.interpreter import Interpreter, Tensor
from tests.conftest import ROOT, TFLITE_RUNTIME, floats, needs, require_shared
from tests.support import networks
from tests.support.networks import Spec

pytestmark = pytest.mark.numeric

Floats = npt.NDArray[np.float32]

ZERO_POINTS = {"int8": -3, "uint8": 120, "int16": 0}


def normal(*shape: int, level: float = 1.0) -> Floats:
    return np.random.default_rng(11).normal(0, level, shape).astype(np.float32)


def fitted(network: bytes, *feature_shape: int, **parameters: Any) -> Interpreter:
    interpreter = Interpreter(network, **parameters)
    interpreter.fit(feature_shape)
    return interpreter


def run(network: bytes, features: Floats, **parameters: Any) -> tuple[Floats, ...]:
    return fitted(network, *features.shape[1:], **parameters)(features)


# --- quantisation -----------------------------------------------------------------------------------------------------


def tensor(dtype: str, scale: float = 0.0, zero_point: int = 0) -> Tensor:
    return Tensor(0, "x", (1,), np.dtype(dtype), scale, zero_point)


@given(
    dtype=st.sampled_from(["int8", "uint8", "int16"]),
    values=st.lists(floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=20),
    scale=floats(1e-5, 100.0),
    data=st.data(),
)
def test_quantised_values_are_clipped_and_never_wrap(
    dtype: str, values: list[float], scale: float, data: st.DataObject
) -> None:
    """Any value is stored as the nearest step, and as the type's end where it lies beyond it."""
    limits = np.iinfo(dtype)
    zero_point = data.draw(st.integers(int(limits.min), int(limits.max))) if dtype != "int16" else 0
    stored = tensor(dtype, scale, zero_point).quantised(np.array(values, np.float32))
    exact = np.array(values, np.float64) / np.float32(scale) + zero_point
    assert stored.dtype == np.dtype(dtype)
    assert np.abs(stored - np.clip(exact, limits.min, limits.max)).max() <= 0.5 + 0.01  # float32 near a tie


@given(
    dtype=st.sampled_from(["int8", "uint8", "int16"]),
    scale=floats(1e-5, 100.0),
    fractions=st.lists(floats(0, 1), min_size=1, max_size=20),
)
def test_a_value_comes_back_within_half_a_step(dtype: str, scale: float, fractions: list[float]) -> None:
    """Quantising and dequantising loses no more than half a step, and nothing at the steps themselves."""
    quantised = tensor(dtype, scale, ZERO_POINTS[dtype])
    limits = np.iinfo(dtype)
    steps = np.array(fractions) * (limits.max - limits.min) + limits.min - ZERO_POINTS[dtype]
    values = (steps * np.float32(scale)).astype(np.float32)
    returned = quantised.dequantised(quantised.quantised(values))
    assert returned.dtype == np.float32
    assert np.abs(returned - values).max() <= 0.51 * np.float32(scale)
    np.testing.assert_array_equal(quantised.dequantised(quantised.quantised(returned)), returned)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("int8", [-128, -128, 0, 2, 127, 127]),
        ("uint8", [0, 0, 0, 2, 200, 255]),
        ("int16", [-999, -200, 0, 2, 200, 999]),
    ],
)
def test_integers_without_a_scale_are_rounded_and_clipped(dtype: str, expected: list[int]) -> None:
    """A tensor of integers that names no scale stores whole numbers, clipped too."""
    stored = tensor(dtype).quantised(np.array([-999, -200, 0.4, 1.6, 200, 999], np.float32))
    assert stored.tolist() == expected
    assert tensor(dtype).dequantised(stored).tolist() == expected


def test_floats_are_stored_as_they_are() -> None:
    """A float32 tensor changes nothing."""
    values = normal(9)
    np.testing.assert_array_equal(tensor("float32").quantised(values), values)
    np.testing.assert_array_equal(tensor("float32").dequantised(values), values)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_quantised_networks_read_and_write_floats(dtype: str) -> None:
    """A network of quantised tensors is given and gives float32, within half a step, clipped beyond its range."""
    spec = Spec((1, 24), dtype, 0.05, ZERO_POINTS[dtype])
    features = normal(5, 24)
    (rows,) = run(networks.reshaping(spec, spec), features)
    assert rows.dtype == np.float32
    assert np.abs(rows - features).max() <= 0.026
    limits = np.iinfo(dtype)
    (ends,) = run(networks.reshaping(spec, spec), np.array([[1e6] * 12 + [-1e6] * 12], np.float32))
    assert ends[0, 0] == pytest.approx((limits.max - ZERO_POINTS[dtype]) * 0.05)
    assert ends[0, -1] == pytest.approx((limits.min - ZERO_POINTS[dtype]) * 0.05)


@pytest.mark.parametrize("written", [Spec((1, 24)), Spec((1, 24), "int8", 0.1, 5), Spec((1, 24), "uint8", 0.1, 130)])
def test_input_and_output_are_each_of_their_own_kind(written: Spec) -> None:
    """The output is dequantised with its own scale, not with the input's."""
    graph = networks.Graph()
    source, target = graph.tensor(Spec((1, 24), "int8", 0.05, -3)), graph.tensor(written)
    graph.operator("QUANTIZE" if written.scale else "DEQUANTIZE", [source], target)
    features = normal(5, 24)
    (rows,) = run(graph.pack([source], [target]), features)
    assert np.abs(rows - features).max() <= 0.08


# --- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_windows", [1, 3, 4, 5, 8, 17])
def test_every_batch_gives_the_same_rows(n_windows: int) -> None:
    """One window at a time, four at a time with a remainder, or as many as wanted: the same rows."""
    features = normal(n_windows, 64, 51)
    (expected,) = run(networks.dense((1, 64, 51, 1)), features)
    assert expected.shape == (n_windows, 5)
    for n_batch, batch_size in ((4, 1), (-1, 1), (-1, 3), (-1, 8)):
        (rows,) = run(networks.dense((n_batch, 64, 51, 1)), features, batch_size=batch_size)
        np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("declared", "feature_shape"),
    [
        ((1, 64, 51, 1), (64, 51)),
        ((1, 1, 64, 51), (64, 51)),
        ((1, 64, 51), (64, 51)),
        ((1, 64, 51), (64, 51, 1)),
        ((1, 64, 1), (1, 64)),
        ((-1, 64, 51, 1), (64, 51)),
        ((1, 600), (600,)),
        ((600,), (600,)),
        ((1, 64, -1, 1), (64, 51)),
        ((1, -1), (600,)),
        ((1, -1), (1,)),
        ((-1,), (600,)),
        ((1, 64, -1), (64, 1)),
    ],
    ids=str,
)
def test_features_are_laid_out_as_the_network_wants_them(
    declared: tuple[int, ...], feature_shape: tuple[int, ...]
) -> None:
    """Dimensions of one, batches and dimensions of any size are the network's affair."""
    features = normal(3, *feature_shape)
    network = networks.reshaping(Spec(declared), Spec((1, -1)))
    (rows,) = run(network, features)
    np.testing.assert_array_equal(rows.reshape(3, -1), features.reshape(3, -1))


@pytest.mark.parametrize(
    ("declared", "feature_shape", "network_text", "extractor_text"),
    [
        ((1, 64, 51, 1), (64, 50), "(64, 51, 1)", "(64, 50)"),
        ((1, 64, 51, 1), (51, 64), "(64, 51, 1)", "(51, 64)"),
        ((1, 64, 51, 1), (3264,), "(64, 51, 1)", "(3264)"),
        ((1, 600), (64, 51), "(600)", "(64, 51)"),
        ((600,), (599,), "(600)", "(599)"),
        ((-1, 64, -1, 1), (40, 51), "(64, any, 1)", "(40, 51)"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused_with_both(
    declared: tuple[int, ...], feature_shape: tuple[int, ...], network_text: str, extractor_text: str
) -> None:
    """Features that the network cannot read are refused before anything runs; the sentence has both shapes."""
    interpreter = Interpreter(networks.reshaping(Spec(declared), Spec((1, -1))))
    with pytest.raises(BundleMismatchError) as caught:
        interpreter.fit(feature_shape)
    assert str(caught.value) == (
        f"the network reads windows of shape {network_text}, and the extractor makes windows of shape {extractor_text}"
    )


def test_several_outputs_come_in_their_order() -> None:
    """Each output is an array of its own, one row per window, whatever its shape."""
    features = normal(5, 96)
    network = networks.reshaping(
        Spec((1, 96)), Spec((1, 96), name="row"), Spec((1, 8, 12)), Spec((96, 1), name="no batch"), Spec((2, 48))
    )
    interpreter = fitted(network, 96)
    outputs = interpreter(features)
    assert [output.shape for output in outputs] == [(5, 96), (5, 8, 12), (5, 96, 1), (5, 2, 48)]
    for output in outputs:
        np.testing.assert_array_equal(output.reshape(5, 96), features)
    assert [tensor.name for tensor in interpreter.outputs] == ["row", "tensor_2", "no batch", "tensor_4"]


def test_an_output_of_a_shape_known_only_when_run_is_read() -> None:
    """A network may decide an output's shape while it runs."""
    features = normal(4, 6)
    (rows,) = run(networks.tiling(6), features)
    np.testing.assert_array_equal(rows, features)


def test_an_output_that_is_not_a_row_a_window_is_refused() -> None:
    """A network that reads four windows and mixes them into one output is refused."""
    network = networks.reshaping(Spec((4, 3)), Spec((12,), name="mixed"))
    with pytest.raises(BundleMismatchError, match=re.escape("reads 4 windows at once, and its output mixed [12]")):
        fitted(network, 3)


def test_a_batch_that_the_network_does_not_allow_is_refused() -> None:
    """A network that says any batch and holds a fixed one inside is refused with the runtime's reason."""
    network = networks.reshaping(Spec((-1, 3)), Spec((1, 3)))
    assert run(network, normal(5, 3))[0].shape == (5, 3)
    with pytest.raises(BundleMismatchError, match=re.escape("the network cannot read (8, 3): ")) as caught:
        fitted(network, 3, batch_size=8)
    assert "\n" not in str(caught.value)


# --- what is refused --------------------------------------------------------------------------------------------------


# tflite-runtime does not look at what it reads: a network that is damaged inside kills its process.
@pytest.mark.parametrize(
    "rubbish",
    [
        *(b"", b"x", bytes(5000)),
        *(pytest.param(dead, marks=needs("ai_edge_litert")) for dead in (b"TFL3" * 100, networks.dense((1, 3))[:200])),
    ],
    ids=range(5),
)
def test_rubbish_is_refused_in_one_sentence(rubbish: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """What is no network raises BundleError with one line, and nothing else is shown."""
    with pytest.raises(BundleError, match=r"^the runtime cannot read the network: .+") as caught:
        Interpreter(rubbish)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_two_inputs_are_refused() -> None:
    """A network that reads more than features is refused with a list of what it reads, and what to give."""
    with pytest.raises(BundleMismatchError) as caught:
        Interpreter(networks.adding((1, 3), (1, 3)))
    for part in ("2 inputs (0: tensor_0 [1, 3] float32; 1: tensor_1 [1, 3]", "--constant NAME=VALUE", "--state INPUT="):
        assert part in str(caught.value)


def test_a_type_that_features_have_not_is_refused() -> None:
    """An input of whole numbers is refused by its name: features are no such numbers."""
    network = networks.reshaping(Spec((1, 3), "int32", name="odd"), Spec((3, 1), "int32"))
    with pytest.raises(BundleMismatchError, match="'odd' is int32; features are read as float32, int8, uint8 and int"):
        Interpreter(network)


def test_an_unknown_backend_is_a_mistake() -> None:
    """A backend that does not exist is a mistake in the call, and the known ones are named."""
    with pytest.raises(ValueError, match="backend 'tensorflow' is not known; use one of litert, tflite-runtime"):
        Interpreter(networks.dense((1, 3)), backend="tensorflow")


def test_a_backend_that_is_not_installed_is_refused() -> None:
    """A known backend that this Python does not have is refused with what to install."""
    program = (
        "import sys; sys.modules['tflite_runtime'] = None\n"
        "from sonyc_ml.model.interpreter import Interpreter\n"
        "try: Interpreter(b'', backend='tflite-runtime')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == (
        "BundleError the runtime tflite-runtime is not installed for this Python; try `pip install tflite-runtime`\n"
    )


@pytest.mark.parametrize("parameters", [{"num_threads": 0}, {"batch_size": 0}, {"num_threads": -1}], ids=str)
def test_less_than_one_of_anything_is_a_mistake(parameters: dict[str, int]) -> None:
    """Threads and batches are counted from one."""
    with pytest.raises(ValueError, match="num_threads and batch_size must be at least 1"):
        Interpreter(networks.dense((1, 3)), **parameters)  # type: ignore[arg-type]


# --- the runtime ------------------------------------------------------------------------------------------------------


def test_the_runtime_shows_nothing_to_the_user(capfd: pytest.CaptureFixture[str]) -> None:
    """Loading, fitting and running write nothing to stdout or stderr."""
    run(networks.dense((-1, 64, 51, 1)), normal(9, 64, 51), batch_size=4)
    assert capfd.readouterr() == ("", "")


@needs("ai_edge_litert")
def test_what_the_runtime_says_is_logged(tmp_path: Path) -> None:
    """A fresh process shows nothing of the delegate's announcement; it is logged for those who debug."""
    path = tmp_path / "dense.tflite"
    path.write_bytes(networks.dense((1, 3)))
    program = (
        "import logging, pathlib, sys; logging.basicConfig(level=sys.argv[2], format='%(message)s')\n"
        "from sonyc_ml.model.interpreter import Interpreter\n"
        "interpreter = Interpreter(pathlib.Path(sys.argv[1]).read_bytes()); interpreter.fit((3,))\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    assert subprocess.run([*command, "INFO"], capture_output=True, check=True).stderr == b""
    assert b"XNNPACK" in subprocess.run([*command, "DEBUG"], capture_output=True, check=True).stderr


def test_stderr_works_after_the_runtime_was_quieted(capfd: pytest.CaptureFixture[str]) -> None:
    """What others write to stderr is seen again once the runtime has started, also where it has failed."""
    Interpreter(networks.dense((1, 3)))
    with pytest.raises(BundleError):
        Interpreter(b"rubbish")
    print("seen", file=sys.stderr)
    assert capfd.readouterr().err == "seen\n"


@needs("ai_edge_litert")
@pytest.mark.parametrize(("reference_kernels", "n_taken"), [(False, 2), (True, 0)])
def test_delegated_operators_are_counted(reference_kernels: bool, n_taken: int) -> None:
    """XNNPACK's share of a network is counted, and reference kernels leave it none."""
    interpreter = fitted(networks.dense((1, 64, 51, 1)), 64, 51, reference_kernels=reference_kernels)
    assert interpreter.delegated() == (n_taken, 2)


@needs("ai_edge_litert")
def test_operators_that_are_not_delegated_are_told_apart() -> None:
    """A network that XNNPACK takes only in part is counted in part."""
    graph = networks.Graph()
    source, middle, target = (graph.tensor(Spec((1, 4))) for _ in range(3))
    floored = graph.tensor(Spec((1, 4)))
    graph.operator("RESHAPE", [source, graph.constant(np.array([1, 4], np.int32))], middle)
    graph.operator("FLOOR_MOD", [middle, graph.constant(np.ones((1, 4), np.float32))], floored)
    graph.operator("RESHAPE", [floored, graph.constant(np.array([1, 4], np.int32))], target)
    interpreter = fitted(graph.pack([source], [target]), 4)
    assert interpreter.delegated() == (2, 3)


@needs("ai_edge_litert")
@pytest.mark.parametrize(("reference_kernels", "takes_all"), [(False, True), (True, False)])
def test_sonycs_network_is_delegated_unless_refused(reference_kernels: bool, takes_all: bool) -> None:
    """XNNPACK takes SONYC's network, and nothing of it where reference kernels are asked for."""
    network = require_shared("models/quantized_default_int8.tflite").read_bytes()
    taken, total = fitted(network, 64, 51, reference_kernels=reference_kernels).delegated()
    assert (taken, total) == (17 if takes_all else 0, 17)


def test_the_backend_names_its_version() -> None:
    """The runtime's name and version go into every output's provenance."""
    backend = Interpreter(networks.dense((1, 3))).backend
    assert re.fullmatch(r"(ai-edge-litert|tflite-runtime) \d+\.\d+.*", backend)


def test_tensors_describe_themselves() -> None:
    """A tensor's text has its name, shape, type and quantisation."""
    interpreter = Interpreter(networks.requantising(Spec((-1, 8), "uint8", 0.5, 7, "in"), Spec((-1, 8), "int8", 0.25)))
    assert str(interpreter.inputs[0]) == "in [any, 8] uint8, 0.5 * (q - 7)"
    assert str(interpreter.outputs[0]) == "tensor_1 [any, 8] int8, 0.25 * (q - 0)"


PARITY_PROGRAM = """
import sys
import numpy as np
from sonyc_ml.model.interpreter import Interpreter
folder = sys.argv[1]
for i in range(int(sys.argv[2])):
    interpreter = Interpreter(open(f"{folder}/{i}.tflite", "rb").read(), batch_size=3)
    features = np.load(f"{folder}/{i}.npy")
    interpreter.fit(features.shape[1:])
    np.savez(f"{folder}/{i}.npz", *interpreter(features))
print(interpreter.backend)
"""


def test_tflite_runtime_gives_the_same_rows(tmp_path: Path) -> None:
    """The backend of 32-bit ARM nodes reads every type, batch and shape as LiteRT does, and is as quiet."""
    if not TFLITE_RUNTIME.exists():
        pytest.skip(".venv-tflite-runtime is not in this check-out (scripts/test makes it where there is Python 3.11)")
    quantised = [Spec((1, 24), dtype, 0.05, zero_point) for dtype, zero_point in ZERO_POINTS.items()]
    cases = [(networks.reshaping(spec, spec), normal(5, 24)) for spec in quantised]
    cases += [(networks.dense((n_batch, 64, 51, 1)), normal(5, 64, 51)) for n_batch in (1, 4, -1)]
    cases += [(networks.reshaping(Spec((96,)), Spec((8, 12)), Spec((1, 96))), normal(5, 96))]
    cases += [(networks.tiling(6), normal(4, 6))]
    for i, (network, features) in enumerate(cases):
        (tmp_path / f"{i}.tflite").write_bytes(network)
        np.save(tmp_path / f"{i}.npy", features)
    result = subprocess.run(
        [TFLITE_RUNTIME, "-c", PARITY_PROGRAM, str(tmp_path), str(len(cases))],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("tflite-runtime 2.14")
    assert result.stderr == ""
    for i, (network, features) in enumerate(cases):
        with np.load(tmp_path / f"{i}.npz") as theirs:
            for ours, name in zip(run(network, features, batch_size=3), theirs.files, strict=True):
                np.testing.assert_allclose(ours, theirs[name], rtol=0, atol=1e-6)
