"""How fast and how often: a limit of bytes per second, and pauses that grow while a store fails."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 900.0
BURST_S = 0.5  # of the rate that may be sent at once


class Stopped(Exception):  # noqa: N818  no error: somebody asked for it
    """The process is to end; what was being sent is sent again later."""


class RateLimit:
    """Makes who sends wait, so that no more than so many bytes per second leave.

    Parameters
    ----------
    bytes_per_s : float
        Infinite for no limit.
    wait : callable
        Waits for some seconds; True where it is to stop.
    timer : callable
        Returns seconds that only grow: a clock that is set changes nothing.
    """

    def __init__(
        self, bytes_per_s: float, wait: Callable[[float], bool], timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._bytes_per_s, self._wait, self._timer = bytes_per_s, wait, timer
        self._free_s = timer()

    @property
    def block_size(self) -> int:
        """How many bytes are sent at once (between 1 and 256 KiB)."""
        return int(min(1 << 18, max(1 << 10, self._bytes_per_s * BURST_S)))

    def spend(self, n_bytes: int) -> None:
        """Wait until so many bytes may leave.

        Raises
        ------
        Stopped
        """
        now = self._timer()
        self._free_s = max(self._free_s, now - BURST_S) + n_bytes / self._bytes_per_s
        if self._wait(max(0.0, self._free_s - now)):
            raise Stopped


class Pauses:
    """Pauses after failures: each may be twice as long as the one before, and a random part of that is taken.

    So a hundred nodes whose store was away do not all come back in the same second.
    """

    def __init__(self, chance: Callable[[float, float], float] = random.uniform) -> None:
        self._chance, self._n = chance, 0

    def next_s(self) -> float:
        """How long to wait after one more failure (in seconds)."""
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._n)
        self._n = min(self._n + 1, 16)
        return self._chance(longest / 2, longest)

    def reset(self) -> None:
        """Something went well."""
        self._n = 0
