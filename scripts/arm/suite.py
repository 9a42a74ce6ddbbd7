"""The package's own tests on a node: some processes side by side, since emulation is slow."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from node import CHECK_OUT, CURRENT, PYTHON, TEST_PACKAGES, Node
from processors import ROOT

# Left out by their marks; docs/arm.md has the reasons. hypothesis tries a tenth of its examples.
WANTED = "not timing and not librosa and not x86"
OPTIONS = ("-q", "-p", "no:cacheprovider", "-m", WANTED, "--tb=short", "--hypothesis-profile=few")
# In the quick form: what depends most on the processor.
QUICK = ("test_crash.py", "test_soxr.py", "test_smoke.py")
# What no processor changes, and what starts one process after another, each of which takes seconds of emulation:
# commands and their texts (the checks beside this one use the commands), pictures, what others serve or read.
# `--all` has them too.
ELSEWHERE = (
    *("alerts", "bad_files", "cli", "cli_embed", "cli_node", "cluster", "components", "container", "dataset", "docs"),
    *("doctor", "example", "exporter", "lock", "metrics", "mqtt", "own_class", "plot", "remote", "scripts"),
    *("service", "timeline", "timetable", "wheels"),
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
    times_s : Counter
        Seconds by file.
    failures : list of str
        Name and last lines of each.
    """

    counts: Counter[str] = field(default_factory=Counter)
    times_s: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        slowest = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.times_s.most_common(N_SLOWEST))
        return f"{', '.join(f'{n} {kind}' for kind, n in self.counts.items())}; the most time: {slowest}"


def run_tests(node: Node) -> Outcome:
    """Run the tests of the check-out inside with the package that was installed there."""
    usual = [name for name in all_files() if name.removeprefix("test_").removesuffix(".py") not in ELSEWHERE]
    files = list(node.tests) or (list(QUICK) if node.is_quick else usual)
    shards = _shards(files, min(len(files), os.cpu_count() or 1))
    outcome = Outcome()
    with ThreadPoolExecutor(len(shards)) as pool:
        for trouble in pool.map(lambda number: _run(node, number, shards[number]), range(len(shards))):
            outcome.failures += trouble
    for number in range(len(shards)):
        _read(node.userland.root / _report(number).lstrip("/"), outcome)
    return outcome


def all_files() -> list[str]:
    """Every file of tests, the largest first."""
    return [path.name for path in sorted((ROOT / "tests").glob("test_*.py"), key=lambda path: -path.stat().st_size)]


def _shards(files: Sequence[str], n: int) -> list[list[str]]:
    """Deal files out: the large ones first, so that the sums are much the same."""
    return [[f"tests/{name}" for name in files[first::n]] for first in range(n)]


def _report(number: int) -> str:
    return f"/opt/work/tests-{number}.xml"


def _run(node: Node, number: int, files: Sequence[str]) -> list[str]:
    """Run some files; what is wrong with the run itself, and not with a test."""
    script = f'mkdir -p /opt/work; cd {CHECK_OUT}; exec {PYTHON} -m pytest "$@"'
    base = ("--basetemp", f"/tmp/tests-{number}", f"--junitxml={_report(number)}")
    command = node.userland.command(
        *("bash", "-c", script, "bash", *OPTIONS, *base, *files),
        environment={"PYTHONPATH": TEST_PACKAGES, "PATH": f"{CURRENT}/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
    return (
        []
        if done.returncode in (0, 1)
        else [f"pytest: status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"]
    )


def _read(path: Path, outcome: Outcome) -> None:
    for case in _cases(path):
        name = f"{case.get('classname', '').removeprefix('tests.')}.{case.get('name')}"
        outcome.times_s[name.partition(".")[0]] += float(case.get("time", 0))
        bad = [child for child in case if child.tag in ("failure", "error")]
        kind = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
        outcome.counts[kind] += 1
        outcome.failures += [f"{name}: {(child.text or '')[-1500:]}" for child in bad]


def _cases(path: Path) -> Iterator[ET.Element]:
    if path.exists():
        yield from ET.parse(path).iter("testcase")
