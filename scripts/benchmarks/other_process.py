"""A model in a process of its own beside the same in this one; how soon its death is known; what importing costs."""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from scripts.benchmarks.figures import Figure, progress, ratios, single, spread
from sonyc_ml.client import RemoteModel, spawn
from sonyc_ml.errors import LostModelError, RestartedModelWarning
from sonyc_ml.model.loading import load_model

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ROOT / "models" / "quantized_default_int8.tflite"
SR, DURATION_S = 44100, 10
N_IMPORTS, IMPORT_BAR_MS = 40, 20.0
RATIO_BAR = 1.05
N_KILLS, TOLD_BAR_S = 100, 1.0


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Call both in turn, kill the process again and again, and import."""
    path = parsed.model or DEFAULT
    y = np.random.default_rng(0).normal(0, 0.05, SR * DURATION_S).astype(np.float32)
    ours_s, theirs_s, processor, n_different = _calls(path, y, parsed.repeats)
    known_s, n_silent, n_wrong = _kills(path, y)
    import_ms = _imports()
    progress("")
    return {
        "command": "client",
        "figures": [
            Figure("a call, beside the same in this process", ratios(ours_s, theirs_s), "x", RATIO_BAR),
            Figure("all calls, beside all in this process", single(sum(ours_s) / sum(theirs_s)), "x", RATIO_BAR),
            Figure("processor time of all, both processes together", single(processor), "x", RATIO_BAR),
            Figure("a call", spread(1e3 * value for value in ours_s), "ms"),
            Figure("a call in this process", spread(1e3 * value for value in theirs_s), "ms"),
            Figure("calls with other numbers", single(n_different), "", 0),
            Figure("from a kill until it is known", spread(known_s), "s", TOLD_BAR_S),
            Figure("the longest of these", single(max(known_s)), "s", TOLD_BAR_S),
            Figure("kills that nobody was warned of", single(n_silent), "", 0),
            Figure("calls with wrong numbers after a kill", single(n_wrong), "", 0),
            Figure("importing sonyc_ml.client, beyond Python", spread(import_ms), "ms of processor", IMPORT_BAR_MS),
        ],
        "calls_s": {"other process": ours_s, "this process": theirs_s},
    }


def _calls(path: Path, y: Any, n_calls: int) -> tuple[list[float], list[float], float, int]:
    """Seconds of each call there and here, in turn; the ratio of processor times; how often the numbers differed."""
    processor_s = {True: 0.0, False: 0.0}  # by whether it is the other process
    local, n_different = load_model(path), 0
    ours_s: list[float] = []
    theirs_s: list[float] = []
    with spawn(path) as remote:
        for model in (remote, local):
            model.get_outputs(y, SR)
        for i in range(n_calls):
            progress(f"calls {i + 1}/{n_calls}")
            outputs = []
            for model, times_s in (
                ((remote, ours_s), (local, theirs_s)) if i % 2 else ((local, theirs_s), (remote, ours_s))
            ):
                before_s, start_s = _used_s(remote.pid), time.perf_counter()
                outputs.append(model.get_outputs(y, SR))
                times_s.append(time.perf_counter() - start_s)
                processor_s[model is remote] += _used_s(remote.pid) - before_s
            n_different += any((outputs[0][kind] != outputs[1][kind]).any() for kind in outputs[0])
    return ours_s, theirs_s, processor_s[True] / processor_s[False], n_different


def _used_s(pid: int) -> float:
    """Processor time of this process and another one until now (in seconds)."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return time.process_time() + sum(int(text.split()[0]) for text in texts) / 1e9


def _kills(path: Path, y: Any) -> tuple[list[float], int, int]:
    """Kill the process at random moments of calls: seconds until that is known, kills not heard of, wrong numbers."""
    known_s, n_silent, n_wrong, rng = [], 0, 0, random.Random(1)
    with spawn(path) as model, warnings.catch_warnings():
        warnings.simplefilter("always")
        expected = model.get_embedding(y, SR)
        for i in range(N_KILLS):
            progress(f"kills {i + 1}/{N_KILLS}")
            seconds, is_right = _killed_call(model, y, expected, rng.uniform(0, 0.15))
            n_wrong += not is_right
            if seconds is None:
                n_silent += 1
            else:
                known_s.append(seconds)
    return known_s, n_silent, n_wrong


def _killed_call(model: RemoteModel, y: Any, expected: Any, delay_s: float) -> tuple[float | None, bool]:
    """Kill the process so long after a call began; a kill after its end is known from the next call."""
    killed_s: list[float] = []

    def kill() -> None:
        killed_s.append(time.monotonic())
        os.kill(pid, signal.SIGKILL)

    heard_s: list[float] = []

    def hear(_: Warning | str, category: type[Warning], *__: object) -> None:
        if category is RestartedModelWarning:
            heard_s.append(time.monotonic())

    pid, warnings.showwarning = model.pid, hear  # type: ignore[assignment]  # restored by catch_warnings
    timer = threading.Timer(delay_s, kill)
    timer.start()
    is_right = True
    try:
        is_right = bool((model.get_embedding(y, SR) == expected).all())
        timer.join()
        if not heard_s:  # it was killed between two calls, of which nobody can know before the next
            killed_s[:] = [time.monotonic()]
            is_right &= bool((model.get_embedding(y, SR) == expected).all())
    except LostModelError:
        heard_s.append(time.monotonic())
    return (heard_s[0] - killed_s[0] if heard_s else None), is_right


def _imports() -> list[float]:
    """Milliseconds of processor that the import takes beyond a bare start of Python, start by start."""
    return [1e3 * (_processor_s("import sonyc_ml.client") - _processor_s("pass")) for _ in range(N_IMPORTS)]


def _processor_s(program: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
