"""The kernel's queue of events overflows: what it drops must be found all the same, and soon."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.fault_suite.rig import Node, Options, Row, as_root, record, sound, trial
from sonyc_ml.node.journal.journal import Journal

QUEUE_LENGTH = Path("/proc/sys/fs/inotify/max_queued_events")
SHORT_QUEUE = 16
FOUND_S, SCAN_S = 5.0, 1.0  # the second of the long number
N_QUICK, N_LONG = 200, 50_000
N_SCANNED_QUICK, N_SCANNED_LONG = 10_000, 50_000
# What the daemon does with a folder that it has not seen, in a process of its own.
SCAN = """
import sys, time
from itertools import islice
from pathlib import Path
from sonyc_ml.node.daemon import N_FOUND
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.spool.spool import Spool
spool, journal = Spool(Path(sys.argv[1]), settle_s=0.05), Journal(Path(sys.argv[2]))
spool.check()
start_s = time.perf_counter()
found = spool.found()
while chunk := list(islice(found, N_FOUND)):
    journal.add(chunk)
seconds = time.perf_counter() - start_s
spool.close()
print(seconds, journal.n_added)
"""


def run(options: Options) -> list[Row]:
    """Overflow a short queue, the real one in the long part; measure what a scan of a full folder takes."""
    rows = [_overflow(options.folder / "short", options.bundle, N_QUICK, SHORT_QUEUE)]
    if options.is_long:
        rows.append(_overflow(options.folder / "long", options.bundle, N_LONG, None))
    return [*rows, _scan(options.folder / "scan", N_SCANNED_LONG if options.is_long else N_SCANNED_QUICK)]


def _overflow(folder: Path, bundle: Path, n: int, queue_length: int | None) -> Row:
    """Stop the daemon, fill its folder, let it go on; a queue of another length where that is given."""
    row = Row(f"queue of {queue_length or int(QUEUE_LENGTH.read_text()):,} overflows, process stopped, {n:,} files")
    if queue_length and not as_root():
        row.skipped = "changing the length of the queue needs root"
        return row
    node = Node(folder, bundle)  # with the timer of 300 s, so that no scan by the clock helps
    with trial(node, row):
        with _queue_length(queue_length):
            node.start()
        node.send(signal.SIGSTOP)
        record(node.recordings, (f"{i:05}.wav" for i in range(n)), sound())
        node.send(signal.SIGCONT)
        found_s = _until(node, lambda counts: sum(counts.values()) >= n, patience_s=60)
        done_s = found_s + _until(node, lambda counts: counts.get("done", 0) >= n, patience_s=60 + n / 20)
        row.counts = {**node.states(), "found in s": round(found_s, 2), "done in s": round(done_s, 1)}
        row.problems = node.problems()
        if found_s > FOUND_S:
            row.problems.append(f"all were found after {found_s:.1f} s, not within {FOUND_S:g}")
        if "were lost" not in node.log():
            row.problems.append("the queue did not overflow, or that was not noticed")
    return row


def _until(node: Node, holds: Callable[[dict[str, int]], bool], patience_s: float) -> float:
    """Wait until the numbers of the journal are as they should be; return how long that took (in seconds)."""
    return node.wait_for(lambda: holds(node.ask(Journal.counts, {})), "the journal to know all", patience_s)


@contextmanager
def _queue_length(length: int | None) -> Iterator[None]:
    """Change the length of the queues that are made meanwhile; it is everybody's setting, so it is put back at once."""
    if length is None:
        yield
        return
    with QUEUE_LENGTH.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another of these would take our length for the one to put back
        before = QUEUE_LENGTH.read_text()
        try:
            QUEUE_LENGTH.write_text(str(length))
            yield
        finally:
            QUEUE_LENGTH.write_text(before)


def _scan(folder: Path, n: int) -> Row:
    """How long a folder full of new recordings takes to be found, written down and all: the best of three."""
    row = Row(f"scan of {n:,} new files, into the journal")
    recordings = folder / "recordings"
    record(recordings, (f"{i:05}.wav" for i in range(n)), bytes(8))
    time.sleep(0.1)  # until the last one has settled
    tries = []
    for i in range(3):
        command = [sys.executable, "-c", SCAN, str(recordings), str(folder / f"state-{i}")]
        told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.split()
        tries.append((float(told[0]), int(told[1])))
    seconds, n_found = min(tries)[0], min(n for _, n in tries)
    row.counts = {"found": n_found, "in s": round(seconds, 2), "at worst": round(max(tries)[0], 2)}
    if n_found != n:
        row.problems.append(f"{n - n_found} were not found")
    if seconds > SCAN_S * n / N_SCANNED_LONG:
        row.too_slow.append(f"it took {seconds:.2f} s, not {SCAN_S * n / N_SCANNED_LONG:g}")
    return row
