"""``sonyc-ml embed`` as its users meet it: at a terminal, in a log, in a pipe, and stopped."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from sonyc_ml.model.loading import load_model
from sonyc_ml.node.config import load_config
from sonyc_ml.outputs.reading import iter_outputs
from tests.conftest import PATIENCE_S, write_recording
from tests.support import networks, wavs


def command(*arguments: object) -> list[str]:
    """The command line of an embedding."""
    return [sys.executable, "-m", "sonyc_ml", "embed", *map(str, arguments)]


def embed(*arguments: object, given: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run it, away from any terminal."""
    result = subprocess.run(command(*arguments), input=given, capture_output=True, timeout=60, check=False)
    texts = (result.stdout.decode(), result.stderr.decode())
    return subprocess.CompletedProcess(result.args, result.returncode, *texts)


def test_a_folder_becomes_a_folder(tmp_path: Path, tiny_bundle: Path) -> None:
    """Every recording has its output, a summary is told, and the same command again has nothing left to do."""
    write_recording(tmp_path / "in" / "a.wav")
    write_recording(tmp_path / "in" / "sub" / "b.flac")
    arguments = (tmp_path / "in", "--model", tiny_bundle, "--output", tmp_path / "out", "--workers", 2)
    result = embed(*arguments)
    assert (result.returncode, result.stdout) == (0, "")
    starts = "start times: 2 by the file's time; see --start-pattern"
    assert re.fullmatch(
        rf"embedded 2 of 2 recordings; 2 s of sound in .*, [\d,]+ x real time; {starts}\n", result.stderr
    )
    for name in ("a.wav.npz", "sub/b.flac.npz"):
        with np.load(tmp_path / "out" / name, allow_pickle=False) as output:
            assert output["embedding"].shape == (1, 5)
    assert embed(*arguments).stderr == "embedded 0 of 2 recordings; 2 were embedded already\n"


def test_where_start_times_come_from(tmp_path: Path, tiny_bundle: Path) -> None:
    """The last line says how many start times are the file's, and which are in doubt; the outputs say which."""
    names = ("20240501_063000.wav", "20240501T063000+1000.wav", "19700101_000554.WAV", "night1.wav", "b/night2.wav")
    for name in names:
        write_recording(tmp_path / "in" / name)
    with (tmp_path / "in" / "night1.wav").open("ab") as file:
        file.write(wavs.chunk(b"guan", wavs.guano("2024-05-01T06:30:00+02:00")))
    for name in names:
        os.utime(tmp_path / "in" / name, (1714545001, 1714545001))
    arguments = (tmp_path / "in", "--model", tiny_bundle, "--output", tmp_path / "out")
    line = embed(*arguments).stderr.splitlines()[-1]
    assert "; start times: 3 by name, 1 by metadata, 1 by the file's time; see --start-pattern; " in line
    assert "; start times in doubt: 1 before 2000 (see start_time_doubt in the outputs)" in line
    outputs = {output.provenance.recording: output.provenance for output in iter_outputs(tmp_path / "out")}
    assert outputs["night1.wav"].start_time == "2024-05-01T06:30:00+02:00"
    assert outputs["19700101_000554.WAV"].start_time_doubt == "before 2000"
    assert {name for name in names if outputs[name].start_time_doubt} == {"19700101_000554.WAV"}


def test_start_times_that_are_well(tmp_path: Path, tiny_bundle: Path) -> None:
    """Nothing is said of start times where names say all of them."""
    for i in range(3):
        write_recording(tmp_path / "in" / f"20240501_06300{i}.wav")
        os.utime(tmp_path / "in" / f"20240501_06300{i}.wav", (1714545001, 1714545001))
    result = embed(tmp_path / "in", "--model", tiny_bundle, "--output", tmp_path / "out")
    assert "start time" not in result.stderr


def test_quiet_and_verbose(tmp_path: Path, tiny_bundle: Path) -> None:
    """With --quiet, what went well is not mentioned; with --verbose each recording has a line."""
    recording = write_recording(tmp_path / "a.wav")
    arguments = (recording, "--model", tiny_bundle, "--output", tmp_path, "--workers", 1)
    result = embed(*arguments, "--quiet", "--format", "csv")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "a.wav.csv").exists()
    (tmp_path / "a.wav.csv").unlink()
    assert f"{tmp_path}/a.wav.npz  1 window, 1.0 s in " in embed(*arguments, "--verbose").stderr


