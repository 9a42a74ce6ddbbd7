"""The commands, as a user types them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sonyc_ml import __version__
from sonyc_ml.cli import COMMANDS
from tests.conftest import write_recording
from tests.support.command import sonyc_ml


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_imports_nothing_that_takes_time(flag: str) -> None:
    """`sonyc-ml --help` imports neither numpy, nor a module of a command, nor the slow ones of the standard library."""
    program = "import sys, sonyc_ml.cli as c\nc.main(sys.argv[1:])\nprint(*sys.modules, sep='\\n')"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", program, flag]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    imported = set(result.stdout.splitlines())
    ours = {name for name in imported if name.startswith("sonyc_ml.")}
    assert ours == {"sonyc_ml.cli", "sonyc_ml.errors"}
    assert not imported & {"numpy", "dataclasses", "inspect", "typing", "importlib.metadata", "argparse", "re"}


def test_help_names_every_command() -> None:
    """Each command that the help names has a help of its own, which begins with what it does."""
    commands = re.findall(r"^  (\w+) +(\w.*)$", sonyc_ml("--help").stdout, re.MULTILINE)
    assert len(commands) == 29
    for name, text in commands[:-1]:
        shown = " ".join(sonyc_ml(name, "--help").stdout.split())
        assert f"{text[0].upper()}{text[1:]}." in shown


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(flag: str) -> None:
    """`--version` and `-V` say the package's."""
    assert sonyc_ml(flag).stdout == f"sonyc-ml {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embd"], "there is no 'embd'; did you mean embed?"),
        (["bundle", "mak"], "there is no 'mak'; did you mean make?"),
        (["--versoin"], "there is no flag --versoin; did you mean --version?"),
        (["embed", "in", "--modle", "m.tflite"], "there is no flag --modle; did you mean --model?"),
        (["embed", "in", "--hop_sise=1"], "there is no flag --hop_sise; did you mean --hop-size?"),
        (["embed", "in", "-model", "m.tflite"], "there is no flag -model; did you mean --model?"),
        (["embed", "in", "--format", "parket"], "there is no 'parket'; did you mean parquet?"),
        (["embed", "in", "--qqq"], "there is no flag --qqq\n"),
        (["bundle", "verify", "m.tflite", "--trusted_key", "k"], "did you mean --trusted-keys?"),
        (["list", "quarantine"], "did you mean quarantined?"),
        (["features", "exprot"], "did you mean export?"),
        (["features", "export", "x.pkl", "--n_mel=1"], "there is no flag --n_mel; did you mean --n-mels?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_slip_of_the_keys(tmp_path: Path, arguments: list[str], message: str) -> None:
    """A mistyped command, flag or choice is refused with the one that may be meant, before anything else is."""
    result = sonyc_ml(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    "command", [*([name] for names in COMMANDS.values() for name in names), ["features", "export"]]
)
def test_flags_have_hyphens(command: list[str]) -> None:
    """No help names a flag with an underscore, but the keyword of a user's own function."""
    actions = ["make", "verify"] if command == ["bundle"] else [""]
    for action in actions:
        text = sonyc_ml(*command, *filter(None, [action]), "--help").stdout
        assert set(re.findall(r"--[a-z]+(?:_[a-z]+)+", text)) <= {"--some_kw"}


def test_both_spellings_of_a_flag(tiny_bundle: Path, tmp_path: Path) -> None:
    """Underscores do what hyphens do, with = or without; a value that looks like a flag stays as it is."""
    recording = write_recording(tmp_path / "a.wav", seconds=2)
    fixed = ("embed", recording, "--model", tiny_bundle, "--format", "csv", "--output")
    spellings = (["--hop-size", "0.5"], ["--hop_size", "0.5"], ["--hop-size=0.5"], ["--hop_size=0.5"])
    written = []
    for number, flags in enumerate(spellings):
        assert sonyc_ml(*fixed, tmp_path / str(number), *flags).returncode == 0
        written.append((tmp_path / str(number) / "a.wav.csv").read_text())
    assert len(set(written)) == 1
    exports = ("features", "export", tmp_path / "a.pkl")
    assert sonyc_ml(*exports, "--mel_hop-len=80", "--n_fft", "512").returncode == 0
    content = (tmp_path / "a.pkl").read_bytes()
    assert sonyc_ml(*exports, "--mel-hop-len", "80", "--n-fft=512").returncode == 0
    assert (tmp_path / "a.pkl").read_bytes() == content
    made = sonyc_ml("bundle", "make", tiny_bundle, "--description=--hop_size")
    assert made.returncode == 0
    assert json.loads(tiny_bundle.with_suffix(".json").read_text())["description"] == "--hop_size"


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
