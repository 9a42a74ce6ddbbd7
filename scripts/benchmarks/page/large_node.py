"""A node with a long history: a journal as a daemon leaves it, and its configuration."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

from sonyc_ml.base.human import date_of
from sonyc_ml.base.identity import Identity
from sonyc_ml.node.config import Config, load_config
from sonyc_ml.node.facts import BundleFacts, DaemonFacts, Facts
from sonyc_ml.node.journal.heard import Heard
from sonyc_ml.node.journal.journal import Journal, OutputSummary

TABLES = """
[spool]
folder = "recordings"
[output]
folder = "embeddings"
[model]
path = "{}"
"""
LABELS = tuple(f"class {number:02}" for number in range(40))
RECORDING_S, EVERY_S = 10.0, 30.0
N_HEARD = 4  # classes in half of all recordings
N_QUARANTINED = 500


def make_large_node(folder: Path, model: Path, n_recordings: int, seed: int = 0) -> Path:
    """Make a node whose daemon has embedded so many recordings, up to now; returns its configuration file."""
    path = folder / "sonyc-ml.toml"
    path.write_text(TABLES.format(model))
    config = load_config(path, {})
    config.spool.folder.mkdir(exist_ok=True)
    now_s, rng = time.time(), random.Random(seed)
    clock = [now_s]
    journal = Journal(config.state_folder, clock=lambda: clock[0])
    done = list(_recordings(now_s, n_recordings, rng))
    for begin in range(0, len(done), 1000):
        rows = done[begin : begin + 1000]
        clock[0] = rows[-1][0].mtime_s + 5
        journal.adopt(rows)
    clock[0] = now_s
    lost = [Identity(f"lost_{number}.wav", 44, round((now_s - number * 600) * 1e9)) for number in range(N_QUARANTINED)]
    journal.add(lost)
    for one in lost:
        journal.quarantine(one, "unreadable", f"{one.name}: it ends within its header")
    journal.write_facts(_facts(config, now_s))
    journal.close()
    return path


def _recordings(now_s: float, n: int, rng: random.Random) -> Iterator[tuple[Identity, OutputSummary]]:
    for number in range(n):
        start_s = now_s - (n - number) * EVERY_S
        name = date_of(start_s).strftime("%Y/%m/%d/street_%Y%m%dT%H%M%SZ.wav")
        labels = rng.sample(LABELS, N_HEARD) if number % 2 else ()
        heard = tuple(Heard(label, rng.uniform(0.5, 1), 2.0, 4.0) for label in labels)
        identity = Identity(name, 882_044, round((start_s + RECORDING_S) * 1e9))
        yield identity, OutputSummary(start_s, RECORDING_S, 0.1, heard=heard)


def _facts(config: Config, now_s: float) -> Facts:
    folder, out = str(config.spool.folder), str(config.output.folder)
    return Facts(
        daemon=DaemonFacts(
            pid=1,
            since=date_of(now_s - 86400).isoformat(timespec="seconds"),
            folder=folder,
            extensions=(".wav",),
            output=out,
            bundles=(BundleFacts("bundle", "1.0.0", "0" * 64, str(config.model[0].path), "LiteRT", 12, 13, out),),
        )
    )
