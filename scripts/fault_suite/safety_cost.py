"""What it costs that nothing is lost: time, bytes on the disk and flushes a recording, beside the plain road.

``python cost.py plain|all BUNDLE RECORDINGS OUTPUTS PAUSE_S`` embeds what there is, with the journal or without it.
"""

from __future__ import annotations

import itertools
import logging
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.fault_suite.rig import Node, Options, Row, as_root, has, record, sound
from sonyc_ml.base.identity import Identity
from sonyc_ml.node.config import Config, ModelConfig, OutputConfig, SpoolConfig
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.running_bundles import RunningBundles
from sonyc_ml.node.spool.leases import is_being_written
from sonyc_ml.node.worker import Worker
from sonyc_ml.outputs.files import output_path, write_output

N_TIMED, N_WRITTEN, N_TRACED = 200, 200, 20
N_PARTS = 4  # of the time; the quietest counts, as others may be at the disk too
PAUSE_S, LONG_PAUSE_S = 0.02, 1.0  # in the second, more of what is kept for later reaches the disk for each
COST_MS, COST_KIB = 3.0, 80.0
DISK_BYTES = 256 << 20
SECTOR_BYTES = 512
Do = Callable[[Identity], object]


def run(options: Options) -> list[Row]:
    """Time, bytes, flushes."""
    record(options.folder / "recordings", (f"{i:03}.wav" for i in range(N_TIMED)), sound())
    return [_time(options), _bytes(options), _flushes(options)]


# The two roads


def _bundles(config: Config) -> RunningBundles:
    return RunningBundles(config.model, config.output)


@contextmanager
def _plain(bundle: Path, recordings: Path, outputs: Path) -> Iterator[Do]:
    """Read, embed, write."""
    model = next(iter(_bundles(_config(bundle, recordings, outputs)))).model
    outputs.mkdir(parents=True, exist_ok=True)

    def do(identity: Identity) -> None:
        output = model.embed_file(recordings / identity.name, None, identity.name)
        write_output(output, output_path(identity.name, outputs, "npz"))

    yield do


@contextmanager
def _all(bundle: Path, recordings: Path, outputs: Path) -> Iterator[Do]:
    """The same with all that looks after it: what a turn of the daemon does with a recording."""
    config = _config(bundle, recordings, outputs)
    journal = Journal(config.state_folder)
    worker = Worker(
        recordings,
        journal,
        _bundles(config),
        lambda name: is_being_written(recordings / name),
        output=config.output,
    )
    worker.start()

    def do(identity: Identity) -> None:
        worker.shed_excess()
        worker.step([identity])
        journal.next_due_s()
        journal.is_in_place()

    try:
        yield do
    finally:
        journal.close()


ROADS = {"plain": _plain, "all": _all}


def _config(bundle: Path, recordings: Path, outputs: Path) -> Config:
    return Config(SpoolConfig(recordings), (ModelConfig(bundle),), OutputConfig(outputs))


def _identities(recordings: Path) -> list[Identity]:
    found = []
    for path in sorted(recordings.iterdir()):
        status = path.stat()
        found.append(Identity(path.name, status.st_size, status.st_mtime_ns))
    return found


# Time


