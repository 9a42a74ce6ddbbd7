"""SIGKILL at random moments, over and over, while recordings keep coming."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.fault_suite.rig import Node, Options, Row, daemon_without, output_identity, sound
from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import SonycMLError
from sonyc_ml.node.journal.journal import Journal

N_PARALLEL = 2
KILLS_A_ROUND, N_ROUNDS = 50, 2
LONG_KILLS_A_ROUND, N_LONG_ROUNDS = 250, 20  # a round has its own folder: else each start would scan ever more
KILLS_A_DAMAGE = 25
N_AHEAD = 300  # recordings without an output: enough to be killed at, and few enough to be embedded at the end
START_S, RUN_S = 0.3, 0.35  # a start takes about the first
SECTOR = 512  # bytes

# Told even where there are none.
COUNTED = ("kills", "recordings", "lost", "double", "corrupt", "temporaries left", "quarantined by mistake")
# Killed as often as here, a recording at hand can be hit many times in a row without being to blame.
SETTINGS = {"recordings": "max_attempts = 50"}


@dataclass(frozen=True, slots=True)
class Plan:
    """One round: how often to kill, which safeguard to leave out, and when it has shown enough."""

    name: str
    n_kills: int
    without: str = ""
    is_enough: Callable[[Counter[str]], bool] = lambda _counts: False


CONTROLS = {
    "outputs written in place": Plan("atomic", 100, "atomic", lambda counts: counts["corrupt after a kill"] >= 2),
    "done before it is published": Plan("order", 15, "order"),
    "temporary files not swept": Plan("sweep", 100, "sweep", lambda counts: counts["temporaries after a kill"] >= 2),
}


def run(options: Options) -> list[Row]:
    """Kill the daemon, and then the same without its safeguards."""
    n_rounds = options.number(N_ROUNDS, N_LONG_ROUNDS)
    n_kills = LONG_KILLS_A_ROUND if options.is_long else KILLS_A_ROUND
    plans = [Plan(f"round-{i}", n_kills) for i in range(n_rounds)]
    row = Row(f"SIGKILL at {n_rounds * n_kills:,} random moments")
    controls = {name: Row(f"control: {name}") for name in CONTROLS}
    with ThreadPoolExecutor(N_PARALLEL) as pool:
        rounds = [pool.submit(_Round(options, plan).run) for plan in plans]
        others = {name: pool.submit(_Round(options, plan).run) for name, plan in CONTROLS.items()}
        total = Counter[str]()
        for plan, future in zip(plans, rounds, strict=True):
            try:
                counts, problems = future.result()
            except RuntimeError as error:  # the other rounds tell too
                row.problems.append(f"{plan.name}: {error}")
            else:
                total += counts
                row.problems += problems
        for name, future in others.items():
            counts, problems = future.result()
            controls[name].counts = {"kills": counts["kills"], "found": "; ".join(problems) or "nothing"}
            controls[name].problems = [] if problems else ["the checks do not notice it"]
    row.counts = {name: total[name] for name in COUNTED} | dict(sorted(total.items())) | {"seed": options.seed}
    return [row, *controls.values()]


class _Round:
    """A node that is killed again and again."""

    def __init__(self, options: Options, plan: Plan) -> None:
        self._plan = plan
        self._chance = random.Random(f"{options.seed} {plan.name}")
        program = daemon_without(plan.without) if plan.without else None
        self._node = Node(options.folder / plan.name, options.bundle, SETTINGS, program)
        self._recorder = Recorder(self._node, self._chance.random(), pause_s=0.15 if plan.without else 0.4)
        self._begun: set[tuple[Identity, int]] = set()
        self._read: set[tuple[str, int, int]] = set()
        self._counts = Counter[str]()
        self._problems: list[str] = []

    def run(self) -> tuple[Counter[str], list[str]]:
        """Kill, look, start again; then let it come to an end, and check."""
        self._recorder.start()
        try:
            for i in range(1, self._plan.n_kills + 1):
                self._kill()
                self._look()
                if i % KILLS_A_DAMAGE == 0:
                    self._counts[f"journals {damage(self._node.outputs / '.sonyc-ml', self._chance)}"] += 1
                if self._plan.is_enough(self._counts):
                    break
        finally:
            self._recorder.end()
            self._stop_daemon()
        try:
            self._check()
        finally:
            self._stop_daemon()
        shutil.rmtree(self._node.folder)
        return self._counts, [f"{self._plan.name}: {problem}" for problem in self._problems]

    def _kill(self) -> None:
        """Start the daemon, and kill it while it starts, at any moment after it, or as soon as it writes."""
        kind = self._chance.choices(("start", "run", "write"), (3, 6, 1))[0]
        process = self._node.start(wait=kind != "start")
        if kind == "write":
            self._await_temporary()
        else:
            time.sleep(self._chance.uniform(0, START_S if kind == "start" else RUN_S))
        if process.poll() is not None:
            raise RuntimeError(f"the daemon ended by itself: {self._node.log()[-2000:]}")
        self._node.end(signal.SIGKILL)
        self._counts["kills"] += 1
        self._counts["kills during start-up"] += kind == "start"

    def _await_temporary(self) -> None:
        end_s = time.monotonic() + RUN_S
        while time.monotonic() < end_s:
            with os.scandir(self._node.outputs) as entries:
                if any(entry.name.endswith(".tmp") for entry in entries):
                    return

    def _look(self) -> None:
        """What the kill left, before anybody clears up: a file that can be seen must be whole even now."""
        outputs = self._node.outputs
        begun = attempts(outputs / ".sonyc-ml", self._node.folder / "copy")
        self._counts["kills at a recording"] += bool(begun - self._begun)
        self._begun = begun
        for path in outputs.rglob("*.tmp"):
            self._counts["temporaries after a kill"] += path.name.startswith(".")
        for path in outputs.rglob("*.npz"):
            status = path.stat()
            state = (path.name, status.st_ino, status.st_mtime_ns)
            if state in self._read:
                continue
            self._read.add(state)
            if output_identity(path) is None:
                self._counts["corrupt after a kill"] += 1
                self._problems.append(f"a corrupt output right after a kill: {path.name}, {status.st_size} bytes")

    def _check(self) -> None:
        node, counts = self._node, self._counts
        node.start()
        settle(node)
        self._problems += node.problems() + not_done(node, allowed=("overwritten",))
        status = node.end()
        if status:
            self._problems.append(f"the daemon ended with {status}")
        log = node.log()
        if "Traceback" in log:
            self._problems.append(f"a traceback: {log[log.index('Traceback') :][:1500]}")
        counts["recordings"] += self._recorder.n_written
        counts["names used again"] += self._recorder.n_again
        counts["shed (overwritten)"] += node.states()["shed (overwritten)"]
        counts["outputs"] += sum(1 for _ in node.outputs.rglob("*.npz"))
        counts["journals made again"] += log.count("it is made again")
        words = {"lost": "lost", "not done": "lost", "without an output": "lost", "twice": "double"}
        words |= {"corrupt": "corrupt", "temporary files": "temporaries left", "quarantined": "quarantined by mistake"}
        for problem in self._problems:
            for word, name in words.items():
                counts[name] += word in problem

    def _stop_daemon(self) -> None:
        if self._node.process is not None and self._node.process.poll() is None:
            self._node.end(signal.SIGKILL)


class Recorder:
    """Writes recordings in all the ways in which recorders do, on a thread of its own."""

    def __init__(self, node: Node, seed: float, pause_s: float) -> None:
        self._folder, self._outputs, self._elsewhere = node.recordings, node.outputs, node.folder / "elsewhere"
        self._elsewhere.mkdir()
        self._chance, self._pause_s = random.Random(seed), pause_s
        self._sounds = [_sound(seconds) for seconds in (1.0, 1.0, 2.0, 2.0, 20.0)]
        self._ways = (self._write, self._write, self._write_slowly, self._rename, self._move_in)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: OSError | None = None
        self.n_written = self.n_again = 0

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def end(self) -> None:
        """Finish the recording at hand."""
        self._ended.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._chance.uniform(0, self._pause_s)):
                if self._is_far_ahead():
                    continue
                for _ in range(self._chance.randrange(11)):
                    self._chance.choice(self._ways)(self._name(), self._chance.choice(self._sounds))
        except OSError as error:
            self._error = error

    def _is_far_ahead(self) -> bool:
        return self._outputs.exists() and self.n_written - len(os.listdir(self._outputs)) > N_AHEAD

    def _name(self) -> str:
        """A new name, or now and then one that was used before."""
        self.n_written += 1
        if self.n_written > 50 and self._chance.random() < 0.02:
            self.n_again += 1
            return f"{self._chance.randrange(self.n_written - 50):06}.wav"
        return f"{self.n_written:06}.wav"

    def _write(self, name: str, content: bytes) -> None:
        self._folder.joinpath(name).write_bytes(content)

    def _write_slowly(self, name: str, content: bytes) -> None:
        with self._folder.joinpath(name).open("wb") as file:
            file.write(content[:5000])
            file.flush()
            self._ended.wait(self._chance.uniform(0, 0.1))
            file.write(content[5000:])

    def _rename(self, name: str, content: bytes) -> None:
        hidden = self._folder / f".{name}"
        hidden.write_bytes(content)
        hidden.rename(self._folder / name)

    def _move_in(self, name: str, content: bytes) -> None:
        path = self._elsewhere / name
        path.write_bytes(content)
        path.rename(self._folder / name)


SOUNDS: dict[float, bytes] = {}
SOUNDS_LOCK = threading.Lock()  # they are made in a file


def _sound(seconds: float) -> bytes:
    with SOUNDS_LOCK:
        if seconds not in SOUNDS:
            SOUNDS[seconds] = sound(seconds)
        return SOUNDS[seconds]


def settle(node: Node, patience_s: float = 120.0) -> None:
    """Wait until every recording in the folder has come to an end, for each no longer than the patience."""

    def n_left() -> int:
        time.sleep(0.1)  # less often than a small node allows
        try:
            return len(node.unsettled())
        except SonycMLError:  # the journal may just be made again
            return sys.maxsize

    def has_fewer_than(before: int) -> bool:
        return n_left() < before

    n = sys.maxsize
    try:
        while n:
            node.wait_for(partial(has_fewer_than, n), "the next recording to be settled", patience_s)
            n = min(n, n_left())
    except RuntimeError as error:
        left = node.unsettled()
        known = [entry for entry in node.entries() if entry.identity.name in left]
        raise RuntimeError(f"{sorted(left)[:5]} never ended; the journal has {known[:5]}; {error}") from error


def not_done(node: Node, allowed: tuple[str, ...] = ()) -> list[str]:
    """Recordings that ended in another way, though nothing is wrong with any of them."""
    others = [entry for entry in node.entries() if entry.state != "done" and entry.reason not in allowed]
    told = [f"{entry.identity.name} {entry.state} ({entry.reason}) {entry.detail}" for entry in others]
    lying = set(node.identities())
    done = {entry.identity for entry in node.entries() if entry.state == "done"}
    return [f"not done: {line}" for line in told[:5]] + [f"lost: {i.name}" for i in sorted(lying - done)[:5]]


def attempts(state: Path, copy: Path) -> set[tuple[Identity, int]]:
    """Attempts that a kill interrupted; read from a copy, so that the restart meets what the kill left."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    try:
        for name in ("journal.sqlite", "journal.sqlite-wal"):
            with suppress(FileNotFoundError):
                shutil.copy(state / name, copy / name)
        journal = Journal(copy, read_only=True)
        try:
            return {(entry.identity, entry.n_attempts) for entry in journal.begun()}
        finally:
            journal.close()
    except SonycMLError:  # killed while it was made
        return set()


