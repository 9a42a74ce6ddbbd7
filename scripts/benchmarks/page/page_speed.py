"""The page of a node with a long history: how soon each part of it is there, and what memory its process takes."""

from __future__ import annotations

import argparse
import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.benchmarks import environments
from scripts.benchmarks.figures import Figure, progress, spread
from scripts.benchmarks.page.day_outputs import write_outputs
from scripts.benchmarks.page.large_node import make_large_node

MODEL = environments.ROOT / "models" / "quantized_default_int8.tflite"
N_RECORDINGS = 100_000
PAGE_BAR_MS, MEMORY_BAR_MB = 200.0, 110.0
DAY_BAR_MS, KEPT_DAY_BAR_MS = 2000.0, 100.0
DAY_S = 86400
NEW_DAY, KEPT_DAY = "day picture, not cached, with the start of its process", "day picture, cached"
PAGES = {
    "first page": "/",
    "detections": "/detections",
    "detections of 35 days, none found": "/detections?since=40d&score=0.9999999",
    "csv, 20,000 rows": "/detections.csv?since=40d",
    "health": "/condition",
}


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Make a node of 100,000 recordings, and ask for each of its pages."""
    with tempfile.TemporaryDirectory() as name:
        progress(f"{N_RECORDINGS:,} recordings")
        config = make_large_node(Path(name), parsed.model or MODEL, N_RECORDINGS)
        day_s = time.time() // DAY_S * DAY_S - 2 * DAY_S
        progress(f"{write_outputs(config, day_s, day_s + DAY_S):,} outputs of a day")
        day = f"/day?date={time.strftime('%Y-%m-%d', time.gmtime(day_s))}"
        times_ms: dict[str, list[float]] = {}
        memory: dict[str, float] = {}
        for predict in ("false", "true"):
            progress(f"pages, predict = {predict}")
            config.write_text(f"{config.read_text().partition('[serve]')[0]}[serve]\npredict = {predict}\n")
            with _served(config) as (port, pid):
                first_ms = _asked_ms(port, "/")
                times_ms.setdefault("first page, of a service that has just begun", []).append(first_ms)
                times_ms.setdefault(NEW_DAY, []).append(_asked_ms(port, day))
                for title, path in {**PAGES, KEPT_DAY: day}.items():
                    _asked_ms(port, path)
                    times_ms.setdefault(title, []).extend(_asked_ms(port, path) for _ in range(parsed.repeats))
                memory["with a network" if predict == "true" else "page alone"] = _memory_mb(pid)
    progress("")
    bars = {"first page": PAGE_BAR_MS, "first page, of a service that has just begun": PAGE_BAR_MS}
    bars |= {NEW_DAY: DAY_BAR_MS, KEPT_DAY: KEPT_DAY_BAR_MS}
    return {
        "command": "page",
        "figures": [
            *(Figure(title, spread(values), "ms", bars.get(title)) for title, values in times_ms.items()),
            *(Figure(f"memory, {title}", spread([mb]), "MB", MEMORY_BAR_MB) for title, mb in memory.items()),
        ],
    }


@contextmanager
def _served(config: Path) -> Iterator[tuple[int, int]]:
    """The page's port and process, once it is ready."""
    command = [sys.executable, "-m", "sonyc_ml", "serve", "--config", str(config), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = 0
        try:
            for line in process.stderr:
                if found := re.search(r"listening on http://127.0.0.1:(\d+)", line):
                    port = int(found[1])
                if "ready: " in line:
                    break
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.stderr.read()


def _asked_ms(port: int, path: str) -> float:
    """How long an answer takes, from the connection to its last byte."""
    start_s = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 200, (path, answer.status)
    return (time.perf_counter() - start_s) * 1e3


def _memory_mb(pid: int) -> float:
    """What a process has in memory, its peak."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None, os.uname()
    return int(found[1]) / 1000
