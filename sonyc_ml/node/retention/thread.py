"""The sweeps, on a thread of their own beside the daemon's work."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Self

from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import StoreError
from sonyc_ml.node.config import RetentionConfig
from sonyc_ml.node.journal.heard import check_index
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.retention.sweep import STILL_LOW, Sweeper

logger = logging.getLogger(__name__)

COMPACT_FIRST_S, COMPACT_EVERY_S = 3600.0, 86400.0
N_MANY = 100_000  # ended rows that are compacted without waiting
STOP_S = 30.0  # how long the end waits for a disk that hangs
UNLOGGED = ("kept: its folder is empty", "kept: changed meanwhile")  # nobody need know


class RetentionThread:
    """Sweeps now and then, and keeps the journal short, beside whatever else the process does.

    Parameters
    ----------
    settings : RetentionConfig
    folder : Path
        Where the recordings lie.
    state_folder : Path
        Where the journal lies.
    prove : callable
        See :class:`sonyc_ml.node.retention.sweep.Sweeper`.
    """

    def __init__(
        self, settings: RetentionConfig, folder: Path, state_folder: Path, prove: Callable[[Identity], str]
    ) -> None:
        self._settings, self._folder, self._state_folder, self._prove = settings, folder, state_folder, prove
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._journal: Journal | None = None
        self._is_in_trouble = False
        self._kept: Counter[str] = Counter()
        self._compact_s = time.monotonic() + COMPACT_FIRST_S

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(STOP_S)
        if self.is_running:
            logger.warning("retention: it did not stop within %.0f s, perhaps because a disk hangs; left", STOP_S)

    @property
    def is_running(self) -> bool:
        """Whether the thread still runs: a disk that hangs may hold it beyond the end."""
        return self._thread.is_alive()

    def change_proof(self, prove: Callable[[Identity], str]) -> None:
        """Go by another proof from the next sweep on: the bundles have changed, whose outputs it is."""
        self._prove = prove

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._turn(self._opened())
                self._is_in_trouble = False
            except StoreError as error:
                level = logging.DEBUG if self._is_in_trouble else logging.WARNING
                logger.log(level, "retention: %s; trying again every %g s", error, self._settings.every_s)
                self._is_in_trouble = True
                self._close()
            except Exception:
                logger.exception("retention: it failed; trying again in %g s", self._settings.every_s)
                self._close()
            self._stop.wait(self._settings.every_s)
        self._close()

    def _turn(self, journal: Journal) -> None:
        sweeper = Sweeper(self._settings, self._folder, journal, self._prove, is_stopped=self._stop.is_set)
        self._log(sweeper.sweep(), sweeper.examples)
        if time.monotonic() >= self._compact_s and not self._stop.is_set():
            n_rows = sweeper.compact()
            self._compact_s = time.monotonic() + COMPACT_EVERY_S
            if n_rows:
                logger.info("retention: %d old rows of the journal were added up by the day", n_rows)

    def _opened(self) -> Journal:
        """The journal, opened anew where it was replaced; never made here: who makes it has to fill it."""
        if self._journal is not None and not self._journal.is_in_place():
            self._close()
        if self._journal is None:
            Journal(self._state_folder, read_only=True).close()  # it is there, and whole
            self._journal = Journal(self._state_folder)
            check_index(self._journal)
            counts = self._journal.counts()
            if sum(counts.values()) - counts["pending"] > N_MANY:
                self._compact_s = min(self._compact_s, time.monotonic())
        return self._journal

    def _close(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _log(self, counts: Counter[str], examples: dict[str, str]) -> None:
        """A line where anything was done; a warning where what should go is kept, and was not so before."""
        logged = Counter({word: n for word, n in counts.items() if word not in UNLOGGED})
        kept = Counter({word: n for word, n in logged.items() if word.startswith(("kept", STILL_LOW))})
        names = {word: f" (such as {examples[word]})" for word in kept if word in examples}
        line = ", ".join(f"{word}: {n:,}{names.get(word, '')}" for word, n in sorted(logged.items()))
        if kept and kept != self._kept:
            logger.warning("retention: %s; what is kept stays until that is repaired", line)
        elif logged:
            logger.info("retention: %s", line)
        self._kept = kept
