"""A network far slower than the sound: nobody holds up the recorder, and every second is embedded or a gap."""

from __future__ import annotations

import random
import time

from scripts.fault_suite.live.live_kills import SOURCE, add_up, feed
from scripts.fault_suite.rig import ROOT, Node, Options, Row

SEGMENT_S, BUFFER_S, HOP_S = 2.0, 6.0, 1 / 8000  # one sample: eight thousand windows per second of sound
SENT_S, LONG_S = 20.0, 600.0
BUNDLE = ROOT / "models" / "quantized_default_int8.tflite"
LEAST_SLOWNESS, LONG_SLOWNESS, MOST_LATE_S = 1.5, 3.0, 1.0  # how much slower depends on the machine


def run(options: Options) -> list[Row]:
    """Send sound in its own time to a daemon whose hop leaves it no time; then add up."""
    row = Row("live sound: a network slower than the sound")
    kernels = "\nreference_kernels = true" if options.is_long else ""
    tables = {"model": f"hop_size = {HOP_S}{kernels}", "listen": listen()}
    node = Node(options.folder / "slow", BUNDLE, tables)
    node.start()
    seconds = LONG_S if options.is_long else SENT_S
    begun_s = time.monotonic()
    feed(node, seconds, random.Random(options.seed))
    late_s = time.monotonic() - begun_s - seconds
    node.wait_for(lambda: has_come_to_an_end({entry.state for entry in node.entries()}), "the end", 300)
    slowness = slowness_of(node)
    node.end()
    add_up(row, node, 1)
    row.counts |= {"times slower": round(slowness, 1), "recorder held up, s": round(late_s, 2)}
    for name, is_wrong in (
        (
            "the network was not slow enough to show anything",
            slowness < (LONG_SLOWNESS if options.is_long else LEAST_SLOWNESS),
        ),
        ("nothing was shed", not row.counts["lost in memory"]),
        ("nothing was embedded", not row.counts["embedded"]),
        ("the recorder was held up", late_s > MOST_LATE_S),
    ):
        if is_wrong:
            row.problems.append(name)
    return [row]


def listen() -> str:
    """The table of a source that may buffer three recordings."""
    source = f'[[listen.source]]\nname = "{SOURCE}"\nsocket = "a.sock"'
    return f"segment_s = {SEGMENT_S}\nmax_buffer_s = {BUFFER_S}\n{source}"


def has_come_to_an_end(states: set[str]) -> bool:
    """Whether something was embedded and nothing waits; a slow machine is long at the first."""
    return "done" in states and "pending" not in states


def slowness_of(node: Node) -> float:
    """How many times longer than their sound the recordings took that were embedded, one behind the other."""
    done = [entry for entry in node.entries() if entry.state == "done"]
    begun_s = min((entry.start_s or 0.0) for entry in done)
    return (max(entry.changed_s for entry in done) - begun_s) / sum(entry.duration_s or 0.0 for entry in done)
