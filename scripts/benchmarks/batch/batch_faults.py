"""What a batch loses where it is killed or interrupted."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.benchmarks.batch.batch_speed import check_whole
from scripts.benchmarks.batch.embedding import Embed, run
from scripts.benchmarks.batch.recordings import repeat, tiny
from scripts.benchmarks.figures import progress
from tests.support.batches import outputs

N_KILLED_OVER, N_INTERRUPTED_OVER = 300, 200
N_KILLS, N_INTERRUPTS = 50, 5
STARTING = 0.2  # share of the kills that come while it starts
START_S, AFTER_EVENT_S = 0.6, 0.02  # kills come at most so long after the start, or after a recording
BEYOND_END = 1.15  # kills are aimed as far as this many times the recordings: at the end of some batches, and behind
PARTITIONED = {"parquet": ("--partition", "node")}  # several parts, each published at the end
N_NODES = 6


@dataclass(slots=True)
class Tally:
    """What was seen of batches that were killed.

    Attributes
    ----------
    n_kills, n_batches, n_recordings : int
    n_embedded : int
        Recordings, each as often as it was told of.
    n_again : int
        Recordings that were embedded though their output had been told of, or lay there whole.
    n_different : int
        Outputs that are not what one run makes of them, or not there.
    outlived_s : list of float
        How long workers lived on after their batch was killed.
    """

    n_kills: int = 0
    n_batches: int = 0
    n_recordings: int = 0
    n_embedded: int = 0
    n_again: int = 0
    n_different: int = 0
    outlived_s: list[float] = field(default_factory=list)


def killed(network: Path, work: Path, output_format: str, seed: int = 0) -> Tally:
    """Kill batches at random moments and start them again until they are through; compare with one undisturbed."""
    folder = _nodes(work / f"killed_{output_format}")
    flags = ("--format", output_format, "--workers", "2", *PARTITIONED.get(output_format, ()))
    unharmed = work / f"unharmed_{output_format}"
    outcome = run(folder, network, unharmed, flags)
    check_whole(outcome)
    wanted = outputs(unharmed)
    where = {event["recording"]: Path(event["output"]).relative_to(unharmed) for event in outcome.named("embedded")}
    tally, generator = Tally(), random.Random(seed)
    while tally.n_kills < N_KILLS:
        output = work / f"disturbed_{output_format}"
        _one_batch(folder, network, output, flags, where, tally, generator)
        found = outputs(output)
        tally.n_different += sum(found.get(name) != wanted.get(name) for name in found.keys() | wanted.keys())
        shutil.rmtree(output)
    return tally


def _one_batch(
    folder: Path,
    network: Path,
    output: Path,
    flags: tuple[str, ...],
    where: dict[str, Path],
    tally: Tally,
    generator: random.Random,
) -> None:
    """One batch through all its kills; `where` is what it makes of each recording, at first."""
    done: set[str] = set()
    is_through = False
    while not is_through:
        with Embed(folder, network, output, flags) as embed:
            is_through = not _kill_at_random(embed, len(where), tally, generator)
            outcome = embed.finish()
        if is_through:
            check_whole(outcome)
        now = {event["recording"] for event in outcome.named("embedded")}
        tally.n_again += len(now & done)
        tally.n_embedded += len(now)
        done |= now | {name for name, path in where.items() if (output / path).exists()}
        progress(f"batch: {flags[1]}, killed {tally.n_kills} times of {N_KILLS}")
    tally.n_batches += 1
    tally.n_recordings += len(where)


def _kill_at_random(embed: Embed, n_recordings: int, tally: Tally, generator: random.Random) -> bool:
    """Kill a batch, at a moment that may lie behind its end; returns whether it was there to be killed."""
    if tally.n_kills >= N_KILLS:
        return False
    if generator.random() < STARTING:
        time.sleep(generator.uniform(0, START_S))
    else:
        n_events = generator.randint(1, round(n_recordings * BEYOND_END))
        for number, _ in enumerate(embed.events(), 1):
            if number == n_events:
                break
        time.sleep(generator.uniform(0, AFTER_EVENT_S))
    if embed.has_ended:
        return False
    tally.outlived_s.append(embed.kill())
    tally.n_kills += 1
    return True


def interrupted(network: Path, recordings: list[Path], work: Path, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Press Ctrl-C at random moments: while workers start, and midway, each time letting the same command go on."""
    folder = repeat(recordings, N_INTERRUPTED_OVER, work / "interrupted")
    generator = random.Random(seed)
    found: dict[str, list[dict[str, Any]]] = {"early": [], "midway": []}
    for i in range(N_INTERRUPTS):
        progress(f"batch: Ctrl-C while it starts: {i + 1} of {N_INTERRUPTS}")
        found["early"].append(_interrupt(folder, network, work / f"early_{i}", 1, generator.uniform(0, START_S)))
    output, n_done = work / "interrupted_output", 0
    for i in range(N_INTERRUPTS):
        progress(f"batch: Ctrl-C: {i + 1} of {N_INTERRUPTS}")
        n_events = 1 + n_done + generator.randint(2, N_INTERRUPTED_OVER // N_INTERRUPTS - 8)
        each = _interrupt(folder, network, output, n_events, generator.uniform(0, AFTER_EVENT_S))
        found["midway"].append({**each, "n_lost": each["n_lost"] + max(0, n_done - each["n_kept"])})
        n_done = each["n_there"]
    return found


def _interrupt(folder: Path, network: Path, output: Path, n_events: int, delay_s: float) -> dict[str, Any]:
    """Press Ctrl-C some time after so many events of a batch; returns what came of it."""
    with Embed(folder, network, output, ("--workers", "2")) as embed:
        for number, _ in enumerate(embed.events(), 1):
            if number == n_events:
                break
        time.sleep(delay_s)
        start_s = embed.elapsed_s
        embed.interrupt()
        outcome = embed.finish()
    n_there = sum(1 for _ in output.rglob("*.npz"))
    n_kept, n_embedded = len(outcome.named("kept")), len(outcome.named("embedded"))
    return {
        "stopped_s": outcome.elapsed_s - start_s,
        "status": outcome.status,
        "n_there": n_there,
        "n_kept": n_kept,
        "n_lost": max(0, n_kept + n_embedded - n_there),
        "says_how": "the same command goes on from there" in outcome.said,
        "says_too_much": "Traceback" in outcome.said,
    }


def _nodes(folder: Path) -> Path:
    """Tiny recordings in the folders of a few nodes."""
    folder.mkdir()
    flat = tiny(N_KILLED_OVER, folder.with_name(f"{folder.name}_flat"))
    for i, path in enumerate(sorted(flat.rglob("*.wav"))):
        node = folder / f"node_{i * N_NODES // N_KILLED_OVER}"
        node.mkdir(exist_ok=True)
        path.rename(node / path.name)
    shutil.rmtree(flat)
    return folder
