"""Recordings into another folder, durably, and without replacing anything there."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from itertools import takewhile
from pathlib import Path

from sonyc_ml.base.durable import atomic_file, flush_folder
from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import OutputNameError, StoreError

NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)


def archive(source: Path, identity: Identity, folder: Path) -> None:
    """Put a recording durably into another folder, too, without replacing anything there.

    It keeps its name, or has its time in the name where that is another's: ``a.20261121T105322.123456789Z.wav``.
    What is there already, because an earlier move was interrupted, is not copied again.

    Raises
    ------
    OSError
        It cannot be, for now; :class:`FileExistsError` where both names are taken.
    """
    for path in targets(identity, folder):
        if not os.path.lexists(path):
            return _place(source, identity, path)
        if _is_same(source, path):
            return None
    raise FileExistsError(errno.EEXIST, "other files have its names", str(folder / identity.name))


def targets(identity: Identity, folder: Path) -> tuple[Path, Path]:
    """The two names that a moved recording may have: its own, and with its time in it."""
    target = folder / identity.name
    return target, target.with_name(f"{target.stem}.{identity.stamp}{target.suffix}")


def _place(source: Path, identity: Identity, target: Path) -> None:
    """Link a file to a second place, or copy it where that is on another disk."""
    missing = list(takewhile(lambda folder: not folder.exists(), target.parents))
    target.parent.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        flush_folder(folder.parent)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            _copy(source, identity, target)
        except (StoreError, OutputNameError) as failure:  # the journal's is another matter
            raise OSError(getattr(failure.__cause__, "errno", errno.EIO), str(failure)) from failure
    flush_folder(target.parent)


def _copy(source: Path, identity: Identity, target: Path) -> None:
    """Copy a file, with its time, and read the copy back from the disk before it has its name."""
    with atomic_file(target) as copy:
        with source.open("rb") as file:
            shutil.copyfileobj(file, copy)
        copy.flush()
        os.utime(copy.fileno(), ns=(identity.mtime_ns, identity.mtime_ns))
        os.fsync(copy.fileno())
        os.posix_fadvise(copy.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if _sha256(Path(os.fsdecode(copy.name))) != _sha256(source):
            raise OSError(errno.EIO, f"{target} was not written as {source} is")


def _is_same(source: Path, target: Path) -> bool:
    status, other = source.lstat(), target.lstat()
    if not stat.S_ISREG(other.st_mode) or status.st_size != other.st_size:
        return False
    return os.path.samestat(status, other) or _sha256(source) == _sha256(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
