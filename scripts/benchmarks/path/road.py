"""The road side by side: the original algorithm, ours on each backend, and the bare network."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scripts.benchmarks import environments, inputs
from scripts.benchmarks.figures import progress
from scripts.benchmarks.inputs import Inputs
from scripts.benchmarks.path import peak_memory, report, startup, variants
from scripts.benchmarks.path.variants import Variant
from scripts.benchmarks.workers import Worker, WorkerError

N_STARTS, N_STARTS_OF_OTHERS, N_HELPS = 7, 3, 15

Round = dict[str, dict[str, Any]]


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Measure everything there is about the road.

    Raises
    ------
    MissingError
        There is no network or no recording to measure with.
    WorkerError
        A worker died.
    """
    with tempfile.TemporaryDirectory(prefix="sonyc-ml-bench-") as folder:
        work = Path(folder)
        os.environ["XDG_STATE_HOME"] = folder  # what is remembered of bundles is forgotten with the measurement
        given = inputs.find(parsed.model, parsed.recordings, work)
        found, skipped = variants.find(given)
        raw: dict[str, Any] = {"duration_s": given.duration_s, "recordings": [path.name for path in given.recordings]}
        with ExitStack() as stack:
            workers = _start(found, stack, skipped)
            raw["agreement"] = _warm_up(workers, given, work)
            raw["rounds"] = list(_rounds(workers, given, work, parsed.repeats))
            raw["stages"] = list(_stage_rounds(workers, given, work, parsed.repeats))
            raw["starts"] = _starts(found, workers, given, work)
        raw["log_mel"] = _log_mel(given, parsed.repeats)
        raw["helps"] = [startup.help_ms() for _ in range(N_HELPS)]
        raw["numpy_modules_of_help"] = startup.n_numpy_modules_of_help()
        progress("memory of watch")
        raw["watch_mb"] = peak_memory.of_watch(given, work, long=parsed.long)
        raw["long_recording"] = _long_recording(given, work, skipped) if parsed.long else None
    progress("")
    if not parsed.long:
        skipped.append("2,000 recordings in a row, a recording of six hours: give --long")
    return {"command": "road", **report.of_road(raw), "skipped": skipped, "raw": raw}


def _start(found: list[Variant], stack: ExitStack, skipped: list[str]) -> dict[str, Worker]:
    """A worker for each variant; one that does not start is left out, and said so."""
    workers = {}
    for variant in found:
        progress(f"starting: {variant.name}")
        try:
            workers[variant.name] = stack.enter_context(Worker(variant.python, variant.module, variant.settings))
        except WorkerError as error:
            if variant.name == variants.OURS:
                raise
            skipped.append(f"{variant.name}: {error}")
    return workers


def _warm_up(workers: dict[str, Worker], given: Inputs, work: Path) -> dict[str, float]:
    """Embed the first recording once with each, uncounted; returns how well they agree with the first variant."""
    outputs: dict[str, Path] = {}
    for name, worker in workers.items():
        progress(f"warming up: {name}")
        outputs[name] = work / f"warm_up_{len(outputs)}.npz"
        worker.ask("road", recording=str(given.recordings[0]), output=str(outputs[name]))
    return {name: _cosine(path, outputs[variants.OURS]) for name, path in outputs.items()}


def _cosine(path: Path, other: Path) -> float:
    """The lowest cosine between two embeddings of a window; 0 where they are not of one shape."""
    import numpy as np

    with np.load(path) as a, np.load(other) as b:
        one, two = np.asarray(a["embedding"], float), np.asarray(b["embedding"], float)
    if one.shape != two.shape:
        return 0.0
    return float(((one * two).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)).min())


def _rounds(workers: dict[str, Worker], given: Inputs, work: Path, repeats: int) -> Iterator[Round]:
    """Go round the variants with one recording after another: what slows the machine down meets them all."""
    for i in range(repeats):
        for n, recording in enumerate(given.recordings):
            progress(f"the road: round {i * len(given.recordings) + n + 1} of {repeats * len(given.recordings)}")
            yield {name: _ask(worker, "road", recording, work) for name, worker in workers.items()}


def _stage_rounds(workers: dict[str, Worker], given: Inputs, work: Path, repeats: int) -> Iterator[Round]:
    """The same for the stages of ours one by one; the original times its own as it goes."""
    ours = {name: worker for name, worker in workers.items() if "backend" in worker.about}
    for i in range(repeats):
        progress(f"stages: round {i + 1} of {repeats}")
        recording = given.recordings[i % len(given.recordings)]
        yield {name: _ask(worker, "stages", recording, work) for name, worker in ours.items()}


def _ask(worker: Worker, do: str, recording: Path, work: Path) -> dict[str, Any]:
    """Have a recording embedded under a new name, as on a node, and forget the output."""
    output = work / "output.npz"
    answer = worker.ask(do, recording=str(recording), output=str(output))
    output.unlink()
    return answer


def _starts(found: list[Variant], workers: dict[str, Worker], given: Inputs, work: Path) -> list[Round]:
    """Start each variant afresh until its first output, with the floor of just that moment beside it."""
    rounds = []
    for i in range(N_STARTS):
        progress(f"start to first output: {i + 1} of {N_STARTS}")
        starting = found if i < N_STARTS_OF_OTHERS else found[:1]
        floor_ms = _ask(workers[variants.OURS], "road", given.recordings[0], work)["floor_ms"]
        round_: Round = {"floor": {"elapsed_ms": floor_ms}}
        for variant in starting:
            if variant.name in workers:
                first = startup.first_output(variant, given, work)
                round_[variant.name] = {"elapsed_ms": first.elapsed_ms, "peak_mb": first.peak_mb}
        rounds.append(round_)
    return rounds


def _log_mel(given: Inputs, repeats: int) -> list[dict[str, Any]]:
    """Ours and librosa's in turn; empty where the extractor is another."""
    if given.parameters is None:
        return []
    progress("log-mel")
    with Worker(environments.ours(), "logmel", {"parameters": given.parameters}) as worker:
        for recording in given.recordings:
            worker.ask("compare", recording=str(recording))  # librosa's first call compiles
        recordings = [given.recordings[i % len(given.recordings)] for i in range(repeats)]
        return [worker.ask("compare", recording=str(recording)) for recording in recordings]


def _long_recording(given: Inputs, work: Path, skipped: list[str]) -> dict[str, Any] | None:
    try:
        return peak_memory.of_long_recording(given, work)
    except WorkerError as error:
        skipped.append(str(error))
        return None
