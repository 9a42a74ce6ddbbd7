"""One process for one folder's state: who it is, and that there is no other."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from sonyc_ml.errors import ConfigError, StoreError

STATE_FOLDER = ".sonyc-ml"  # beside the outputs: where journal, ledger and locks lie unless another is named
DAEMON, BATCH, SEPARATION, UPLOAD, PULL = "daemon", "batch", "separation", "upload", "pull"
FILE_NAME = f"{DAEMON}.lock"
DOES = {
    DAEMON: "keeps the journal",
    BATCH: "embeds into the folder whose state is",
    UPLOAD: "uploads what is on record",
    SEPARATION: "writes tracks into the folder whose state is",
    PULL: "pulls bundles for the node whose state is",
}
PATIENCE_S = 0.5  # who asks whether it is held holds it for a moment
PID_BYTES, NOTE_BYTES = 32, 992  # of the file: who holds it, and a note; there from the start, for a disk may fill up


class Lock:
    """Held by a process for as long as it lives, however it ends.

    Parameters
    ----------
    folder : Path
        Where the journal or the ledger lies.
    kind : {"daemon", "batch", "separation", "upload", "pull"}
        Of process: there may be one of each.

    Raises
    ------
    ConfigError
        Another process of this kind holds it.
    StoreError
        The folder cannot be written to.
    """

    def __init__(self, folder: Path, kind: str = DAEMON) -> None:
        path = folder / f"{kind}.lock"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"{path} cannot be made: {error.strerror}") from error
        try:
            is_ours = self._acquire()
            if is_ours:
                os.pwrite(self._descriptor, f"{os.getpid()}\n".encode().ljust(PID_BYTES + NOTE_BYTES), 0)
        except OSError as error:
            self.release()
            raise StoreError(f"{path} cannot be locked: {error.strerror}") from error
        if not is_ours:
            self.release()
            raise ConfigError(
                f"process {holder(folder, kind) or '(unknown)'} already {DOES[kind]} in {folder}; "
                "stop it, or give another --output"
            )

    def _acquire(self) -> bool:
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end_s:
                    return False
                time.sleep(0.02)
            else:
                return True

    def note(self, text: str) -> None:
        """Leave a text for whoever asks, until another one is left; on a full disk too, for it grows no file."""
        with suppress(OSError):
            os.pwrite(self._descriptor, _cut(text, NOTE_BYTES).ljust(NOTE_BYTES), PID_BYTES)

    def release(self) -> None:
        """Let the next one have it."""
        with suppress(OSError):  # it is given up whatever the disk says
            os.close(self._descriptor)


def holder(folder: Path, kind: str = DAEMON) -> int | None:
    """Process id of the one that runs; None where none does."""
    text = _held(folder, kind)[:PID_BYTES].strip()
    return int(text) if text.isdigit() else None


def noted(folder: Path, kind: str = DAEMON) -> str:
    """What the process that runs has noted; empty where it has not, or none runs."""
    return _held(folder, kind)[PID_BYTES:].decode(errors="replace").strip()


def _held(folder: Path, kind: str) -> bytes:
    """What stands in the file while somebody holds it; empty where nobody does."""
    try:
        descriptor = os.open(folder / f"{kind}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, PID_BYTES + NOTE_BYTES, 0)
    except OSError:
        return b""  # the disk fails: nobody can tell
    finally:
        os.close(descriptor)
    return b""


def _cut(text: str, n_bytes: int) -> bytes:
    """A text in UTF-8 that is not longer, and ends with a whole character."""
    return text.encode(errors="backslashreplace")[:n_bytes].decode(errors="ignore").encode()
