"""The daemon as a node runs it: a process of its own, real files, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import write_recording

LONG_S = 30.0


class Watch:
    """A running ``sonyc-ml watch``."""

    def __init__(self, folder: Path, model: Path, output: Path, *flags: str) -> None:
        self.folder, self.output, self._n_seen = folder, output, 0
        self._log = output.with_name("log")
        command = [sys.executable, "-m", "sonyc_ml.cli", "watch", str(folder), "--model", str(model)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen([*command, "--output", str(output), *flags], stderr=log)

    def log(self) -> str:
        return self._log.read_text()

    def wait_for_line(self, text: str) -> None:
        self._wait(lambda: text in self.log(), f"{text!r} in the log")

    def wait_for_output(self, name: str) -> Path:
        path = self.output / name
        self._wait(path.exists, f"{path}")
        return path

    def _wait(self, is_there: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + LONG_S
        while not is_there():
            assert self.process.poll() is None, f"ended before {what}: {self.log()}"
            assert time.monotonic() < end_s, f"no {what} after {LONG_S} s: {self.log()}"
            time.sleep(0.01)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(LONG_S)


StartWatch = Callable[..., Watch]


@pytest.fixture
def watch(tmp_path: Path, tiny_bundle: Path) -> Iterator[StartWatch]:
    """Start the daemon on ``recordings`` of the test's folder; it is ended with the test."""
    running: list[Watch] = []
    (tmp_path / "recordings").mkdir()

    def start(*flags: str, model: Path = tiny_bundle) -> Watch:
        running.append(Watch(tmp_path / "recordings", model, tmp_path / "out", *flags))
        running[-1].wait_for_line("watching")
        return running[-1]

    yield start
    for daemon in running:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()


def test_each_recording_is_embedded_once(watch: StartWatch) -> None:
    """Recordings that were there, are written, are moved in or lie in sub-folders all come out, each once."""
    daemon = watch()
    write_recording(daemon.folder / "a.wav")
    write_recording(daemon.folder / "2026" / "b.wav", seed=1)
    write_recording(daemon.output.with_name("c.wav"), seed=2).rename(daemon.folder / "c.wav")
    for name in ("a.wav.npz", "2026/b.wav.npz", "c.wav.npz"):
        daemon.wait_for_output(name)
    assert daemon.stop() == 0
    assert "embedded 3, refused 0" in daemon.log()


def test_what_is_embedded_is_not_embedded_again(watch: StartWatch) -> None:
    """A restart leaves alone what has its output, and does again what has changed since."""
    first = watch()
    for name in ("a.wav", "b.wav"):
        write_recording(first.folder / name)
        first.wait_for_output(f"{name}.npz")
    first.stop()
    for name, seed in (("a.wav", 0), ("b.wav", 9)):
        old = (first.folder / name).stat()
        write_recording(first.folder / name, seed=seed)
        mtime_ns = old.st_mtime_ns - (0 if name == "a.wav" else 10**9)
        os.utime(first.folder / name, ns=(mtime_ns, mtime_ns))
    second = watch("--verbose")
    second.wait_for_line("a.wav is embedded already")
    second.wait_for_line("b.wav: 1 windows")
    assert second.stop() == 0
    assert "embedded 1, refused 0" in second.log()


def test_a_bad_recording_is_reported_and_passed_over(watch: StartWatch) -> None:
    """A recording that cannot be read costs only itself."""
    daemon = watch()
    (daemon.folder / "bad.wav").write_bytes(b"no sound at all")
    write_recording(daemon.folder / "good.wav")
    daemon.wait_for_output("good.wav.npz")
    daemon.wait_for_line("refused: ")
    assert daemon.stop() == 0
    assert "bad.wav: it is not a sound file" in daemon.log()
    assert "embedded 1, refused 1" in daemon.log()
    assert sorted(path.name for path in daemon.output.iterdir()) == ["good.wav.npz"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_recording_at_hand(watch: StartWatch, number: int) -> None:
    """The recording being embedded when the signal comes is embedded; the next one is not begun."""
    daemon = watch("--verbose", "--hop_size", "0.005")
    write_recording(daemon.output.with_name("a.wav"), seconds=60).rename(daemon.folder / "a.wav")
    daemon.wait_for_line("a.wav is being embedded")
    write_recording(daemon.folder / "b.wav")
    assert daemon.stop(number) == 0
    with np.load(daemon.output / "a.wav.npz", allow_pickle=False) as output:
        assert len(output["embedding"]) == 11801
    assert [path.name for path in daemon.output.iterdir()] == ["a.wav.npz"]


def test_a_second_signal_stops_now(watch: StartWatch) -> None:
    """A second signal does not wait for the recording, and leaves nothing half-written."""
    daemon = watch("--verbose", "--hop_size", "0.001")
    write_recording(daemon.output.with_name("a.wav"), seconds=600).rename(daemon.folder / "a.wav")
    daemon.wait_for_line("a.wav is being embedded")
    daemon.process.send_signal(signal.SIGTERM)
    start_s = time.monotonic()
    assert daemon.stop(signal.SIGINT) == 130
    assert time.monotonic() - start_s < 2
    assert not daemon.output.exists() or list(daemon.output.iterdir()) == []


def test_csv_and_extensions(watch: StartWatch) -> None:
    """Format and extensions are the user's to choose."""
    daemon = watch("--format", "csv", "--extensions", ".flac")
    write_recording(daemon.folder / "ignored.wav")
    write_recording(daemon.folder / "a.flac")
    daemon.wait_for_output("a.flac.csv")
    daemon.stop()
    assert [path.name for path in daemon.output.iterdir()] == ["a.flac.csv"]


def test_an_output_that_cannot_be_stored_is_tried_again(watch: StartWatch) -> None:
    """Trouble with the disk is reported, and the recording is kept for later."""
    daemon = watch()
    daemon.output.write_text("a file where the folder should be")
    write_recording(daemon.folder / "a.wav")
    daemon.wait_for_line("trying again in 10 s")
    assert daemon.stop() == 0
    assert "cannot be written: " in daemon.log()


def test_sonyc_network(watch: StartWatch, sonyc_bundle: Path, street: Path) -> None:
    """SONYC's own network on a street recording, all the way."""
    daemon = watch(model=sonyc_bundle)
    (daemon.folder / "a.wav").write_bytes((street / "11_000297.wav").read_bytes())
    with np.load(daemon.wait_for_output("a.wav.npz"), allow_pickle=False) as output:
        assert output["embedding"].shape == (91, 256)
        assert str(output["recording"]) == "a.wav"
    assert daemon.stop(signal.SIGINT) == 0
