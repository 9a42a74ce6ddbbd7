"""Power cuts on a real ext4: what was on the disk is all that is left."""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from scripts.fault_suite.kills import settle
from scripts.fault_suite.rig import Node, Options, Row, as_root, daemon_without, has, output_identity, sound
from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import SonycMLError

N_PARALLEL = 2
N_DISKS, N_LONG_DISKS = 2, 40
CUTS_A_DISK, N_CONTROL_CUTS = 5, 3
RUN_S = 2.5  # a start takes 0.3 s of it
DISK_SIZE = "64M"
# Nothing gets to the disk by itself within the few seconds of a run; who wants it there has to flush it.
MOUNT = ["mount", "-o", "loop,commit=60"]
SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN: from now on nothing reaches the disk
COUNTED = ("cuts", "durable recordings", "acknowledged", "acknowledged and lost")  # told even where there are none
PUBLISHED = re.compile(r"windows in .* ms, (\S+\.npz)$", re.MULTILINE)
# A recording that the cut left half-written is given up soon.
SETTINGS = {"recordings": "max_attempts = 50\nabandoned_s = 1.0"}


def run(options: Options) -> list[Row]:
    """Cut the power again and again; then the same with a daemon that flushes nothing."""
    n_disks = options.number(N_DISKS, N_LONG_DISKS)
    row = Row(f"{n_disks * CUTS_A_DISK} power cuts (ext4 that is shut down)")
    control = Row("control: nothing is flushed")
    row.skipped = control.skipped = _why_not(options.folder)
    if row.skipped:
        return [row, control]
    with ThreadPoolExecutor(N_PARALLEL) as pool:
        disks = [pool.submit(_Disk(options, f"disk-{i}").run, CUTS_A_DISK) for i in range(n_disks)]
        unsafe = pool.submit(_Disk(options, "control", without="flush").run, N_CONTROL_CUTS)
        total = Counter[str]()
        for disk in disks:
            counts, problems = disk.result()
            total += counts
            row.problems += problems
        counts, problems = unsafe.result()
    row.counts = {name: total[name] for name in COUNTED} | dict(sorted(total.items())) | {"seed": options.seed}
    control.counts = {name: counts[name] for name in ("cuts", "acknowledged", "acknowledged and lost")}
    if not counts["acknowledged and lost"]:
        control.problems = ["the checks do not notice it"]
    return [row, control]


def _why_not(folder: Path) -> str:
    """Why power cannot be cut here; empty where it can."""
    if not as_root():
        return "mounting a disk needs root"
    if not has("mkfs.ext4"):
        return "mkfs.ext4 is not there (package e2fsprogs)"
    point, image = folder / "trial", folder / "trial.disk"
    try:
        _make_disk(image)
        with _mounted(image, point):
            _cut(point)
    except subprocess.CalledProcessError as error:
        return f"no disk in a file can be mounted: {error.stderr.strip()}"
    except OSError as error:
        return f"this kernel cannot shut down an ext4: {error.strerror}"
    return ""


def _make_disk(image: Path) -> None:
    with image.open("wb") as file:
        file.truncate(int(DISK_SIZE[:-1]) << 20)
    # Inodes of 256 bytes hold times to the nanosecond.
    _call("mkfs.ext4", "-q", "-F", "-I", "256", str(image))


