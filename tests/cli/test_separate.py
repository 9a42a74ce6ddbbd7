"""``sonyc-ml separate`` as a user runs it: tracks on the disk, whole or not at all, made once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from tests.conftest import PATIENCE_S, write_recording
from tests.support import networks
from tests.support.command import sonyc_ml
from tests.support.waveforms import identity, make

MEMORY = """
import sys
import numpy as np
from sonyc_ml.model.waveform import WaveformModel

model, seconds, sr = WaveformModel(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
second = np.random.default_rng(0).normal(0, 0.1, sr).astype(np.float32)
n = sum(tracks["soft"].shape[1] for tracks in model.stream((second for _ in range(seconds)), sr))
assert n == seconds * sr, n
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with two tracks, of a quarter and of twice of what it reads."""
    folder = tmp_path_factory.mktemp("models")
    return make(folder / "two.tflite", networks.scaling(800, 0.25, 2), tracks=("soft", "loud"))


def read(path: Path) -> npt.NDArray[np.float32]:
    samples: npt.NDArray[np.float32] = soundfile.read(path, dtype="float32", always_2d=True)[0]
    return samples


def described(path: Path) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return table


def test_recordings_become_tracks(bundle: Path, tmp_path: Path) -> None:
    """Each recording of a folder becomes a file for each track, with what made it beside, and is made once."""
    write_recording(tmp_path / "in" / "sub" / "a.wav", 1.5, 16000)
    write_recording(tmp_path / "in" / "b.wav", 1, 44100)
    command = ("separate", tmp_path / "in", "--model", bundle, "--output", tmp_path / "out")
    done = sonyc_ml(*command)
    assert (done.returncode, done.stdout) == (0, "")
    assert "separated 2 of 2 recordings" in done.stderr
    loud = tmp_path / "out" / "sub" / "a.wav.loud.wav"
    np.testing.assert_allclose(read(loud), 2 * read(tmp_path / "in" / "sub" / "a.wav"), atol=1e-6)
    assert soundfile.info(tmp_path / "out" / "b.wav.soft.wav").frames == 44100
    said = described(loud)
    assert (said["track"], said["file"], said["n_samples"]) == ("loud", "a.wav.loud.wav", 24000)
    assert (said["provenance"]["recording"], said["provenance"]["bundle"]) == ("sub/a.wav", "two")
    before = loud.stat().st_mtime_ns
    assert "2 were separated already" in sonyc_ml(*command).stderr
    assert loud.stat().st_mtime_ns == before
    names = {path.name for path in (tmp_path / "out" / "sub").iterdir()}
    assert names == {f"a.wav.{track}.{kind}" for track in ("soft", "loud") for kind in ("wav", "json")}


def test_what_has_changed_is_made_again(bundle: Path, tmp_path: Path) -> None:
    """Another recording, another way, and a track that is gone or cut off are reasons to make tracks again."""
    recording = write_recording(tmp_path / "a.wav", 1, 16000)
    command = ("separate", recording, "--model", bundle, "--output", tmp_path / "out")
    track = tmp_path / "out" / "a.wav.soft.wav"
    sonyc_ml(*command)
    write_recording(recording, 2, 16000)
    assert "separated 1 of 1" in sonyc_ml(*command).stderr
    assert soundfile.info(track).frames == 32000
    os.truncate(track, 100)
    assert "separated 1 of 1" in sonyc_ml(*command).stderr
    track.unlink()
    assert "separated 1 of 1" in sonyc_ml(*command).stderr
    assert "separated 1 of 1" in sonyc_ml(*command, "--subtype", "PCM_16").stderr
    assert soundfile.info(track).subtype == "PCM_16"
    assert "1 were separated already" in sonyc_ml(*command, "--subtype", "PCM_16").stderr


def test_older_tracks_are_counted(bundle: Path, tmp_path: Path) -> None:
    """A track that is not asked for now stays; where it was made in another way than the others, that is said."""
    recording = write_recording(tmp_path / "a.wav", 1, 16000)
    command = ("separate", recording, "--model", bundle, "--output", tmp_path / "out")
    assert "left as they are" not in sonyc_ml(*command, "--remainder").stderr
    assert "left as they are" not in sonyc_ml(*command, "--remainder", "--tracks", "soft,loud").stderr
    assert "made in another way than these: 1 track" in sonyc_ml(*command).stderr
    assert (tmp_path / "out" / "a.wav.remainder.wav").exists()


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_24", "PCM_16"])
@pytest.mark.parametrize("tracks", ["soft", "soft,loud"])
@pytest.mark.parametrize("sr", [16000, 44100])
def test_tracks_and_remainder_add_up(subtype: str, tracks: str, sr: int, bundle: Path, tmp_path: Path) -> None:
    """The sum of tracks and remainder is the recording, exactly, added as float32 in any order."""
    y = np.random.default_rng(0).uniform(-0.3, 0.3, (30011, 2))
    soundfile.write(tmp_path / "a.wav", y, sr, subtype="PCM_16")
    flags = ("--remainder", "--subtype", subtype, "--tracks", tracks)
    done = sonyc_ml("separate", tmp_path / "a.wav", "--model", bundle, "--output", tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    parts = [read(tmp_path / f"a.wav.{track}.wav") for track in (*tracks.split(","), "remainder")]
    for order in (parts, parts[::-1]):
        total = np.zeros_like(parts[0])
        for part in order:
            total = total + part
        np.testing.assert_array_equal(total, read(tmp_path / "a.wav"))
    assert described(tmp_path / "a.wav.remainder.wav")["largest_difference"] == 0


def test_what_does_not_add_up_exactly_is_said(bundle: Path, tmp_path: Path) -> None:
    """A recording of floats is finer than 24 bits: how far the sum is off it stands in the last line and the JSON."""
    y = np.random.default_rng(0).uniform(-0.3, 0.3, 16000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", y, 16000, subtype="FLOAT")
    done = sonyc_ml("separate", tmp_path / "a.wav", "--model", bundle, "--output", tmp_path, "--remainder")
    assert "tracks and remainder add up to within" in done.stderr
    parts = [read(tmp_path / f"a.wav.{track}.wav").astype(np.float64) for track in ("soft", "loud", "remainder")]
    difference = np.abs(sum(parts) - y[:, None]).max()
    assert difference == pytest.approx(described(tmp_path / "a.wav.remainder.wav")["largest_difference"])
    assert difference < 1e-7


def test_pcm_counts_what_is_too_loud(bundle: Path, tmp_path: Path) -> None:
    """Samples beyond full scale are clipped and counted, in the last line, the events and the JSON; floats are not."""
    soundfile.write(tmp_path / "a.wav", np.full(1000, 0.75), 16000, subtype="PCM_16")
    command = ("separate", tmp_path / "a.wav", "--model", bundle, "--output", tmp_path)
    done = sonyc_ml(*command, "--subtype", "PCM_16", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["begun", "separated", "ended"]
    assert events[1]["n_saturated"] == events[2]["n_saturated"] == 1000
    assert "1,000 samples in 1 recording were too loud for PCM" in done.stderr
    assert described(tmp_path / "a.wav.loud.wav")["n_saturated"] == 1000
    assert described(tmp_path / "a.wav.soft.wav")["n_saturated"] == 0
    done = sonyc_ml(*command)
    assert "too loud" not in done.stderr
    assert read(tmp_path / "a.wav.loud.wav").max() == 1.5


def test_five_channels_stay_apart(bundle: Path, tmp_path: Path) -> None:
    """A track has the channels of its recording, each at its place; --channel reads one alone."""
    y = np.random.default_rng(0).uniform(-0.3, 0.3, (5000, 5)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", y, 16000, subtype="FLOAT", format="WAVEX")
    command = ("separate", tmp_path / "a.wav", "--model", bundle, "--output", tmp_path / "out")
    assert sonyc_ml(*command).returncode == 0
    np.testing.assert_allclose(read(tmp_path / "out" / "a.wav.loud.wav"), 2 * y, atol=1e-6)
    assert sonyc_ml(*command, "--channel", 3).returncode == 0
    np.testing.assert_allclose(read(tmp_path / "out" / "a.wav.loud.wav"), 2 * y[:, 3:4], atol=1e-6)


def test_tracks_can_stay_at_the_networks_rate(bundle: Path, tmp_path: Path) -> None:
    """With --rate model a track has the networks' sample rate and the length of the sound in it."""
    write_recording(tmp_path / "a.wav", 1, 44100)
    command = ("separate", tmp_path / "a.wav", "--model", bundle, "--output", tmp_path, "--rate", "model")
    assert sonyc_ml(*command).returncode == 0
    info = soundfile.info(tmp_path / "a.wav.soft.wav")
    assert (info.samplerate, info.frames) == (16000, 16000)
    done = sonyc_ml(*command, "--remainder")
    assert (done.returncode, done.stdout) == (2, "")
    assert "a remainder is what is left of the recording, at its own rate" in done.stderr


def test_a_recording_that_fails_costs_only_itself(bundle: Path, tmp_path: Path) -> None:
    """What cannot be read is said in a sentence, the others are separated, and the exit status says so."""
    write_recording(tmp_path / "in" / "b.wav", 1, 16000)
    (tmp_path / "in" / "a.wav").write_bytes(b"no sound at all")
    command = ("separate", tmp_path / "in", "--model", bundle, "--output", tmp_path / "out")
    done = sonyc_ml(*command)
    assert done.returncode == 1
    assert "failed (unreadable): " in done.stderr
    assert "separated 1 of 2 recordings" in done.stderr
    (tmp_path / "in" / "b.wav").unlink()
    assert sonyc_ml(*command).returncode == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--tracks", "gone"), "has no track gone; it has soft, loud"),
        (("--channel", "7"), "there is no channel 7"),
        (("--golden", "always", "--trusted-keys", "gone"), "gone"),
    ],
)
def test_what_cannot_be_done_is_said(flags: tuple[str, ...], message: str, bundle: Path, tmp_path: Path) -> None:
    """A mistake is a sentence and exit status 2, without a traceback."""
    write_recording(tmp_path / "a.wav", 1, 16000)
    done = sonyc_ml("separate", tmp_path / "a.wav", "--model", bundle, "--output", tmp_path / "out", *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_tracks_among_recordings_are_left_out(bundle: Path, tmp_path: Path) -> None:
    """Where tracks are written among their recordings, they are not separated again, and that is said."""
    write_recording(tmp_path / "a.wav", 1, 16000)
    command = ("separate", tmp_path, "--model", bundle, "--output", tmp_path)
    sonyc_ml(*command)
    assert "left out, since they were made here before: 2 tracks" in sonyc_ml(*command).stderr
    assert len(list(tmp_path.glob("*.wav"))) == 3


def test_a_track_of_a_track_can_be_made(bundle: Path, tmp_path: Path) -> None:
    """What one bundle made is a recording for the next one, in another folder."""
    write_recording(tmp_path / "a.wav", 1, 16000)
    sonyc_ml("separate", tmp_path / "a.wav", "--model", bundle, "--output", tmp_path / "1")
    done = sonyc_ml("separate", tmp_path / "1", "--model", bundle, "--output", tmp_path / "2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "2" / "a.wav.soft.wav.loud.wav").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_separation_leaves_nothing_half(number: signal.Signals, tmp_path: Path) -> None:
    """Killed in the middle of a recording it leaves no part of a track; the same command again makes all."""
    slow = make(tmp_path / "slow.tflite", networks.scaling(80, 0.25, 2), tracks=("soft", "loud"), block_length=80)
    write_recording(tmp_path / "in" / "a.wav", 1, 16000)
    write_recording(tmp_path / "in" / "b.wav", 120, 16000)
    command = ["separate", str(tmp_path / "in"), "--model", str(slow), "--output", str(tmp_path / "out")]
    process = subprocess.Popen([sys.executable, "-m", "sonyc_ml", *command], stderr=subprocess.DEVNULL)
    end_s = time.monotonic() + PATIENCE_S
    while not any(path.stat().st_size > 1 << 18 for path in (tmp_path / "out").glob(".*.tmp")):
        assert time.monotonic() < end_s
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == (-number if number == signal.SIGKILL else 128 + number)
    names = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    assert names == {f"a.wav.{track}.{kind}" for track in ("soft", "loud") for kind in ("wav", "json")}
    done = sonyc_ml(*command)
    assert done.returncode == 0
    assert "1 were separated already" in done.stderr
    assert soundfile.info(tmp_path / "out" / "b.wav.loud.wav").frames == 120 * 16000
    assert not list((tmp_path / "out").glob(".*.tmp"))


def test_memory_does_not_grow_with_the_sound(tmp_path: Path) -> None:
    """An hour needs what a minute does, but for two megabytes."""
    path = make(tmp_path / "two.tflite", networks.scaling(16000, 0.25, 2), tracks=("soft", "loud"), hop_s=1.0)
    peaks_kb = []
    for seconds in (60, 3600):
        command = [sys.executable, "-c", MEMORY, str(path), str(seconds), "22050"]
        peaks_kb.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert peaks_kb[1] < peaks_kb[0] + 2048


def test_what_a_trigger_left_out_is_silence(bundle: Path, tmp_path: Path) -> None:
    """A triggered recording's tracks are as long as its time, with silence where nothing was recorded."""
    samples = np.random.default_rng(0).integers(-3000, 3000, 256 * 400).astype("<i2").reshape(-1, 256)
    bits = [1 if 40 >> i & 1 else -1 for i in range(32)]
    samples[200] = [*bits, *[0] * 224]  # stands for forty blocks that were not recorded
    soundfile.write(tmp_path / "20260101_000000T.WAV", samples.reshape(-1), 16000, subtype="PCM_16")
    done = sonyc_ml("separate", tmp_path / "20260101_000000T.WAV", "--model", bundle, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "1 triggered" in done.stderr
    track = read(tmp_path / "out" / "20260101_000000T.WAV.loud.wav")[:, 0]
    expected = np.concatenate([samples[:200].reshape(-1), np.zeros(40 * 256), samples[201:].reshape(-1)]) / 16384
    np.testing.assert_allclose(track, expected, atol=1e-6)


def test_identity_of_one_sample(tmp_path: Path) -> None:
    """A recording of a single sample becomes a track of a single sample."""
    path = make(tmp_path / "same.tflite", identity(1600))
    soundfile.write(tmp_path / "a.wav", np.array([0.5]), 44100, subtype="PCM_24")
    assert sonyc_ml("separate", tmp_path / "a.wav", "--model", path, "--output", tmp_path).returncode == 0
    assert read(tmp_path / "a.wav.same.wav").shape == (1, 1)
