"""Predictions over HTTP: throughput beside bare calls in as many threads, and how soon health answers meanwhile."""

from __future__ import annotations

import argparse
import http.client
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.benchmarks import environments
from scripts.benchmarks.figures import Figure, progress, ratios, single, spread
from scripts.benchmarks.inputs import RECORDINGS, MissingError
from sonyc_ml import load_model
from sonyc_ml.base.blas import one_blas_thread

DEFAULT_MODEL = environments.ROOT / "models" / "quantized_default_int8.tflite"
N_CLIENTS, N_HEALTH_CLIENTS = 8, 16
N_REQUESTS = 48  # in each round
THROUGHPUT_BAR, HEALTH_BAR_MS, MEMORY_BAR_MB = 0.85, 50.0, 110.0


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Rounds of the same requests, bare and served in turn; then health beside twice as many clients."""
    model = parsed.model or DEFAULT_MODEL
    recordings = sorted((parsed.recordings or RECORDINGS).glob("*.wav"))
    if not recordings:
        raise MissingError("there are no recordings: give --recordings FOLDER")
    contents = [path.read_bytes() for path in recordings]
    n_workers = len(os.sched_getaffinity(0))
    bare_s, served_s = [], []
    with _served(model, n_workers) as (port, process):
        idle_mb = _memory_mb(process.pid)
        embed = _bare(model, recordings)
        for i in range(parsed.repeats):
            progress(f"round {i + 1} of {parsed.repeats}")
            bare_s.append(_elapsed_s(embed, n_workers))
            served_s.append(_elapsed_s(lambda number: _predict(port, contents[number % len(contents)]), N_CLIENTS))
        progress("health")
        waits_ms = _health_ms(port, contents)
        after_mb = _memory_mb(process.pid)
    progress("")
    waits_ms.sort()
    figures = [
        Figure("throughput beside bare calls", ratios(bare_s, served_s), "x", THROUGHPUT_BAR, at_least=True),
        Figure("served", spread(N_REQUESTS / s for s in served_s), "requests/s"),
        Figure("bare calls", spread(N_REQUESTS / s for s in bare_s), "recordings/s"),
        Figure("health, 99 of 100", single(waits_ms[len(waits_ms) * 99 // 100]), "ms", HEALTH_BAR_MS),
        Figure("health, half of all", single(statistics.median(waits_ms)), "ms"),
        Figure("memory, idle", single(idle_mb), "MB", MEMORY_BAR_MB),
        Figure("memory, afterwards", single(after_mb), "MB"),
    ]
    return {"command": "predict", "figures": figures, "rounds": {"bare_s": bare_s, "served_s": served_s}}


@contextmanager
def _served(model: Path, n_workers: int) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "sonyc_ml", "serve", "--model", model, "--port", "0", "--workers", n_workers]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    try:
        port = 0
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"listening on http://127.0.0.1:(\d+)", line):
                port = int(found[1])
            if "ready: " in line:
                break
        else:
            raise MissingError("sonyc-ml serve has not started")
        yield port, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _bare(model: Path, recordings: list[Path]) -> Callable[[int], None]:
    """Embeds the recording of a number, by a model of the calling thread."""
    here = threading.local()
    lock = threading.Lock()

    def embed(number: int) -> None:
        if not hasattr(here, "model"):
            with lock:
                here.model = load_model(model)
        here.model.embed_file(recordings[number % len(recordings)])

    return embed


def _elapsed_s(work: Callable[[int], None], n_threads: int) -> float:
    """How long it takes so many threads to do all."""
    with one_blas_thread(), ThreadPoolExecutor(n_threads) as threads:
        list(threads.map(work, range(n_threads)))  # warms up
        start_s = time.perf_counter()
        list(threads.map(work, range(N_REQUESTS)))
        return time.perf_counter() - start_s


def _predict(port: int, content: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", "/predict?encoding=b64", content, {"Content-Type": "audio/wav"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    connection.close()


def _health_ms(port: int, contents: list[bytes]) -> list[float]:
    """How long health takes while twice as many clients ask for predictions."""
    waits_ms = []
    with ThreadPoolExecutor(N_HEALTH_CLIENTS) as threads:
        asked = [threads.submit(_predict, port, contents[i % len(contents)]) for i in range(3 * N_REQUESTS)]
        while not all(one.done() for one in asked):
            start_s = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            connection.request("GET", "/health")
            connection.getresponse().read()
            connection.close()
            waits_ms.append((time.perf_counter() - start_s) * 1e3)
            time.sleep(0.01)
        for one in asked:
            one.result()
    return waits_ms


def _memory_mb(pid: int) -> float:
    """Memory of a process that is its own, and files that it has mapped (resident set, in 10^6 bytes)."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert found
    return int(found[1]) * 1024 / 1e6
