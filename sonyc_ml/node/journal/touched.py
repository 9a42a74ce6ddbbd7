"""A recording whose time alone has changed is the one that was embedded before.

A disk with FAT shifts the times of its files by an hour when summer time begins and rounds them to two seconds; copies
and ``touch`` set them anew.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from sonyc_ml.base.identity import Identity, has_sha256
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.journal.view import THIS, key
from sonyc_ml.outputs.files import find_output, output_path, read_output, read_provenance, write_output

logger = logging.getLogger(__name__)


def is_touched(
    journal: Journal, identity: Identity, recordings: Path, bundle_folders: Sequence[Path], output_format: str
) -> bool:
    """Whether a recording was embedded under another time; if so, the journal and its outputs have the new time now.

    The file is only read where one of its name and size is done.

    Parameters
    ----------
    journal : Journal
    identity : Identity
        Of the recording, which is pending.
    recordings : Path
        The folder that it is in.
    bundle_folders : sequence of Path
        Where the outputs of each bundle lie.
    output_format : {"npz", "csv"}

    Raises
    ------
    StoreError
    """
    for entry in journal.find(identity.name):
        before = entry.identity
        if entry.state != "done" or before.n_bytes != identity.n_bytes or before == identity:
            continue
        # Where this was interrupted, some outputs have the new time already.
        outputs = [
            find_output(before, folder, output_format) or find_output(identity, folder, output_format)
            for folder in bundle_folders
        ]
        paths = [path for path in outputs if path is not None]
        if len(paths) == len(outputs) and _are_all_of(paths, recordings / identity.name, identity):
            try:
                for path, folder in zip(paths, bundle_folders, strict=True):
                    _set_time(path, identity, folder, output_format)
            except ValueError:  # an output is damaged: another is made
                continue
            _set_time_in(journal, before, identity)
            logger.info("%s has another time and the same content: it is embedded already", identity.name)
            return True
    return False


def _are_all_of(paths: Sequence[Path], recording: Path, identity: Identity) -> bool:
    provenances = [read_provenance(path) for path in paths]
    hashes = {provenance.recording_sha256 if provenance else "" for provenance in provenances}
    return len(hashes) == 1 and has_sha256(recording, identity[1:], hashes.pop())


def _set_time(path: Path, identity: Identity, folder: Path, output_format: str) -> None:
    """Write an output anew for another time of its recording, which may be a part of its name."""
    output = read_output(path)
    if output.provenance.recording_mtime_ns == identity.mtime_ns:
        return
    provenance = dataclasses.replace(output.provenance, recording_mtime_ns=identity.mtime_ns)
    name = identity.name
    if path != output_path(name, folder, output_format):
        name = f"{name}.{identity.stamp}"
    new_path = output_path(name, folder, output_format)
    write_output(dataclasses.replace(output, provenance=provenance), new_path)
    if new_path != path:
        os.unlink(path)  # noqa: PTH108


def _set_time_in(journal: Journal, before: Identity, identity: Identity) -> None:
    with journal.transaction():
        journal.connection.execute(f"DELETE FROM recordings {THIS}", key(identity))
        mtime_ns = key(identity)[1]
        journal.connection.execute(f"UPDATE recordings SET mtime_ns = ?, fate = '' {THIS}", (mtime_ns, *key(before)))
