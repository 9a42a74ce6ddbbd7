"""YAMNet as a bundle, made by the command of docs/networks.md, against a plain loop over the runtime."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sonyc_ml.authoring.groups import write_grouped
from sonyc_ml.cli import main
from sonyc_ml.model.loading import load_model
from sonyc_ml.model.runtime import load_runtime
from tests.conftest import ROOT, needs, require_shared

pytestmark = [pytest.mark.numeric, needs("ai_edge_litert"), needs("soxr")]

Floats = npt.NDArray[np.float32]

WINDOW, HOP = 15_600, 7_680
FLAGS = ["--target-sr", "16000", "--hop-size", "0.48", "--align", "start", "--res-type", "soxr_hq"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, as the documented command makes it."""
    path = tmp_path_factory.mktemp("yamnet") / "yamnet.tflite"
    shutil.copy(require_shared("models/yamnet.tflite"), path)
    with require_shared("models/yamnet_class_map.csv").open() as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    labels = path.with_name("yamnet-labels.txt")
    labels.write_text("\n".join(names))
    flags = [*FLAGS, "--labels", str(labels)]
    assert main(["bundle", "make", str(path), *flags, "--outputs", "scores=0"]) == 0
    return path


def plain_loop(network: bytes, y: Floats) -> Floats:
    """What a tutorial does: window after window through the runtime's interpreter."""
    _, runtime = load_runtime("litert")
    interpreter = runtime.Interpreter(model_content=network, num_threads=1)
    interpreter.allocate_tensors()
    index = interpreter.get_output_details()[0]["index"]
    rows = []
    for start in range(0, len(y) - WINDOW + 1, HOP):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], y[None, start : start + WINDOW])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(index)[0])
    return np.array(rows, np.float32)


def test_scores_are_those_of_a_plain_loop(bundle: Path) -> None:
    """On forty clips of ten classes, resampled by soxr in one piece for the loop, no score is 0.02 apart."""
    import soxr

    model, network = load_model(bundle), bundle.read_bytes()
    clips = [clip for folder in sorted(require_shared("esc10").glob("[0-9]*")) for clip in sorted(folder.iterdir())[:4]]
    assert len(clips) == 40
    largest = 0.0
    for clip in clips:
        y, sr = soundfile.read(clip, dtype="float32", always_2d=True)
        wanted = plain_loop(network, soxr.resample(y.mean(axis=1), sr, 16_000))
        scores = model.embed_file(clip).scores
        assert scores is not None
        largest = max(largest, float(np.abs(scores[: len(wanted)] - wanted).max()))
    assert largest <= 0.02, largest


def test_its_embedding_is_inside(bundle: Path, tmp_path: Path) -> None:
    """The published network has no embedding among its outputs; cut where `info` says, it gives scores as before."""
    path = Path(shutil.copy(bundle, tmp_path))
    tensor = "yamnet_frames/global_average_pooling2d/Mean"
    assert main(["bundle", "make", str(path), *FLAGS, "--outputs", f"embedding={tensor},scores=0"]) == 0
    y = np.random.default_rng(3).normal(0, 0.1, 48_000).astype(np.float32)
    whole, cut = (load_model(one).get_outputs(y, 16_000) for one in (bundle, path.with_name("yamnet-embedding.tflite")))
    assert cut["embedding"].shape == (len(whole["scores"]), 1024)
    np.testing.assert_allclose(cut["scores"], whole["scores"], rtol=0, atol=1e-6)


def test_groups_are_the_highest_of_their_classes(bundle: Path, tmp_path: Path) -> None:
    """On a dog's bark, each score of the urban classes is its group's highest, and the dog is heard."""
    path = Path(shutil.copy(bundle, tmp_path))
    labels = bundle.with_name("yamnet-labels.txt")
    tensor = "yamnet_frames/global_average_pooling2d/Mean"
    assert main(["bundle", "make", str(path), *FLAGS, "--outputs", f"embedding={tensor},scores=0"]) == 0
    groups = write_grouped(
        tmp_path / "yamnet-embedding-head.tflite", labels, ROOT / "examples" / "yamnet-groups.csv", tmp_path / "urban"
    )
    made = Path(shutil.copy(tmp_path / "yamnet-embedding.tflite", tmp_path / "urban.tflite"))
    flags = [*FLAGS, "--head", "urban-head.tflite", "--labels", str(tmp_path / "urban-labels.txt")]
    assert main(["bundle", "make", str(made), *flags]) == 0
    bark = require_shared("recordings/dog_1.wav")
    whole, few = load_model(bundle).embed_file(bark), load_model(made).embed_file(bark)
    assert whole.scores is not None
    assert few.scores is not None
    wanted = np.stack([whole.scores[:, list(numbers)].max(axis=1) for numbers in groups.values()], axis=1)
    np.testing.assert_allclose(few.scores, wanted, rtol=0, atol=1e-6)
    assert few.scores.max(axis=0).argmax() == list(groups).index("dog")
