"""How fast a batch is: by its workers, against the bare network, against the original algorithm, and by format."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.benchmarks import environments
from scripts.benchmarks.batch.embedding import Embed, Event, Outcome
from scripts.benchmarks.batch.recordings import repeat
from scripts.benchmarks.figures import progress
from scripts.benchmarks.inputs import Inputs
from scripts.benchmarks.path import variants
from scripts.benchmarks.workers import Worker, WorkerError

N_OF_TWO, N_OF_ONE, N_OF_FORMAT = 120, 60, 80  # recordings of ten seconds: three to five seconds of an idle machine
N_OF_ORIGINAL = 3  # by each of its two processes
N_SMALL = 200  # recordings for the default bundle, which takes a seventh of the time
N_WARM = 8  # recordings at the beginning of a run, not counted
FORMATS = ("npz", "csv", "parquet")

Round = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Folders:
    """Recordings by their number."""

    of_two: Path
    of_one: Path
    of_format: Path
    small: Path


def folders(given: Inputs, work: Path) -> Folders:
    """Make what is embedded."""
    numbers = {"of_two": N_OF_TWO, "of_one": N_OF_ONE, "of_format": N_OF_FORMAT, "small": N_SMALL}
    return Folders(**{name: repeat(given.recordings, n, work / name) for name, n in numbers.items()})


def of_workers(given: Inputs, made: Folders, work: Path, repeats: int, skipped: list[str]) -> list[Round]:
    """Go round: two processes of the bare network, a batch on two workers, one on one, two of the original."""
    rounds = []
    with ExitStack() as stack:
        bare = _pair(stack, environments.ours(), "ours", {"network": str(given.network), "parameters": {}})
        original = _originals(stack, given, skipped)
        n_windows = _n_windows(bare[0], given.recordings)
        for i in range(repeats):
            progress(f"batch: 2 workers, 1, the bare network, the original: round {i + 1} of {repeats}")
            n_half = n_windows * N_OF_ONE // 4  # of a process, before the batch and behind it
            before = _bare(bare, n_half)
            two = embedded(made.of_two, given.network, work, ("--workers", "2"))
            after = _bare(bare, n_half)
            one = embedded(made.of_one, given.network, work, ("--workers", "1"))
            floor_s, floor_processor_s = ((a + b) / N_OF_ONE for a, b in zip(before, after, strict=True))
            round_ = {"two": two, "one": one, "floor_s": floor_s, "floor_processor_s": floor_processor_s}
            round_["floor_alone_s"] = _bare(bare[:1], n_half)[0] / (N_OF_ONE // 4)
            if original:
                round_["original_s"] = _original(original, given.recordings, work) / (2 * N_OF_ORIGINAL)
            rounds.append(round_)
    return rounds


def of_formats(network: Path, folder: Path, work: Path, repeats: int, name: str) -> list[Round]:
    """Go round the formats with one network, on two workers."""
    rounds = []
    for i in range(repeats):
        progress(f"batch: formats, {name}: round {i + 1} of {repeats}")
        rounds.append({kind: embedded(folder, network, work, ("--format", kind, "--workers", "2")) for kind in FORMATS})
    return rounds


def embedded(folder: Path, network: Path, work: Path, flags: Sequence[str]) -> dict[str, float]:
    """Embed a folder afresh; returns what it took.

    Raises
    ------
    WorkerError
        Something was not embedded.
    """
    output = work / "output"
    with Embed(folder, network, output, flags) as embed:
        for n_events, event in enumerate(embed.events()):
            if event["event"] == "begun":
                n_before_end = event["n_recordings"] - N_WARM
            elif n_events == N_WARM:
                before_s = embed.processor_s()
            elif n_events == n_before_end:  # while all of them are at work
                after_s, memory_mb = embed.processor_s(), embed.memory_mb("VmHWM")
        outcome = embed.finish()
    shutil.rmtree(output, ignore_errors=True)
    check_whole(outcome)
    used_s = [(after - before) / (n_before_end - N_WARM) for before, after in zip(before_s, after_s, strict=True)]
    return {
        **_timed(outcome),
        "main_mb": outcome.peak_mb,
        "worker_mb": max(memory_mb[1:], default=0.0),
        "processor_s": sum(used_s),
        "processor_of_main_s": used_s[0],
    }


def check_whole(outcome: Outcome) -> None:
    """See that a batch embedded all there was.

    Raises
    ------
    WorkerError
    """
    if outcome.status:
        said = outcome.said.strip().splitlines()
        raise WorkerError(f"sonyc-ml embed ended with status {outcome.status}: {said[-1] if said else ''}")


def _timed(outcome: Outcome) -> dict[str, float]:
    """Times of a run: a recording in the midst of it, with what the end of the batch costs, and around it."""
    began, done, ended = (outcome.named(kind) for kind in ("begun", "embedded", "ended"))
    steady = done[N_WARM : len(done) - began[0]["n_workers"]]  # at the very end, workers wait for one another
    sound_s = sum(event["duration_s"] for event in done)
    return {
        "recording_s": _between(steady[0], steady[-1]) / (len(steady) - 1),
        "with_end_s": _between(done[0], ended[0]) / (len(done) - 1),
        "command_s": outcome.elapsed_s,
        "begun_s": began[0]["at_s"],
        "first_s": done[0]["at_s"],
        "sound_s": sound_s / len(done),
        "work_s": sum(event["elapsed_s"] for event in done) / len(done),
    }


def _between(one: Event, other: Event) -> float:
    return float(other["at_s"] - one["at_s"])


def _pair(stack: ExitStack, python: Path, module: str, settings: dict[str, Any]) -> list[Worker]:
    return [stack.enter_context(Worker(python, module, settings)) for _ in range(2)]


def _originals(stack: ExitStack, given: Inputs, skipped: list[str]) -> list[Worker]:
    """Two of the original on tflite-runtime, warmed up; none where it cannot run."""
    if given.parameters is None:
        skipped.append(variants.NOT_LOG_MEL.format(given.network.name))
        return []
    python = environments.make(environments.ORIGINAL)
    if python is None:
        skipped.append(variants.NO_PYTHON.format("the original algorithm"))
        return []
    settings = {"network": str(given.network), "parameters": given.parameters, "runtime": "tflite_runtime"}
    try:
        pair = _pair(stack, python, "original", settings)
        for worker in pair:
            worker.ask("road", recording=str(given.recordings[0]), output="/dev/null")
    except WorkerError as error:
        skipped.append(f"the original algorithm: {error}")
        return []
    return pair


def _n_windows(worker: Worker, recordings: Sequence[Path]) -> int:
    counts: list[int] = [worker.ask("count", recording=str(recording))["n_windows"] for recording in recordings]
    return round(sum(counts) / len(counts))


def _bare(workers: Sequence[Worker], n_windows: int) -> tuple[float, float]:
    """Run so many windows in each process at once; returns how long until all are through, and their processor time."""
    start_s = time.perf_counter()
    for worker in workers:
        worker.tell("bare", n_windows=n_windows)
    processor_s = sum(worker.answer()["processor_ms"] for worker in workers) / 1e3
    return time.perf_counter() - start_s, processor_s


def _original(pair: Sequence[Worker], recordings: Sequence[Path], work: Path) -> float:
    """Embed a few recordings in each process at once; returns how long until all are through (in seconds)."""
    start_s = time.perf_counter()
    for number, worker in enumerate(pair):
        for recording in itertools.islice(itertools.cycle(recordings), N_OF_ORIGINAL):
            worker.tell("road", recording=str(recording), output=str(work / f"original_{number}.npz"))
    for worker in pair:
        for _ in range(N_OF_ORIGINAL):
            worker.answer()
    return time.perf_counter() - start_s
