"""How far each processor and runtime is off the oracle, and off LiteRT on x86: the table of docs/arm.md."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.arm.agreement import agreement, oracle
from scripts.arm.checks import ALL, embeddings_here, embeddings_inside
from scripts.arm.node import TFLITE_RUNTIME, node
from scripts.arm.processors import PROCESSORS, ROOT, SkippedError

# As scripts/test makes it.
X86_TFLITE_RUNTIME = ("numpy<2", "tflite-runtime==2.14.0", "soundfile", "watchdog", "dill")
REFERENCE = "--reference_kernels"
TITLES = ("processor", "runtime", "from", "largest difference, steps", "lowest cosine", "values equal")


def write_table() -> None:
    """Print the table as Markdown."""
    rows = list(_rows())
    print(f"| {' | '.join(TITLES)} |\n|{'---|' * len(TITLES)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def _rows() -> Iterator[tuple[str, ...]]:
    for processor in PROCESSORS.values():
        with node(processor, is_quick=True, with_tflite_runtime=processor.has_litert) as installed:
            if installed.shared is None:
                raise SkippedError("SONYC's network and the oracle are not beside this check-out")
            expected = oracle(installed.shared)
            if processor.has_litert:
                litert = embeddings_here(installed, ALL)
                yield from _compared("x86-64", litert, expected)
                yield from _compared("x86-64", embeddings_here(installed, ALL, REFERENCE), expected)
                yield from _compared("x86-64", embeddings_here(installed, ALL, python=_tflite_runtime()), expected)
            ours = embeddings_inside(installed, ALL)
            yield from _compared(processor.name, ours, expected)
            if processor.has_litert:
                yield _row(
                    processor.name, str(ours["runtime"]), "against LiteRT on x86-64", agreement(ours, litert, "")
                )
                yield from _compared(processor.name, embeddings_inside(installed, ALL, REFERENCE), expected)
                others = embeddings_inside(installed, ALL, "--backend=tflite-runtime", packages=TFLITE_RUNTIME)
                yield from _compared(processor.name, others, expected)


def _compared(name: str, ours: dict[str, Any], expected: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for prefix, told in (("oracle/", "the oracle's samples"), ("recordings/", "the recordings")):
        yield _row(name, str(ours["runtime"]), told, agreement(ours, expected, prefix))


def _row(name: str, runtime: str, told: str, found: Any) -> tuple[str, ...]:
    steps, equal = f"{found.n_steps:.2f}", f"{100 * found.equal:.2f} %"
    return (name, runtime, f"{told} ({found.n_windows} windows)", steps, f"{found.cosine:.5f}", equal)


def _tflite_runtime() -> Path:
    name = ".venv-tflite-runtime"
    subprocess.run([ROOT / "scripts/setup-venv", name, "python3.11", *X86_TFLITE_RUNTIME], check=True)
    return ROOT / name / "bin" / "python"
