"""Recordings that kill the process, or make it fail: set aside after so many attempts, the others embedded."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import numpy as np

from scripts.fault_suite.rig import Node, Options, Row, daemon_without, record, trial
from sonyc_ml.node.journal.journal import Journal
from tests.conftest import vouch
from tests.support import networks, wavs

KILLER = "killed the process"
MAX_ATTEMPTS, N_OTHERS, N_STARTS_OF_CONTROL = 3, 20, 10
KILLED, CRASHED, FAILED, EXHAUSTED = 0.75, 0.5, 0.25, 0.125
NAMES = {KILLED: "killed.wav", CRASHED: "crashed.wav", FAILED: "failed.wav", EXHAUSTED: "exhausted.wav"}
# Pickled by value, as they are defined nowhere that could be imported. What a recording does stands in its samples.
FUNCTION = f"""
def get_features(y, sr, hop_size=None):
    import ctypes, os
    import numpy as np
    if len(y) and (y == {KILLED}).all():
        os.kill(os.getpid(), 9)
    if len(y) and (y == {CRASHED}).all():
        ctypes.string_at(0)
    if len(y) and (y == {FAILED}).all():
        raise ZeroDivisionError("nobody had thought of this")
    if len(y) and (y == {EXHAUSTED}).all():
        raise MemoryError
    n_windows = max(1, 1 + round((len(y) / sr - 1.0) / (hop_size or 0.1)))
    return np.zeros((n_windows, 64, 51, 1), np.float32)
"""
# An extractor of the shape that ours has: nothing stands between it and the worker.
CLASS = f"""{FUNCTION}
class Extractor:
    sample_rate, window_size_s, hop_size_s, feature_shape, res_type = 8000, 1.0, 0.1, (64, 51, 1), ""

    def __call__(self, y, sr, hop_size=None):
        return get_features(y, sr, hop_size)

    def stream(self, blocks, sr, n_samples, hop_size=None):
        import numpy as np
        yield get_features(np.concatenate(list(blocks)), sr, hop_size)

    def framing(self, n_samples, sr, hop_size=None):
        from sonyc_ml.features import frame
        return frame(n_samples, sr, round((hop_size or 0.1) * sr))._replace(lead=0)

extractor = Extractor()
"""


def run(options: Options) -> list[Row]:
    """What kills, the same without the counting of attempts, and what merely fails."""
    function = _bundle(options.folder / "function.tflite", FUNCTION, "get_features")
    extractor = _bundle(options.folder / "class.tflite", CLASS, "extractor")
    return [
        _killers(Node(options.folder / "killers", function)),
        _control(Node(options.folder / "control", function, program=daemon_without("attempts"))),
        _failures(
            Node(options.folder / "failures", extractor), "an extractor", {FAILED: "failed", EXHAUSTED: "failed"}
        ),
        # A function's exception is taken for a verdict on the recording; too little memory is none.
        _failures(Node(options.folder / "refusals", function), "a function", {FAILED: "refused", EXHAUSTED: "failed"}),
    ]


def _bundle(network: Path, source: str, name: str) -> Path:
    import dill

    namespace = {"__name__": "__main__"}
    exec(source, namespace)
    network.write_bytes(networks.dense((1, 64, 51, 1)))
    network.with_suffix(".pkl").write_bytes(dill.dumps(namespace[name], recurse=True))
    return vouch(network)


def _record(node: Node, *bad: float) -> None:
    """Bad recordings among good ones, all there before the daemon is."""
    record(node.recordings, (f"{i:02}.wav" for i in range(N_OTHERS)))
    for level in bad:
        samples = np.full(8000, level * 32768).astype("<i2")
        (node.recordings / NAMES[level]).write_bytes(wavs.wav(samples.tobytes()))


def _killers(node: Node) -> Row:
    row = Row(f"SIGKILL and a segfault by a recording each, at most {MAX_ATTEMPTS} attempts")
    _record(node, KILLED, CRASHED)
    with trial(node, row):
        deaths = _restart_until_done(node, 3 * MAX_ATTEMPTS)
        row.counts = {**node.states(), "deaths": " ".join(deaths)}
        row.problems = node.problems() + _not_set_aside(node, dict.fromkeys((KILLED, CRASHED), KILLER))
        for number in (signal.SIGKILL, signal.SIGSEGV):
            if deaths.count(number.name) != MAX_ATTEMPTS:
                row.problems.append(f"{deaths.count(number.name)} deaths by {number.name}, not {MAX_ATTEMPTS}")
    return row


def _restart_until_done(node: Node, n_starts: int) -> list[str]:
    """Start the daemon again each time it dies, as systemd would; return the signals that it died of."""
    deaths = []
    for _ in range(n_starts):
        process = node.start(wait=False)
        try:
            node.wait_until_done()
        except RuntimeError:
            if process.poll() is None:
                raise
            deaths.append(
                signal.Signals(-process.returncode).name if process.returncode < 0 else f"{process.returncode}"
            )
        else:
            return deaths
    return deaths


def _control(node: Node) -> Row:
    """Without the counting, the check above must fail: else it would check nothing."""
    row = Row(f"the same, attempts not counted: dies at every one of {N_STARTS_OF_CONTROL} starts")
    _record(node, KILLED)
    try:
        deaths = _restart_until_done(node, N_STARTS_OF_CONTROL)
        row.counts = {**node.states(), "deaths": len(deaths)}
        if deaths != [signal.SIGKILL.name] * N_STARTS_OF_CONTROL:
            row.problems.append(f"it died {len(deaths)} times, of {set(deaths)}: the check does not see what it should")
    except RuntimeError as error:
        row.problems.append(str(error))
    finally:
        node.kill()
    return row


def _failures(node: Node, of: str, reasons: dict[float, str]) -> Row:
    """An exception nobody expects costs its recording, after some attempts further and further apart."""
    row = Row(f"an unexpected exception and a MemoryError of {of}, by a recording each, no restart")
    _record(node, *reasons)
    with trial(node, row):
        node.start()
        node.wait_for(lambda: node.ask(Journal.counts)["done"] == N_OTHERS, "the others to be embedded")
        seconds = node.wait_until_done()
        row.counts = {**node.states(), "given up after the others in s": round(seconds, 1)}
        row.problems = node.problems() + _not_set_aside(node, reasons)
        n_tried_again = list(reasons.values()).count("failed")
        delays = re.findall(r"embedding it failed: .*trying again in (\d+) s", node.log())
        if sorted(delays) != sorted(["1", "2", "4"] * n_tried_again):
            row.problems.append(f"tried again after {delays} s, not {n_tried_again} times after 1, 2 and 4")
    return row


def _not_set_aside(node: Node, reasons: dict[float, str]) -> list[str]:
    """What is not as it should be: just the bad ones quarantined, for these reasons, the others done."""
    came = {entry.identity.name: entry.reason or entry.state for entry in node.entries()}
    expected = {f"{i:02}.wav": "done" for i in range(N_OTHERS)}
    expected |= {NAMES[level]: reason for level, reason in reasons.items()}
    return [f"{name}: {came.get(name)}, not {end}" for name, end in expected.items() if came.get(name) != end]
