"""The batch: how fast, what it survives, how far it goes, and whether what it writes is of use."""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.benchmarks import environments, inputs
from scripts.benchmarks.batch import batch_faults, batch_probe, batch_report, batch_scale, batch_speed
from scripts.benchmarks.figures import progress
from scripts.benchmarks.inputs import Inputs

DEFAULT = environments.ROOT / "models" / "quantized_default_int8.tflite"
ESC10 = inputs.SHARED / "esc10"


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Measure everything there is about batches.

    Raises
    ------
    MissingError
        There is no network or no recording to measure with.
    WorkerError
        A batch that nothing disturbed did not embed everything.
    """
    with tempfile.TemporaryDirectory(prefix="sonyc-ml-bench-") as folder:
        work = Path(folder)
        os.environ["XDG_STATE_HOME"] = folder  # what is remembered of bundles is forgotten with the measurement
        os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # of the probe
        given = inputs.find(parsed.model, parsed.recordings, work)
        skipped: list[str] = []
        raw: dict[str, Any] = {"duration_s": given.duration_s, "recordings": [path.name for path in given.recordings]}
        network_name = "SONYC's network" if parsed.model is None else given.network.stem
        raw |= _speed(given, network_name, work, parsed.repeats, skipped)
        raw |= _faults(given, work)
        raw["scale"] = batch_scale.measure(DEFAULT, work, long=parsed.long)
        raw["probe"] = _probe(parsed, given, work, skipped)
    progress("")
    if not parsed.long:
        skipped.append(f"{batch_scale.N_LONG:,} recordings: give --long; {batch_scale.N_QUICK:,} were taken")
    return {"command": "batch", **batch_report.of_batch(raw), "skipped": skipped, "raw": raw}


def _speed(given: Inputs, network_name: str, work: Path, repeats: int, skipped: list[str]) -> dict[str, Any]:
    if len(os.sched_getaffinity(0)) < 2:
        skipped.append("two workers on two cores: there is one core, so that the ratios mean nothing")
    made = batch_speed.folders(given, work)
    raw: dict[str, Any] = {"rounds": batch_speed.of_workers(given, made, work, repeats, skipped)}
    raw["networks"] = {"formats": network_name, "small": "default bundle"}
    for name, network, folder in (("formats", given.network, made.of_format), ("small", DEFAULT, made.small)):
        raw[name] = batch_speed.of_formats(network, folder, work, max(1, repeats // 2), raw["networks"][name])
    return raw


def _faults(given: Inputs, work: Path) -> dict[str, Any]:
    killed = {kind: asdict(batch_faults.killed(DEFAULT, work, kind)) for kind in ("npz", "parquet")}
    return {
        "killed": killed,
        "interrupted": batch_faults.interrupted(given.network, given.recordings, work),
    }


def _probe(parsed: argparse.Namespace, given: Inputs, work: Path, skipped: list[str]) -> dict[str, dict[str, Any]]:
    esc10 = parsed.esc10 or ESC10
    if not esc10.is_dir():
        skipped.append(f"the probe: there is no {esc10}; give the data set ESC-10 with --esc10 FOLDER")
        return {}
    networks = {"default": DEFAULT}
    if parsed.model is None:
        networks["sonyc"] = given.network
    else:
        skipped.append("the probe on SONYC's network, whose accuracy is known: another network was given")
    for name in networks:
        (work / name).mkdir()
    return {name: batch_probe.measure(path, esc10, work / name, name) for name, path in networks.items()}
