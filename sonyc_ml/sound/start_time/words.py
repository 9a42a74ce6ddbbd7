"""How many recordings begin as who says, in words."""

from __future__ import annotations

from collections.abc import Mapping

SOURCES = {
    "name": "by name",
    "audiomoth": "by metadata",
    "guano": "by metadata",
    "bext": "by metadata",
    "mtime": "by the file's time",
}


def in_words(sources: Mapping[str, int], doubts: Mapping[str, int], setting: str) -> str:
    """What is to be said of the start times of some recordings; empty where all is well.

    Parameters
    ----------
    sources, doubts : mapping of str to int
        How many have each source and each doubt of a :class:`~sonyc_ml.sound.start_time.StartTime`.
    setting : str
        What says how names hold the time, as in ``--start-pattern``.
    """
    by_word: dict[str, int] = {}
    for source, word in SOURCES.items():
        if n := sources.get(source, 0):
            by_word[word] = by_word.get(word, 0) + n
    parts = []
    if sources.get("mtime"):
        parts.append(f"start times: {', '.join(f'{n:,} {word}' for word, n in by_word.items())}; see {setting}")
    if doubted := [f"{n:,} {doubt}" for doubt, n in sorted(doubts.items()) if doubt and n]:
        parts.append(f"start times in doubt: {', '.join(doubted)} (see start_time_doubt in the outputs)")
    return "; ".join(parts)
