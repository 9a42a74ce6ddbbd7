"""Recordings of one name: a second card with the names of the first does not replace its outputs."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from pathlib import Path

from sonyc_ml.base.identity import Identity
from sonyc_ml.batch.destination import Destination
from sonyc_ml.batch.ledger import Origin
from sonyc_ml.batch.sources import Source
from sonyc_ml.errors import OutputNameError, SonycMLError
from sonyc_ml.sound.files import open_recording
from sonyc_ml.sound.start_time import StartTimes


def name_apart(source: Source, identity: Identity, destination: Destination, start_times: StartTimes) -> str:
    """The name under which a recording is published without replacing the output of another one.

    Parameters
    ----------
    source : Source
    identity : Identity
    destination : Destination
    start_times : StartTimes

    Returns
    -------
    str
        Its own; where that is another recording's, with its time behind it: ``a.wav.20261121T105322.123456789Z``.

    Raises
    ------
    OutputNameError
        Both names are those of others.
    OSError
    """
    for name in (source.name, f"{source.name}.{identity.stamp}"):
        before = destination.origin(name)
        if before is None or not _is_another(before, source, identity, start_times):
            return name
    raise OutputNameError(
        f"{source.path} has the name {source.name} of other recordings that were embedded; give it another --output, "
        "or give the folder above them all as --root"
    )


def where(source: Source) -> str:
    """Where a recording lies: its address, or its path from the root."""
    return source.path if source.is_remote else os.path.abspath(source.path)  # noqa: PTH100  of each of thousands


def _is_another(before: Origin, source: Source, identity: Identity, start_times: StartTimes) -> bool:
    """Whether a recording is another one than that of an output, not the same after a change, a move or a touch."""
    is_elsewhere = before.source not in ("", where(source))
    is_as_it_was = (before.n_bytes, before.mtime_ns) == identity[1:]
    if source.is_remote:  # it would have to be fetched
        return is_elsewhere and not is_as_it_was
    if is_as_it_was and not is_elsewhere:
        return False
    if before.n_bytes == identity.n_bytes and before.sha256:
        if before.sha256 == _sha256(Path(source.path)):
            return False
    elif is_as_it_was:
        return False
    return is_elsewhere or (before.start_time != "" and _begins_at_another_time(before, source, start_times))


def _begins_at_another_time(before: Origin, source: Source, start_times: StartTimes) -> bool:
    """Whether a recording begins at another time than the one before: a changed one does not, that of a card does."""
    try:
        with open_recording(source.path, salvage=True) as recording:
            start = start_times(recording, source.name)
    except SonycMLError:  # embedding it says why
        return False
    return start.time != datetime.fromisoformat(before.start_time)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
