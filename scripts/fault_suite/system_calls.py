"""Every system call on a recording's way to the disk: killed there, the disk full there, an I/O error there."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from scripts.fault_suite.programs import one_recording
from scripts.fault_suite.rig import Node, Options, Row, has, record, sound
from sonyc_ml.node.config import load_config

N_PARALLEL = 2
PATIENCE_S = 60.0
N_TOLD = 20
CALLS = "openat,close,read,pread64,write,pwrite64,fsync,fdatasync,ftruncate,rename,unlink,mkdir,flock,mmap"
FAULTS = {"killed": "signal=SIGKILL", "ENOSPC": "error=ENOSPC", "EIO": "error=EIO"}
SOUND = sound()
CALL = re.compile(r"^\d+ +(\w+)\((.*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Point:
    """A call of the clean run: its name, which one of that name it is, and the path it was for."""

    call: str
    n: int
    path: str

    def __str__(self) -> str:
        return f"{self.call} no. {self.n} ({self.path.rpartition('/')[2]})"

    @property
    def is_for_output(self) -> bool:
        """Whether it is for the output or its folder, and not for the journal."""
        return "/.sonyc-ml" not in self.path


def run(options: Options) -> list[Row]:
    """Each call with each fault; in the quick part those for the journal with one of them, by the seed."""
    row = Row("every system call of the write path × killed, ENOSPC, EIO")
    if not has("strace"):
        row.skipped = "strace is not there"
        return [row]
    clean = _Try(options, "clean")
    traced = clean.trace(f"trace={CALLS}")
    if "Operation not permitted" in traced.stderr:
        row.skipped = "this system does not let one process trace another"
        return [row]
    points = _points(clean.log.read_text())
    row.problems += clean.problems(traced)
    names = list(FAULTS)
    tries = [
        (point, name)
        for i, point in enumerate(points)
        for name in (names if options.is_long or point.is_for_output else [names[(i + options.seed) % len(names)]])
    ]
    if options.is_brief:
        tries = tries[options.seed % 4 :: 4]  # another quarter each time
    with ThreadPoolExecutor(N_PARALLEL) as pool:
        results = list(pool.map(lambda one: _break(options, *one), tries))
    counts = Counter(name for _, name in tries)
    for found, n_hit, n_survived in results:
        row.problems += found
        counts["faults hit"] += n_hit
        counts["got over it in the same process"] += n_survived
    if len(row.problems) > N_TOLD:
        row.problems[N_TOLD:] = [f"and {len(row.problems) - N_TOLD} more"]
    row.counts = {"calls": len(points), **counts, "seed": options.seed}
    row.counts["of each name"] = " ".join(f"{name} {n}" for name, n in Counter(p.call for p in points).items())
    return [row]


def _points(log: str) -> list[Point]:
    seen: Counter[str] = Counter()
    points = []
    for call, arguments in CALL.findall(log):
        seen[call] += 1
        named = re.sub("^AT_FDCWD<[^>]*>, ", "", arguments)
        paths = re.findall(r"[\"<](/[^>\"]+)[\">]", named)
        points.append(Point(call, seen[call], paths[0] if paths else named[:60]))
    return points


def _break(options: Options, point: Point, fault: str) -> tuple[list[str], int, int]:
    """Break one call; return what was wrong, whether it was hit, and whether the process went on by itself."""
    one = _Try(options, f"{point.call}-{point.n}-{fault}")
    traced = one.trace(f"trace={point.call}", f"inject={point.call}:{FAULTS[fault]}:when={point.n}")
    # The call itself is in the log, marked, or with it the end of the process.
    is_hit = "(INJECTED)" in one.log.read_text() or traced.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    problems = one.problems(traced)
    if not is_hit:
        problems.append("the call did not come")
    shutil.rmtree(one.node.folder)
    return [f"{fault} at {point}: {problem}" for problem in problems], is_hit, traced.returncode == 0


class _Try:
    """A node of its own for one run."""

    def __init__(self, options: Options, name: str) -> None:
        # The golden vector is not proved in each of the runs: it takes as long as all the rest.
        self.node = Node(options.folder / name, options.bundle, {"model": 'golden = "never"'})
        self.log = self.node.folder / "strace"
        record(self.node.recordings, [one_recording.NAME], SOUND)

    def trace(self, *expressions: str) -> subprocess.CompletedProcess[str]:
        """Run it once, with an eye on the files of the write path."""
        outputs, state = self.node.outputs, self.node.outputs / ".sonyc-ml"
        output = outputs / f"{one_recording.NAME}.npz"
        paths = [outputs, output.parent, output, output.parent / one_recording.TEMPORARY]
        paths += [state, *(state / f"journal.sqlite{end}" for end in ("", "-wal", "-shm", "-journal"))]
        command = ["strace", "-f", "-y", "-o", str(self.log)]
        if not any("signal=" in expression for expression in expressions):
            command.append("--seccomp-bpf")  # faster, but strace 6.1 then sends no signals
        command += [word for path in (*paths, state / "daemon.lock") for word in ("-P", str(path))]
        command += [word for expression in expressions for word in ("-e", expression)]
        command += [sys.executable, "-m", one_recording.__name__, str(self.node.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    def problems(self, traced: subprocess.CompletedProcess[str]) -> list[str]:
        """What was wrong when it ended, and after it was done again."""
        problems = []
        was_killed = traced.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        if not was_killed:
            problems += self._survived(traced)
        problems += [f"corrupt: {name}" for name in self._wrong() if not (was_killed and name.endswith(".tmp"))]
        try:
            one_recording.embed(load_config(self.node.config, {}))
        except Exception as error:  # noqa: BLE001  whatever it is, it could not be done again
            return [*problems, f"not done again: {type(error).__name__}: {error}"]
        return problems + [f"after it was done again: {problem}" for problem in self._unwell()]

    def _survived(self, traced: subprocess.CompletedProcess[str]) -> list[str]:
        """An error is told, nothing is left of it, and once it has passed the process goes on."""
        if traced.returncode not in (0, 3):
            return [f"it ended with {traced.returncode}: {traced.stderr[-300:]}"]
        reports = [json.loads(line) for line in traced.stdout.splitlines()]
        problems = [f"left after {report['trouble']}: {report['left']}" for report in reports if report["left"]]
        if traced.returncode == 0:
            if reports[-1]["trouble"]:
                problems.append(f"it did not get over it: {reports[-1]['trouble']}")
            problems += self._unwell()
        return problems

    def _unwell(self) -> list[str]:
        """What must hold in the end: done, one good output, no temporary files, the journal sound."""
        problems = self.node.problems() + self._wrong()
        states = dict(self.node.states())
        if states != {"done": 1}:
            problems.append(f"the journal says {states}")
        if len(list(self.node.outputs.rglob("*.npz"))) != 1:
            problems.append("not just one output")
        connection = sqlite3.connect(self.node.outputs / ".sonyc-ml" / "journal.sqlite")
        verdict = connection.execute("PRAGMA integrity_check").fetchall()
        connection.close()
        return problems if verdict == [("ok",)] else [*problems, f"the journal is unsound: {verdict}"]

    def _wrong(self) -> list[str]:
        return one_recording.what_is_wrong(self.node.outputs)
