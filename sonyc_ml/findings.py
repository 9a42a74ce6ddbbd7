"""What a check of this machine has found, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, BAD, SKIPPED = VERDICTS = ("ok", "warn", "bad", "skipped")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found.

    Attributes
    ----------
    check : str
        Its name.
    verdict : {"ok", "warn", "bad", "skipped"}
        Whether the daemon runs well with it, runs worse, or does not do its work; or there is nothing to check here.
    text : str
        What was found.
    remedy : str
        How to mend it, in a sentence; empty where there is nothing to mend.
    """

    check: str
    verdict: str
    text: str
    remedy: str = ""
