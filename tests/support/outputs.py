"""Outputs of made-up numbers, and where they say they come from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sonyc_ml.outputs.output import Output, Provenance

PROVENANCE = Provenance(
    recording="street/a: \N{GREEK SMALL LETTER ALPHA}, #1.wav",
    recording_sha256="5e" * 32,
    recording_bytes=5_000_000_000,
    recording_mtime_ns=1_700_000_000_123_456_789,
    sample_rate=44100,
    n_samples=441000,
    start_time="2024-05-01T12:00:00+00:00",
    start_time_source="name",
    clock_synchronised="unknown",
    salvaged=False,
    bundle="quantized_default_int8",
    bundle_sha256="a0" * 32,
    window_size_s=1.0,
    hop_size_s=0.1,
    res_type="",
    versions="sonyc-ml 0.1; numpy 2.0",
)


def output_of(name: str, n_windows: int, start_time: str = "2026-11-21T12:00:00+01:00") -> Output:
    """An output of made-up numbers."""
    rng = np.random.default_rng(len(name))
    return Output(
        timestamps=np.linspace(-0.25, 0.5 * n_windows - 0.75, n_windows),
        embedding=rng.normal(size=(n_windows, 3)).astype(np.float32),
        scores=rng.random((n_windows, 2)).astype(np.float32),
        labels=("dog", "siren"),
        provenance=replace(PROVENANCE, recording=name, start_time=start_time),
    )
