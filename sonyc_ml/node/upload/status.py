"""How uploading is, for ``status`` and the metrics: from the small file that the process writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from sonyc_ml.base.human import count, iso, size, span
from sonyc_ml.node.telemetry.exposition import Family
from sonyc_ml.node.upload.facts import FAILING, STOPPED, WAITING, UploadFacts, read_facts

Answer: TypeAlias = dict[str, Any]

MAX_WAITING_S = 86400.0  # what could have been sent a day ago wants attention
START = "start it: systemctl start sonyc-ml-upload, or sonyc-ml upload --config FILE"


def upload_status(folder: Path, now_s: float) -> Answer:
    """How uploading is.

    Parameters
    ----------
    folder : Path
        Where the process keeps its state.
    now_s : float
        In seconds since 1970.

    Returns
    -------
    dict
        Times in ISO 8601, durations in seconds, sizes in bytes; ``attention`` lists in sentences what is not well.
    """
    facts = read_facts(folder) or UploadFacts(word=STOPPED)
    answer: Answer = {
        "word": facts.word,
        "detail": facts.detail,
        "to": facts.to or None,
        "waiting": facts.waiting,
        "waiting_bytes": facts.waiting_bytes,
        "oldest_waiting_s": waiting_s(facts, now_s),
        "last_success": None if facts.last_success_s is None else iso(facts.last_success_s),
        "lost": facts.lost,
    }
    return {**answer, "text": _text(facts, now_s), "attention": _attention(facts, now_s)}


def waiting_s(facts: UploadFacts, now_s: float) -> float:
    """How long the oldest has waited that could have been sent; 0 where there is none."""
    return 0.0 if facts.oldest_s is None else max(0.0, now_s - facts.oldest_s)


def _text(facts: UploadFacts, now_s: float) -> str:
    last = "nothing yet"
    if facts.last_success_s is not None:
        last = f"the last {span(max(0.0, now_s - facts.last_success_s))} ago"
    to = f"to {facts.to}, {last}" if facts.to else "has not run yet"
    waiting = f"{count(facts.waiting, 'file')} ({size(facts.waiting_bytes)}) not acknowledged"
    word = {WAITING: f", waiting {facts.detail}", FAILING: f", failing: {facts.detail}", STOPPED: ", not running"}
    return f"{to}, {waiting}{word.get(facts.word, '')}"


def _attention(facts: UploadFacts, now_s: float) -> list[str]:
    words = []
    if facts.word == STOPPED:
        words.append(f"sonyc-ml upload does not run; {START}")
    elif facts.word == FAILING:
        words.append(f"uploading fails: {facts.detail}")
    if waiting_s(facts, now_s) > MAX_WAITING_S:
        words.append(f"the oldest of what is to be uploaded has waited for {span(waiting_s(facts, now_s))}")
    if facts.lost:
        words.append(f"{count(facts.lost, 'file')} were removed or replaced before they were uploaded")
    return words


def upload_families(folder: Path, now_s: float) -> list[Family]:
    """The metrics of uploading; none where the process has never run."""
    facts = read_facts(folder)
    if facts is None:
        return []
    values: tuple[tuple[str, str, float | None], ...] = (
        ("up", "1 while a process uploads.", int(facts.word != STOPPED)),
        ("failing", "1 while the store takes nothing.", int(facts.word == FAILING)),
        ("waiting", "Outputs and other files that the store has not acknowledged.", facts.waiting),
        ("waiting_bytes", "Their size.", facts.waiting_bytes),
        ("oldest_waiting_seconds", "How long the oldest waits that could be sent.", waiting_s(facts, now_s)),
        ("last_success_timestamp_seconds", "When an object was acknowledged last.", facts.last_success_s),
        ("lost", "Files that were removed or replaced before they were sent.", facts.lost),
    )
    return [
        Family(f"sonyc_ml_upload_{name}", "gauge", text, [({}, value)])
        for name, text, value in values
        if value is not None
    ]
