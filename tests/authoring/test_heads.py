"""A classifier of scikit-learn's becomes a head that gives its probabilities."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed here")
pytest.importorskip("ai_edge_litert", reason="heads are written where there is LiteRT")

from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sonyc_ml.authoring.heads import dense_head, head_of
from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.model.interpreter import Interpreter
from sonyc_ml.model.loading import load_model
from tests.conftest import ROOT, TFLITE_RUNTIME, write_recording

pytestmark = pytest.mark.numeric

Floats = npt.NDArray[np.float32]

N_DIMS = 24
NAMES = np.array(["dog", "engine", "siren", "wind"])


@pytest.fixture(scope="module")
def embedding() -> Floats:
    """Embeddings far from 0, some dimensions wide and one that never changes, as networks give them."""
    rng = np.random.default_rng(5)
    rows = rng.normal(2, 1, (300, N_DIMS)) * np.geomspace(0.05, 20, N_DIMS)
    rows[:, 3] = 0.7
    return rows.astype(np.float32)


def classes(embedding: Floats, n_classes: int) -> npt.NDArray[np.str_]:
    """Classes that depend on the embedding, and a little on chance."""
    rng = np.random.default_rng(6)
    standard = (embedding - embedding.mean(axis=0)) / np.maximum(embedding.std(axis=0), 1e-6)
    directions = rng.normal(0, 1, (N_DIMS, n_classes))
    named: npt.NDArray[np.str_] = NAMES[(standard @ directions + rng.normal(0, 2, (300, n_classes))).argmax(axis=1)]
    return named


def scores_of(network: bytes, embedding: Floats, **keywords: Any) -> Floats:
    """The scores a runtime gives."""
    interpreter = Interpreter(network, **keywords)
    interpreter.fit(embedding.shape[1:])
    (scores,) = interpreter(embedding)
    return scores


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("reference_kernels", [False, True])
def test_a_pipeline_becomes_a_head(n_classes: int, reference_kernels: bool, embedding: Floats) -> None:
    """Standardisation and classifier in one network: its scores are predict_proba, to 1e-6, under its labels."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    classifier.fit(embedding, classes(embedding, n_classes))
    network, labels = head_of(classifier)
    assert labels == tuple(classifier.classes_) == tuple(sorted(NAMES[:n_classes]))
    scores = scores_of(network, embedding, reference_kernels=reference_kernels)
    assert scores.shape == (300, n_classes)
    np.testing.assert_allclose(scores, classifier.predict_proba(embedding), rtol=0, atol=1e-6)


def test_a_scaler_may_come_apart(embedding: Floats) -> None:
    """A classifier and the scaler its embeddings went through make the head that their pipeline makes."""
    names = classes(embedding, 4)
    scaler = StandardScaler().fit(embedding)
    classifier = LogisticRegression(max_iter=500).fit(scaler.transform(embedding), names)
    network, _ = head_of(classifier, scaler)
    np.testing.assert_allclose(
        scores_of(network, embedding), classifier.predict_proba(scaler.transform(embedding)), rtol=0, atol=1e-6
    )
    nested = make_pipeline(scaler, make_pipeline("passthrough", None, classifier))
    assert head_of(nested)[0] == network


@pytest.mark.parametrize(
    "scalers",
    [
        (),
        (StandardScaler(with_mean=False),),
        (StandardScaler(with_std=False),),
        (StandardScaler(), StandardScaler(with_std=False), StandardScaler()),
    ],
)
def test_standardisations_are_folded_in(scalers: tuple[Any, ...], embedding: Floats) -> None:
    """None, half ones and several after one another are part of the weights and biases."""
    small = embedding[:, :12]
    classifier = make_pipeline(*scalers, LogisticRegression(max_iter=1000)).fit(small, classes(embedding, 3))
    network, _ = head_of(classifier)
    np.testing.assert_allclose(scores_of(network, small), classifier.predict_proba(small), rtol=0, atol=1e-6)


