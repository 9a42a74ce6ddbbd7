"""What it means for a recording that the system, or the decoder, refuses to read it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from sonyc_ml.base.identity import state_of
from sonyc_ml.errors import (
    SonycMLError,
    UnavailableRecordingError,
    UnfinishedRecordingError,
    UnreadableRecordingError,
    VanishedRecordingError,
)

READ_SIZE = 1 << 18  # bytes

GONE = (errno.ENOENT, errno.ENOTDIR)
# What opening or reading something says that is no recording and will be none; anything else may pass.
PERMANENT = (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.ENAMETOOLONG, errno.EILSEQ)

SYSTEM_ERROR = 2  # SF_ERR_SYSTEM of libsndfile's sndfile.h: read or lseek failed
# What its other errors mean to somebody who does not know its code; it has hundreds more for damage of every kind.
REASONS = {
    1: "its kind is not known to the decoder",
    3: "its header is damaged",
    4: "its sound is coded in a way that the decoder does not know",
}
DAMAGED = "its sound is damaged, or is coded in a way that the decoder does not know"


def system_failure(path: Path, error: OSError) -> SonycMLError:
    """What the system's refusal to open or read a recording means for it."""
    if error.errno in GONE:
        return VanishedRecordingError(f"{path}: {error.strerror}")
    if error.errno in PERMANENT:
        return UnreadableRecordingError(f"{path}: {error.strerror}")
    return UnavailableRecordingError(f"{path}: {error.strerror}; it cannot be read for now")


def failure(path: Path, descriptor: int, state: tuple[int, int], reason: str, code: int = 0) -> SonycMLError:
    """What libsndfile's failure to read a recording means for it.

    libsndfile says of a disk that fails that the file is damaged, most of the time, so the file is read once more.

    Parameters
    ----------
    path : Path
    descriptor : int
    state : tuple of int
        Size and time of the file when it was opened.
    reason : str
        What is wrong with it if nothing else is.
    code : int
        libsndfile's.
    """
    if code == SYSTEM_ERROR:
        return UnavailableRecordingError(f"{path}: the system could not read on; it cannot be read for now")
    try:
        position = 0
        while content := os.pread(descriptor, READ_SIZE, position):
            position += len(content)
        is_changed = state_of(os.fstat(descriptor)) != state
    except OSError as error:
        return system_failure(path, error)
    if is_changed:
        return UnfinishedRecordingError(f"{path}: it changed while it was read; something is still writing it")
    return UnreadableRecordingError(f"{path}: {reason}")


def code_of(error: Exception) -> int:
    """Number of an error of libsndfile's, 0 without one."""
    return int(getattr(error, "code", 0))


def reason_of(error: Exception) -> str:
    """What libsndfile's error means, in words of a user's."""
    return f"it cannot be decoded: {REASONS.get(code_of(error), DAMAGED)}"