def _time(options: Options) -> Row:
    """One recording by the one road and by the other, in turn, in this process."""
    row = Row(f"time a recording, {N_TIMED} by each road in turn")
    recordings = options.folder / "recordings"
    seconds: dict[str, list[float]] = {road: [] for road in ROADS}
    outputs = {road: options.folder / f"timed-{road}" for road in ROADS}
    with (
        _plain(options.bundle, recordings, outputs["plain"]) as plain,
        _all(options.bundle, recordings, outputs["all"]) as everything,
    ):
        for i, identity in enumerate(_identities(recordings)):
            for road, do in sorted({"plain": plain, "all": everything}.items(), reverse=bool(i % 2)):
                start_s = time.perf_counter()
                do(identity)
                seconds[road].append(time.perf_counter() - start_s)
    ms = {road: statistics.median(taken) * 1e3 for road, taken in seconds.items()}
    more_ms = sorted(
        statistics.median(seconds["all"][first:last]) * 1e3 - statistics.median(seconds["plain"][first:last]) * 1e3
        for first, last in itertools.pairwise(range(0, N_TIMED + 1, N_TIMED // N_PARTS))
    )
    row.counts = {f"{road} ms": round(taken, 2) for road, taken in ms.items()}
    row.counts |= {"more ms": round(ms["all"] - ms["plain"], 2), "by parts": " ".join(f"{x:.1f}" for x in more_ms)}
    if more_ms[0] > COST_MS:
        row.too_slow.append(f"it costs {more_ms[0]:.1f} ms at least, not {COST_MS:g}")
    n_written = {road: len(list(folder.glob("*.npz"))) for road, folder in outputs.items()}
    if set(n_written.values()) != {N_TIMED}:
        row.problems.append(f"not every recording was embedded: {n_written}")
    return row


# Bytes


def _bytes(options: Options) -> Row:
    """What reaches a disk of our own, counted by its driver; else by the kernel for the process."""
    pause_s = LONG_PAUSE_S if options.is_long else PAUSE_S
    row = Row(f"written a recording, {N_WRITTEN} recordings, one every {pause_s * 1e3:.0f} ms")
    disk_kib, process_kib = {}, {}
    try:
        for road in ROADS:
            with _disk(options.folder, road) as (folder, sectors):
                before = sectors()
                process_kib[road] = _road(road, options, folder / "embeddings", pause_s) / 1024 / N_WRITTEN
                disk_kib[road] = (sectors() - before) * SECTOR_BYTES / 1024 / N_WRITTEN
    except (OSError, subprocess.CalledProcessError) as error:
        for road in ROADS:
            process_kib[road] = _road(road, options, options.folder / f"written-{road}", 0.0) / 1024 / N_WRITTEN
        row.fault += f" (no disk of our own: {error}; counted by /proc/self/io)"
        disk_kib = process_kib
    more = disk_kib["all"] - disk_kib["plain"]
    row.counts = {f"{road} KiB": round(written, 1) for road, written in disk_kib.items()} | {"more KiB": round(more, 1)}
    row.counts |= {f"{road} by /proc/self/io": round(written, 1) for road, written in process_kib.items()}
    if more > COST_KIB:
        row.problems.append(f"it writes {more:.0f} KiB more, not {COST_KIB:g}")
    if min(disk_kib.values()) < 1:
        row.problems.append("hardly anything was written: the count is not to be believed")
    return row


@contextmanager
def _disk(folder: Path, name: str) -> Iterator[tuple[Path, Callable[[], int]]]:
    """A disk of our own with an ext4 on it; yields where it is mounted, and what counts the sectors written to it."""
    if not as_root() or not has("losetup") or not has("mkfs.ext4"):
        raise OSError("it needs root, losetup and mkfs.ext4")
    image, mounted = folder / f"{name}.img", folder / f"disk-{name}"
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    # Else the kernel goes on with making the file system while we count.
    at_once = "lazy_itable_init=0,lazy_journal_init=0"
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", at_once, image], check=True, capture_output=True)
    device = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        mounted.mkdir()
        subprocess.run(["mount", device, mounted], check=True, capture_output=True)
        try:
            yield mounted, lambda: _sectors(mounted, Path(device).name)
        finally:
            subprocess.run(["umount", mounted], check=True)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
        image.unlink()


def _sectors(mounted: Path, device: str) -> int:
    """How many sectors were ever written to a device, with all that is to be written."""
    subprocess.run(["sync", "--file-system", mounted], check=True)
    return int(Path(f"/sys/block/{device}/stat").read_text().split()[6])


def _road(road: str, options: Options, outputs: Path, pause_s: float) -> int:
    """Go one of the roads in a process of its own; returns how many bytes the kernel counts for it."""
    command = _command(road, options, outputs, pause_s)
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout)


def _command(road: str, options: Options, outputs: Path, pause_s: float) -> list[str]:
    recordings = options.folder / "recordings"
    words = (road, options.bundle, recordings, outputs, pause_s)
    return [sys.executable, "-m", "scripts.fault_suite.safety_cost", *map(str, words)]


# Flushes


def _flushes(options: Options) -> Row:
    """How often a recording makes the daemon wait for the disk, its start and its end taken off."""
    row = Row("flushes a recording (fsync and fdatasync)")
    if not has("strace"):
        row.skipped = "there is no strace here"
        return row
    counted = {road: _n_flushes(road, options) for road in ROADS}
    row.counts = {road: round(n / N_TIMED, 2) for road, n in counted.items()}
    row.counts["the daemon"] = round(_n_flushes_of_daemon(options) / N_TRACED, 2)
    row.counts["more"] = round((counted["all"] - counted["plain"]) / N_TIMED, 2)
    if counted["plain"] < N_TIMED:
        row.problems.append("an output was not flushed")
    return row


TRACE = ("strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o")


def _n_flushes(road: str, options: Options) -> int:
    traced = options.folder / f"traced-{road}.txt"
    command = _command(road, options, options.folder / f"traced-{road}", 0.0)
    subprocess.run([*TRACE, traced, *command], check=True, capture_output=True, timeout=300)
    return _calls(traced)


def _n_flushes_of_daemon(options: Options) -> int:
    """Those of the daemon itself, over recordings that come one by one."""
    counts = []
    for n in (0, N_TRACED):
        node = Node(options.folder / f"traced-{n}", options.bundle)
        traced = node.folder / "trace.txt"
        try:
            process = node.start(*TRACE, str(traced))
            for i in range(n):
                record(node.recordings, [f"{i:03}.wav"])
                node.wait_until_done()
            child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
            subprocess.run(["kill", child], check=True)
            process.wait(60)
        finally:
            node.kill()
        counts.append(_calls(traced))
    return counts[1] - counts[0]


def _calls(traced: Path) -> int:
    """The calls that strace counted."""
    lines = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) .*(?:fsync|fdatasync)$", traced.read_text(), re.MULTILINE)
    return sum(int(n) for n in lines)


def main() -> None:
    """Go one road with everything; print the bytes that the kernel counts for this process."""
    road, bundle, recordings, outputs, pause_s = sys.argv[1], *map(Path, sys.argv[2:5]), float(sys.argv[5])
    logging.disable()
    with ROADS[road](bundle, recordings, outputs) as do:
        before = _bytes_written()
        for identity in _identities(recordings):
            do(identity)
            time.sleep(pause_s)
        print(_bytes_written() - before)


def _bytes_written() -> int:
    found = re.search(r"^write_bytes: (\d+)", Path("/proc/self/io").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    main()
