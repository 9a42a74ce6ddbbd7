"""Live sources: how much of each is embedded, and when and why there is nothing of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from sonyc_ml.base.human import iso
from sonyc_ml.base.lock import holder
from sonyc_ml.node.facts import OK
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.journal.live import KILLED, Gap, SourceEnd, find_gaps_of, live_seconds, source_ends

Answer: TypeAlias = dict[str, Any]


def audit_sources(journal: Journal, since_s: float, until_s: float, now_s: float) -> list[Answer]:
    """Add up what is known of each live source in a span.

    Parameters
    ----------
    journal : Journal
    since_s, until_s, now_s : float
        The span, and now (in seconds since 1970).

    Returns
    -------
    list of dict
        Of each source: its ``source`` name, the ``seconds`` of its recordings by their state, the seconds that are
        ``missing`` between them, and the ``gaps``: ``start``, ``end``, ``seconds``, ``reason``, ``detail``, and whether
        it is ``open`` still. A gap where recordings overlap, as after a clock was set back, has fewer than 0 seconds.
    """
    gaps, is_running = find_gaps_of(journal, since_s, until_s), holder(journal.path.parent) is not None
    seconds, ends = live_seconds(journal, since_s, until_s), source_ends(journal)
    answers = []
    for source in sorted({*seconds, *(gap.source for gap in gaps)}):
        own = [_gap(gap) for gap in gaps if gap.source == source]
        last = _open_gap(ends.get(source), now_s, is_running=is_running)
        answers.append(
            {
                "source": source,
                "seconds": {state: round(n, 3) for state, n in sorted(seconds.get(source, {}).items())},
                "missing": round(sum(gap["seconds"] for gap in own), 3),
                "gaps": own + ([last] if last and until_s >= now_s else []),
            }
        )
    return answers


def status_of_sources(journal: Journal, expected: Iterable[str]) -> list[Answer]:
    """How each live source is, whether it should always send sound or not; nothing where no daemon listens.

    Returns
    -------
    list of dict
        ``source``; ``word``: ``ok`` while sound comes, else why not; ``since``: up to when there are recordings;
        ``text``, in words; ``expected``, whether it should send always.
    """
    wanted = tuple(expected)
    ends = source_ends(journal) if wanted else {}
    answers = []
    for name in dict.fromkeys((*wanted, *ends)):
        end, is_expected = ends.get(name), name in wanted
        if end is None:
            word, text = "waiting", "it has sent no sound yet"
        else:
            since = f"recorded up to {iso(end.until_s)}"
            word, text = (end.reason, f"{since}: {end.reason}: {end.detail}") if end.reason else (OK, since)
        until = None if end is None else iso(end.until_s)
        answers.append({"source": name, "word": word, "since": until, "text": text, "expected": is_expected})
    return answers


def _gap(gap: Gap, *, is_open: bool = False) -> Answer:
    return {
        "start": iso(gap.start_s),
        "end": iso(gap.end_s),
        "seconds": round(gap.end_s - gap.start_s, 3),
        "reason": gap.reason,
        "detail": gap.detail,
        "open": is_open,
    }


def _open_gap(end: SourceEnd | None, now_s: float, *, is_running: bool) -> Answer | None:
    """What is missing since the last recording; nothing while sound comes."""
    if end is None or (is_running and not end.reason):
        return None
    reason, detail = (end.reason, end.detail) if end.reason else KILLED
    return _gap(Gap(end.source, end.until_s, now_s, reason, detail), is_open=True)
