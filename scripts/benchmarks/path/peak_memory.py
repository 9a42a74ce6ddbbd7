"""What ``sonyc-ml`` occupies: the daemon after many recordings, and a recording of many hours."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
import time
import wave
from pathlib import Path
from typing import Any

from scripts.benchmarks import environments
from scripts.benchmarks.figures import progress
from scripts.benchmarks.inputs import Inputs
from scripts.benchmarks.watching import Watch, command
from scripts.benchmarks.workers import WorkerError, wait

N_FIRST, N_LONG = 20, 2000
N_AHEAD = 4  # recordings that wait in the folder: enough that the daemon never does
LONG_S, LONG_RATE_HZ, LONG_HOP_S = 6 * 3600, 48000, 1.0


def of_watch(given: Inputs, work: Path, *, long: bool) -> dict[str, float]:
    """Feed a daemon recordings; returns what it occupied after 20 of them and, for `long`, after 2,000 (in MB)."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        spool, output = Path(folder, "spool"), Path(folder, "output")
        spool.mkdir()
        with Watch(environments.ours(), given.network, spool, output) as watch:
            _wait_until_watching(watch, given, spool, output)
            _feed(watch, given, spool, output, range(1, N_FIRST))
            rss_mb, peak_mb = watch.memory_mb()
            found = {f"rss_{N_FIRST}": rss_mb, f"peak_{N_FIRST}": peak_mb}
            if long:
                _feed(watch, given, spool, output, range(N_FIRST, N_LONG))
                rss_mb, peak_mb = watch.memory_mb()
                found |= {f"rss_{N_LONG}": rss_mb, f"peak_{N_LONG}": peak_mb}
    return found


def of_long_recording(given: Inputs, work: Path) -> dict[str, Any]:
    """Embed a recording of six hours with the command; returns its peak memory and how fast it was.

    Raises
    ------
    WorkerError
        There is no room for it, or the command failed.
    """
    n_bytes = LONG_S * LONG_RATE_HZ * 2
    if shutil.disk_usage(work).free < 2 * n_bytes:
        raise WorkerError(f"a recording of six hours: it takes {n_bytes / 1e9:.1f} GB in {work}; set TMPDIR elsewhere")
    path = work / "six_hours.wav"
    progress("writing a recording of six hours")
    _write_noise(path, LONG_S, LONG_RATE_HZ)
    progress("embedding a recording of six hours")
    flags = ["--hop_size", str(LONG_HOP_S), "--quiet"]
    options: list[str | Path] = ["embed", path, "--model", given.network, "--output", work, *flags]
    start_s = time.perf_counter()
    process = subprocess.Popen([*command(environments.ours()), *options], env=environments.variables())
    peak_mb = wait(process)
    elapsed_s = time.perf_counter() - start_s
    path.unlink()
    if process.returncode:
        raise WorkerError(f"a recording of six hours: sonyc-ml embed ended with status {process.returncode}")
    return {"peak_mb": peak_mb, "elapsed_s": elapsed_s, "times_real_time": LONG_S / elapsed_s}


def _wait_until_watching(watch: Watch, given: Inputs, spool: Path, output: Path) -> None:
    """Let the first recording through: from then on all are heard being closed, and need not settle."""
    _put(given, spool, 0)
    watch.wait_for(_output(output, 0))


def _feed(watch: Watch, given: Inputs, spool: Path, output: Path, numbers: range) -> None:
    """Write recordings a few ahead of the daemon, as a recorder does, and delete them when they are embedded."""
    for i in numbers:
        if i % 100 == 0:
            progress(f"memory of watch: recording {i:,} of {N_LONG:,}")
        _put(given, spool, i)
        done = i - N_AHEAD
        if done in numbers:
            watch.wait_for(_output(output, done))
            _recording(spool, done).unlink()
            _output(output, done).unlink()
    watch.wait_for(_output(output, numbers[-1]))


def _put(given: Inputs, spool: Path, i: int) -> None:
    """Write a recording the way a node does: under its own name, and then close it."""
    with _recording(spool, i).open("wb") as file:
        file.write(given.recordings[i % len(given.recordings)].read_bytes())


def _recording(spool: Path, i: int) -> Path:
    return spool / f"{i:06}.wav"  # read as what it is, whatever its name ends with


def _output(output: Path, i: int) -> Path:
    return output / f"{i:06}.wav.npz"


def _write_noise(path: Path, duration_s: int, rate_hz: int) -> None:
    """Mono 16-bit noise, ten seconds of it over and over."""
    piece = random.Random(0).randbytes(10 * rate_hz * 2)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate_hz, duration_s * rate_hz, "NONE", ""))
        for _ in range(duration_s // 10):
            file.writeframesraw(piece)
