"""A model that hears a track of another bundle's: nothing else reaches it, and its outputs say so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sonyc_ml
from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.errors import BundleError
from sonyc_ml.model.waveform.loading import load_waveform_model
from sonyc_ml.outputs.files import read_output
from tests.conftest import write_recording
from tests.support import networks
from tests.support.command import sonyc_ml as run
from tests.support.watching import StartWatch
from tests.support.waveforms import make


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose track is half as loud as the sound."""
    return make(tmp_path_factory.mktemp("models") / "halves.tflite", networks.scaling(1600, 0.5), tracks=("half",))


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose embedding is the samples themselves."""
    path = tmp_path_factory.mktemp("models") / "same.tflite"
    path.write_bytes(networks.reshaping(networks.Spec((1, 2000)), networks.Spec((1, 2000))))
    make_bundle(path, input_kind="pcm", target_sr=8000, hop_size=0.25)
    return path


@pytest.mark.parametrize("track", ["", ":half"])
def test_a_model_hears_the_track(track: str, halves: Path, same: Path) -> None:
    """What a model with `reads` computes is what it computes of the track, from samples of any rate."""
    model = sonyc_ml.load_model(same, reads=f"{halves}{track}")
    for sr in (8000, 22050):
        y = np.random.default_rng(0).normal(0, 0.1, 3 * sr + 7).astype(np.float32)
        heard = load_waveform_model(halves).separate(y, sr)["half"][0]
        expected = sonyc_ml.load_model(same).get_embedding(heard, sr)
        np.testing.assert_array_equal(model.get_embedding(y, sr), expected)
        assert np.abs(expected).max() > 0


def test_outputs_say_what_was_heard(halves: Path, same: Path, tmp_path: Path) -> None:
    """An output names the bundle and the track that was heard, and counts as made in another way than one without."""
    recording = write_recording(tmp_path / "in" / "a.wav", 2)
    command = ("embed", tmp_path / "in", "--model", same, "--output", tmp_path / "out")
    assert run(*command).returncode == 0
    plain = read_output(tmp_path / "out" / "a.wav.npz")
    done = run(*command, "--reads", f"{halves}:half", "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert "embedded 1 of 1" in done.stderr
    output = read_output(tmp_path / "out" / "a.wav.npz")
    reads = json.loads(output.provenance.parameters)["reads"]
    assert (reads["bundle"], reads["track"]) == ("halves", "half")
    assert reads["bundle_sha256"] == load_waveform_model(halves).bundle.sha256
    assert output.provenance.fingerprint != plain.provenance.fingerprint
    assert output.provenance.level_dbfs == plain.provenance.level_dbfs  # of the recording, as it is
    assert output.embedding is not None
    assert plain.embedding is not None
    assert 0.4 < np.std(output.embedding) / np.std(plain.embedding) < 0.51  # resampled twice, it ends a little lower
    assert "1 were embedded already" in run(*command, "--reads", f"{halves}:half").stderr
    assert recording.exists()


@pytest.mark.parametrize("reads", ["halves.tflite:gone", "gone.tflite:half"])
def test_a_track_that_is_not_there_is_refused(reads: str, halves: Path, same: Path) -> None:
    """A bundle or a track that does not exist is refused when the model is loaded."""
    with pytest.raises(BundleError, match=r"gone|has no track"):
        sonyc_ml.load_model(same, reads=halves.parent / reads)


def test_the_daemon_hears_the_track(watch: StartWatch, tiny_bundle: Path, halves: Path, tmp_path: Path) -> None:
    """`reads` in the configuration lets the daemon's bundle hear a track, and its outputs say so."""
    daemon = watch(text=f'[model]\npath = "{tiny_bundle}"\nreads = "{halves}:half"\n')
    write_recording(tmp_path / "recordings" / "a.wav", 2)
    output = read_output(daemon.wait_for_output("a.wav.npz"))
    assert json.loads(output.provenance.parameters)["reads"]["track"] == "half"
