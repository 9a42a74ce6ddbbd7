"""Files that the other side has are removed here, where that is asked for: by age, and by free space.

As retention does with recordings: with ``free_low = 0`` everything goes that was acknowledged `prune_after_s` ago; else
nothing goes before less than that share of the disk is free, and then the oldest, until `free_high` is free.

An output goes only after its recording: while that is in the spool, retention needs the output as its proof, and a
journal that is made again would have the recording embedded again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sonyc_ml.base.durable import flush_folder
from sonyc_ml.base.identity import state_of
from sonyc_ml.node.retention.sweep import free_share
from sonyc_ml.node.upload.config import UploadConfig
from sonyc_ml.node.upload.finding import OUTPUT, Place
from sonyc_ml.node.upload.ledger import Ledger
from sonyc_ml.node.upload.ledger_file import FoundFile

logger = logging.getLogger(__name__)

N_PAGE = 500


class Pruner:
    """Removes what is acknowledged; for one thread.

    Parameters
    ----------
    settings : UploadConfig
    places : sequence of Place
    spool : Path or None
        Where recordings lie; None where they never were on a disk.
    is_stopped : callable
    clock : callable
        Returns seconds since 1970.
    free_space : callable
        Returns the share of a folder's disk that is free.
    """

    def __init__(
        self,
        settings: UploadConfig,
        places: Sequence[Place],
        spool: Path | None,
        is_stopped: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
        free_space: Callable[[Path], float] = free_share,
    ) -> None:
        self._settings, self._spool = settings, spool
        self._folders = {place.kind: place.folder for place in places}
        self._is_stopped, self._clock, self._free_space = is_stopped, clock, free_space
        self._is_in_trouble = False

    def prune(self, ledger: Ledger) -> int:
        """Remove what may go; returns how many files.

        Raises
        ------
        StoreError
            The ledger cannot be used.
        """
        settings, n_pruned = self._settings, 0
        if settings.prune != "delete" or not self._is_below(settings.free_low):
            return 0
        if self._spool is not None and not self._spool.is_dir():
            self._complain(f"outputs are kept: {self._spool} cannot be looked into, where their recordings may be")
            return 0
        after: tuple[float, bytes] = (-1e18, b"")
        while not self._is_stopped():
            page = ledger.prunable(self._clock() - settings.prune_after_s, after, N_PAGE)
            if not page:
                break
            gone = [file for file in page if self._remove(file)]
            ledger.prune(gone)
            n_pruned += len(gone)
            after = page[-1].start_s, os.fsencode(page[-1].name)
            if not self._is_below(settings.free_high):
                break
        if n_pruned:
            logger.info("pruned %d files that %s has", n_pruned, settings.to or "the other side")
        return n_pruned

    def _is_below(self, share: float) -> bool:
        if self._settings.free_low == 0:
            return True
        try:
            return any(self._free_space(folder) < share for folder in self._folders.values() if folder.is_dir())
        except OSError:  # nothing goes on a guess
            return False

    def _remove(self, file: FoundFile) -> bool:
        """Whether a file is gone afterwards: removed now, or before."""
        path = self._folders[file.kind] / file.name
        try:
            if state_of(path.lstat()) != (file.n_bytes, file.mtime_ns):
                return True  # what is there is another file, with a row of its own
            if file.kind == OUTPUT and self._has_recording(path):
                return False
            path.unlink()
            flush_folder(path.parent)
        except FileNotFoundError:
            return path.parent.is_dir()  # else its disk is away
        except OSError as error:
            self._complain(f"{path} is kept: {error.strerror}")
            return False
        return True

    def _complain(self, text: str) -> None:
        """Once: it would be said of every output again."""
        logger.log(logging.DEBUG if self._is_in_trouble else logging.WARNING, "%s", text)
        self._is_in_trouble = True

    def _has_recording(self, path: Path) -> bool:
        """Whether the recording of an output is in the spool, or nobody can tell."""
        if self._spool is None:
            return False
        from sonyc_ml.outputs.files import read_provenance  # noqa: PLC0415  imports numpy

        provenance = read_provenance(path)
        if provenance is None:
            return True
        try:
            return state_of((self._spool / provenance.recording).lstat()) == (
                provenance.recording_bytes,
                provenance.recording_mtime_ns,
            )
        except FileNotFoundError:
            return False
        except OSError:
            return True
