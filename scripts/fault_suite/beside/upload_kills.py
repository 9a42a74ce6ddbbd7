"""``sonyc-ml upload`` killed at random, before stores that fail, below a clock that jumps: each output there once."""

from __future__ import annotations

import hashlib
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, Self

from scripts.fault_suite.rig import ROOT, Options, Row
from tests.support.stores import FaultyProxy, StoreHere, s3_store, sftp_store, webdav_store
from tests.support.uploads import UploadingNode, write_outputs

N_KILLS, N_LONG_KILLS = 8, 170  # of each of the three plans
SHARE = 0.3  # of connections that fail
N_AT_ONCE = 6  # outputs that come between two kills
MOST_S = 1.2  # until a kill
JUMP_S = 3 * 86400  # of the clock, forward and back
PATIENCE_S = 300.0
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
FIRST = datetime(2026, 11, 21, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to, and how it is packed."""

    store: str
    pack: str

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.store}, pack = {self.pack}"


PLANS = (Plan("s3", "none"), Plan("sftp", "none"), Plan("s3", "hour"))


def run(options: Options) -> list[Row]:
    """Each plan."""
    n_kills = options.number(N_KILLS, N_LONG_KILLS)
    return [_run(options, plan, n_kills) for plan in PLANS]


def _run(options: Options, plan: Plan, n_kills: int) -> Row:
    row = Row(f"SIGKILL of upload at {n_kills} random moments, {SHARE:.0%} of connections cut ({plan.text})")
    folder = options.folder / f"{plan.store}-{plan.pack}"
    folder.mkdir()
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultyProxy(SHARE, seed=options.seed))
        store = stack.enter_context(_store(plan, folder, proxy.port))
        proxy.target = int(store.endpoint)
        node = UploadingNode(folder / "node", store, _settings(plan))
        row.counts = _kill(node, row, random.Random(options.seed), n_kills)
        row.counts |= {"connections": proxy.n_connections, "of them cut": proxy.n_cut, "seed": options.seed}
        _judge(row, node, plan)
    return row


def _store(plan: Plan, folder: Path, port: int) -> AbstractContextManager[StoreHere]:
    if plan.store == "s3":
        return s3_store(port)
    return sftp_store(folder, port) if plan.store == "sftp" else webdav_store(folder, port)


def _settings(plan: Plan) -> str:
    return f'pack = "{plan.pack}"\nlate_s = 0.0\nevery_s = 0.1\ntimeout_s = 3.0'


class Forks:
    """Starts ``sonyc-ml upload`` again and again, below a clock that can be set."""

    def __init__(self, node: UploadingNode) -> None:
        self._clock = node.folder / "clock"
        self.has_clock = FAKETIME.exists()
        self.set_clock(0)
        environment = {**os.environ, **node.store.environment}
        if self.has_clock:
            environment |= {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self._clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "NO_FAKE_STAT": "1",  # a clock that is set changes no time of a file
            }
        self.log = node.folder / "log"
        command = [sys.executable, "-P", "-m", "scripts.fault_suite.programs.upload_forks", str(self.log)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def set_clock(self, by_s: float) -> None:
        """How far the clock is from the true one."""
        temporary = self._clock.with_suffix(".tmp")
        temporary.write_text(f"{by_s:+.0f}\n")
        temporary.replace(self._clock)

    def start(self, *arguments: str) -> int:
        """A process."""
        assert self._process.stdin is not None
        self._process.stdin.write(shlex.join(arguments) + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def wait(self) -> int:
        """Until it has ended; its exit status."""
        return int(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that forks has ended")
        return line.strip()


def _kill(node: UploadingNode, row: Row, rng: random.Random, n_kills: int) -> dict[str, Any]:
    """Kill it over and over while outputs come; then let it end its work."""
    counts = Counter[str]()
    upload = ("upload", "--config", str(node.path))
    with Forks(node) as forks:
        for number in range(n_kills):
            write_outputs(node.outputs, N_AT_ONCE, FIRST + timedelta(seconds=600 * number), 10.0, 400)
            pid = forks.start(*upload)
            for _ in range(rng.randrange(3)):
                time.sleep(rng.uniform(0, MOST_S / 3))
                forks.set_clock(rng.uniform(-JUMP_S, JUMP_S))
                counts["clock jumps"] += forks.has_clock
            time.sleep(rng.uniform(0, MOST_S))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            counts["kills"] += forks.wait() == -signal.SIGKILL
            if number % 10 == 0:
                counts["looks"] += 1
                row.problems += _partial(node)
        forks.set_clock(0)
        _finish(forks, upload, row)
    if not FAKETIME.exists():
        counts["clock jumps: none, libfaketime is not installed"] = 0
    return dict(counts)


def _finish(forks: Forks, upload: tuple[str, ...], row: Row) -> None:
    """Until nothing waits; the store goes on failing, and the process is killed now and then."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        pid = forks.start(*upload)
        time.sleep(3 * MOST_S)
        os.kill(pid, signal.SIGKILL)
        forks.wait()
        forks.start(*upload, "--once", "--now")
        if forks.wait() == 0:
            return
    row.problems.append(f"after {PATIENCE_S:.0f} s something still waits: see {forks.log.read_text()[-500:]}")


def _partial(node: UploadingNode) -> list[str]:
    """What is visible and not whole; of parts, what is no Parquet."""
    known = {path.read_bytes() for path in node.outputs.glob("*.npz")}
    bad = []
    for name, content in node.store.objects().items():
        is_whole = _rows(content) is not None if name.endswith(".parquet") else content in known
        if not is_whole:
            bad.append(f"{name} is visible and not whole")
    return bad


def _rows(content: bytes) -> list[str] | None:
    """The recordings of a part; None where it is none."""
    import pyarrow.parquet as pq

    try:
        column: list[str] = pq.read_table(BytesIO(content)).column("recording").to_pylist()
    except Exception:  # noqa: BLE001
        return None
    return column


def _judge(row: Row, node: UploadingNode, plan: Plan) -> None:
    objects, outputs = node.store.objects(), sorted(node.outputs.glob("*.npz"))
    if plan.pack == "none":
        there = Counter(hashlib.sha256(content).hexdigest() for content in objects.values())
        wanted = Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in outputs)
    else:
        rows = [name for key, content in objects.items() for name in _rows(content) or [key]]
        there = Counter({name: n // 2 for name, n in Counter(rows).items()})  # two windows each
        wanted = Counter(path.name.removesuffix(".npz") for path in outputs)
    hidden = set(node.store.objects(hidden=True)) - set(objects)
    row.counts |= {
        "outputs": len(outputs),
        "objects": len(objects),
        "lost": sum((wanted - there).values()),
        "double": sum((there - wanted).values()),
        "partial": len(_partial(node)),
        "hidden left": len(hidden),
    }
    row.problems += [f"{name}: {row.counts[name]}" for name in ("lost", "double", "partial") if row.counts[name]]
