"""Outputs of a day of a node with a long history, of the usual sizes, with numbers of no sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from sonyc_ml.node.config import load_config
from sonyc_ml.node.journal.between import find_between
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.outputs.files import output_path
from sonyc_ml.outputs.output import Output, Provenance
from sonyc_ml.sound.levels.result import QUANTITIES, SoundLevels

N_WINDOWS, N_DIMS, N_CLASSES, RECORDING_S = 91, 256, 10, 10


def write_outputs(config_path: Path, start_s: float, end_s: float) -> int:
    """Write the outputs of every recording of a span that is done; returns how many."""
    config = load_config(config_path, {})
    journal = Journal(config.state_folder, read_only=True)
    try:
        done = [one for one in find_between(journal, start_s, end_s) if one.state == "done"]
    finally:
        journal.close()
    rng = np.random.default_rng(0)
    for one in done:
        output = _output(one.identity.name, one.identity.n_bytes, one.identity.mtime_ns, rng)
        path = output_path(one.identity.name, config.output_folders[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = output.arrays()
        np.savez(path, **arrays)  # not durable: nobody needs them again
    return len(done)


def _output(name: str, n_bytes: int, mtime_ns: int, rng: np.random.Generator) -> Output:
    return Output(
        timestamps=np.arange(N_WINDOWS, dtype=np.float64) * 0.1,
        embedding=rng.normal(size=(N_WINDOWS, N_DIMS)).astype(np.float32),
        scores=rng.random((N_WINDOWS, N_CLASSES), np.float32),
        labels=tuple(f"class {number:02}" for number in range(N_CLASSES)),
        levels=_levels(rng),
        provenance=Provenance(
            recording=name,
            recording_sha256="0" * 64,
            recording_bytes=n_bytes,
            recording_mtime_ns=mtime_ns,
            sample_rate=44_100,
            n_samples=44_100 * RECORDING_S,
            start_time="",
            start_time_source="mtime",
            clock_synchronised="unknown",
            salvaged=False,
            bundle="bundle",
            bundle_sha256="0" * 64,
            window_size_s=1.0,
            hop_size_s=0.1,
            res_type="",
            versions="",
        ),
    )


def _levels(rng: np.random.Generator) -> SoundLevels:
    n_periods, band_hz = RECORDING_S, tuple(float(hz) for hz in range(100, 3200, 100))
    values = rng.normal(60, 5, (n_periods + 1, len(QUANTITIES))).astype(np.float32)
    bands = rng.normal(40, 5, (n_periods + 1, len(band_hz))).astype(np.float32)
    return SoundLevels(
        start_s=np.arange(n_periods, dtype=np.float64),
        measured_s=np.ones(n_periods, np.float32),
        values=values[1:],
        total=values[0],
        band_hz=band_hz,
        bands=bands[1:],
        band_total=bands[0],
        n_clipped=np.zeros(n_periods, np.int32),
        near_floor=np.zeros(n_periods, bool),
        made=json.dumps({"reference": "dBFS", "period_s": 1.0}),
    )
