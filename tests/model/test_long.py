"""Recordings of hours: memory stays as it is, and the numbers too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonyc_ml.model import PCMModel
from sonyc_ml.outputs.files import read_output, write_output
from tests.support import networks

PEAK_KB = 80_000
HOP_S = 0.1
WINDOW_LENGTH = 256  # samples at 8 kHz, each a number of the embedding: 1 KB in a window
PROGRAM = """
import re, sys
from pathlib import Path
from sonyc_ml.model import PCMModel

def peak_kb():
    return int(re.search("VmHWM:(.*) kB", Path("/proc/self/status").read_text())[1])

model = PCMModel(sys.argv[1], target_sr=8000, hop_size=float(sys.argv[4]))
model.warm_up()
before = peak_kb()
model.process_file(sys.argv[2], sys.argv[3])
print(peak_kb() - before)
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A network that gives the samples that it reads."""
    path = tmp_path / "A.tflite"
    spec = networks.Spec((1, WINDOW_LENGTH))
    path.write_bytes(networks.reshaping(spec, spec))
    return path


def write_hours(path: Path, hours: float) -> Path:
    """A recording of noise, written a minute at a time."""
    rng = np.random.default_rng(3)
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16") as file:
        for _ in range(round(hours * 60)):
            file.write(rng.integers(-9000, 9000, 60 * 8000, dtype=np.int16))
    return path


def process(network: Path, recording: Path, output: Path) -> int:
    """Kilobytes that a process of its own grows by while it embeds a recording and writes the output."""
    command = [sys.executable, "-c", PROGRAM, *map(str, (network, recording, output)), str(HOP_S)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.long
@pytest.mark.parametrize(("hours", "suffix"), [(4.0, "npz"), (0.3, "csv")])
def test_memory_does_not_grow_with_the_recording(hours: float, suffix: str, network: Path, tmp_path: Path) -> None:
    """`process_file` keeps within 80 MB of its start, where results are more than that; they are those of `embed`.

    What is read from files and what is held in memory are the same, bit for bit.
    """
    recording = write_hours(tmp_path / "a.wav", hours)
    grown_kb = process(network, recording, tmp_path / f"a.{suffix}")
    assert grown_kb < PEAK_KB
    in_memory = PCMModel(network, target_sr=8000, hop_size=HOP_S).embed_file(recording)
    assert in_memory.embedding is not None
    assert in_memory.embedding.shape == (round(hours * 36_000) + 1, WINDOW_LENGTH)
    write_output(in_memory, tmp_path / f"b.{suffix}")
    if suffix == "csv":
        assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
        return
    written = read_output(tmp_path / "a.npz")
    assert written.provenance == in_memory.provenance
    np.testing.assert_array_equal(written.timestamps, in_memory.timestamps)
    np.testing.assert_array_equal(written.embedding, in_memory.embedding)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A.tflite", "a.npz", "a.wav", "b.npz"]
