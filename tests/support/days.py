"""Outputs of a day, as a node leaves them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from sonyc_ml.outputs.files import write_output
from sonyc_ml.outputs.output import Output
from tests.support.outputs import PROVENANCE

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
N_DIMS, LABELS = 6, ("bark", "rain", "siren")


def output_at(
    start: datetime, seconds: float = 10.0, *, seed: int = 0, bundle: str = "b", scores: bool = True
) -> Output:
    """An output of a recording, with a window each second."""
    rng = np.random.default_rng(seed)
    n_windows = round(seconds)
    return Output(
        timestamps=np.arange(n_windows, dtype=np.float64),
        embedding=rng.normal(size=(n_windows, N_DIMS)).astype(np.float32),
        scores=rng.random((n_windows, len(LABELS)), np.float32) if scores else None,
        labels=LABELS if scores else (),
        provenance=dataclasses.replace(
            PROVENANCE,
            recording=start.strftime("%Y%m%dT%H%M%SZ.wav"),
            start_time=start.isoformat(),
            sample_rate=8000,
            n_samples=round(seconds * 8000),
            hop_size_s=1.0,
            bundle_sha256=bundle * 64,
        ),
    )


def write_day(folder: Path, hours: Iterable[float], day: datetime = NOON, *, scores: bool = True) -> list[Output]:
    """Write outputs that begin at hours of a day."""
    midnight = day.replace(hour=0)
    outputs = [output_at(midnight + timedelta(hours=hour), seed=n, scores=scores) for n, hour in enumerate(hours)]
    for output in outputs:
        write_output(output, folder / f"{output.provenance.recording}.npz")
    return outputs
