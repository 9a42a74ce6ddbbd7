"""The scripts that a user starts: the simulated recorder and what runs around the daemon."""

from __future__ import annotations

import os
import re
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


CHECKS = """\
set -euo pipefail
source scripts/lanes.sh
cd "$1"
lane good true
lane absent sh -c 'echo there is none; exit 77'
lane broken sh -c 'seq 20; exit 3'
check tests "$2" -m pytest -q --color=yes -p no:cacheprovider -c /dev/null test_bad.py || true
for name in good absent broken; do join $name || true; done
check rest echo all of it || true
finished=yes
"""


def test_the_end_of_all_checks_names_what_failed(tmp_path: Path) -> None:
    """The last lines of scripts/test say which checks failed, which tests, and their last words; others run on."""
    failing = "def test_one(): assert 1 == 2\ndef test_two(): pass\n"
    (tmp_path / "test_bad.py").write_text(failing)
    command = ["bash", "-c", CHECKS, "scripts/test", tmp_path, sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "all of it" in lines
    end = lines[lines.index("all of it") + 1 :]
    assert re.fullmatch(r"scripts/test: FAILED, in \d+ s: tests broken", end[-1])
    assert end[-6:-1] == [f"    {number}" for number in range(16, 21)]
    assert end[-7] == "scripts/test: broken FAILED. It said last:"
    assert [line for line in end if line.startswith("  FAILED test_bad.py::test_one")]
    assert not [line for line in end if "test_two" in line]


def test_the_end_of_checks_that_pass_says_so() -> None:
    """Where nothing failed, the last line is that; where the script itself breaks or is ended, it is not."""
    early = r"FAILED, in \d+ s: \(ended before its end\)"
    for rest, said in (("true", r"passed, in \d+ s"), ("false", early), ("exit 0", early), ("kill $$; true", early)):
        script = f"set -euo pipefail; source scripts/lanes.sh; check one echo yes; {rest}; finished=yes"
        done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode == 0) == (rest == "true")
        assert re.fullmatch(f"scripts/test: {said}", done.stdout.splitlines()[-1])