def test_standardisations_of_elsewhere_are_folded_in(embedding: Floats) -> None:
    """A scaler that was fitted on other embeddings, before a pipeline with one of its own."""
    scaler = StandardScaler().fit(embedding * 3 + 5)
    rows = scaler.transform(embedding.astype(np.float64))  # far from 0 by then, for float32
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(rows, classes(embedding, 3))
    network, _ = head_of(classifier, scaler)
    np.testing.assert_allclose(scores_of(network, embedding), classifier.predict_proba(rows), rtol=0, atol=1e-6)


def test_sigmoids_stand_side_by_side(embedding: Floats) -> None:
    """Classes that are heard side by side each have a sigmoid: the classifiers of OneVsRestClassifier, stacked."""
    rng = np.random.default_rng(7)
    standard = StandardScaler().fit_transform(embedding)
    heard = (standard @ rng.normal(0, 1, (N_DIMS, 3)) > 0).astype(int)
    classifier = OneVsRestClassifier(LogisticRegression(max_iter=500)).fit(standard, heard)
    weights = np.concatenate([one.coef_ for one in classifier.estimators_])
    biases = np.concatenate([one.intercept_ for one in classifier.estimators_])
    network = dense_head(weights, biases, activation="sigmoid")
    rows = standard.astype(np.float32)
    np.testing.assert_allclose(scores_of(network, rows), classifier.predict_proba(rows), rtol=0, atol=1e-6)


def test_folding_loses_nothing() -> None:
    """Mean and scale become part of the layer in float64: a mean of a thousand scales costs no accuracy of the fold."""
    rng = np.random.default_rng(8)
    weights, biases = rng.normal(size=(3, 5)), rng.normal(size=3)
    mean, scale = np.full(5, 1e3), np.full(5, 0.5)
    folded = dense_head(weights, biases, mean=mean, scale=scale)
    assert folded == dense_head(weights / scale, biases - (weights / scale) @ mean)


def test_labels_need_not_be_text(embedding: Floats) -> None:
    """Classes that are numbers are labels too."""
    numbers = (embedding[:, 0] > embedding[:, 0].mean()).astype(int)
    classifier = make_pipeline(StandardScaler(), LogisticRegression()).fit(embedding, numbers)
    assert head_of(classifier)[1] == ("0", "1")


def refused(classifier: Any, embedding: Floats) -> str:
    classifier.fit(embedding, NAMES[embedding[:, :4].argmax(axis=1)])
    with pytest.raises(ValueError) as caught:  # noqa: PT011  its text is what is looked at
        head_of(classifier)
    return str(caught.value)


def test_what_is_no_head_is_refused(embedding: Floats) -> None:
    """A classifier whose probabilities are not those of one layer is refused, and it is said why."""
    small = StandardScaler().fit_transform(embedding)[:, :6].astype(np.float32)
    assert "RidgeClassifier has no predict_proba" in refused(RidgeClassifier(), small)
    told = refused(SGDClassifier(loss="log_loss", random_state=0), small)
    assert "the probabilities of SGDClassifier are not the softmax of its linear function, they differ by" in told
    told = refused(make_pipeline(PCA(3), LogisticRegression()), small)
    assert "a head cannot hold the step PCA" in told
    told = refused(make_pipeline(MinMaxScaler(), LogisticRegression()), small)
    assert "the probabilities of Pipeline are not the softmax" in told
    with pytest.raises(ValueError, match="LogisticRegression has no coef_, intercept_, classes_; a head is made of"):
        head_of(LogisticRegression())


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"activation": "tanh"}, "activation must be softmax or sigmoid, not 'tanh'"),
        ({"biases": [0.0]}, r"weights are \(n_classes, n_dims\) and biases \(n_classes,\), not \(2, 3\) and \(1,\)"),
        ({"weights": [0.0, 1.0]}, r"not \(2,\) and \(2,\)"),
        ({"mean": [0.0]}, r"mean has shape \(1,\), and the weights are of 3 dimensions"),
        ({"scale": [1.0, 0.0, 1.0]}, "scale holds a 0"),
        ({"weights": np.full((2, 3), np.nan)}, "a value that is no number"),
    ],
)
def test_what_does_not_go_together_is_refused(keywords: dict[str, Any], message: str) -> None:
    """Shapes that do not fit, and values that are none, are mistakes in the call."""
    with pytest.raises(ValueError, match=message):
        dense_head(**{"weights": np.ones((2, 3)), "biases": np.zeros(2)} | keywords)


