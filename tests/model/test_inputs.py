"""Networks of several inputs: constants, state that is fed back, labels as whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.model.interpreter import Interpreter
from tests.conftest import require_shared
from tests.support import networks

pytestmark = pytest.mark.numeric

Floats = npt.NDArray[np.float32]

N_VALUES = 40
FEEDBACK = [("memory_in", "memory_out")]


def normal(*shape: int) -> Floats:
    return np.random.default_rng(17).normal(0, 1, shape).astype(np.float32)


def fitted(network: bytes, *feature_shape: int, **parameters: Any) -> Interpreter:
    interpreter = Interpreter(network, **parameters)
    interpreter.fit(feature_shape)
    return interpreter


# --- constants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int32", "int64", "bool"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_constants_are_what_was_given(dtype: str, batch_size: int) -> None:
    """A row of floats and a whole number, by name or by number, are added to every window."""
    features, network = normal(5, N_VALUES), networks.placed(N_VALUES, dtype)
    bare = fitted(network, N_VALUES, constants={"place": 0, "week": 0})(features)[0]
    for constants in ({"place": [1.5, 2, -3], "week": 1}, {"0": [[1.5, 2, -3]], "2": [1]}):
        (rows,) = fitted(network, N_VALUES, constants=constants, batch_size=batch_size)(features)
        np.testing.assert_allclose(rows, bare + np.array([2.5, 3, -2], np.float32), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("constants", "sentence"),
    [
        ({"place": [1, 2, 3], "week": 1.5}, "the constant week is 1.5, and the network reads week [1] int32"),
        ({"place": [1, 2, 3], "week": 2**40}, "the constant week is 1099511627776"),
        ({"place": [1, 2], "week": 1}, r"the constant place has the shape (2), and the network reads place [any, 3]"),
        ({"place": "Paris", "week": 1}, "the constant place must be numbers, not 'Paris'"),
        ({"place": float("nan"), "week": 1}, "the constant place must be numbers, not nan"),
        ({"place": 1, "0": 2, "week": 1}, "an input of the network is given twice"),
        ({"place": 1}, "3 inputs"),
        ({"plaice": 1, "week": 1}, "the network has no input 'plaice'; it has 0: place"),
        ({"place": 1, "week": 1, "samples": 1}, "is left to read the features"),
    ],
    ids=str,
)
def test_constants_that_do_not_fit_are_refused(constants: dict[str, Any], sentence: str) -> None:
    """What the network cannot hold is refused by the tensor's name, before anything runs."""
    with pytest.raises(BundleMismatchError) as caught:
        fitted(networks.placed(N_VALUES), N_VALUES, constants=constants)
    assert sentence in str(caught.value)


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_whole_numbers_are_outputs(dtype: str) -> None:
    """A network that gives the number of a class gives it as a float."""
    features = normal(6, 9)
    (rows,) = fitted(networks.numbering(9, dtype), 9)(features)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows.reshape(-1), features.argmax(axis=1))


# --- state ------------------------------------------------------------------------------------------------------------


def test_state_is_carried_from_window_to_window() -> None:
    """Each window reads what the one before has left, the first one zeros."""
    features = normal(7, N_VALUES)
    memory, embedding = fitted(networks.recurrent(N_VALUES), N_VALUES, feedback=FEEDBACK)(features)
    alone = fitted(networks.recurrent(N_VALUES), N_VALUES, constants={"memory_in": 0})(features)[0]
    expected = np.zeros(3, np.float32)
    for row, heard in zip(memory, alone, strict=True):
        expected = 0.5 * expected + heard
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(embedding, np.tanh(memory), rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_at_once", [1, 2, 3, 7])
def test_any_calls_are_one_call_bit_for_bit(n_at_once: int) -> None:
    """Windows that come in several calls give the bits of all in one; after a reset all is as at the beginning."""
    features = normal(7, N_VALUES)
    interpreter = fitted(networks.recurrent(N_VALUES, batch=-1), N_VALUES, feedback=FEEDBACK, batch_size=4)
    whole = interpreter(features)
    assert not np.array_equal(interpreter(features)[0], whole[0])
    interpreter.reset()
    parts = [interpreter(features[i : i + n_at_once]) for i in range(0, len(features), n_at_once)]
    for number, rows in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([part[number] for part in parts]), rows)


@pytest.mark.parametrize("name", ["dtln_model_1", "dtln_model_2", "dtln_model_quant_1", "dtln_model_quant_2"])
def test_published_networks_with_state(name: str) -> None:
    """Both networks of DTLN give, in calls of three windows, what a plain loop over the runtime gives."""
    content = require_shared(f"networks/{name}.tflite").read_bytes()
    n_values = 257 if name.endswith("1") else 512
    frames = np.abs(normal(20, n_values))
    inputs = [tensor.name for tensor in fitted(content, n_values, constants={"1": 0}).inputs]
    interpreter = fitted(content, n_values, feedback=[(inputs[1], "Identity_1")])
    found = np.concatenate([interpreter(frames[i : i + 3])[0] for i in range(0, len(frames), 3)])
    state, expected = np.zeros((1, 2, 128, 2), np.float32), []
    for row in frames:
        step = fitted(content, n_values, constants={inputs[1]: state})
        (output, (state,)) = step(row[None])
        expected.append(output)
    np.testing.assert_array_equal(found, np.concatenate(expected))


def test_a_state_of_another_size_is_refused() -> None:
    """An output that does not fit the input it is fed back to is refused."""
    network = networks.adding((1, 3), (1, 1))
    with pytest.raises(BundleMismatchError, match=r"tensor_2 \[1, 3\] float32 cannot be fed back to tensor_1 \[1, 1\]"):
        fitted(network, 3, feedback=[("tensor_1", "tensor_2")])


def test_a_quantised_state_is_stored_as_its_input_stores_it() -> None:
    """A state that is given in one quantisation and read in another keeps its value, not its stored number."""
    interpreter = fitted(networks.summing(4), 4, feedback=[("before", "sum")])
    (rows,) = interpreter(np.ones((4, 4), np.float32))
    np.testing.assert_array_equal(rows[:, 0], [1, 2, 3, 4])
