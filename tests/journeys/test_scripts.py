"""The scripts that a user starts: the simulated recorder and what runs around the daemon."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from pathlib import Path

from tests.conftest import ROOT


def test_the_recorder_writes_a_street_recording(tmp_path: Path) -> None:
    """What the simulated recorder writes is five seconds of sound that is neither silent nor clipped."""
    script = ROOT / "scripts" / "simulate_recorder.py"
    subprocess.run([sys.executable, script, tmp_path, "--one"], check=True, timeout=60)
    with wave.open(str(tmp_path / "street.wav")) as recording:
        assert (recording.getframerate(), recording.getnframes()) == (44100, 220500)
        samples = memoryview(recording.readframes(220500)).cast("h")
    assert 300 < max(samples) < 32767


def test_what_cannot_emulate_is_skipped() -> None:
    """Where there is nothing to emulate a node with, scripts/test-arm says so and exits with 77."""
    environment = {**os.environ, "PATH": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"}
    command = [sys.executable, "-m", "scripts.arm.on_arm", "arm64", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (77, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith("scripts/test-arm: skipped: ")


def test_shell_scripts_are_well_formed() -> None:
    """Every shell script parses, and can be executed."""
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.is_file() and path.suffix == ""]
    assert {"run", "test", "setup-venv"} <= {path.name for path in scripts}
    for path in scripts:
        assert os.access(path, os.X_OK), path
        subprocess.run(["bash", "-n", path], check=True)