def test_a_head_goes_into_a_bundle(tmp_path: Path, tiny_bundle: Path) -> None:
    """Made into a bundle, its scores and labels are in the outputs of every recording."""
    path = tmp_path / "models" / "tiny.tflite"
    path.parent.mkdir()
    for suffix in (".tflite", ".pkl"):
        path.with_suffix(suffix).write_bytes(tiny_bundle.with_suffix(suffix).read_bytes())
    rng = np.random.default_rng(9)
    rows = rng.normal(size=(60, 5))
    network, labels = head_of(make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, NAMES[np.arange(60) % 3]))
    path.with_name("tiny_head.tflite").write_bytes(network)
    make_bundle(path, head="tiny_head.tflite", labels=labels)
    output = load_model(path).embed_file(write_recording(tmp_path / "a.wav", seconds=2))
    assert output.labels == ("dog", "engine", "siren")
    assert output.scores is not None
    np.testing.assert_allclose(output.scores.sum(axis=1), 1, atol=1e-6)


PROGRAM = """
import sys, numpy as np
from sonyc_ml.model.interpreter import Interpreter
for name in ("softmax", "sigmoid"):
    interpreter = Interpreter(open(f"{sys.argv[1]}/{name}.tflite", "rb").read())
    embedding = np.load(f"{sys.argv[1]}/embedding.npy")
    interpreter.fit(embedding.shape[1:])
    np.save(f"{sys.argv[1]}/{name}.npy", interpreter(embedding)[0])
print(interpreter.backend)
"""


def test_tflite_runtime_runs_it(embedding: Floats, tmp_path: Path) -> None:
    """The runtime of 32-bit ARM nodes gives the same scores."""
    if not TFLITE_RUNTIME.exists():
        pytest.skip(".venv-tflite-runtime is not in this check-out (scripts/test makes it where there is Python 3.11)")
    rng = np.random.default_rng(10)
    np.save(tmp_path / "embedding.npy", embedding)
    layer = rng.normal(0, 0.05, (4, N_DIMS)), rng.normal(size=4)
    networks = {name: dense_head(*layer, activation=name) for name in ("softmax", "sigmoid")}
    for name, network in networks.items():
        (tmp_path / f"{name}.tflite").write_bytes(network)
    command = [str(TFLITE_RUNTIME), "-c", PROGRAM, str(tmp_path)]
    ran = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("tflite-runtime 2.14")
    for name, network in networks.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), scores_of(network, embedding), rtol=0, atol=1e-6)


def test_without_the_writers_it_is_said(tmp_path: Path) -> None:
    """Where LiteRT's schema is not installed, a head cannot be made, and one sentence says so."""
    (tmp_path / "ai_edge_litert").mkdir()
    (tmp_path / "ai_edge_litert" / "__init__.py").touch()
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from sonyc_ml.authoring.heads import dense_head\n"
        "try: dense_head([[1, 2]], [0])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(
        "ConfigError a head is written with ai-edge-litert and flatbuffers, and this Python cannot"
    )


def test_the_package_needs_no_scikit_learn() -> None:
    """The head's room imports neither scikit-learn nor what writes the file until it is asked to."""
    program = (
        "import sys, sonyc_ml.authoring.heads; print({'sklearn', 'flatbuffers', 'ai_edge_litert'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
