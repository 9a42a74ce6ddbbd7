"""``sonyc-ml serve`` killed at random beside a daemon at work, while it is asked: the daemon must not notice."""

from __future__ import annotations

import http.client
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from scripts.fault_suite.memory_growth import resident_mb
from scripts.fault_suite.rig import Node, Options, Row, record, sound, trial
from sonyc_ml.node.journal.file import FILE_NAME, MAX_LOG_BYTES
from tests.support.serving import UnixConnection

N_KILLS, N_LONG_KILLS = 10, 200
ALONE_S, EVERY_S = 3.0, 0.1
NICE = 15  # as in deploy/sonyc-ml-serve.service
GROWTH_MB = 3.0
MAX_LAG, SLACK_S = 2.0, 0.1  # how much longer recordings may wait: other processes need the processor too
PAGES = ("/", "/metrics", "/day", "/condition")


class Recorder:
    """Writes a recording every so often, in a thread of its own."""

    def __init__(self, node: Node) -> None:
        self._node, self._content, self._stopped = node, sound(), threading.Event()
        self.n_recorded = 0
        self.log_bytes = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        log = self._node.outputs / ".sonyc-ml" / f"{FILE_NAME}-wal"
        while not self._stopped.wait(EVERY_S):
            record(self._node.recordings, [f"{self.n_recorded:05}.wav"], self._content)
            self.n_recorded += 1
            with suppress(OSError):
                self.log_bytes = max(self.log_bytes, log.stat().st_size)


def run(options: Options) -> list[Row]:
    """Kill it while it starts, and while it answers."""
    n_kills = options.number(N_KILLS, N_LONG_KILLS)
    rng = random.Random(options.seed)
    row = Row(f"SIGKILL of serve at {n_kills} random moments beside a daemon at work")
    node = Node(options.folder / "node", options.bundle, {"serve": 'socket = "page.sock"\npredict = false'})
    with trial(node, row):
        daemon = node.start()
        with Recorder(node) as recorder:
            time.sleep(ALONE_S)
            begun_s, rss_mb = time.time(), resident_mb(daemon.pid)
            n_answers = sum(_kill_one(node, rng, answers=number % 3 == 0) for number in range(n_kills))
        node.wait_until_done()
        growth_mb = resident_mb(daemon.pid) - rss_mb
        _judge(row, node, recorder, begun_s)
        row.counts |= {"answers": n_answers, "growth": f"{growth_mb:+.1f} MB"}
        if growth_mb > GROWTH_MB:
            row.problems.append(f"the daemon grew by {growth_mb:.1f} MB, not {GROWTH_MB:g}")
        if not n_answers:
            row.problems.append("serve has answered nothing, so nothing was tried")
        if node.process is not daemon or daemon.poll() is not None:
            row.problems.append("the daemon is another one")
    return [row]


def _judge(row: Row, node: Node, recorder: Recorder, begun_s: float) -> None:
    """Nothing lost, no recording later, and a log that is copied into the journal as ever."""
    entries = [entry for entry in node.entries() if entry.state == "done"]
    lags: tuple[list[float], list[float]] = [], []
    for entry in entries:
        lags[entry.found_s >= begun_s].append(entry.changed_s - entry.found_s)
    alone_s, beside_s = (statistics.median(some) for some in lags)
    row.counts = {
        **node.states(),
        "median lag alone": f"{alone_s * 1e3:.0f} ms",
        "beside": f"{beside_s * 1e3:.0f} ms",
        "most of the log": f"{recorder.log_bytes / 2**20:.1f} MB",
    }
    row.problems = node.problems()
    if len(entries) != recorder.n_recorded:
        row.problems.append(f"{recorder.n_recorded - len(entries)} of {recorder.n_recorded} were not embedded")
    if recorder.log_bytes > MAX_LOG_BYTES:
        row.problems.append(f"the journal's log grew to {recorder.log_bytes} bytes, not {MAX_LOG_BYTES}")
    if beside_s > MAX_LAG * alone_s + SLACK_S:
        row.too_slow.append(f"recordings waited {beside_s:.2f} s, and {alone_s:.2f} s without serve")


def _kill_one(node: Node, rng: random.Random, *, answers: bool) -> int:
    """Start the service, ask it, and kill it: before or after it has answered; returns how often it did."""
    n_answers = [0]
    with _asked(node, n_answers), _serving(node):
        if answers:
            node.wait_for(lambda: n_answers[0] > 0, "serve to answer")
            time.sleep(rng.uniform(0, 0.3))
        else:
            time.sleep(rng.uniform(0, 1.0))
    return n_answers[0]


@contextmanager
def _serving(node: Node) -> Iterator[None]:
    command = ["nice", "-n", str(NICE), sys.executable, "-m", "sonyc_ml", "serve", "--config", str(node.config)]
    with (node.folder / "serve.log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.kill()


@contextmanager
def _asked(node: Node, n_answers: list[int]) -> Iterator[None]:
    """Ask for pages, one after another, as soon as somebody answers."""
    stopped = threading.Event()

    def ask() -> None:
        while not stopped.wait(0.01):
            for page in PAGES:
                with suppress(OSError, http.client.HTTPException):
                    n_answers[0] += _get(node.folder / "page.sock", page)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _get(path: Path, page: str) -> bool:
    """Ask for a page; whether it came whole."""
    connection = UnixConnection(path)
    try:
        connection.request("GET", page)
        answer = connection.getresponse()
        return bool(answer.status == 200 and answer.read())
    finally:
        connection.close()