def test_failures_are_told(tmp_path: Path, tiny_bundle: Path) -> None:
    """Exit status 1 where some recordings failed, 2 where all did; each with its reason, and a list."""
    good, bad = write_recording(tmp_path / "a.wav"), tmp_path / "b.wav"
    bad.write_bytes(b"")
    result = embed(good, bad, "--model", tiny_bundle, "--output", tmp_path)
    assert result.returncode == 1
    assert f"failed (empty): {bad}: it is an empty file" in result.stderr
    assert f"1 failed, see {tmp_path}/failures.csv" in result.stderr
    assert embed(bad, "--model", tiny_bundle, "--output", tmp_path / "other").returncode == 2
    assert embed(bad, good, "--model", tiny_bundle, "--output", tmp_path / "third", "--strict").returncode == 2


def test_events_for_programs(tmp_path: Path, tiny_bundle: Path) -> None:
    """With --json each line of standard output is an event, and the first and last tell the whole."""
    write_recording(tmp_path / "in" / "a.wav")
    (tmp_path / "in" / "b.wav").write_bytes(b"")
    arguments = (tmp_path / "in", "--model", tiny_bundle, "--output", tmp_path / "out", "--json", "--workers", 1)
    events = [json.loads(line) for line in embed(*arguments).stdout.splitlines()]
    assert [event["event"] for event in events] == ["begun", "embedded", "failed", "ended"]
    assert events[0] == {"event": "begun", "n_recordings": 2, "n_workers": 1, "bundle": "tiny"}
    assert (events[1]["recording"], events[1]["n_windows"], events[1]["duration_s"]) == ("a.wav", 1, 1.0)
    assert (events[2]["recording"], events[2]["reason"]) == ("b.wav", "empty")
    assert (events[3]["n_embedded"], events[3]["n_failed"]) == (1, 1)
    again = [json.loads(line)["event"] for line in embed(*arguments).stdout.splitlines()]
    assert again == ["begun", "kept", "failed", "ended"]


@pytest.mark.parametrize("separator", [b"\n", b"\0", b"\r\n"])
def test_a_list_on_standard_input(separator: bytes, tmp_path: Path, tiny_bundle: Path) -> None:
    """Paths from find, with or without -print0, are embedded, and named from --root."""
    names = [b"a.wav", b"sub/\xff odd.wav", *([b"sub/new\nline.wav"] if separator == b"\0" else [])]
    for name in names:
        # libsndfile opens only names that are UTF-8; this package opens files itself.
        written = write_recording(tmp_path / "in" / "sub" / "written.wav")
        written.rename(tmp_path / "in" / os.fsdecode(name))
    listed = separator.join(os.fsencode(tmp_path / "in" / os.fsdecode(name)) for name in names)
    root = ("--root", tmp_path / "in")
    result = embed("--files_from", "-", *root, "--model", tiny_bundle, "--output", tmp_path / "out", given=listed)
    assert result.returncode == 0
    assert all((tmp_path / "out" / os.fsdecode(name + b".npz")).exists() for name in names)


def on_a_terminal(arguments: list[str], n_columns: int, **more: str) -> tuple[int, str]:
    """Run a command on a terminal; returns its exit status and all that was written there."""
    main, side = pty.openpty()
    environment = os.environ | {"COLUMNS": str(n_columns), **more}
    with subprocess.Popen(arguments, stdin=side, stdout=side, stderr=side, env=environment) as process:
        os.close(side)
        said = b""
        while True:
            try:
                said += os.read(main, 65536)
            except OSError:  # the other end is closed
                break
        status = process.wait()
    os.close(main)
    return status, said.decode()


def lines_kept(said: str) -> list[str]:
    """What stays on a terminal: of each line what was written last, without blanks."""
    lines = [line.rpartition("\r")[2] for line in said.replace("\r\n", "\n").split("\n")]
    return [line for line in (re.sub(r"\x1b\[\w", "", line).strip() for line in lines) if line]


@pytest.mark.parametrize("n_columns", [80, 120])
def test_a_bar_on_a_terminal(tmp_path: Path, tiny_bundle: Path, n_columns: int) -> None:
    """A terminal shows how far it is and the time left, within its width; the summary and the failures stay."""
    for i in range(30):
        write_recording(tmp_path / "in" / f"{i:02}.wav", seconds=20, seed=i)
    (tmp_path / "in" / "bad.wav").write_bytes(b"")
    arguments = command(tmp_path / "in", "--model", tiny_bundle, "--output", tmp_path / "out", "--workers", 1)
    status, said = on_a_terminal(arguments, n_columns)
    assert status == 1
    pictures = [part for part in said.split("\r") if part.startswith("|")]
    assert re.match(r"\|=* *\| \d+ of 31 recordings, [\d:]+ left, .*[\d,]+ x real time", pictures[-1])
    assert all(len(picture.rstrip()) < n_columns for picture in pictures)
    kept = [line.split(":")[0].split(";")[0] for line in lines_kept(said)]
    assert kept == ["failed (empty)", "embedded 30 of 31 recordings"]


