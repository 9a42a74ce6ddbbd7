"""A batch that is run, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sonyc_ml.batch.events import BatchEvent, RecordingEmbedded, RecordingFailed, RecordingKept
from sonyc_ml.batch.run import Batch, embed_recordings


def run(batch: Batch) -> list[BatchEvent]:
    """Everything that happens in a batch."""
    return list(embed_recordings(batch))


def named(events: list[BatchEvent], kind: type[RecordingEmbedded | RecordingKept | RecordingFailed]) -> list[str]:
    """The recordings to which something of a kind happened."""
    return sorted(event.recording for event in events if isinstance(event, kind))


def outputs(folder: Path) -> dict[str, bytes]:
    """Every output by its path; npz as their arrays, for an archive holds the time it was made."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                found |= {f"{name}/{key}": arrays[key].tobytes() for key in arrays.files}
        elif path.is_file() and not name.startswith(".sonyc-ml"):
            found[name] = path.read_bytes()
    return found


def forget(batch: Batch) -> None:
    """Remove the ledger."""
    for path in (batch.folder / ".sonyc-ml").glob("batch-*"):
        path.unlink()
