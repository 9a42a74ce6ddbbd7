"""``sonyc-ml listen`` beside ``sonyc-ml watch`` with files of the same samples, both in real time."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import threading
import time
import wave
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from scripts.benchmarks import environments
from scripts.benchmarks.figures import Figure, progress, ratios, single, spread
from scripts.benchmarks.programs.ours import Floor
from scripts.benchmarks.watching import Watch, command
from scripts.benchmarks.workers import WorkerError
from sonyc_ml.model import Model
from sonyc_ml.model.loading import load_model
from sonyc_ml.node.config import ModelConfig
from sonyc_ml.node.intake.ahead import Ahead
from sonyc_ml.node.running_bundles import LoadedBundle
from sonyc_ml.sound.live.clock import this_moment
from sonyc_ml.sound.live.cutting import Cutter
from sonyc_ml.sound.live.formats import raw_layout
from sonyc_ml.sound.start_time import StartTimes

DEFAULT = environments.ROOT / "models" / "quantized_default_int8.tflite"
RATE, N_CHANNELS, SEGMENT_S, CHUNK_S = 48000, 2, 10.0, 0.125  # chunks are those of arecord
N_CHUNKS = round(SEGMENT_S / CHUNK_S)
MAX_BUFFER_S = 20.0  # the least that is allowed: two recordings
N_FIRST = 2  # recordings that are not measured: what is made once is made there
PROCESSOR_BAR, REST_BAR = 1.0, 0.25
BUFFER_MB = 2 * MAX_BUFFER_S * RATE * N_CHANNELS * 4 / 2**20
PATIENCE_S = 20.0


class Segment(NamedTuple):
    """What one recording of the stream took.

    Attributes
    ----------
    whole_s, rest_s : float
        Processor time from its first sample to the next one's, and from its last chunk on until its output is written.
    latency_s : float
        From its last chunk to its output.
    """

    whole_s: float
    rest_s: float
    latency_s: float


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Send both the same sound in its own time."""
    model, n = parsed.model or DEFAULT, N_FIRST + parsed.repeats
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        listening = opened.enter_context(Listening(model, Path(folder)))
        watching = opened.enter_context(Watching(model, Path(folder)))
        floor = Floor(os.fspath(model))
        live, of_files, invokes_s = [], [], []
        for i in range(n):
            progress(f"live sound: recording {i + 1} of {n}")
            content = noise(i)
            thread = threading.Thread(target=lambda: of_files.append(watching.embed(i, content)))  # noqa: B023  it ends below
            thread.start()
            live.append(listening.embed(content))
            thread.join()
            invokes_s.append(floor_s(floor, listening.n_windows))
        memory_mb = listening.peak_mb(), watching.peak_mb()
    progress("")
    left_s = [embedding_left_s(model) for _ in range(n)]
    return report(live[N_FIRST:], of_files[N_FIRST:], invokes_s[N_FIRST:], left_s[N_FIRST:], memory_mb)


def report(
    live: list[Segment],
    of_files: list[float],
    invokes_s: list[float],
    left_s: list[float],
    memory_mb: tuple[float, float],
) -> dict[str, Any]:
    """Figures and their bars."""
    rest_s = [one.rest_s for one in live]
    figures = [
        Figure(
            "processor time beside that of files", ratios((one.whole_s for one in live), of_files), "x", PROCESSOR_BAR
        ),
        Figure("embedding after the last chunk, beside the invokes", ratios(left_s, invokes_s), "x", REST_BAR),
        Figure("all of the daemon after it, beside the invokes", ratios(rest_s, invokes_s), "x", REST_BAR),
        Figure("peak memory beyond that of files", single(memory_mb[0] - memory_mb[1]), "MB", BUFFER_MB),
        Figure("from the last chunk to the output", spread(1e3 * one.latency_s for one in live), "ms"),
        Figure("processor time of a recording, live", spread(1e3 * one.whole_s for one in live), "ms"),
        Figure("processor time of a recording, a file", spread(1e3 * seconds for seconds in of_files), "ms"),
        Figure("processor time after the last chunk", spread(1e3 * seconds for seconds in rest_s), "ms"),
        Figure("bare invokes of a recording", spread(1e3 * seconds for seconds in invokes_s), "ms"),
    ]
    return {"command": "live", "figures": figures}


