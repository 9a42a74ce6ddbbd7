"""Memory over very many recordings, in a folder that keeps them all."""

from __future__ import annotations

import time
from pathlib import Path

from scripts.fault_suite.rig import Node, Options, Row, record, sound, trial
from sonyc_ml.node.journal.journal import Journal

N_WARM_UP, N_QUICK, N_LONG = 300, 2_000, 20_000
N_BATCH = 100
GROWTH_MB = 5.0
RESCAN_S = 3.0  # so that the whole folder is looked at again and again


def run(options: Options) -> list[Row]:
    """Feed the daemon, and look at its memory."""
    n = options.number(N_QUICK, N_LONG)
    row = Row(f"memory over {n:,} recordings")
    node = Node(options.folder / "node", options.bundle, {"spool": f"rescan_s = {RESCAN_S}"})
    content, rss_mb = sound(), []
    with trial(node, row):
        process = node.start()
        for first in range(0, N_WARM_UP + n, N_BATCH):
            record(node.recordings, (f"{i:05}.wav" for i in range(first, first + N_BATCH)), content)
            _wait_for(node, first + N_BATCH)
            if first + N_BATCH >= N_WARM_UP:
                rss_mb.append(resident_mb(process.pid))
        time.sleep(RESCAN_S + 2.5)  # once more with all of them there
        rss_mb.append(resident_mb(process.pid))
        growth_mb = rss_mb[-1] - rss_mb[0]
        row.counts = {**node.states(), "at first MB": round(rss_mb[0], 1), "at the end": round(rss_mb[-1], 1)}
        row.counts |= {"most": round(max(rss_mb), 1), "growth": f"{growth_mb:+.1f} MB"}
        row.problems = node.problems()
        if growth_mb > GROWTH_MB:
            row.problems.append(f"it grew by {growth_mb:.1f} MB, not {GROWTH_MB:g}")
        if row.counts["done"] != N_WARM_UP + n:
            row.problems.append(f"{N_WARM_UP + n - row.counts['done']} were not embedded")
    return [row]


def resident_mb(pid: int) -> float:
    """How much memory a process holds (in MB)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def _wait_for(node: Node, n_done: int) -> None:
    """Wait until so many are embedded; gently, as the journal is counted anew each time."""

    def is_done() -> bool:
        time.sleep(0.05)
        return int(node.ask(Journal.counts, {}).get("done", 0)) >= n_done

    node.wait_for(is_done, f"{n_done} recordings to be embedded")