def damage(state: Path, chance: random.Random) -> str:
    """Do to a journal that nobody has open what disks and people do; returns what."""
    journal, log = state / "journal.sqlite", state / "journal.sqlite-wal"
    ways: dict[str, Callable[[], object]] = {
        "deleted": lambda: _remove(state),
        "deleted but for the log": lambda: journal.unlink(missing_ok=True),
        "without their log": lambda: log.unlink(missing_ok=True),
        "truncated": lambda: _truncate(journal, chance),
        "with a truncated log": lambda: _truncate(log, chance),
        "with a bad sector": lambda: _scribble(journal, chance),
        "with a bad sector in the log": lambda: _scribble(log, chance),
        "overwritten": lambda: journal.write_bytes(chance.randbytes(8 * SECTOR)),
    }
    name = chance.choice(list(ways))
    ways[name]()
    return name


def _remove(state: Path) -> None:
    for path in state.glob("journal.sqlite*"):
        path.unlink()


def _truncate(path: Path, chance: random.Random) -> None:
    if path.exists():
        os.truncate(path, chance.randrange(path.stat().st_size + 1))


def _scribble(path: Path, chance: random.Random) -> None:
    n_sectors = path.stat().st_size // SECTOR if path.exists() else 0
    if n_sectors:
        with path.open("r+b") as file:
            file.seek(chance.randrange(n_sectors) * SECTOR)
            file.write(chance.randbytes(SECTOR))
