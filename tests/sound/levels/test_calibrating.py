"""A calibrator's tone to a microphone's sensitivity, and what is refused; what is known of a microphone, from files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sonyc_ml.errors import ConfigError
from sonyc_ml.sound.levels.calibrating import calibrate
from sonyc_ml.sound.levels.microphone_files import read_calibration, read_response, read_settings
from sonyc_ml.sound.levels.table import LevelsTable
from tests.support.levels import Samples, measure, tone

SAMPLE_RATE = 48000


def write(folder: Path, samples: Samples, subtype: str = "PCM_24") -> Path:
    path = folder / "tone.wav"
    soundfile.write(path, samples, SAMPLE_RATE, subtype=subtype)
    return path


def test_levels_of_the_tone_are_the_calibrator_s(tmp_path: Path) -> None:
    """Calibrated with 94 dB at 1 kHz, the same recording has LAeq 94 dB, and names its reference."""
    samples = tone(1000, SAMPLE_RATE, 6.0, 0.05)
    path = write(tmp_path, samples)
    found = calibrate(path, 94.0, 1000.0, calibrator="4231", microphone="0815")
    assert found.sensitivity_db == pytest.approx(94 - 20 * np.log10(0.05), abs=0.01)
    (tmp_path / "microphone.toml").write_text(found.to_toml())
    settings = read_settings(LevelsTable(calibration=tmp_path / "microphone.toml"))
    levels = measure(samples, SAMPLE_RATE, **{name: getattr(settings, name) for name in settings.__slots__})
    assert levels["LAeq_total"] == pytest.approx(94, abs=0.02)
    assert levels.reference == "dB re 20 µPa"
    assert (levels.about["calibrator"], levels.about["microphone"]) == ("4231", "0815")
    assert levels.about["calibrated"].startswith("20")


def test_a_part_and_a_channel_can_be_chosen(tmp_path: Path) -> None:
    """What is not steady is left out by its time."""
    steady = tone(1000, SAMPLE_RATE, 5.0, 0.05)
    rising = tone(1000, SAMPLE_RATE, 2.0, 0.05) * np.linspace(0.5, 1, 2 * SAMPLE_RATE, dtype=np.float32)
    both = np.concatenate([rising, steady])
    path = write(tmp_path, np.stack([both * 0.001, both], axis=1))
    with pytest.raises(ConfigError, match="drifts"):
        calibrate(path, 94.0, 1000.0, channel=1)
    found = calibrate(path, 94.0, 1000.0, channel=1, start_s=2.0, duration_s=4.0)
    assert (found.channel, found.duration_s) == (1, 4.0)
    assert found.sensitivity_db == pytest.approx(94 - 20 * np.log10(0.05), abs=0.02)


NOISE = np.random.default_rng(3).normal(0, 1, 5 * SAMPLE_RATE).astype(np.float32)
STEADY = tone(1000, SAMPLE_RATE, 5.0, 0.05)
SLOPE = np.linspace(0, 1, 5 * SAMPLE_RATE, dtype=np.float32)
REFUSED: dict[str, npt.NDArray[Any]] = {
    "drifts": STEADY * 10 ** (0.3 * SLOPE / 20),
    "Hz, and --frequency": tone(1025, SAMPLE_RATE, 5.0, 0.05),
    "clips": np.clip(tone(1000, SAMPLE_RATE, 5.0, 1.1), -1, 1),
    "stands only": STEADY + 0.005 * NOISE,
    "too short": STEADY[: 2 * SAMPLE_RATE],
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_bad_tone_is_refused(tmp_path: Path, reason: str) -> None:
    """With what was found, and what to do."""
    with pytest.raises(ConfigError, match=reason):
        calibrate(write(tmp_path, REFUSED[reason].astype(np.float32)), 94.0, 1000.0)


def test_what_is_just_good_enough_is_taken(tmp_path: Path) -> None:
    """The refusals begin where they are said to begin."""
    near: dict[str, npt.NDArray[Any]] = {
        "drift": STEADY * 10 ** (0.18 * SLOPE / 20),
        "frequency": tone(1018, SAMPLE_RATE, 5.0, 0.05),
        "rest": STEADY + 0.003 * NOISE,
    }
    for samples in near.values():
        calibrate(write(tmp_path, samples.astype(np.float32)), 94.0, 1000.0)


def test_the_command_writes_what_the_configuration_reads(tmp_path: Path) -> None:
    """And says on standard error what was found."""
    path, output = write(tmp_path, STEADY), tmp_path / "microphone.toml"
    command = [sys.executable, "-m", "sonyc_ml", "calibrate", str(path), "--level", "94", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "94 dB SPL at 1000.0 Hz" in done.stderr
    assert read_calibration(output)["sensitivity_db"] == pytest.approx(120.02, abs=0.01)


def test_a_calibration_is_of_its_channel(tmp_path: Path) -> None:
    """Another channel is not measured with it."""
    (tmp_path / "a.toml").write_text("sensitivity_db = 120.0\nchannel = 1\n")
    assert read_settings(LevelsTable(calibration=tmp_path / "a.toml")).channel == 1
    with pytest.raises(ConfigError, match=r"levels.channel is 0"):
        read_settings(LevelsTable(calibration=tmp_path / "a.toml", channel=0))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sensitivity = 3\n", "did you mean"),
        ("sensitivity_db = [\n", "no calibration"),
        ("", "sensitivity_db is missing"),
    ],
)
def test_a_bad_calibration_is_told(tmp_path: Path, text: str, reason: str) -> None:
    """With its path."""
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError, match=rf"a\.toml.*{reason}"):
        read_settings(LevelsTable(calibration=tmp_path / "a.toml"))


def test_a_response_file_is_read_as_makers_write_it(tmp_path: Path) -> None:
    """With a line that names the microphone, commas or tabs, a phase behind; relative to 1 kHz."""
    path = tmp_path / "response.txt"
    path.write_text('"Sens Factor =-1.6dB, SERNO: 7023456"\n* Hz dB\n20\t-1.0\t3.4\n1000, 0.5\n20000;4.5\n')
    found = read_response(path)
    assert found["response_hz"] == (20, 1000, 20000)
    assert found["response_db"] == (-1.5, 0, 4)
    assert len(found["response_sha256"]) == 64
    for text, reason in (("20 a\n", "line 1"), ("20 1\n20 1\n", "line 2"), ("2000 1\n3000 1\n", "has 2 points")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=reason):
            read_response(path)
