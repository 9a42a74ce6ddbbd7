"""A file is there whole, or as it was before: written beside it, flushed, renamed, and the folder flushed too."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sonyc_ml.errors import OutputNameError, StoreError

BUFFER_SIZE = 1 << 18  # bytes: most outputs are one write
TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{16}\.tmp")
NAME_ERRORS = (errno.ENAMETOOLONG, errno.EILSEQ)
TAKEN_ERRORS = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST)  # those of a name only where `_obstacle` finds why


def remove_temporaries(folder: Path) -> int:
    """Remove what a killed process was writing in a folder; what a living one writes stays. Returns how many."""
    n_removed = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY_NAME.fullmatch(entry.name) and not _is_locked(entry.path):
                with suppress(OSError):
                    os.unlink(entry.path)  # noqa: PTH108
                    n_removed += 1
    return n_removed


def _is_locked(path: str) -> bool:
    """Whether a living process writes a temporary file: it holds its lock, which ends with the process."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_atomically(path: Path, content: bytes, root: Path | None = None) -> None:
    """Put `content` at `path`, whole or not at all; see :func:`atomic_file`."""
    with atomic_file(path, root) as file:
        file.write(content)


@contextmanager
def atomic_file(path: Path, root: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file to write so that, whatever happens, there is all of it or what was there before.

    Written to a hidden file beside it, flushed to the disk, renamed, and the folder flushed too.

    Parameters
    ----------
    path : Path
    root : Path, optional
        The folder from which on the path is made of a recording's name: what lies in its way below there is the name's
        fault. Where the folder itself is none, every other name fails too, and it is the disk's.

    Raises
    ------
    StoreError
        Nothing was published, and nothing half-written is left.
    OutputNameError
        There can be no file of this name: the disk refuses it, or another recording's file or folder has it.
    """
    try:
        _make_folder(path.parent)
        # Not made from the name, which may be as long as a name can be.
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            with open(temporary, "xb", buffering=BUFFER_SIZE, opener=_create) as file:
                with suppress(OSError):  # tells those who clear up that it is in use; not every disk has locks
                    fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)  # there only if something went wrong
        flush_folder(path.parent)
    except OSError as error:
        obstacle = _obstacle(path, root) if root is not None and error.errno in TAKEN_ERRORS else ""
        kind = OutputNameError if obstacle or error.errno in NAME_ERRORS else StoreError
        raise kind(f"{path} cannot be written: {obstacle or error.strerror or error}") from error


def _obstacle(path: Path, root: Path) -> str:
    """What lies below a folder in the way of a path; empty where there is nothing, or a link to what may come back."""
    if os.path.isdir(path):  # noqa: PTH112  these say False where Path's would raise
        return "a folder for other recordings has its name"
    for folder in path.parents:
        if folder == root or not folder.is_relative_to(root):
            return ""
        if os.path.exists(folder) and not os.path.isdir(folder):  # noqa: PTH110, PTH112
            return f"{folder} is a file, not a folder"
    return ""


def _create(path: str, flags: int) -> int:
    """Open a new file that its group cannot write, whatever the umask: it could not be trusted otherwise."""
    return os.open(path, flags, 0o644)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably: a file is only as safe as the entry of its folder."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder") from error
    flush_folder(folder.parent)


def flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk: a file is only as safe as its name.

    Raises
    ------
    OSError
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
