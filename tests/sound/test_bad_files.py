"""Odd and damaged files, in numbers: each is read or refused with a reason, in silence."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonyc_ml.errors import RecordingError
from sonyc_ml.sound.files import read_recording
from tests.conftest import require_shared
from tests.support.wavs import SYNTHETIC

SCRIPT = Path(__file__).resolve().parents[1] / "support" / "read_mutations.py"


def scipy_recordings() -> list[Path]:
    """The odd WAVs that scipy tests its own reader with."""
    spec = find_spec("scipy")
    if spec is None or spec.origin is None:
        return []
    return sorted((Path(spec.origin).parent / "io" / "tests" / "data").glob("*.wav"))


def is_read(path: Path) -> bool:
    """Whether a file is read; a refusal must name it and say why."""
    try:
        y, sample_rate = read_recording(path)
    except RecordingError as error:
        place, _, reason = str(error).partition(": ")
        assert place == str(path)
        assert len(reason.split()) > 3
        return False
    assert len(y) > 0
    assert sample_rate > 0
    return True


def read_mutations(seed: int, n_mutations: int, folder: Path) -> dict[str, int]:
    """Damage and read the recordings of a folder in another process; it must end well, in time, and in silence."""
    command = [
        sys.executable,
        "-X",
        "faulthandler",
        "-W",
        "error",
        str(SCRIPT),
        str(seed),
        str(n_mutations),
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


@pytest.mark.parametrize("path", scipy_recordings(), ids=lambda path: path.stem)
def test_an_odd_wav(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each of scipy's odd WAVs is read, or refused with a reason, and no library says anything of its own."""
    is_read(path)
    assert capfd.readouterr() == ("", "")


def test_some_odd_wavs_are_refused_and_not_all() -> None:
    """Of scipy's odd WAVs, the sound ones are read: those that are big-endian, inconsistent, or of odd widths."""
    paths = scipy_recordings()
    if not paths:
        pytest.skip("scipy is not installed with its test data")
    read = {path.stem for path in paths if is_read(path)}
    assert 0 < len(read) < len(paths)
    assert {"test-8000Hz-be-3ch-5S-24bit", "test-8000Hz-le-3ch-5S-24bit-inconsistent"} <= read
    assert not any("early-eof" in name or "incomplete" in name for name in read)


def test_damaged_recordings(tmp_path: Path) -> None:
    """Two thousand damaged files of every kind: no crash, no hang, no word, each read or refused."""
    noise = np.random.default_rng(0).normal(0, 0.1, (2000, 2))
    for name, (kind, subtype) in SYNTHETIC.items():
        soundfile.write(tmp_path / name, noise, 8000, format=kind, subtype=subtype)
    counts = read_mutations(1, 2000, tmp_path)
    assert set(counts) == {"read", "refused"}
    assert sum(counts.values()) == 2000
    assert min(counts.values()) > 200


def test_damaged_street_recordings(tmp_path: Path) -> None:
    """Five hundred damaged files made of the first seconds of a real one: the same."""
    y, sample_rate = soundfile.read(require_shared("recordings/11_000297.wav"), frames=3 * 44100)
    soundfile.write(tmp_path / "street.wav", y, sample_rate)
    counts = read_mutations(2, 500, tmp_path)
    assert set(counts) == {"read", "refused"}
    assert sum(counts.values()) == 500
    assert min(counts.values()) > 50
