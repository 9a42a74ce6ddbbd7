"""``scripts/test-kernels``: do the tests of numbers hold whichever kernels a processor has?"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BROKEN, SKIPPED = 1, 77  # 77 as automake has it
AVX2 = ("avx2", "fma")
AVX512 = (*AVX2, "avx512f", "avx512dq", "avx512bw", "avx512vl")
# What each of OpenBLAS's core types needs, in the words of /proc/cpuinfo. OpenBLAS does not look: one that needs more
# than the processor has, the process ends with an illegal instruction.
CORE_TYPES = {
    "Prescott": ("pni",),
    "Nehalem": ("sse4_2",),
    "Sandybridge": ("avx",),
    "Haswell": AVX2,
    "Zen": AVX2,
    "SkylakeX": AVX512,
    "Cooperlake": (*AVX512, "avx512_bf16"),
}
TITLES = (
    *("kernels", "OpenBLAS says", "golden, dB", "golden, loud", "oracle, dB", "reference kernels"),
    *("XNNPACK", "tests"),
)


@dataclass(frozen=True, slots=True)
class Kernels:
    """A choice of kernels.

    Attributes
    ----------
    name : str
    environment : dict of str to str
        What makes OpenBLAS and numpy take them.
    missing : tuple of str
        What they need and this processor does not have.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


def main(arguments: Sequence[str]) -> int:
    """Run everything and print the table; 0 where all tests held, 1 where one did not, 77 on other processors."""
    parsed = _parser().parse_args(arguments)
    flags = _processor_flags()
    if not flags:
        print("scripts/test-kernels: skipped: it knows the kernels of x86 processors only; scripts/test-arm has others")
        return SKIPPED
    failures: dict[str, list[str]] = {}
    print(_row(TITLES) + "\n" + "|---" * len(TITLES) + "|", flush=True)
    for kernels in _choices(flags):
        if kernels.missing:
            told = f"skipped: this processor has no {', '.join(kernels.missing)}"
            print(_row([kernels.name, told, *[""] * (len(TITLES) - 2)]), flush=True)
            continue
        environment = {**os.environ, **kernels.environment}
        cells = [kernels.name, *_figures(environment)]
        if parsed.figures:
            cells.append("")
        else:
            told, failed = _tests(environment, parsed.tests)
            cells.append(told)
            if failed:
                failures[kernels.name] = failed
        print(_row(cells), flush=True)
    for name, failed in failures.items():
        print(f"\n{name}:\n" + "\n".join(failed))
    return BROKEN if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/test-kernels",
        description="Run the tests marked `numeric` under every kernel that this processor can run.",
        epilog="Figures: features against the default bundle's golden vector, in all and within 20 dB of each window's "
        "loudest; features against the oracle's; SONYC's embedding of the oracle's samples, without and with XNNPACK: "
        "equal values, largest difference in quantisation steps, lowest cosine. "
        "Exit status: 0 all held, 1 something did not, 77 skipped.",
    )
    parser.add_argument("tests", nargs="*", metavar="TEST", help="these alone, as pytest names them")
    parser.add_argument("--figures", action="store_true", help="the figures without the tests")
    return parser


def _processor_flags() -> frozenset[str]:
    """What an x86 processor says it can do; nothing of another."""
    found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return frozenset(found[1].split() if found else ())


def _choices(flags: frozenset[str]) -> Iterator[Kernels]:
    yield Kernels("this processor's own")
    for name, needed in CORE_TYPES.items():
        yield Kernels(name, {"OPENBLAS_CORETYPE": name}, tuple(flag for flag in needed if flag not in flags))
    dispatched = _run([sys.executable, Path(__file__).with_name("dispatched.py")], dict(os.environ)).stdout.strip()
    yield Kernels(
        f"numpy without {dispatched}", {"NPY_DISABLE_CPU_FEATURES": dispatched}, () if dispatched else ("others",)
    )


def _figures(environment: dict[str, str]) -> list[str]:
    done = _run([sys.executable, Path(__file__).with_name("kernel_figures.py")], environment)
    if done.returncode:
        return [f"status {done.returncode}: {done.stderr.strip().splitlines()[-1:]}", *[""] * 5]
    told: list[str] = json.loads(done.stdout)
    return told


def _tests(environment: dict[str, str], tests: Sequence[str]) -> tuple[str, list[str]]:
    """How many passed and failed, and the names of those that failed."""
    options = ("-m", "numeric and not timing", "-q", "-p", "no:cacheprovider", "--tb=no", "--no-header")
    shared_out = ("--numprocesses", "logical", "--dist", "loadfile")
    done = _run([sys.executable, "-m", "pytest", *options, *shared_out, *tests], environment)
    lines = done.stdout.strip().splitlines() or [done.stderr.strip()]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return lines[-1], failed or ([] if done.returncode == 0 else lines[-5:])


def _run(command: Sequence[str | Path], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
