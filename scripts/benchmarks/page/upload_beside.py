"""From a recording in the spool to its output, while ``sonyc-ml upload`` is at work and while it is not, in turn."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.benchmarks import environments
from scripts.benchmarks.figures import Figure, Spread, progress, single
from tests.conftest import write_recording
from tests.support.uploads import write_outputs

MODEL = environments.ROOT / "models" / "quantized_default_int8.tflite"
ROUNDS = 4  # of each case, in turn: what else the machine does changes meanwhile
N_BACKLOG = 800  # outputs that wait for it: it is never idle
PACE_S = 0.1
NICE = 15  # as in deploy/sonyc-ml-upload.service
LIMIT_S = 30.0
BAR = 1.1
ALONE, BESIDE = "alone", "beside upload"
CONFIG = """
[spool]
folder = "recordings"
[output]
folder = "out"
[model]
path = "{}"
[upload]
to = "file://{}"
pack = "none"
every_s = 0.5
"""


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Write recordings one by one, and wait for the output of each."""
    latencies: dict[str, list[float]] = {ALONE: [], BESIDE: []}
    with tempfile.TemporaryDirectory(prefix="sonyc-ml-bench-") as name:
        folder = Path(name)
        for one in ("recordings", "store", "out"):
            (folder / one).mkdir()
        config = folder / "sonyc-ml.toml"
        config.write_text(CONFIG.format(parsed.model or MODEL, folder / "store"))
        sound = write_recording(folder / "sound.wav", 10.0)
        with _running("watch", config):
            _latencies_ms(folder, sound, 5, "warm")
            for number in range(ROUNDS):
                progress(f"round {number + 1} of {ROUNDS}")
                n = max(2, parsed.repeats // ROUNDS)
                latencies[ALONE] += _latencies_ms(folder, sound, n, f"{number}a")
                write_outputs(folder / "out" / f"backlog {number}", N_BACKLOG // ROUNDS)
                n_before = _n_sent(folder)
                with _running("upload", config, "nice", "-n", str(NICE)):
                    _wait_for_more(folder, n_before)
                    latencies[BESIDE] += _latencies_ms(folder, sound, n, f"{number}b")
        n_sent = _n_sent(folder)
    progress("")
    return {"command": "upload", "figures": _figures(latencies, n_sent), "latencies_ms": latencies}


def _figures(latencies: dict[str, list[float]], n_sent: int) -> list[Figure]:
    figures, p99 = [], {}
    for case, values in latencies.items():
        percentiles = statistics.quantiles(values, n=100, method="inclusive")
        p99[case] = percentiles[98]
        for name, value in (("p50", percentiles[49]), ("p99", percentiles[98])):
            spread = Spread(value, min(values), max(values), len(values))
            figures.append(Figure(f"recording to output, {case}, {name}", spread, "ms"))
    ratio = p99[BESIDE] / p99[ALONE]
    return [*figures, Figure("p99, beside upload / alone", single(ratio), "x", BAR), Figure("sent", single(n_sent), "")]


def _n_sent(folder: Path) -> int:
    return sum(1 for _ in (folder / "store").rglob("*.npz"))


def _wait_for_more(folder: Path, n_before: int) -> None:
    """Until it is at work: its start takes a while where the processor is busy."""
    end_s = time.monotonic() + 2 * LIMIT_S
    while _n_sent(folder) == n_before:
        if time.monotonic() > end_s:
            raise RuntimeError("sonyc-ml upload sends nothing")
        time.sleep(0.1)


@contextmanager
def _running(command: str, config: Path, *before: str) -> Iterator[None]:
    """A process of ``sonyc-ml``, until the block ends."""
    line = [*before, sys.executable, "-m", "sonyc_ml", command, "--config", str(config)]
    with subprocess.Popen(line, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)


def _latencies_ms(folder: Path, sound: Path, n: int, name: str) -> list[float]:
    found = []
    for number in range(n):
        temporary, path = folder / "next.wav", folder / "recordings" / f"{name}-{number:05}.wav"
        shutil.copyfile(sound, temporary)
        output = folder / "out" / f"{path.name}.npz"
        begun_s = time.perf_counter()
        temporary.rename(path)
        while not os.path.exists(output):  # noqa: PTH110
            if time.perf_counter() > begun_s + LIMIT_S:
                raise RuntimeError(f"{path.name} has no output after {LIMIT_S:g} s")
            time.sleep(0.001)
        found.append((time.perf_counter() - begun_s) * 1e3)
        time.sleep(PACE_S)
    return found
