"""A window's numbers are its own: nothing that a network remembers reaches from one window into the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sonyc_ml.authoring.make import check_repeats, make_bundle
from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.model import Model, PCMModel
from sonyc_ml.model.interpreter import Interpreter
from sonyc_ml.model.loading import load_model
from tests.conftest import require_shared
from tests.support import networks

N_VALUES = 400
REMEMBERING = pytest.mark.parametrize("network", [networks.remembering, networks.counting])


@REMEMBERING
@pytest.mark.parametrize("reference_kernels", [False, True])
def test_order_does_not_matter(network: Callable[[int], bytes], reference_kernels: bool) -> None:
    """The same windows in the opposite order, and again, give the same numbers."""
    windows = np.random.default_rng(1).normal(0, 1, (7, N_VALUES)).astype(np.float32)
    interpreter = Interpreter(network(N_VALUES), reference_kernels=reference_kernels)
    interpreter.fit((N_VALUES,))
    (forward,) = interpreter(windows)
    (backward,) = interpreter(windows[::-1].copy())
    np.testing.assert_array_equal(forward, backward[::-1])
    fresh = Interpreter(network(N_VALUES), reference_kernels=reference_kernels)
    fresh.fit((N_VALUES,))
    np.testing.assert_array_equal(fresh(windows[3:4])[0], forward[3:4])


@pytest.mark.parametrize(("name", "shape"), [("tflm_micro_speech_lstm", (49, 257)), ("mww_v2_vad", (3, 40))], ids=str)
def test_public_networks_with_state(name: str, shape: tuple[int, ...]) -> None:
    """A fused LSTM, and a streaming network that keeps its past in resources."""
    network = require_shared(f"networks/{name}.tflite").read_bytes()
    windows = np.random.default_rng(2).normal(0, 20, (6, *shape)).astype(np.float32)
    interpreter = Interpreter(network)
    interpreter.fit(shape)
    (forward,) = interpreter(windows)
    np.testing.assert_array_equal(interpreter(windows[::-1].copy())[0][::-1], forward)
    assert len(np.unique(forward, axis=0)) > 1  # or there would be nothing to see


@REMEMBERING
def test_a_recording_does_not_change_the_next(tmp_path: Path, network: Callable[[int], bytes]) -> None:
    """A bundle of such a network can be made, and what it heard before does not reach into a recording."""
    path = tmp_path / "state.tflite"
    path.write_bytes(network(N_VALUES))
    make_bundle(path, input_kind="pcm", target_sr=8000)
    model = load_model(path)
    rng = np.random.default_rng(3)
    first, other = (rng.normal(0, 0.1, 4000).astype(np.float32) for _ in range(2))
    alone = model.get_embedding(first, 8000)
    model.get_embedding(other, 8000)
    np.testing.assert_array_equal(model.get_embedding(first, 8000), alone)


def test_what_remembers_unseen_is_refused(tmp_path: Path) -> None:
    """An extractor of the user's own that keeps something is found by computing the golden signal twice."""

    class Drifting(PCMModel):
        n_heard = 0

        def get_outputs(self, *_: object, **__: object) -> dict[str, np.ndarray]:
            self.n_heard += 1
            return {"embedding": np.full((3, 2), self.n_heard, np.float32)}

    path = tmp_path / "plain.tflite"
    path.write_bytes(networks.dense((1, N_VALUES)))
    model: Model = Drifting(path, target_sr=8000)
    with pytest.raises(BundleMismatchError, match="same sound gives another embedding the second time"):
        check_repeats(model)
