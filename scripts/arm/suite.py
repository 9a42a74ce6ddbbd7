"""The package's own tests on a node: as many processes as there are cores, since emulation is slow."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from scripts.arm.node import CHECK_OUT, CURRENT, PYTHON, TEST_PACKAGES, Node
from scripts.arm.processors import ROOT

# Left out by their marks; docs/arm.md has the reasons. hypothesis tries a tenth of its examples.
WANTED = "not timing and not service and not librosa and not x86"
OPTIONS = ("-q", "-p", "no:cacheprovider", "--tb=short", "--hypothesis-profile=few", "--dist=worksteal")
REPORT = "/opt/work/tests.xml"
# In the quick form, beside what the other checks do.
QUICK = ("journeys/test_smoke.py",)
# What no processor changes, and what starts one process after another, each of which takes seconds of emulation:
# commands and their texts (the checks beside this one use the commands), pictures, what others serve or read.
# `--all` has them too, and what is marked as long.
ELSEWHERE = (
    *("analysis/bins", "analysis/columns", "analysis/components", "analysis/plots", "authoring/describe"),
    *("authoring/export", "base/lock", "batch/dask", "batch/parquet_parts", "batch/remote", "cli/embed", "cli/main"),
    *("cli/node", "journeys/container", "journeys/docs", "journeys/example", "journeys/scripts", "journeys/service"),
    *(
        "journeys/wheels",
        "model/own_class",
        "node/alerts",
        "node/doctor",
        "node/metrics",
        "node/mqtt",
        "sound/bad_files",
    ),
)
TIMEOUT_S = 3000
N_SLOWEST = 5


@dataclass(slots=True)
class Outcome:
    """What the tests came to.

    Attributes
    ----------
    counts : Counter
        Tests by ``passed``, ``failed`` and ``skipped``.
    times_s : dict
        Seconds by file.
    failures : list of str
        Name and last lines of each.
    """

    counts: Counter[str] = field(default_factory=Counter)
    times_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        longest = sorted(self.times_s.items(), key=itemgetter(1), reverse=True)[:N_SLOWEST]
        slowest = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in longest)
        return f"{', '.join(f'{n} {kind}' for kind, n in self.counts.items())}; the most time: {slowest}"


def run_tests(node: Node) -> Outcome:
    """Run the tests of the check-out inside with the package that was installed there."""
    files, wanted = node.tests, WANTED
    if node.is_quick:
        files = QUICK
    elif not files:
        files = [name for name in all_files() if name.replace("test_", "").removesuffix(".py") not in ELSEWHERE]
        wanted += " and not long"
    outcome = Outcome(failures=_run(node, ("-m", wanted, *(f"tests/{name}" for name in files))))
    _read(node.userland.root / REPORT.lstrip("/"), outcome)
    return outcome


def all_files() -> list[str]:
    """Every file of tests, by its path in ``tests/``."""
    tests = ROOT / "tests"
    return sorted(str(path.relative_to(tests)) for path in tests.rglob("test_*.py"))


def _run(node: Node, arguments: Iterable[str]) -> list[str]:
    """Run some; what is wrong with the run itself, and not with a test."""
    script = f'mkdir -p /opt/work; cd {CHECK_OUT}; exec {PYTHON} -m pytest "$@"'
    command = node.userland.command(
        *(
            "bash",
            "-c",
            script,
            "bash",
            *OPTIONS,
            f"--numprocesses={0 if node.is_quick else os.cpu_count()}",
            f"--junitxml={REPORT}",
        ),
        *arguments,
        environment={"PYTHONPATH": TEST_PACKAGES, "PATH": f"{CURRENT}/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode in (0, 1):
        return []
    return [f"pytest: status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"]


def _read(path: Path, outcome: Outcome) -> None:
    for case in _cases(path):
        name = f"{case.get('classname', '').removeprefix('tests.')}.{case.get('name')}"
        outcome.times_s[".".join(name.split(".")[:2])] += float(case.get("time", 0))
        bad = [child for child in case if child.tag in ("failure", "error")]
        kind = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
        outcome.counts[kind] += 1
        outcome.failures += [f"{name}: {(child.text or '')[-1500:]}" for child in bad]


def _cases(path: Path) -> Iterator[ET.Element]:
    if path.exists():
        yield from ET.parse(path).iter("testcase")
