"""Outputs of made-up nodes and days, and archives of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from sonyc_ml.outputs.archive.packing import Packed, pack
from sonyc_ml.outputs.files import read_output, write_output
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.rules import DetectionRules
from tests.support.detections import detected
from tests.support.levels import measure, tone
from tests.support.outputs import PROVENANCE

LABELS = ("dog", "siren")
DAY = datetime(2026, 11, 21, tzinfo=UTC)


def output_at(start: datetime, n_windows: int = 4, *, whole: bool = False, bundle_sha256: str = "a0" * 32) -> Output:
    """An output of a recording that begins at a time, a window per second; with detections and levels if `whole`."""
    rng = np.random.default_rng(int(start.timestamp()))
    made = replace(
        PROVENANCE,
        recording=f"{start:%Y%m%dT%H%M%SZ}.wav",
        recording_sha256=rng.bytes(32).hex(),
        recording_mtime_ns=int(start.timestamp()) * 10**9 + 7,
        start_time=start.isoformat(),
        sample_rate=8000,
        n_samples=8000 * n_windows,
        hop_size_s=1.0,
        bundle_sha256=bundle_sha256,
    )
    output = Output(
        timestamps=np.arange(float(n_windows)),
        embedding=rng.normal(size=(n_windows, 3)).astype(np.float32),
        scores=rng.random((n_windows, 2)).astype(np.float32),
        labels=LABELS,
        provenance=made,
    )
    if not whole:
        return output
    levels = measure(tone(440, 8000, float(n_windows)), 8000)
    return replace(output, detections=detected(output, DetectionRules(threshold=0.5)), levels=levels)


def written(folder: Path, outputs: Sequence[Output], suffix: str = "npz") -> list[Path]:
    """Outputs as files of a folder."""
    paths = [folder / f"{output.provenance.recording}.{suffix}" for output in outputs]
    for output, path in zip(outputs, paths, strict=True):
        write_output(output, path)
    return paths


def packed(folder: Path, root: Path, node: str, outputs: Sequence[Output]) -> Packed:
    """Outputs of a node, packed into an archive; `folder` holds their files."""
    return pack(written(folder, outputs), root, node)


def starts(n: int, first: datetime = DAY, every_s: float = 10) -> list[datetime]:
    """When recordings begin that follow one another."""
    return [first + timedelta(seconds=every_s * i) for i in range(n)]


def same(one: Output, other: Output) -> bool:
    """Whether two outputs hold the same, to the last bit."""
    first, second = one.arrays(), other.arrays()
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].dtype == second[name].dtype, name
        assert first[name].shape == second[name].shape, name
        assert first[name].tobytes() == second[name].tobytes(), name
    return all(
        getattr(one.provenance, field.name) == getattr(other.provenance, field.name) for field in fields(one.provenance)
    )


def files_in(root: Path) -> dict[str, bytes]:
    """Every file of a folder, by its name there."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def read_back(paths: Sequence[Path]) -> list[Output]:
    """The outputs in files."""
    return [read_output(path) for path in paths]