def _call(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@contextmanager
def _mounted(image: Path, point: Path) -> Iterator[None]:
    """Mount a disk; its loop device goes with it."""
    point.mkdir(exist_ok=True)
    try:
        _call(*MOUNT, str(image), str(point))
        yield
    finally:
        _unmount(point)
        for line in _call("losetup", "--associated", str(image)).splitlines():
            subprocess.run(["losetup", "--detach", line.partition(":")[0]], check=False)


def _unmount(point: Path) -> None:
    for _ in range(50):
        if not point.is_mount() or subprocess.run(["umount", point], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    _call("umount", "--lazy", str(point))


def _cut(point: Path) -> None:
    descriptor = os.open(point, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    finally:
        os.close(descriptor)


class _Disk:
    """A disk with a node on it, whose power is cut."""

    def __init__(self, options: Options, name: str, without: str = "") -> None:
        self._bundle, self._name = options.bundle, name
        self._folder = options.folder / name
        self._image, self._point = self._folder / "disk", self._folder / "mounted"
        self._program = daemon_without(without) if without else None
        self._chance = random.Random(f"{options.seed} {name}")
        self._recordings: set[Identity] = set()  # durable
        self._counts = Counter[str]()
        self._problems: list[str] = []

    def run(self, n_cuts: int) -> tuple[Counter[str], list[str]]:
        """Cut, look at what is left, and let it be done again."""
        self._folder.mkdir()
        _make_disk(self._image)
        for _ in range(n_cuts):
            with _mounted(self._image, self._point):
                acknowledged, done = self._run_until_cut()
            self._take_out()
            with _mounted(self._image, self._point):
                self._check(acknowledged, done)
                self._recover()
        self._counts["durable recordings"] += len(self._recordings)
        shutil.rmtree(self._folder)
        return self._counts, [f"{self._name}: {problem}" for problem in self._problems]

    def _take_out(self) -> None:
        """Put what is on the disk onto another: somebody else's mount namespace may hold the one that is shut down."""
        copy = self._folder / f"disk-{self._counts['cuts']}"
        shutil.copyfile(self._image, copy)
        self._image.unlink()
        self._image = copy

    def _node(self) -> Node:
        """The node, with its log on another disk."""
        node = Node(self._point / "node", self._bundle, SETTINGS, self._program)
        node.log_path = self._folder / "log"
        _call("sync", "--file-system", str(self._point))
        return node

    def _run_until_cut(self) -> tuple[set[Path], set[Identity]]:
        """Run until the power is cut; returns the outputs that were acknowledged, and what the journal called done."""
        node = self._node()
        offset = node.log_path.stat().st_size if node.log_path.exists() else 0
        recorder = _Recorder(node.recordings, self._chance.random(), f"{self._counts['cuts']:03}")
        recorder.start()
        process = node.start(wait=False)
        try:
            if self._program is not None:  # what loses nothing yet shows nothing of a daemon that flushes nothing
                node.wait_for(lambda: PUBLISHED.search(node.log(offset)) is not None, "an output")
            time.sleep(self._chance.uniform(0, RUN_S))
            done = _done(node)
            acknowledged = {Path(path) for path in PUBLISHED.findall(node.log(offset))}
            _cut(self._point)
            time.sleep(self._chance.uniform(0, 0.05))
        finally:
            process.kill()
            process.wait()
            self._recordings |= recorder.end()
        self._counts.update({"cuts": 1, "acknowledged": len(acknowledged)})
        return acknowledged, done

    def _check(self, acknowledged: set[Path], done: set[Identity]) -> None:
        """What was there before the cut must be there after it, before anybody does it again."""
        node = self._node()
        identities = set(node.identities())
        found = {output_identity(path) for path in node.outputs.rglob("*.npz")}
        lost = [path.name for path in acknowledged if output_identity(path) is None]
        self._counts["acknowledged and lost"] += len(lost)
        self._counts["temporaries after a cut"] += len(list(node.outputs.rglob(".*.tmp")))
        self._tell("acknowledged outputs lost", lost)
        self._tell("recordings lost that were durable", [i.name for i in self._recordings - identities])
        self._tell("done in the journal without an output", [i.name for i in done - found])
        self._tell("done before the cut, and not after it", [i.name for i in done - _done(node)])
        self._counts["half-written recordings"] += len(identities - self._recordings)

    def _recover(self) -> None:
        """Start again; in the end each recording that was durable has its output."""
        node = self._node()
        try:
            node.start()
            settle(node)
            self._tell("durable and not done", [i.name for i in self._recordings - _done(node)])
            self._problems += node.problems()
            status = node.end()
        finally:
            if node.process is not None and node.process.poll() is None:
                node.end(signal.SIGKILL)  # else the disk could not be unmounted
        if status:
            self._problems.append(f"the daemon ended with {status}")

    def _tell(self, what: str, names: list[str]) -> None:
        if names:
            self._problems.append(f"cut {self._counts['cuts']}: {len(names)} {what}: {sorted(names)[:3]}")


def _done(node: Node) -> set[Identity]:
    with suppress(SonycMLError):  # the cut may come before it is made
        return {entry.identity for entry in node.entries() if entry.state == "done"}
    return set()


class _Recorder(threading.Thread):
    """Writes recordings durably until it cannot; notes those that are."""

    def __init__(self, folder: Path, seed: float, prefix: str) -> None:
        super().__init__(daemon=True)
        self._folder, self._prefix = folder, prefix
        self._chance = random.Random(seed)
        self._ended = threading.Event()
        self._durable: set[Identity] = set()

    def end(self) -> set[Identity]:
        """Stop; returns the recordings that are durable."""
        self._ended.set()
        self.join()
        return self._durable

    def run(self) -> None:
        """Write one after another."""
        n = 0
        with suppress(OSError):  # the cut
            while not self._ended.wait(self._chance.uniform(0, 0.02)):
                self._durable.add(self._record(f"{self._prefix}-{n:04}.wav", hidden_first=n % 2 == 1))
                n += 1

    def _record(self, name: str, *, hidden_first: bool) -> Identity:
        path = self._folder / name
        written = path.with_name(f".{name}") if hidden_first else path
        with written.open("wb") as file:
            file.write(SOUND)
            file.flush()
            os.fsync(file.fileno())
        if hidden_first:
            written.rename(path)
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        status = path.stat()
        return Identity(name, status.st_size, status.st_mtime_ns)


SOUND = sound()
