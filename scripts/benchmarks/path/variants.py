"""The variants of the road that are measured side by side."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.benchmarks import environments
from scripts.benchmarks.inputs import Inputs

OURS = "ours, LiteRT, 1 thread"
ORIGINAL = "original, tflite-runtime"
ORIGINAL_LITERT = "original, LiteRT"

NO_PYTHON = "{}: tflite-runtime ends at Python 3.11, and there is no python3.11 here"
NOT_LOG_MEL = "the original algorithm, log-mel beside librosa: {} has an extractor of its own, not the built-in log-mel"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of doing it: which script, in which environment, told what.

    Attributes
    ----------
    name : str
    python : Path
    module : str
        Of the worker, in ``programs``.
    settings : dict
        Of the worker.
    flags : tuple of str
        That make ``sonyc-ml`` do the same; for variants of ours.
    """

    name: str
    python: Path
    module: str
    settings: dict[str, Any]
    flags: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether it is this package, not the original algorithm."""
        return self.module == "ours"


def find(given: Inputs) -> tuple[list[Variant], list[str]]:
    """The variants that can run here, ours on LiteRT first, and why the others cannot."""
    here, old = environments.ours(), environments.make(environments.TFLITE_RUNTIME)
    found = [_ours(OURS, here, given, backend="litert")]
    skipped = []
    if len(os.sched_getaffinity(0)) > 1:
        found.append(_ours("ours, LiteRT, 2 threads", here, given, backend="litert", num_threads=2))
    else:
        skipped.append("2 threads: there is one core")
    found.append(_ours("ours, LiteRT, reference kernels", here, given, backend="litert", reference_kernels=True))
    if old is not None:
        found.append(_ours("ours, tflite-runtime, 1 thread", old, given, backend="tflite-runtime"))
    else:
        skipped.append(NO_PYTHON.format("ours with tflite-runtime, the original algorithm"))
    if given.parameters is None:
        skipped.append(NOT_LOG_MEL.format(given.network.name))
    elif old is not None:
        found += _originals(given)
    return found, skipped


def _ours(name: str, python: Path, given: Inputs, **parameters: Any) -> Variant:
    flags: list[str] = []
    for key, value in parameters.items():
        flags += [f"--{key}"] if value is True else [f"--{key}", str(value)]
    return Variant(name, python, "ours", {"network": str(given.network), "parameters": parameters}, tuple(flags))


def _originals(given: Inputs) -> list[Variant]:
    python = environments.make(environments.ORIGINAL)
    if python is None:
        return []
    settings = {"network": str(given.network), "parameters": given.parameters}
    runtimes = {ORIGINAL: "tflite_runtime", ORIGINAL_LITERT: "ai_edge_litert"}
    return [Variant(name, python, "original", {**settings, "runtime": runtimes[name]}) for name in runtimes]
