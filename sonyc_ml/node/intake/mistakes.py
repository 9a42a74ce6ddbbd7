"""Mistakes of ours that may come again at every turn: the log keeps its bounds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

EVERY_S = 600.0


class Mistakes:
    """Logs what is raised, with its traceback once in :data:`EVERY_S`, and how often it was raised meanwhile.

    Parameters
    ----------
    timer : callable
        Returns seconds.
    """

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer, self._silent_until_s, self._n_unsaid = timer, float("-inf"), 0

    def log(self, sentence: str, error: Exception) -> None:
        """Log what was raised, and a sentence that says what becomes of it."""
        if self._timer() < self._silent_until_s:
            self._n_unsaid += 1
            return
        more = f" ({self._n_unsaid:,} more since the last that was logged)" if self._n_unsaid else ""
        logger.error("%s%s", sentence, more, exc_info=error)
        self._silent_until_s, self._n_unsaid = self._timer() + EVERY_S, 0
