"""From close() of a recording until the worker is handed it."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.benchmarks import environments
from scripts.benchmarks.figures import Figure, Spread, progress, single
from scripts.benchmarks.workers import Worker

N_WARM = 20  # written first and not counted
PACE_S = 0.005
MOVED_AFTER = 10  # a recording is moved away when so many more have been written: it was handed out long ago
LIMIT_S = 60.0
BAR_MS = 5.0
CONTENT = b"\0" * 4096


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Measure both cases: in a quiet folder, and with another file moved out just before each close."""
    figures: list[Figure] = []
    raw: dict[str, Any] = {}
    for key, label, moving in (("alone", "", False), ("after_a_move", ", another file just moved out", True)):
        progress(f"latency{label}")
        latencies_ms, n_lost = _latencies(parsed.repeats, moving=moving)
        raw[key] = {"latencies_ms": latencies_ms, "lost": n_lost}
        figures += _figures(latencies_ms, n_lost, label)
    progress("")
    return {"command": "latency", "figures": figures, "latencies": raw}


def _latencies(n_recordings: int, *, moving: bool) -> tuple[list[float], int]:
    with tempfile.TemporaryDirectory(prefix="sonyc-ml-bench-") as work:
        folder, elsewhere = Path(work, "spool"), Path(work, "elsewhere")
        folder.mkdir()
        elsewhere.mkdir()
        n_written = n_recordings + N_WARM
        with Worker(environments.ours(), "handing_out", {"folder": str(folder)}) as worker:
            worker.tell("listen", n_recordings=n_written, limit_s=LIMIT_S + n_written * PACE_S)
            closed_ns = _write(folder, elsewhere if moving else None, n_written)
            handed_out_ns = worker.answer()
    counted = list(closed_ns)[N_WARM:]
    latencies = [(handed_out_ns[name] - closed_ns[name]) / 1e6 for name in counted if name in handed_out_ns]
    return latencies, len(counted) - len(latencies)


def _write(folder: Path, elsewhere: Path | None, n_recordings: int) -> dict[str, int]:
    """Write recordings one by one; returns when each was about to be closed, on the clock all processes share."""
    closed_ns = {}
    for i in range(n_recordings):
        path = folder / f"{i:06}.wav"
        with path.open("wb", buffering=0) as file:  # unbuffered: close() does nothing but close
            file.write(CONTENT)
            if elsewhere is not None and i >= MOVED_AFTER:
                moved = folder / f"{i - MOVED_AFTER:06}.wav"
                moved.rename(elsewhere / moved.name)
            closed_ns[path.name] = time.monotonic_ns()
        time.sleep(PACE_S)
    return closed_ns


def _figures(latencies_ms: list[float], n_lost: int, label: str) -> list[Figure]:
    n = len(latencies_ms)
    if n < 2:
        return [Figure(f"lost{label}", single(n_lost), "recordings", bar=0)]
    percentiles = statistics.quantiles(latencies_ms, n=100, method="inclusive")
    named = (("p50", percentiles[49], None), ("p99", percentiles[98], BAR_MS), ("max", max(latencies_ms), None))
    figures = [
        Figure(f"close() to worker, {name}{label}", Spread(value, min(latencies_ms), max(latencies_ms), n), "ms", bar)
        for name, value, bar in named
    ]
    return [*figures, Figure(f"lost{label}", single(n_lost), "recordings", bar=0)]
