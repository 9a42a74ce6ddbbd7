"""The commands, as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sonyc_ml import __version__
from tests.conftest import write_recording


def sonyc_ml(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``sonyc-ml`` in a process of its own."""
    command = [sys.executable, "-m", "sonyc_ml.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=60)


def test_help_needs_no_numpy() -> None:
    """`sonyc-ml --help` answers without importing numpy, or anything else that takes time."""
    program = "import sys, sonyc_ml.cli as c\ntry: c.main(['--help'])\nfinally: print('numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.endswith("False\n")


def test_version() -> None:
    """`--version` says the package's."""
    assert sonyc_ml("--version").stdout == f"sonyc-ml {__version__}\n"


def test_embed_writes_an_output_for_each_recording(tmp_path: Path, tiny_bundle: Path) -> None:
    """A folder of recordings becomes a folder of embeddings, one line each."""
    write_recording(tmp_path / "in" / "a.wav")
    write_recording(tmp_path / "in" / "sub" / "b.flac")
    result = sonyc_ml("embed", tmp_path / "in", "--model", tiny_bundle, "--output", tmp_path / "out", "--workers", 2)
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr == "embedded 2 of 2 recordings\n"
    for name in ("a.wav.npz", "sub/b.flac.npz"):
        with np.load(tmp_path / "out" / name, allow_pickle=False) as output:
            assert output["embedding"].shape == (1, 5)


def test_quiet_embed_says_nothing(tmp_path: Path, tiny_bundle: Path) -> None:
    """With --quiet, what went well is not mentioned."""
    recording = write_recording(tmp_path / "a.wav")
    result = sonyc_ml("embed", recording, "--model", tiny_bundle, "--output", tmp_path, "--quiet", "--format", "csv")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "a.wav.csv").exists()


def test_embed_reports_what_failed(tmp_path: Path, tiny_bundle: Path) -> None:
    """Exit status 1 where some recordings failed, 2 where all did; each with its reason."""
    good, bad = write_recording(tmp_path / "a.wav"), tmp_path / "b.wav"
    bad.write_bytes(b"")
    result = sonyc_ml("embed", good, bad, "--model", tiny_bundle, "--output", tmp_path)
    assert result.returncode == 1
    assert f"failed: {bad}: it is an empty file" in result.stderr
    assert sonyc_ml("embed", bad, "--model", tiny_bundle, "--output", tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embed", "nowhere", "--model", "m.tflite", "--output", "o"], "nowhere does not exist"),
        (["embed", ".", "--model", "m.tflite", "--output", "o"], "there are no recordings in ."),
        (["embed", "a.wav", "--model", "m.tflite", "--output", "o"], "m.tflite: No such file or directory"),
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
    command = [sys.executable, "-m", "sonyc_ml.cli", "watch", "--config", str(tmp_path / "c.toml")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        end_s = time.monotonic() + 30
        while not (tmp_path / "out" / "a.wav.npz").exists() and time.monotonic() < end_s:
            time.sleep(0.01)
        process.terminate()
        assert process.wait(30) == 0
    assert (tmp_path / "out" / "a.wav.npz").exists()
