"""Sound to tracks: as long as the sound, aligned with it, and the same however the sound arrives."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import sonyc_ml
from sonyc_ml.authoring import make as maker
from sonyc_ml.authoring.waveform import Recipe, make_waveform_bundle
from sonyc_ml.errors import BundleError, BundleIntegrityError, BundleMismatchError
from sonyc_ml.model.loading import load_model
from sonyc_ml.model.waveform import WaveformModel
from sonyc_ml.model.waveform.loading import load_waveform_model
from tests.support import networks
from tests.support.waveforms import identity, make, model, streamed

Floats = npt.NDArray[np.float32]

KINDS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "overlap": (identity(1600), {}),
    "overlap, triangle, mean and deviation": (
        identity(1601),
        {"hop_s": 400 / 16000, "window": "triangle", "normalise": "mean_std"},
    ),
    "overlap, rectangle": (identity(160), {"hop_s": 0.003, "window": "rectangle"}),
    "no overlap": (identity(50), {"hop_s": 50 / 16000, "window": "rectangle"}),
    "stream": (identity(64), {"block_length": 64}),
    "stream of an echo": (networks.echoing(32), {}),
    "stream of a delay": (networks.delaying(40), {"latency_length": 40}),
}
SAME = [kind for kind in KINDS if "echo" not in kind]
RATES = (8000, 11025, 16000, 22050, 44100, 48000)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, WaveformModel]:
    """A model of each kind, made once: they keep nothing from one sound for the next."""
    folder = tmp_path_factory.mktemp("models")
    return {
        kind: model(folder / f"{number}.tflite", network, **said)
        for number, (kind, (network, said)) in enumerate(KINDS.items())
    }


@pytest.fixture(params=KINDS)
def any_model(request: pytest.FixtureRequest, models: dict[str, WaveformModel]) -> WaveformModel:
    return models[request.param]


@pytest.fixture(params=SAME)
def same_model(request: pytest.FixtureRequest, models: dict[str, WaveformModel]) -> WaveformModel:
    """One of the models that change nothing."""
    return models[request.param]


def noise(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


@pytest.mark.parametrize("sr", [16000, 22050])
@pytest.mark.parametrize("at_model_rate", [False, True])
def test_blocks_give_what_the_whole_gives(any_model: WaveformModel, sr: int, at_model_rate: bool) -> None:
    """Tracks of a sound in blocks of any size are those of the whole, bit for bit, at any rate, with any channels."""
    y = noise(2, 20001)
    whole = any_model.separate(y, sr, at_model_rate=at_model_rate)
    rng = np.random.default_rng(1)
    for n_cuts in (1, 100):
        blocks = streamed(any_model, y, sr, rng.integers(0, y.shape[1] + 1, n_cuts), at_model_rate=at_model_rate)
        for track, samples in whole.items():
            np.testing.assert_array_equal(blocks[track], samples)


@pytest.mark.parametrize("sr", [16000, 11025, 48000])
def test_a_track_is_as_long_as_its_sound(any_model: WaveformModel, sr: int) -> None:
    """A track has as many samples as the sound; at the networks' rate, as many as its time has there."""
    for n_samples in (1, 2, 49, 50, 65, 1600, 1601, 1602, 3201, 70001):
        (track,) = any_model.separate(noise(n_samples), sr).values()
        assert track.shape == (1, n_samples)
        assert track.dtype == np.float32
        (track,) = any_model.separate(noise(n_samples), sr, at_model_rate=True).values()
        assert track.shape == (1, -(-n_samples * 16000 // sr))


@pytest.mark.parametrize("n_samples", [1, 49, 1601, 20011])
def test_a_network_that_changes_nothing_changes_nothing(same_model: WaveformModel, n_samples: int) -> None:
    """What a network gives back as it is comes out as it was: no window, normalisation or delay is left in it."""
    y = noise(n_samples) + np.float32(0.2)
    (track,) = same_model.separate(y, 16000).values()
    np.testing.assert_allclose(track[0], y, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sr", RATES)
def test_a_click_stays_where_it_is(same_model: WaveformModel, sr: int) -> None:
    """A click is at its own sample in the track, whatever is resampled, cut and delayed on the way."""
    for place in (0, 1234, 7980):
        y = np.zeros(8000, np.float32)
        y[place] = 0.9
        (track,) = same_model.separate(y, sr).values()
        assert int(np.abs(track[0]).argmax()) == place


@pytest.mark.parametrize("sr", RATES)
def test_a_chirp_keeps_its_phase(sr: int, tmp_path: Path) -> None:
    """A chirp below the lower half rate comes back as it was, to a thousandth: aligned to far less than a sample."""
    t = np.arange(2 * sr) / sr
    y = (0.5 * np.sin(2 * np.pi * (100 + 600 * t) * t) * np.hanning(len(t))).astype(np.float32)
    (track,) = model(tmp_path / "same.tflite", identity(1600)).separate(y, sr).values()
    assert np.abs(track[0] - y).max() < 5e-3


def test_a_state_is_carried_from_block_to_block(tmp_path: Path) -> None:
    """A network's state goes into its next block: the numbers are those of the recursion, computed here."""
    y = noise(1000)
    (track,) = model(tmp_path / "echo.tflite", networks.echoing(10)).separate(y, 16000).values()
    expected, before = [], np.zeros(10, np.float32)
    for block in y.reshape(-1, 10):
        before = block + np.float32(0.5) * before
        expected.append(before)
    np.testing.assert_array_equal(track[0], np.concatenate(expected))


@pytest.mark.parametrize(
    "network", [networks.echoing(2), networks.remembering(2), networks.counting(2)], ids=["tensors", "svdf", "resource"]
)
def test_each_channel_has_a_state_of_its_own(network: bytes, tmp_path: Path) -> None:
    """Channels do not hear each other, nor a sound the one before, wherever a network keeps its state."""
    y = noise(2, 400)
    found = model(tmp_path / "state.tflite", network, block_length=2, sample_rate=4000)
    (together,) = found.separate(y, 4000).values()
    for channel in (1, 0):
        (alone,) = found.separate(y[channel], 4000).values()
        np.testing.assert_array_equal(together[channel], alone[0])
    assert not np.array_equal(together[0], together[1])


def test_two_streams_at_once_do_not_meet(tmp_path: Path) -> None:
    """Streams that are read in turn give what each gives alone."""
    found = model(tmp_path / "echo.tflite", networks.echoing(10))
    a, b = noise(1000, seed=1), noise(1000, seed=2)
    streams = [found.stream(np.split(y, 10), 16000) for y in (a, b)]
    parts = list(zip(*streams, strict=True))
    for number, y in enumerate((a, b)):
        joined = np.concatenate([part[number]["same"] for part in parts], axis=1)
        np.testing.assert_array_equal(joined, found.separate(y, 16000)["same"])


@pytest.mark.parametrize("form", ["two outputs", "tracks first", "samples first"])
def test_tracks_come_in_any_of_their_forms(form: str, tmp_path: Path) -> None:
    """Tracks may be an output each, or one output with the tracks or the samples first."""
    n = 100
    said: dict[str, Any]
    if form == "two outputs":
        network, said = networks.scaling(n, 0.25, 2), {"tracks": ("soft", "loud"), "hop_s": n / 16000}
    else:
        shape = (1, 2, n // 2) if form == "tracks first" else (1, n // 2, 2)
        network = networks.reshaping(networks.Spec((1, n)), networks.Spec(shape))
        said = {"tracks": ("soft", "loud"), "hop_s": n / 16000}
    y = noise(n)
    if form == "two outputs":
        tracks = model(tmp_path / "two.tflite", network, **said).separate(y, 16000)
        np.testing.assert_allclose(tracks["soft"][0], y * 0.25, atol=1e-7)
        np.testing.assert_allclose(tracks["loud"][0], y * 2, atol=1e-7)
    else:  # half as many samples as were read are no tracks
        with pytest.raises(BundleMismatchError, match=r"gives .* and not 2 tracks of 100 samples"):
            model(tmp_path / "two.tflite", network, **said)


def test_stages_follow_each_other(tmp_path: Path) -> None:
    """What the first network gives is what the second one reads."""
    found = model(tmp_path / "a.tflite", networks.scaling(80, 0.5), networks.scaling(80, 0.5), block_length=80)
    y = noise(1000)
    np.testing.assert_allclose(found.separate(y, 16000)["same"][0], y / 4, atol=1e-7)


def test_blocks_that_overlap_are_added(tmp_path: Path) -> None:
    """In a stream, what blocks give is added: four blocks over each sample are four times the sample."""
    found = model(tmp_path / "a.tflite", identity(80), block_length=80, block_hop=20)
    y = noise(1001)
    np.testing.assert_allclose(found.separate(y, 16000)["same"][0], 4 * y, atol=1e-6)


def test_a_quantised_network_is_read_as_it_is_stored(tmp_path: Path) -> None:
    """An int8 network that changes nothing changes a sample by half of its step at most."""
    spec = networks.Spec((1, 160), "int8", 1 / 128, 0)
    found = model(tmp_path / "a.tflite", networks.reshaping(spec, spec))
    y = np.clip(noise(4000), -0.9, 0.9)
    (track,) = found.separate(y, 16000).values()
    assert np.abs(track[0] - y).max() <= 1 / 256 + 1e-6


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((2, 3, 4), np.float32), "must be of shape"),
        (np.zeros((300, 2), np.float32), "at most 256 channels"),
        (np.zeros(0, np.float32), "not a single sample"),
        (np.full(10, np.nan, np.float32), "NaN"),
    ],
)
def test_what_is_no_sound_is_refused(y: Floats, message: str, tmp_path: Path) -> None:
    """Arrays that are no sound are refused with the shape that sound has."""
    with pytest.raises(ValueError, match=message):
        model(tmp_path / "a.tflite", identity(80)).separate(y, 16000)


def test_the_number_of_channels_stays(tmp_path: Path) -> None:
    """A stream that changes its number of channels is refused."""
    blocks = [noise(2, 100), noise(3, 100)]
    with pytest.raises(ValueError, match="began with 2 channels, and goes on with 3"):
        list(model(tmp_path / "a.tflite", identity(80)).stream(blocks, 16000))


@pytest.mark.parametrize("network", [networks.remembering(2), networks.counting(2)])
def test_what_remembers_reads_no_chunks_that_overlap(network: bytes, tmp_path: Path) -> None:
    """A network that keeps a state is made a stream by itself, and a manifest that cuts it into chunks is refused."""
    path = make(tmp_path / "a.tflite", network, sample_rate=4000)
    table = json.loads(path.with_suffix(".json").read_text())
    assert table["waveform"]["stream"]["block_length"] == 2
    del table["waveform"]["stream"]
    table["waveform"]["overlap"] = {"chunk_s": 0.0005, "hop_s": 0.0005}
    path.with_suffix(".json").write_text(json.dumps(table))
    with pytest.raises(BundleMismatchError, match=r"keeps a state .* cannot read chunks that overlap"):
        WaveformModel(path)
    with pytest.raises(ValueError, match="read a stream of blocks"):
        make(tmp_path / "b.tflite", network, sample_rate=4000, chunk_s=0.0005)


def test_a_state_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A state of an input that no network has is refused by its name, and one of an output with those there are."""
    with pytest.raises(BundleMismatchError, match="no network has an input gone"):
        make(tmp_path / "a.tflite", networks.echoing(8), states={"gone": "after"})
    with pytest.raises(BundleMismatchError, match=r"no tensor 'gone' .* 0: echo .*; 1: after"):
        make(tmp_path / "a.tflite", networks.echoing(8), states={"before": "gone"})


def test_a_bundle_is_proved_and_loaded(tmp_path: Path) -> None:
    """A bundle is verified by its golden vector; another network of the same name is refused."""
    path = make(tmp_path / "a.tflite", networks.scaling(80, 0.5))
    bundle, differences = maker.verify(path)
    assert bundle.manifest is not None
    assert differences == {"same": 0.0}
    assert load_waveform_model(path, golden="always").tracks == ("same",)
    path.write_bytes(networks.scaling(80, 0.6))
    with pytest.raises(BundleIntegrityError, match="is not the file that the manifest lists"):
        load_waveform_model(path)
    maker.trust(path)
    with pytest.raises(BundleMismatchError, match="the track same differs by up to"):
        load_waveform_model(path)


def test_a_bundle_of_tracks_is_no_model_of_embeddings(tmp_path: Path) -> None:
    """`load_model` says what to use instead, and so does `WaveformModel` of a bundle of embeddings."""
    path = make(tmp_path / "a.tflite", identity(80))
    with pytest.raises(BundleMismatchError, match=r"into tracks \(same\).*sonyc-ml separate"):
        load_model(path)
    (tmp_path / "b.tflite").write_bytes(networks.dense((1, 80)))
    maker.make_bundle(tmp_path / "b.tflite", input_kind="pcm", target_sr=8000)
    with pytest.raises(BundleMismatchError, match="no bundle that turns sound into tracks"):
        sonyc_ml.load_waveform_model(tmp_path / "b.tflite")


LIBRARY = """
from sonyc_ml.model.waveform import BlockProcessor


class Turned(BlockProcessor):
    def process(self, block):
        return -self.tracks_of(self.stages[0](block))


class Short(BlockProcessor):
    def process(self, block):
        return block[None, :3]


class Broken(BlockProcessor):
    def process(self, block):
        raise KeyError("broken")


class Other:
    pass
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's own with what lies between networks."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "my_blocks.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.usefixtures("library")
def test_a_class_of_the_users_own_is_trusted_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies between networks may be a class of the user's own, which runs only where it was made or is trusted."""
    path = make(tmp_path / "a.tflite", identity(80), between="my_blocks:Turned", block_length=80)
    y = noise(500)
    np.testing.assert_array_equal(sonyc_ml.load_waveform_model(path).separate(y, 16000)["same"][0], -y)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(BundleIntegrityError, match=r"class my_blocks:Turned .* sonyc-ml bundle trust"):
        sonyc_ml.load_waveform_model(path)
    maker.trust(path)
    assert sonyc_ml.load_waveform_model(path).tracks == ("same",)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_blocks:Short", r"becomes an array of shape \(1, 3\)"),
        ("my_blocks:Broken", r"cannot pass its networks \(KeyError: 'broken'\)"),
        ("my_blocks:Other", "is not a class derived from"),
        ("my_blocks:Gone", "cannot be imported here"),
        ("my_blocks_gone:Gone", "cannot be imported here"),
        ("sonyc_ml.model.waveform.model:WaveformModel", "is not a class derived from"),
        ("sonyc_ml.model.waveform.dtln:DTLN", "a DTLN is two networks and one track"),
    ],
)
def test_a_class_that_does_not_fit_is_refused(name: str, message: str, tmp_path: Path) -> None:
    """A class that is none, is not there, or gives no tracks is refused when it is loaded, in words."""
    with pytest.raises(BundleError, match=message):
        make(tmp_path / "a.tflite", identity(80), between=name, block_length=80)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"tracks": ("remainder",)}, "'remainder' cannot be the name"),
        ({"tracks": ("a/b",)}, "'a/b' cannot be the name"),
        ({"tracks": ("a", "a")}, "different names"),
        ({"tracks": ()}, "tracks must be 1 to 64"),
        ({"sample_rate": 0}, "above 0 Hz"),
        ({"hop_s": 1.0}, "hop_s must be above 0 and at most chunk_s"),
        ({"window": "kaiser"}, "window must be one of"),
        ({"block_length": 10, "block_hop": 11}, "hop_length must be from 1 to block_length"),
        ({"res_type": "linear"}, "res_type 'linear' is not known"),
    ],
)
def test_what_cannot_be_meant_is_refused(said: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Every mistake in what is said of a network is named."""
    (tmp_path / "a.tflite").write_bytes(identity(80))
    with pytest.raises((ValueError, BundleError), match=message):
        make_waveform_bundle(tmp_path / "a.tflite", Recipe(**{"sample_rate": 16000, "tracks": ("same",), **said}))


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core: there is nothing to limit")
def test_products_have_one_thread_while_tracks_are_made(tmp_path: Path) -> None:
    """And their own number again while whoever takes the tracks works with them."""
    found = model(tmp_path / "a.tflite", identity(64))
    meanwhile: list[int] = []

    def blocks() -> Iterator[Floats]:
        for _ in range(4):
            meanwhile.append(n_threads())
            yield np.zeros(8000, np.float32)

    with threadpool_limits(2, user_api="blas"):
        outside = [n_threads() for _ in found.stream(blocks(), 8000)]
    assert (set(meanwhile[1:]), set(outside)) == ({1}, {2})  # the first says how many channels there are


def n_threads() -> int:
    """How many threads numpy's products take now."""
    return max(int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas")
