"""Daemon and sources of live sound killed, stalled and restarted at random: every second is embedded, or a gap."""

from __future__ import annotations

import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from scripts.fault_suite.rig import Node, Options, Row
from sonyc_ml.node.journal.live import find_gaps_of
from sonyc_ml.outputs.files import read_provenance
from sonyc_ml.sound.live.formats import raw_layout
from tests.support.live import samples, wav_header

RATE, TICK_S = 8000, 0.02
N_KILLS, N_LONG_KILLS = 20, 200
N_TROUBLES, N_LONG_TROUBLES = 30, 200
OFF_S = 0.05  # what sums may be off by: each gap's ends are known to a millisecond
SOURCE = "street"


def run(options: Options) -> list[Row]:
    """Kill the daemon; then trouble its source; each time add up what is on record."""
    rng = random.Random(options.seed)
    n_kills, n_troubles = options.number(N_KILLS, N_LONG_KILLS), options.number(N_TROUBLES, N_LONG_TROUBLES)
    killed = Row(f"live sound: SIGKILL of the daemon at {n_kills} random moments")
    node = make_node(options, "kills")
    for _ in range(n_kills):
        node.start()
        feed(node, rng.uniform(0.1, 1.5), rng)
        node.send(signal.SIGKILL)
        node.kill()
    node.start()
    feed(node, 1.5, rng)
    node.end()
    add_up(killed, node, n_kills)
    troubled = Row(f"live sound: its source closed, stalled, skipping or changed {n_troubles} times")
    node = make_node(options, "troubles")
    node.start()
    for _ in range(n_troubles):
        rng.choice(TROUBLES)(node, rng)
    node.end()
    add_up(troubled, node, n_troubles)
    return [killed, troubled]


def make_node(options: Options, name: str) -> Node:
    """A daemon that listens at a socket."""
    listen = f'segment_s = 0.5\nstall_s = 0.3\n[[listen.source]]\nname = "{SOURCE}"\nsocket = "a.sock"'
    return Node(options.folder / name, options.bundle, {"listen": listen})


def connect(node: Node) -> socket.socket:
    """Connect to the daemon's socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(node.folder / "a.sock"))
    return connection


def feed(node: Node, seconds: float, rng: random.Random, rate: int = RATE, skip_s: float = 0.0) -> None:
    """Send sound in its own time, and leave some out in the middle; the connection is closed at the end."""
    with connect(node) as connection, suppress(OSError):
        connection.sendall(wav_header(raw_layout(rate)))
        send(connection, seconds / 2, rng, rate)
        time.sleep(skip_s)
        send(connection, seconds / 2, rng, rate)


def send(connection: socket.socket, seconds: float, rng: random.Random, rate: int) -> None:
    """Send noise, a chunk at a time, each when it is over."""
    begin_s, n_sent = time.monotonic(), 0
    while n_sent < round(seconds * rate):
        time.sleep(TICK_S)
        n_due = min(round((time.monotonic() - begin_s) * rate), round(seconds * rate))
        connection.sendall(samples("S16_LE", n_due - n_sent, 1, rng.randint(0, 2**31)))
        n_sent = n_due


TROUBLES: tuple[Callable[[Node, random.Random], None], ...] = (
    lambda node, rng: feed(node, rng.uniform(0.05, 1.2), rng),  # closed
    lambda node, rng: feed(node, rng.uniform(0.5, 1.2), rng, skip_s=rng.uniform(0.4, 0.8)),  # stalled
    lambda node, rng: feed(node, rng.uniform(0.5, 1.2), rng, skip_s=rng.uniform(0.05, 0.25)),  # held up
    lambda node, rng: feed(node, rng.uniform(0.5, 1.2), rng, rate=16000),  # of another rate
    lambda node, rng: time.sleep(rng.uniform(0.1, 0.5)),  # noqa: ARG005  away
)


def add_up(row: Row, node: Node, n: int) -> None:
    """What is on record: recordings in each state and gaps, which together are the time that has passed."""
    entries = sorted((entry for entry in node.entries() if entry.start_s), key=lambda entry: entry.start_s or 0.0)
    gaps = node.ask(lambda journal: find_gaps_of(journal, 0.0, time.time() + 60))
    seconds = dict.fromkeys(("done", "shed", "pending", "quarantined"), 0.0)
    for entry in entries:
        seconds[entry.state] += entry.duration_s or 0.0
    passed_s = max((e.start_s or 0) + (e.duration_s or 0) for e in entries) - (entries[0].start_s or 0.0)
    missing_s = sum(gap.end_s - gap.start_s for gap in gaps)
    off_s = passed_s - sum(seconds.values()) - missing_s
    hashes = Counter(sha256 for path in node.outputs.glob("*.npz") if (sha256 := hash_of(path)))
    double = sum(count > 1 for count in hashes.values())
    row.counts |= {
        "times": n,
        "seconds passed": round(passed_s, 2),
        "embedded": round(seconds["done"], 2),
        "lost in memory": round(seconds["shed"], 2),
        "gaps": len(gaps),
        "seconds in gaps": round(missing_s, 2),
        "off by": round(off_s, 3),
        "embedded twice": double,
        "gaps without a reason": sum(not gap.reason for gap in gaps),
    }
    for name, is_wrong in (
        ("seconds are neither embedded nor on record", abs(off_s) > OFF_S),
        ("recordings were embedded twice", double),
        ("gaps have no reason", row.counts["gaps without a reason"]),
        ("recordings are pending still", seconds["pending"]),
    ):
        if is_wrong:
            row.problems.append(name)
    row.problems += node.problems()


def hash_of(path: Path) -> str:
    """SHA-256 of the samples of an output."""
    provenance = read_provenance(path)
    return provenance.recording_sha256 if provenance else ""