def test_no_bar_without_tqdm(tmp_path: Path, tiny_bundle: Path) -> None:
    """Where tqdm is not installed, as on 32-bit ARM, a terminal gets the lines of a log, and nothing fails."""
    (tmp_path / "tqdm.py").write_text("raise ImportError('there is none')\n")
    write_recording(tmp_path / "in" / "a.wav")
    arguments = command(tmp_path / "in", "--model", tiny_bundle, "--output", tmp_path / "out", "--workers", 1)
    status, said = on_a_terminal(arguments, 80, PYTHONPATH=str(tmp_path))
    assert status == 0
    (kept,) = lines_kept(said)
    assert kept.startswith("embedded 1 of 1 recording")


def has_open(pid: int, name: str) -> bool:
    """Whether a process has a file of that name open."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if descriptor.readlink().name == name:
                return True
    return False


@pytest.mark.timing
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 1), (signal.SIGINT, 2), (signal.SIGTERM, 2)])
def test_stopped(number: signal.Signals, workers: int, tmp_path: Path, tiny_bundle: Path, slowness: float) -> None:
    """Told to stop it ends within two seconds, keeps what is finished, says how to go on, and goes on."""
    for i in range(100):
        write_recording(tmp_path / "in" / f"{i:03}.wav", seconds=8, seed=i)
    write_recording(tmp_path / "in" / "000.wav", seconds=3000)  # begun when it is stopped, and takes longer than that
    out = tmp_path / "out"
    arguments = command(tmp_path / "in", "--model", tiny_bundle, "--output", out, "--workers", workers)
    # A group of its own, for a terminal sends Ctrl-C to all of a group.
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        end_s = time.monotonic() + PATIENCE_S
        while not (list(out.glob("*.npz")) if workers == 2 else has_open(process.pid, "000.wav")):
            assert time.monotonic() < end_s
            time.sleep(0.01)
        start_s = time.monotonic()
        os.killpg(process.pid, number)
        assert process.wait(PATIENCE_S) == 128 + number
        elapsed_s = time.monotonic() - start_s
        assert process.stderr is not None
        said = process.stderr.read()
    assert elapsed_s < 2 * slowness
    n_finished = len(list(out.glob("*.npz")))
    assert re.search(r"stopped: \d+ recordings? embedded, \d+ left; the same command goes on from there", said) or (
        workers == 1 and not n_finished
    )
    assert "Traceback" not in said
    assert not list(out.glob(".*.tmp"))
    (tmp_path / "in" / "000.wav").unlink()
    result = embed(tmp_path / "in", "--model", tiny_bundle, "--output", out)
    assert f"embedded {99 - n_finished} of 99 recordings" in result.stderr


def test_features_of_a_network_alone(tmp_path: Path) -> None:
    """A network without a manifest is told its features by flags, as in the configuration; the output records them."""
    write_recording(tmp_path / "a.wav")
    path = tmp_path / "alone.tflite"
    path.write_bytes(networks.dense((1, 40, 33)))
    arguments = (tmp_path / "a.wav", "--model", path, "--output", tmp_path / "out")
    refused = embed(*arguments)
    assert refused.returncode == 2
    assert "--feature n_mels=N" in refused.stderr
    features = "n-mels=40,mel_hop_len=250"
    assert embed(*arguments, "--feature", features, "--feature", "center=true").returncode == 0
    (output,) = iter_outputs(tmp_path / "out")
    table = json.loads(output.provenance.parameters)
    assert (table["n_mels"], table["mel_hop_len"], table["center"]) == (40, 250, True)
    configured = load_config(
        None,
        {
            "model": {"path": path, "features": {"n_mels": 40, "mel_hop_len": 250, "center": True}},
            "spool": {"folder": tmp_path},
            "output": {"folder": tmp_path},
        },
    )
    model = load_model(path, **configured.model[0].parameters())
    assert model.fingerprint() == output.provenance.fingerprint
    mistaken = embed(*arguments, "--feature", "n_mel=40")
    assert (mistaken.returncode, "NAME is one of duration, " in mistaken.stderr) == (2, True)
