"""The daemon, but for attempts, which it does not count: ``python killer_control.py watch …``.

What the counting is worth is seen from what happens without it: one recording kills the process for ever.
"""

from __future__ import annotations

import dataclasses
import sys

from sonyc_ml.cli import main
from sonyc_ml.node.journal.journal import Entry, Journal

take = Journal.take


def forget_attempts(journal: Journal, *, newest_first: bool = False) -> Entry | None:
    """Begin the next recording, as if it were for the first time."""
    entry = take(journal, newest_first=newest_first)
    return entry and dataclasses.replace(entry, n_attempts=1)


Journal.take = forget_attempts  # type: ignore[method-assign]
sys.exit(main())
