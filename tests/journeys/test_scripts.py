"""The scripts that a user starts: the simulated recorder and what runs around the daemon."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import wave
import zipfile
from itertools import takewhile
from pathlib import Path

import pytest

from scripts.reading_age import reading
from tests.conftest import PATIENCE_S, ROOT


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
    command = ["bash", "-c", CHECKS, "scripts/test", str(tmp_path), sys.executable]
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


def tiny_wheel(folder: Path, version: str) -> Path:
    """A package with one command, ``tiny``, that prints its version."""
    path = folder / f"tiny-{version}-py3-none-any.whl"
    about = f"tiny-{version}.dist-info"
    files = {
        "tiny.py": f"def main(): print({version!r})\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "[console_scripts]\ntiny = tiny:main\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr(f"{about}/RECORD", "".join(f"{name},,\n" for name in files) + f"{about}/RECORD,,\n")
    return path


@pytest.mark.long
def test_an_environment_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    """While scripts/setup-venv fills a new environment, and where that fails, the one of before works."""
    environment = tmp_path / "an environment"
    command = ["env", "SHOW_PROGRESS=yes"]  # with pip: uv would be fetched each time
    command += [str(ROOT / "scripts" / "setup-venv"), str(environment), sys.executable, "--no-index"]

    def said_by_tiny() -> str:
        return subprocess.run([environment / "bin" / "tiny"], check=True, capture_output=True, text=True).stdout.strip()

    subprocess.run([*command, tiny_wheel(tmp_path, "1")], check=True, timeout=PATIENCE_S)
    assert said_by_tiny() == "1"
    failed = subprocess.run([*command, "no-such-package"], check=False, capture_output=True, timeout=PATIENCE_S)
    assert failed.returncode != 0
    assert said_by_tiny() == "1"
    with subprocess.Popen([*command, tiny_wheel(tmp_path, "2")]) as setting_up:
        while setting_up.poll() is None:
            assert said_by_tiny() in {"1", "2"}
            time.sleep(0.5)
    assert said_by_tiny() == "2"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["an environment"]


@pytest.fixture
def set_up(tmp_path: Path) -> Path:
    """A check-out that has been set up: with this Python's packages."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        (tmp_path / ".venv" / path.name).symlink_to(path)
    for name in ("scripts/run", "scripts/simulate_recorder.py", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "scripts" / "setup-venv").write_text("#!/bin/sh\n")
    (tmp_path / "scripts" / "setup-venv").chmod(0o755)
    return tmp_path


def test_scripts_run_shows_what_there_is(set_up: Path) -> None:
    """It prints the page's address and a line for each recording, into a pipe too; when it ends, what to try next."""
    command = [str(set_up / "scripts" / "run")]
    with subprocess.Popen(command, cwd=set_up, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        assert run.stderr is not None
        try:
            said = list(takewhile(lambda line: "windows in" not in line, run.stderr))
            (address,) = re.findall(r"http://127\.0\.0\.1:\d+", "".join(said))
            assert "street_" in page_of(address)
            os.killpg(run.pid, signal.SIGINT)  # as a terminal does
            said += run.stderr.readlines()
        finally:
            run.terminate()
    assert run.returncode == 0
    assert "What to try next" in "".join(said), said
    assert list((set_up / "embeddings").glob("street_*.npz"))
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=60)


def page_of(address: str) -> str:
    """What is there, as soon as there is something."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(address, timeout=60) as page:
                return str(page.read(), "utf-8")
        except urllib.error.URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def test_the_reading_age_is_of_prose_alone() -> None:
    """Code, tables, headings and links add no words; long words in long sentences are harder than short ones."""
    page = "# Title here\n\n```bash\nsonyc-ml watch\n```\n\n| a | b |\n\nRead [this page](a/b.md). It is `x` short.\n"
    assert reading(page)[:2] == (7, 3.5)
    hard = "Considerable terminological sophistication notwithstanding, comprehension deteriorates."
    assert reading(hard).age > reading("The cat sat on the mat.").age + 10