def embedding_left_s(path: Path) -> float:
    """Processor time that embedding a recording takes when all but the last half a second is embedded (in seconds)."""
    model, content, layout = model_at(path), noise(0), raw_layout(RATE, "S16_LE", N_CHANNELS)
    bundle = LoadedBundle(ModelConfig(path), model, Path())
    cutter, n_first = Cutter("street", layout, SEGMENT_S), len(content) // 20 * 19
    cutter.feed(content[:n_first], this_moment())
    assert cutter.open is not None
    ahead = Ahead(cutter.open, bundle, StartTimes())
    ahead.go_on()
    cutter.feed(content[n_first:], this_moment())
    start_s = time.process_time()
    ahead.finish("street")
    left_s = time.process_time() - start_s
    ahead.drop()
    return left_s


@cache
def model_at(path: Path) -> Model:
    """The model of a bundle."""
    return load_model(path)


class Listening:
    """``sonyc-ml listen -`` with levels, fed as a recorder feeds it."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.n_windows = 0
        options: list[str | Path] = ["--levels", "--max-buffer", f"{MAX_BUFFER_S:g}", "--output", folder / "live"]
        words: list[str | Path] = [*command(environments.ours()), "listen", "street=-", "--model", model, *options]
        raw = ["--sample-rate", str(RATE), "--channels", str(N_CHANNELS)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [*words, *raw], stdin=pipe, stdout=pipe, stderr=pipe, env=environments.variables()
        )
        self._clock = processor_clock(self._process.pid)
        self._due_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def embed(self, content: bytes) -> Segment:
        """Send one recording, a chunk at a time, and read the answer.

        Raises
        ------
        WorkerError
            There is none.
        """
        sent_to, answers = self._process.stdin, self._process.stdout
        assert sent_to is not None
        assert answers is not None
        if not self._due_s:
            time.sleep(2.0)  # it starts
            self._due_s = time.monotonic()
        size, start_s = len(content) // N_CHUNKS, time.clock_gettime(self._clock)
        for first in range(0, len(content), size):
            self._due_s += CHUNK_S
            time.sleep(max(0.0, self._due_s - time.monotonic()))
            before_s, sent_s = time.clock_gettime(self._clock), time.monotonic()
            sent_to.write(content[first : first + size])
            sent_to.flush()
        line = answers.readline()
        latency_s = time.monotonic() - sent_s
        rest_s = time.clock_gettime(self._clock) - before_s
        if not line:
            raise WorkerError(f"sonyc-ml listen has ended: {(self._process.communicate()[1] or b'').decode()[-300:]}")
        self.n_windows = json.loads(line)["windows"]
        time.sleep(CHUNK_S / 2)  # what follows the output
        return Segment(time.clock_gettime(self._clock) - start_s, rest_s, latency_s)

    def peak_mb(self) -> float:
        """The most memory that it had (in MB)."""
        return peak_mb(self._process.pid)


class Watching:
    """``sonyc-ml watch`` with levels, given files."""

    def __init__(self, model: Path, folder: Path) -> None:
        self._spool, self._output = folder / "spool", folder / "output"
        self._spool.mkdir()
        self._watch = Watch(environments.ours(), model, self._spool, self._output, ["--levels"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.stop()

    def embed(self, i: int, content: bytes) -> float:
        """Write a file, wait as long as it takes to record; returns the processor time of that (in seconds)."""
        end_s, clock = time.monotonic() + SEGMENT_S, processor_clock(self._watch.pid)
        start_s, path = time.clock_gettime(clock), self._spool / f"{i}.wav"
        with wave.open(os.fspath(path), "wb") as file:
            file.setparams((N_CHANNELS, 2, RATE, 0, "NONE", ""))
            file.writeframes(content)
        self._watch.wait_for(self._output / f"{i}.wav.npz", PATIENCE_S)
        time.sleep(max(0.0, end_s - time.monotonic()))
        return time.clock_gettime(clock) - start_s

    def peak_mb(self) -> float:
        """The most memory that it had (in MB)."""
        return peak_mb(self._watch.pid)


def noise(seed: int) -> bytes:
    """One recording, 16-bit."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1000, (round(SEGMENT_S * RATE), N_CHANNELS)).astype("<i2").tobytes()


def floor_s(floor: Floor, n_windows: int) -> float:
    """Processor time of the bare invokes (in seconds)."""
    start_s = time.process_time()
    floor.run(n_windows)
    return time.process_time() - start_s


def processor_clock(pid: int) -> int:
    """The clock of a process's processor time, of threads that have ended too: what clock_getcpuclockid(3) makes."""
    return (~pid << 3) | 2


def peak_mb(pid: int) -> float:
    """The most memory that a process had so far (in MB)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
