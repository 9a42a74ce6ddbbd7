"""A batch of very many tiny recordings: its memory, its start, and its second run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from scripts.benchmarks.batch.batch_speed import check_whole
from scripts.benchmarks.batch.embedding import Embed, Outcome
from scripts.benchmarks.batch.recordings import tiny
from scripts.benchmarks.figures import progress

N_QUICK, N_LONG = 10_000, 100_000
N_BEFORE = 1000  # recordings, after which memory is to stay as it is
N_LAST = 8  # recordings before the end at which it is read again: the workers are still there
FORMATS = ("npz", "parquet")


def measure(network: Path, work: Path, *, long: bool) -> dict[str, dict[str, Any]]:
    """Embed them twice in each format: everything, and then nothing."""
    n_recordings = N_LONG if long else N_QUICK
    progress(f"batch: making {n_recordings:,} recordings")
    folder = tiny(n_recordings, work / "many")
    found = {}
    for kind in FORMATS:
        output, flags = work / f"many_{kind}", ("--format", kind, "--workers", "2")
        progress(f"batch: {n_recordings:,} recordings to {kind}")
        first, memory_mb = _watched(folder, network, output, flags)
        progress(f"batch: {n_recordings:,} recordings to {kind}, again")
        again, _ = _watched(folder, network, output, flags)
        found[kind] = {**_figures(first, again, memory_mb), "n_recordings": n_recordings}
        shutil.rmtree(output)
    shutil.rmtree(folder)
    return found


def _watched(folder: Path, network: Path, output: Path, flags: tuple[str, ...]) -> tuple[Outcome, list[list[float]]]:
    """Run a batch; returns what its processes occupied after the first thousand recordings, and before its end."""
    memory_mb = []
    with Embed(folder, network, output, flags) as embed:
        for n_events, event in enumerate(embed.events()):
            if event["event"] == "begun":
                moments = (N_BEFORE, event["n_recordings"] - N_LAST)
            elif event["event"] == "embedded" and n_events in moments:
                memory_mb.append(embed.memory_mb())
        outcome = embed.finish()
    check_whole(outcome)
    return outcome, memory_mb


def _figures(first: Outcome, again: Outcome, memory_mb: list[list[float]]) -> dict[str, Any]:
    before, after = memory_mb
    growths_mb = [there - here for here, there in zip(before, after, strict=True)]
    ended = first.named("ended")[0]
    return {
        "memory_mb": memory_mb,
        "main_growth_mb": growths_mb[0],
        "worker_growth_mb": max(growths_mb[1:]),
        "peak_mb": first.peak_mb,
        "begun_s": first.events[0]["at_s"],
        "first_s": first.events[1]["at_s"],
        "end_s": ended["at_s"] - first.events[-2]["at_s"],
        "recordings_per_s": ended["n_embedded"] / ended["elapsed_s"],
        "resume_s": again.elapsed_s,
        "n_kept": len(again.named("kept")),
    }
