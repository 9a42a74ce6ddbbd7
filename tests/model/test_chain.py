"""A chain of networks: each reads what the one before gives, and the head the last embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml import load_model
from sonyc_ml.authoring.make import verify
from sonyc_ml.cli import main
from sonyc_ml.errors import BundleError
from sonyc_ml.features import PCMWindows
from sonyc_ml.model.interpreter import Interpreter
from tests.conftest import write_recording
from tests.support import networks

N_VALUES, N_DIMS, N_EMBEDDINGS, SR = 400, 5, 3, 8000
HOP_S = 0.02

Floats = npt.NDArray[np.float32]


def write_chain(folder: Path, head: bytes | None = None) -> Path:
    """Three networks in a folder; the first one's path."""
    (folder / "second.tflite").write_bytes(networks.dense((1, N_VALUES), N_DIMS))
    (folder / "head.tflite").write_bytes(head or networks.dense((1, N_EMBEDDINGS, N_DIMS), 2))
    path = folder / "first.tflite"
    path.write_bytes(networks.scaling(N_VALUES, 3.0))
    return path


def make(path: Path, *more: str) -> int:
    """Make a bundle of the chain by command; the exit status."""
    said = ["--input-kind", "pcm", "--target-sr", str(SR), "--hop-size", str(HOP_S), "--stages", "second.tflite", *more]
    return main(["bundle", "make", str(path), *said])


HEAD = ("--head", "head.tflite", "--head-embeddings", str(N_EMBEDDINGS))


def plain_loop(folder: Path, y: Floats) -> tuple[Floats, Floats]:
    """Embedding and scores, window by window, with zeros for the windows before the first."""
    first, second, head = (
        Interpreter((folder / name).read_bytes()) for name in ("first.tflite", "second.tflite", "head.tflite")
    )
    first.fit((N_VALUES,))
    second.fit((N_VALUES,))
    head.fit((N_EMBEDDINGS, N_DIMS))
    past = [np.zeros(N_DIMS, np.float32)] * N_EMBEDDINGS
    embedding, scores = [], []
    for window in PCMWindows(N_VALUES / SR, HOP_S, SR, res_type="sinc")(y, SR):
        past = [*past[1:], second(first(window[None])[0])[0][0]]
        embedding.append(past[-1])
        scores.append(head(np.array([past]))[0][0])
    return np.array(embedding), np.array(scores)


@pytest.mark.parametrize("is_flat", [False, True], ids=["rows", "one row"])
def test_a_chain_equals_a_plain_loop(tmp_path: Path, is_flat: bool) -> None:
    """Bit for bit, over more windows than are computed at once, and again from zero for the next recording."""
    head = networks.dense((1, N_EMBEDDINGS * N_DIMS), 2) if is_flat else None
    path = write_chain(tmp_path, head)
    assert make(path, *HEAD) == 0
    model = load_model(path)
    if is_flat:
        write_chain(tmp_path)
    rng = np.random.default_rng(1)
    for n_samples in (SR * 6, N_VALUES):
        y = rng.normal(0, 0.1, n_samples).astype(np.float32)
        embedding, scores = plain_loop(tmp_path, y)
        outputs = model.get_outputs(y, SR)
        np.testing.assert_array_equal(outputs["embedding"], embedding)
        np.testing.assert_allclose(outputs["scores"], scores, rtol=1e-6, atol=1e-9)


def test_a_recording_gives_what_its_samples_give(tmp_path: Path) -> None:
    """In blocks as in one piece; another hop is refused, since the head counts windows."""
    path = write_chain(tmp_path)
    assert make(path, *HEAD) == 0
    model = load_model(path)
    recording = write_recording(tmp_path / "a.wav", 4.0)
    output = model.embed_file(recording)
    assert output.scores is not None
    assert output.scores.shape == (len(output.timestamps), 2)
    again = model.embed_file(recording)
    np.testing.assert_array_equal(output.scores, again.scores)
    with pytest.raises(ValueError, match="hop_size cannot be"):
        model.get_outputs(np.zeros(SR, np.float32), SR, 0.5)


def test_the_manifest_names_the_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its networks are among the files, the golden vector proves it, and the card shows it."""
    path = write_chain(tmp_path)
    assert make(path, *HEAD) == 0
    manifest = json.loads(path.with_suffix(".json").read_text())
    assert manifest["stages"] == ["second.tflite"]
    assert manifest["head"] == {"network": "head.tflite", "n_embeddings": N_EMBEDDINGS}
    assert {"first.tflite", "second.tflite", "head.tflite"} <= set(manifest["files"])
    verify(path)
    assert main(["bundle", "info", str(path)]) == 0
    assert "second.tflite" in capsys.readouterr().out
    (tmp_path / "second.tflite").write_bytes(networks.dense((1, N_VALUES), N_DIMS + 1))
    with pytest.raises(BundleError, match="not the file that the manifest lists"):
        load_model(path)


def test_networks_that_do_not_follow_each_other_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another shape, or two outputs where one is read, in a sentence that says which."""
    path = write_chain(tmp_path)
    (tmp_path / "second.tflite").write_bytes(networks.dense((1, N_VALUES + 1), N_DIMS))
    assert make(path) == 2
    assert "network 2 of first: the network reads windows of shape (401)" in capsys.readouterr().err
    write_chain(tmp_path).write_bytes(networks.scaling(N_VALUES, 1.0, 2.0))
    assert make(path) == 2
    assert "must have one output" in capsys.readouterr().err
    assert not path.with_suffix(".json").exists()
