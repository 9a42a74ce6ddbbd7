"""A network is cut at a tensor inside it: the same numbers, and an embedding with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml.authoring.graph import Cut, Graph
from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.cli import main
from sonyc_ml.errors import BundleError, BundleMismatchError
from sonyc_ml.model.interpreter import Interpreter
from sonyc_ml.model.loading import load_model
from tests.conftest import needs, require_shared
from tests.support import networks

pytestmark = [pytest.mark.numeric, needs("ai_edge_litert")]

Floats = npt.NDArray[np.float32]

N_VALUES, SR = 400, 8000
INNER = "block/inner;relu"


def normal(*shape: int) -> Floats:
    return np.random.default_rng(23).normal(0, 1, shape).astype(np.float32)


def rows(network: bytes, features: Floats, **parameters: Any) -> tuple[Floats, ...]:
    interpreter = Interpreter(network, **parameters)
    interpreter.fit(features.shape[1:])
    return interpreter(features)


def cut(network: bytes, tensor: str, output: int = 0) -> Cut:
    graph = Graph(network)
    return graph.cut_at(graph.find(tensor), graph.outputs[output])


@pytest.mark.parametrize("batch", [1, -1])
def test_a_dense_layer_behind_the_embedding_is_the_head(batch: int) -> None:
    """The network up to the tensor, and the rest of it as a head, give together what it gave, to the last bit."""
    network, features = networks.classifying(N_VALUES, batch=batch), normal(5, N_VALUES)
    parts = cut(network, INNER)
    assert parts.head is not None
    assert parts.has_scores
    (embedding,) = rows(parts.network, features)
    assert embedding.shape == (5, 16)
    np.testing.assert_array_equal(rows(parts.head, embedding)[0], rows(network, features)[0])
    assert len(parts.network) + len(parts.head) < len(network) + 4000  # each constant is in one of the two


@pytest.mark.parametrize(("tensor", "twice"), [("logits", True), (INNER, True)])
def test_what_is_no_head_stays_one_network(tensor: str, twice: bool) -> None:
    """Where the scores come of more than the embedding, one network gives both."""
    network, features = networks.classifying(N_VALUES, twice=twice), normal(5, N_VALUES)
    parts = cut(network, tensor)
    assert parts.head is None
    embedding, scores = rows(parts.network, features)
    np.testing.assert_array_equal(scores, rows(network, features)[0])
    assert embedding.shape == (5, 16 if tensor == INNER else 4)


@pytest.mark.parametrize(
    ("name", "shape", "tensor", "has_head"),
    [
        ("networks/araobp_environment", (64, 40), "sequential/dense/Relu", True),
        ("networks/araobp_environment", (64, 40), "sequential/conv2d_3/Relu", False),
        ("networks/biodcase_test_model", (40, 133), "cnn_baseline_1/global_average_pooling2d_1/Mean", False),
        ("networks/mlperf_kws_ref_model", (49, 10), "functional_1/average_pooling2d/AvgPool", True),
        ("networks/mlperf_ad01_int8", (640,), "functional_1/activation_4/Relu;functional_1/dense_4/BiasAdd", False),
        ("networks/tflm_micro_speech_lstm", (49, 257), "sequential/flatten/Reshape", True),
        ("models/yamnet", (15600,), "yamnet_frames/global_average_pooling2d/Mean", True),
    ],
    ids=str,
)
def test_public_networks_are_cut(name: str, shape: tuple[int, ...], tensor: str, has_head: bool) -> None:
    """Float, dynamic-range and int8 networks give their scores to the last bit, and the tensor itself beside them."""
    network = require_shared(f"{name}.tflite").read_bytes()
    features = 0.1 * normal(3, *shape)
    parts = cut(network, tensor)
    assert (parts.head is not None) == has_head
    wanted = rows(network, features)[0]
    embedding, *scores = rows(parts.network, features)
    if parts.head is not None:
        scores = [rows(parts.head, embedding.reshape(3, -1))[0]]
    np.testing.assert_array_equal(scores[0].reshape(3, -1), wanted.reshape(3, -1))
    (both,) = rows(Graph(network).part(Graph(network).inputs, [Graph(network).find(tensor)]), features)
    np.testing.assert_array_equal(embedding, both)
    assert np.ptp(embedding) > 0


def test_a_network_with_variables_keeps_what_sets_them() -> None:
    """What sets a resource up, and what changes it, are in the part too; there may be further graphs."""
    network, features = networks.counting(N_VALUES), normal(3, N_VALUES)
    graph = Graph(network)
    part = graph.part(graph.inputs, [graph.find("embedding")])
    np.testing.assert_array_equal(rows(part, features)[0], rows(network, features)[0])
    assert Interpreter(part).state == "resources"


def test_other_inputs_stay_inputs() -> None:
    """Constants of the network are constants of the part, also where what was cut off was all that read them."""
    network, features = networks.placed(N_VALUES), normal(3, N_VALUES)
    graph = Graph(network)
    part = graph.part(graph.inputs, [graph.find("heard")])
    (found,) = rows(part, features, constants={"place": [1, 2, 3], "week": 4})
    (wanted,) = rows(network, features, constants={"place": 0, "week": 0})
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing", "computes no tensor of that name; its last ones are 'block/inner;relu', 'logits', 'scores'"),
        ("samples", "computes no tensor of that name"),
        ("tensor_0", "computes no tensor of that name"),  # a constant
        ("#99", "computes no tensor of that name"),
    ],
)
def test_a_tensor_that_is_not_there_is_refused(name: str, sentence: str) -> None:
    """What the network does not compute cannot be its embedding; what it computes last is listed."""
    with pytest.raises(BundleMismatchError) as caught:
        Graph(networks.classifying(N_VALUES)).find(name)
    assert sentence in str(caught.value)


def test_tensors_of_one_name_are_named_by_number() -> None:
    """A name that several tensors have is refused with their numbers, which are taken."""
    graph = networks.Graph()
    source, *others = (graph.tensor(networks.Spec((1, 4), name=name)) for name in ("x", "same", "same", "out"))
    for before, after in zip([source, *others], others, strict=False):
        graph.operator("TANH", [before], after)
    network = Graph(graph.pack([source], [others[-1]]))
    with pytest.raises(
        BundleMismatchError, match=r"2 tensors of the network are called 'same'; give one by its.*#1 or #2"
    ):
        network.find("same")
    assert network.find("#2") == 2


@pytest.mark.parametrize("rubbish", [b"", b"rubbish", bytes(200)])
def test_rubbish_is_refused(rubbish: bytes) -> None:
    """What is no network is refused in a sentence."""
    with pytest.raises(BundleError, match="the network's graph cannot be read"):
        Graph(rubbish)


# --- bundles ----------------------------------------------------------------------------------------------------------


def make(path: Path, *flags: str) -> int:
    return main(["bundle", "make", str(path), "--input-kind", "pcm", "--target-sr", str(SR), *flags])


def test_a_bundle_is_made_of_what_info_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`info` says what to paste; the cut network is a new file with its head, and the network stays as it is."""
    path = tmp_path / "net.tflite"
    network = networks.classifying(N_VALUES)
    path.write_bytes(network)
    assert main(["info", str(path)]) == 0
    assert "--outputs 'embedding=block/inner;relu'" in capsys.readouterr().out
    assert make(path, "--outputs", f"embedding={INNER}", "--labels", "a,b,c,d") == 0
    text = capsys.readouterr().out
    assert "net-embedding.tflite is net.tflite with that embedding; net-embedding-head.tflite is the rest" in text
    assert path.read_bytes() == network
    assert not path.with_suffix(".json").exists()
    model = load_model(tmp_path / "net-embedding.tflite", golden="always")
    y = 0.1 * normal(4000)
    outputs = model.get_outputs(y, SR)
    whole = rows(network, model.get_features(y, SR))[0]
    np.testing.assert_array_equal(outputs["scores"], whole)
    assert outputs["embedding"].shape == (len(whole), 16)
    assert make(path, "--outputs", f"embedding={INNER},scores=0") == 0  # again, over what it made


