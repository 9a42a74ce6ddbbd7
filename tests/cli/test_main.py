"""The commands, as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sonyc_ml import __version__
from tests.conftest import write_recording
from tests.support.command import sonyc_ml


def test_help_needs_no_numpy() -> None:
    """`sonyc-ml --help` answers without importing numpy, or anything else that takes time."""
    program = "import sys, sonyc_ml.cli as c\ntry: c.main(['--help'])\nfinally: print('numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.endswith("False\n")


def test_version() -> None:
    """`--version` says the package's."""
    assert sonyc_ml("--version").stdout == f"sonyc-ml {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embed", "nowhere", "--model", "m.tflite", "--output", "o"], "nowhere does not exist"),
        (["embed", ".", "--model", "m.tflite", "--output", "o"], "there are no recordings in ."),
        (["embed", "a.wav", "--model", "m.tflite", "--output", "o"], "m.tflite: No such file or directory"),
        (["embed", "--model", "m.tflite", "--output", "o"], "there is nothing to embed"),
        (["embed", "--files_from", "no.txt", "--model", "m.tflite", "--output", "o"], "no.txt: No such file"),
        (["embed", "a.wav", "--model", "m.tflite", "--output", "o", "--partition", "week"], "--partition takes day"),
        (["embed", "a.wav", "--model", "m.tflite", "--output", "o", "--time_zone", "Mars"], "Mars"),
        (["embed", "a.wav", "--model", "m.pkl", "--output", "o"], "m.pkl: a model is named by its network"),
        (["embed", "a.wav", "--model", "m.tflite", "--output", "o", "--workers", "0"], "--workers must be at least 1"),
        (["embed", "a.wav", "--model", "m.tflite", "--output", "o", "--outputs", "0"], "--outputs takes KIND=NUMBER"),
        (
            ["embed", "a.wav", "--model", "TINY", "--output", "o", "--hop_size", "-1"],
            "hop_size must be a number above 0",
        ),
        (
            ["embed", "a.wav", "--model", "TINY", "--output", "o", "--target_sr", "8000"],
            "AudioModel takes no target_sr",
        ),
        (["embed", "a.wav", "--model", "TINY", "--output", "o", "--num_threads", "0"], "must be at least 1, not 0"),
        (["watch", ".", "--output", "o"], "model.path is missing; give --model"),
        (["watch", ".", "--model", "TINY", "--output", "o", "--hop_size", "0"], "hop_size must be a number above 0"),
        (["watch", "--config", "nothing.toml"], "nothing.toml: No such file"),
        (["info", "m.tflite"], "m.tflite: No such file or directory"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, tiny_bundle: Path, arguments: list[str], message: str) -> None:
    """What a user got wrong ends in one line, exit status 2, and no traceback."""
    if "a.wav" in arguments:
        write_recording(tmp_path / "a.wav")
    arguments = [str(tiny_bundle) if argument == "TINY" else argument for argument in arguments]
    result = sonyc_ml(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("sonyc-ml: error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_info(tiny_bundle: Path) -> None:
    """`info` says what a model reads, in words and for programs."""
    assert "embedding [1, 5] float32" in sonyc_ml("info", tiny_bundle).stdout
    described = json.loads(sonyc_ml("info", tiny_bundle, "--json").stdout)
    assert described["inputs"][0]["shape"] == [1, 64, 51, 1]
    assert described["extractor"]["model"] == "AudioModel"


def test_watch_takes_its_configuration_from_a_file(tmp_path: Path, tiny_bundle: Path) -> None:
    """A daemon started with nothing but --config does what the file says."""
    write_recording(tmp_path / "in" / "a.wav")
    (tmp_path / "c.toml").write_text(
        f'[spool]\nfolder = "in"\nsettle_s = 0.1\n[model]\npath = "{tiny_bundle}"\n[output]\nfolder = "out"\n'
    )
    command = [sys.executable, "-m", "sonyc_ml", "watch", "--config", str(tmp_path / "c.toml")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        end_s = time.monotonic() + 30
        while not (tmp_path / "out" / "a.wav.npz").exists() and time.monotonic() < end_s:
            time.sleep(0.01)
        process.terminate()
        assert process.wait(30) == 0
    assert (tmp_path / "out" / "a.wav.npz").exists()
