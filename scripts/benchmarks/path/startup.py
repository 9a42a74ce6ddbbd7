"""How long until something comes out: the first output, and ``--help``. Files are in the page cache by then."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.benchmarks import environments
from scripts.benchmarks.inputs import Inputs
from scripts.benchmarks.path.variants import Variant
from scripts.benchmarks.watching import Watch, command
from scripts.benchmarks.workers import Worker

OLD_S = 3600.0  # so long ago was the recording finished that `watch` found


@dataclass(frozen=True, slots=True)
class FirstOutput:
    """A process from its start to its first output."""

    elapsed_ms: float
    peak_mb: float


def first_output(variant: Variant, given: Inputs, work: Path) -> FirstOutput:
    """Start a variant with one recording waiting for it, until the output is there; ours is ``sonyc-ml watch``."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        return _watch(variant, given, Path(folder)) if variant.is_ours else _original(variant, given, Path(folder))


def _watch(variant: Variant, given: Inputs, work: Path) -> FirstOutput:
    spool, output = work / "spool", work / "output"
    spool.mkdir()
    recording = Path(shutil.copy(given.recordings[0], spool))
    long_ago_s = time.time() - OLD_S
    os.utime(recording, (long_ago_s, long_ago_s))
    start_s = time.perf_counter()
    with Watch(variant.python, given.network, spool, output, variant.flags) as watch:
        watch.wait_for(output / f"{recording.name}.npz")
        elapsed_ms = (time.perf_counter() - start_s) * 1e3
        return FirstOutput(elapsed_ms, watch.stop())


def _original(variant: Variant, given: Inputs, work: Path) -> FirstOutput:
    start_s = time.perf_counter()
    with Worker(variant.python, variant.module, variant.settings) as worker:
        worker.ask("road", recording=str(given.recordings[0]), output=str(work / "output.npz"))
        elapsed_ms = (time.perf_counter() - start_s) * 1e3
        return FirstOutput(elapsed_ms, worker.close())


def help_ms() -> dict[str, float]:
    """Wall time of ``sonyc-ml --help``, and of a Python that does nothing, one after the other."""
    python = environments.ours()
    return {"help": _elapsed_ms([*command(python), "--help"]), "bare": _elapsed_ms([python, "-c", "pass"])}


def n_numpy_modules_of_help() -> int:
    """How many modules of numpy ``sonyc-ml --help`` imports."""
    python = environments.ours()
    result = subprocess.run(
        [python, "-X", "importtime", "-m", "sonyc_ml", "--help"],
        capture_output=True,
        text=True,
        env=environments.variables(),
        check=True,
    )
    return len(re.findall(r"\|\s+numpy(\.|$)", result.stderr, re.MULTILINE))


def _elapsed_ms(arguments: list[Any]) -> float:
    start_s = time.perf_counter()
    subprocess.run(arguments, stdout=subprocess.DEVNULL, env=environments.variables(), check=True)
    return (time.perf_counter() - start_s) * 1e3