def test_one_network_with_both_outputs(tmp_path: Path) -> None:
    """Where there is no head, the manifest names the two outputs of the new network."""
    path = tmp_path / "net.tflite"
    path.write_bytes(networks.classifying(N_VALUES, twice=True))
    assert make(path, "--outputs", f"embedding={INNER}") == 0
    assert json.loads((tmp_path / "net-embedding.json").read_text())["outputs"] == {"embedding": 0, "scores": 1}
    assert set(load_model(tmp_path / "net-embedding.tflite").get_outputs(normal(4000), SR)) == {
        *("timestamps", "embedding", "scores")
    }


def test_a_file_of_somebody_elses_is_not_written_over(tmp_path: Path) -> None:
    """A file that has the new network's name and was not made in this way stays, and is named."""
    path, other = tmp_path / "net.tflite", tmp_path / "net-embedding.tflite"
    path.write_bytes(networks.classifying(N_VALUES))
    other.write_bytes(b"mine")
    with pytest.raises(BundleError, match=r"net-embedding\.tflite would be written, and is there already"):
        make_bundle(path, input_kind="pcm", target_sr=SR, outputs={"embedding": INNER})
    assert other.read_bytes() == b"mine"


def test_scores_are_outputs(tmp_path: Path) -> None:
    """Only an embedding is looked for inside the network."""
    path = tmp_path / "net.tflite"
    path.write_bytes(networks.classifying(N_VALUES))
    with pytest.raises(BundleMismatchError, match="only the embedding may be a tensor inside the network"):
        make_bundle(path, input_kind="pcm", target_sr=SR, outputs={"scores": "logits"})
