"""A journal that is new takes up the outputs that are there already."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import OutputNameError
from sonyc_ml.node.journal.heard import best_heard
from sonyc_ml.node.journal.journal import Entry, Journal, OutputSummary
from sonyc_ml.node.journal.pauses import pauses_of
from sonyc_ml.outputs.detections import Detection
from sonyc_ml.outputs.files import find_output, read_heard, read_provenance
from sonyc_ml.outputs.output import Provenance

if TYPE_CHECKING:
    from sonyc_ml.sound.levels.result import SoundLevels

logger = logging.getLogger(__name__)

N_ADOPTED = 1000  # outputs a transaction


def adopt_outputs(
    journal: Journal,
    folder: Path,
    bundle_folders: Sequence[Path],
    output_format: str,
    visit: Callable[[Path], None] = lambda _folder: None,
) -> int:
    """Take up every recording whose outputs are all there, as done.

    Parameters
    ----------
    journal : Journal
    folder : Path
        Of all outputs.
    bundle_folders : sequence of Path
        Where the outputs of each bundle lie, in the folder.
    output_format : {"npz", "csv"}
    visit : callable
        Called with each folder before its outputs are read.

    Returns
    -------
    int
        How many recordings the journal did not know.

    Raises
    ------
    StoreError
    """
    found = _find(folder, bundle_folders, output_format, visit)
    n_adopted = 0
    while some := list(islice(found, N_ADOPTED)):
        n_adopted += journal.adopt(some)
    if n_adopted:
        logger.info("a new journal: %d outputs were found", n_adopted)
    return n_adopted


def _find(
    folder: Path, bundle_folders: Sequence[Path], output_format: str, visit: Callable[[Path], None]
) -> Iterator[tuple[Identity, OutputSummary]]:
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visit(Path(path))
        if not Path(path).is_relative_to(bundle_folders[0]):
            continue
        for name in names:
            provenance = read_provenance(Path(path, name)) if name.endswith((".npz", ".csv")) else None
            if provenance is None:
                continue
            identity = _identity(provenance)
            outputs = _outputs_of(identity, bundle_folders, output_format)
            if outputs:
                yield identity, summary_of(provenance, map(read_heard, outputs))


def _outputs_of(identity: Identity, bundle_folders: Sequence[Path], output_format: str) -> list[Path]:
    """Every bundle's output of a recording; none where one is not there."""
    try:
        paths = [find_output(identity, folder, output_format) for folder in bundle_folders]
    except OutputNameError as error:  # a file that came from elsewhere
        logger.warning("an output is left out: %s", error)
        return []
    there = [path for path in paths if path is not None]
    return there if len(there) == len(paths) else []


def find_summary(identity: Identity, bundle_folders: Sequence[Path], output_format: str) -> OutputSummary | None:
    """What the journal keeps of the outputs of a recording; None where a bundle's is not there."""
    outputs = _outputs_of(identity, bundle_folders, output_format)
    provenance = read_provenance(outputs[0]) if outputs else None
    return None if provenance is None else summary_of(provenance, map(read_heard, outputs))


def summary_of(
    provenance: Provenance, found: Iterable[Sequence[Detection] | None] = (), levels: SoundLevels | None = None
) -> OutputSummary:
    """What the journal keeps of an output: where that comes from, the detections of every bundle, how loud it was."""
    return OutputSummary(
        start_s=datetime.fromisoformat(provenance.start_time).timestamp() if provenance.start_time else None,
        duration_s=provenance.duration_s,
        hop_size_s=provenance.hop_size_s,
        salvaged=provenance.salvaged,
        heard=best_heard(found),
        pauses=pauses_of(provenance),
        levels=levels.totals() if levels else {},
        reference=levels.reference if levels else "",
    )


def of_stream(summary: OutputSummary, entry: Entry) -> OutputSummary:
    """How long a recording of a stream is to where the next begins: its windows may run on into that."""
    duration_s = summary.duration_s if entry.duration_s is None else entry.duration_s
    return dataclasses.replace(summary, start_s=entry.start_s, duration_s=duration_s)


def _identity(provenance: Provenance) -> Identity:
    return Identity(provenance.recording, provenance.recording_bytes, provenance.recording_mtime_ns)
