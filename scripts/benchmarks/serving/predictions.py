"""Predictions over HTTP: throughput beside bare calls in as many threads, and how soon health answers meanwhile."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from scripts.benchmarks import environments
from scripts.benchmarks.figures import Figure, progress, ratios, single, spread
from scripts.benchmarks.inputs import RECORDINGS, MissingError
from sonyc_ml import load_model
from sonyc_ml.base.blas import one_blas_thread

DEFAULT_MODEL = environments.ROOT / "models" / "quantized_default_int8.tflite"
SIMPLE = "scripts.benchmarks.serving.simple_service"
N_CLIENTS, N_HEALTH_CLIENTS = 8, 16
N_REQUESTS = 48  # in each round
THROUGHPUT_BAR, HEALTH_BAR_MS, MEMORY_BAR_MB = 0.85, 50.0, 110.0


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Rounds of the same requests, bare and served in turn; then health beside twice as many clients; memory."""
    model = parsed.model or DEFAULT_MODEL
    recordings = sorted((parsed.recordings or RECORDINGS).glob("*.wav"))
    if not recordings:
        raise MissingError("there are no recordings: give --recordings FOLDER")
    n_workers = len(os.sched_getaffinity(0))
    rounds: list[Round] = []
    command = ["sonyc_ml", "serve", "--model", model, "--port", 0, "--workers", n_workers, "--cache-bytes", 0]
    with _served(command) as service, _served([SIMPLE, model]) as simple:
        idle_mb = service.memory_mb()
        embed = _bare(model, recordings)
        for i in range(parsed.repeats):
            progress(f"round {i + 1} of {parsed.repeats}")
            rounds.append(_round(embed, n_workers, service, simple, recordings))
        progress("health")
        waits_ms, simple_waits_ms = _health_ms(service, recordings), _health_ms(simple, recordings)
        after_mb = service.memory_mb()
        flat = _long(service) if parsed.long else []
    progress("")
    figures = [*_figures(rounds), *_waits(waits_ms, simple_waits_ms)]
    figures += [
        Figure("memory, idle", single(idle_mb), "MB", MEMORY_BAR_MB),
        Figure("memory, afterwards", single(after_mb), "MB"),
        *flat,
    ]
    return {"command": "predict", "figures": figures, "rounds": [one._asdict() for one in rounds]}


class Round(NamedTuple):
    """How long the same requests took, and whose processor time it was (in seconds)."""

    bare_s: float
    bare_cpu_s: float
    served_s: float
    served_cpu_s: float
    clients_cpu_s: float
    simple_s: float


def _round(
    embed: Callable[[int], None], n_workers: int, service: Service, simple: Service, recordings: list[Path]
) -> Round:
    bare_s, bare_cpu_s = _elapsed_s(embed, n_workers)
    before_s = service.cpu_s()
    served = _asked(service, N_CLIENTS, N_REQUESTS, recordings)
    served_cpu_s = service.cpu_s() - before_s
    slow = _asked(simple, N_CLIENTS, N_REQUESTS, recordings)
    return Round(bare_s, bare_cpu_s, served["elapsed_s"], served_cpu_s, served["cpu_s"], slow["elapsed_s"])


def _figures(rounds: list[Round]) -> list[Figure]:
    bare, served = [one.bare_s for one in rounds], [one.served_s for one in rounds]
    own = ratios([one.bare_cpu_s for one in rounds], [one.served_cpu_s for one in rounds])
    clients = spread(1e3 * one.clients_cpu_s / N_REQUESTS for one in rounds)
    return [
        Figure("throughput beside bare calls", ratios(bare, served), "x", THROUGHPUT_BAR, at_least=True),
        Figure("the same by the service's own processor time", own, "x"),
        Figure("served", spread(N_REQUESTS / s for s in served), "requests/s"),
        Figure("bare calls", spread(N_REQUESTS / s for s in bare), "recordings/s"),
        Figure("one model in the event loop", spread(N_REQUESTS / one.simple_s for one in rounds), "requests/s"),
        Figure("a client's processor time for a request", clients, "ms"),
    ]


def _waits(waits_ms: list[float], simple_waits_ms: list[float]) -> list[Figure]:
    return [
        Figure("health, 99 of 100", single(_of_hundred(waits_ms, 99)), "ms", HEALTH_BAR_MS),
        Figure("health, half of all", single(_of_hundred(waits_ms, 50)), "ms"),
        Figure("health, half of all, one model in the event loop", single(_of_hundred(simple_waits_ms, 50)), "ms"),
    ]


def _of_hundred(values: list[float], n: int) -> float:
    return sorted(values)[len(values) * n // 100]


class Service(NamedTuple):
    """A service that runs."""

    port: int
    pid: int

    def memory_mb(self) -> float:
        """Memory that is its own, and files that it has mapped (resident set, in 10^6 bytes)."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024 / 1e6

    def cpu_s(self) -> float:
        """Processor time that it has taken (in seconds)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _served(command: list[object]) -> Iterator[Service]:
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, command)], stderr=subprocess.PIPE, text=True, cwd=environments.ROOT
    )
    try:
        port = 0
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"listening on http://127.0.0.1:(\d+)", line):
                port = int(found[1])
            if "ready: " in line:
                break
        else:
            raise MissingError("a service has not started")
        yield Service(port, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _asked(service: Service, n_clients: int, n_requests: int, recordings: list[Path]) -> dict[str, float]:
    """What clients in a process of their own say of their requests."""
    command = [sys.executable, "-m", "scripts.benchmarks.serving.asking", service.port, n_clients, n_requests]
    run = subprocess.run(
        [*map(str, command), *map(str, recordings)], capture_output=True, check=True, cwd=environments.ROOT
    )
    said: dict[str, float] = json.loads(run.stdout)
    return said


def _long(service: Service) -> list[Figure]:
    """Memory after a thousand requests and after ten thousand, of a second of sound each."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        soundfile.write(path, np.zeros(16000), 16000)
        found = []
        for n, name in ((1000, "a thousand"), (9000, "ten thousand")):
            progress(f"memory after {name} requests")
            _asked(service, N_CLIENTS, n, [path])
            found.append(Figure(f"memory, after {name} requests", single(service.memory_mb()), "MB", MEMORY_BAR_MB))
    return found


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


def _elapsed_s(work: Callable[[int], None], n_threads: int) -> tuple[float, float]:
    """How long it takes so many threads to do all, and their processor time."""
    with one_blas_thread(), ThreadPoolExecutor(n_threads) as threads:
        list(threads.map(work, range(n_threads)))  # warms up
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        list(threads.map(work, range(N_REQUESTS)))
        return time.perf_counter() - start_s, time.process_time() - start_cpu_s


def _health_ms(service: Service, recordings: list[Path]) -> list[float]:
    """How long health takes while twice as many clients ask for predictions."""
    waits_ms = []
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(_asked, service, N_HEALTH_CLIENTS, 2 * N_REQUESTS, recordings)
        while not asked.done():
            start_s = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
            connection.request("GET", "/health")
            connection.getresponse().read()
            connection.close()
            waits_ms.append((time.perf_counter() - start_s) * 1e3)
            time.sleep(0.01)
        asked.result()
    return waits_ms
