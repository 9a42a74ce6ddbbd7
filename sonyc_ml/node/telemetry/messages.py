"""What is said over MQTT, as values of JSON: of a recording, a period, a window, and of the node itself."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from sonyc_ml.base.human import date_of
from sonyc_ml.node.events import OutputPublished, PeriodMeasured, WindowHeard, periods_of
from sonyc_ml.node.facts import Facts
from sonyc_ml.node.journal.event_log import MISSED, LoggedEvent
from sonyc_ml.sound.node import read_record

Values: TypeAlias = dict[str, Any]

MAX_DETAIL = 1000  # characters: an extractor's complaint may be of any length
RECORDING, LEVELS, WINDOW, ENDED, LOST, STATE = "recording", "levels", "window", "ended", "lost", "state"
ENDS = frozenset({"quarantined", "shed"})
SAYING = frozenset({"published", MISSED, *ENDS})  # events of the journal that messages are made of
GONE = "its output is not on the node any more, so its scores are not known"
SURROGATES = re.compile("[\ud800-\udfff]")


class Message(NamedTuple):
    """What is published.

    Attributes
    ----------
    kind : str
        The last level of its topic.
    payload : bytes
        JSON.
    number : int
        Of the event in the journal that it is about; 0 where there is none.
    """

    kind: str
    payload: bytes
    number: int = 0


def said_of_outputs(outputs: Iterable[OutputPublished]) -> Iterator[tuple[str, Values]]:
    """Kind and values of each message about the outputs of a recording, always in the same order."""
    for output in outputs:
        yield RECORDING, _of_output(output)
        for period in periods_of(output):
            yield LEVELS, _of_period(period)


def said_of_row(row: LoggedEvent, duration_s: float | None) -> tuple[str, Values]:
    """Kind and values of the message about an event of the journal: an end, a loss, or an output that has gone."""
    if row.kind == MISSED:
        return LOST, {"n_events": None if row.value is None else int(row.value)}
    if row.kind in ENDS:
        cut = row.detail[:MAX_DETAIL] + ("…" if len(row.detail) > MAX_DETAIL else "")
        ended = {"recording": row.name, "state": row.kind, "reason": row.reason, "detail": cut}
        return ENDED, {**ended, "duration_s": duration_s}
    start = None if row.start_s is None else date_of(row.start_s).isoformat()
    return RECORDING, {"recording": row.name, "start_time": start, "duration_s": duration_s, "note": GONE}


def said_of_window(event: WindowHeard) -> Values:
    """What is published of a window of live sound."""
    return {
        "source": event.source,
        "bundle": event.bundle,
        "start_time": event.start_time,
        "window_s": event.window_s,
        "scores": {label: _rounded(score) for label, score in event.scores.items()},
    }


def _of_period(event: PeriodMeasured) -> Values:
    return {"recording": event.recording, "start_time": event.start_time or None, **event.fields}


def _of_output(event: OutputPublished) -> Values:
    said: Values = {
        "recording": event.recording,
        "bundle": event.bundle,
        "start_time": event.start_time,
        "duration_s": event.duration_s,
        "hop_size_s": event.hop_size_s,
        "n_windows": event.n_windows,
        "scores": {label: _rounded(score) for label, score in event.scores.items()},
        "highest": [
            {"label": one.label, "class": one.class_number, "start_s": one.start_s, "score": _rounded(one.score)}
            for one in event.highest
        ],
    }
    if event.detections is not None:
        said["n_detections"] = event.n_detections
        said["detections"] = [
            {"label": one.label, "start_s": one.start_s, "end_s": one.end_s, "score": _rounded(one.score_max)}
            for one in event.detections
        ]
    return said


def _rounded(score: float) -> float | None:
    return round(score, 4) if math.isfinite(score) else None


def state_fields(facts: Facts) -> Values:
    """What is published of the state as soon as it changes; nothing where the facts are those of another process."""
    daemon = facts.daemon
    if daemon is None or not facts.is_of(os.getpid()):
        return {}
    return {
        "since": daemon.since,
        "version": daemon.version,
        "place": {key: value for key, value in read_record(daemon.node).items() if key != "name"},
        "folder": facts.folder_word or None,
        "quiet": facts.is_quiet,
        "silent": facts.is_silent,
        "trouble": facts.trouble.detail if facts.trouble else None,
        "bundles": [{"name": one.name, "version": one.version, "sha256": one.sha256} for one in daemon.bundles],
    }


def encoded(values: Values) -> bytes:
    r"""JSON in UTF-8; the bytes of a name that is not UTF-8 are spelt out, as in ``caf\udce9.wav``."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    # As the journal spells them. A lone surrogate in an escape of JSON's own is refused by many who read JSON.
    return SURROGATES.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text).encode()
