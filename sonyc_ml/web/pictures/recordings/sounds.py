"""The sound of a recording, where it is still kept: opened by the journal's word, and by no path from a request."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sonyc_ml.base.identity import Identity, state_of
from sonyc_ml.base.names import checked_name
from sonyc_ml.node.config import Config
from sonyc_ml.node.retention.move import targets

FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not hold anybody up


def open_sound(config: Config, identity: Identity) -> int | None:
    """Open the file of a recording that the journal knows.

    Parameters
    ----------
    config : Config
        The daemon's, which says where recordings appear and where they are moved to.
    identity : Identity
        As the journal has it.

    Returns
    -------
    int or None
        A file descriptor, to be closed by the caller. None where the file is not there any more, is another recording
        by now, is no plain file, may not be read, or lies behind a symbolic link.

    Raises
    ------
    OutputNameError
        The name leads elsewhere.
    """
    checked_name(identity.name)
    for folder, name in _places(config, identity):
        descriptor = _open_below(folder, name)
        if descriptor is None:
            continue
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and state_of(status) == (identity.n_bytes, identity.mtime_ns):
            return descriptor
        os.close(descriptor)
    return None


@contextmanager
def sound_of(config: Config, identity: Identity) -> Iterator[Path | None]:
    """The file of a recording as a path, for as long as it is read; None where :func:`open_sound` has none."""
    descriptor = open_sound(config, identity)
    try:
        yield None if descriptor is None else Path(f"/proc/self/fd/{descriptor}")
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _places(config: Config, identity: Identity) -> Iterator[tuple[Path, str]]:
    """Folders where the file may be, and its name in each."""
    yield config.spool.folder, identity.name
    if config.retention.folder is not None:
        for target in targets(identity, config.retention.folder):
            yield config.retention.folder, target.relative_to(config.retention.folder).as_posix()


def _open_below(folder: Path, name: str) -> int | None:
    """Open a file below a folder, step by step, and follow no link on the way; None where that cannot be."""
    *folders, last = name.split("/")
    with suppress(OSError):
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in folders:
                below = os.open(part, FOLDER_FLAGS, dir_fd=place)
                os.close(place)
                place = below
            return os.open(last, FILE_FLAGS, dir_fd=place)
        finally:
            os.close(place)
    return None
