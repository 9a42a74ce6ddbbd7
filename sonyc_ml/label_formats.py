"""Labels as other programs read them: Audacity's tracks, Raven's selection tables, one csv."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from sonyc_ml.labelling import Span
from sonyc_ml.output import Provenance

SUFFIXES = {"audacity": ".txt", "raven": ".Table.1.selections.txt"}  # behind the recording's whole name
RAVEN_HEADING = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Begin File", "Label", "Score"),
)
CSV_HEADING = ("recording", "start_s", "end_s", "start_time", "label", "score_mean", "score_max")
NOT_IN_A_CELL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")  # tabs and whatever ends a line anywhere


def audacity_track(spans: Iterable[Span]) -> bytes:
    """A label track for Audacity: one line a label, without a heading."""
    return _tabbed([f"{span.start_s:.6f}", f"{span.end_s:.6f}", span.label] for span in spans)


def raven_table(spans: Iterable[Span], provenance: Provenance) -> bytes:
    """A selection table for Raven; the selections are as high as the recording, as scores say nothing of pitch."""
    name, high_hz = PurePosixPath(provenance.recording).name, f"{provenance.sample_rate / 2:.1f}"
    rows: list[Sequence[str]] = [RAVEN_HEADING]
    for number, span in enumerate(spans, 1):
        times = (f"{span.start_s:.6f}", f"{span.end_s:.6f}")
        rows.append(
            [str(number), "Spectrogram 1", "1", *times, "0.0", high_hz, name, span.label, f"{span.score_max:.4f}"]
        )
    return _tabbed(rows)


def csv_heading() -> bytes:
    """The first row of the csv."""
    return _csv([CSV_HEADING])


def csv_rows(spans: Iterable[Span], provenance: Provenance) -> bytes:
    """One row a label; ``start_time`` is empty where nobody knows when the recording begins."""
    return _csv(
        [
            provenance.recording,
            f"{span.start_s:.6f}",
            f"{span.end_s:.6f}",
            _later(provenance.start_time, span.start_s),
            span.label,
            f"{span.score_mean:.6g}",
            f"{span.score_max:.6g}",
        ]
        for span in spans
    )


def _later(start_time: str, seconds: float) -> str:
    """A time in ISO 8601 so much later, to the millisecond, in its own zone."""
    if not start_time:
        return ""
    start = datetime.fromisoformat(start_time)
    start = start if start.tzinfo else start.replace(tzinfo=UTC)
    return (start + timedelta(milliseconds=round(seconds * 1e3))).isoformat(timespec="milliseconds")


def _tabbed(rows: Iterable[Sequence[str]]) -> bytes:
    lines = ("\t".join(NOT_IN_A_CELL.sub(" ", cell) for cell in row) for row in rows)
    return _encoded("".join(f"{line}\n" for line in lines))


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return _encoded(text.getvalue())


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # a recording's name need not be UTF-8
