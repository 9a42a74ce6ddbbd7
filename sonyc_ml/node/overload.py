"""What gives when recordings come faster than they are embedded.

``oldest-first`` keeps the order, and everything is late; ``newest-first`` keeps up with the street, and what is old
waits; ``stretch-hop`` keeps the order and embeds fewer windows a second, the more the later it is. Whatever waits
longer than a bound, or beyond a number, is shed: given up, counted, and on record.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable

from sonyc_ml.node.config import OverloadConfig
from sonyc_ml.node.journal.journal import Entry, Journal

CHECK_S = 1.0  # how often the backlog is held against its bounds
N_SHED = 200  # at a time: the next recording must not wait for long


class Overload:
    """The policy of a backlog.

    Parameters
    ----------
    config : OverloadConfig
    journal : Journal
        Holds the backlog.
    clock : callable
        Returns seconds since 1970.
    """

    def __init__(self, config: OverloadConfig, journal: Journal, clock: Callable[[], float] = time.time) -> None:
        self._config, self._journal, self._clock = config, journal, clock
        self._checked_s = -CHECK_S

    @property
    def newest_first(self) -> bool:
        """Whether the recording that was found last is embedded next."""
        return self._config.policy == "newest-first"

    def lag_s(self) -> float:
        """How long the oldest of the backlog has waited (in seconds)."""
        oldest = self._journal.oldest_pending()
        return max(0.0, self._clock() - oldest[0].found_s) if oldest else 0.0

    def hop_size_s(self, own_s: float) -> float | None:
        """The hop to embed with (in seconds); None for the model's own, `own_s`."""
        if self._config.policy != "stretch-hop":
            return None
        step = bisect.bisect_right(self._config.lags_s, self.lag_s())
        wanted_s = self._config.hop_sizes_s[step - 1] if step else 0.0
        return wanted_s if wanted_s > own_s else None

    def excess(self) -> list[tuple[Entry, str, str]]:
        """What is to be shed now, a few at a time: the entry, a word or two why, and a sentence."""
        now = self._clock()
        if 0 <= now - self._checked_s < CHECK_S:
            return []
        config = self._config
        too_old = [
            (
                entry,
                "too old",
                f"it had waited for {now - entry.found_s:,.0f} s, and overload.max_age_s is {config.max_age_s:,.0f}",
            )
            for entry in self._journal.oldest_pending(N_SHED)
            if now - entry.found_s > config.max_age_s
        ]
        too_many = [
            (entry, "too many", f"{config.max_recordings:,} newer recordings waited too (overload.max_recordings)")
            for entry in self._journal.oldest_pending(N_SHED, offset_from_newest=config.max_recordings)
        ]
        found = {entry.identity: (entry, reason, detail) for entry, reason, detail in too_many + too_old}
        if len(found) < N_SHED:
            self._checked_s = now
        return list(found.values())
