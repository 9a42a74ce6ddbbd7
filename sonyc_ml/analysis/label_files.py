"""Labels as other programs read them (Audacity, Raven, BirdNET's csv, Kaleidoscope's, csv), to files or to a stream."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from sonyc_ml.analysis.labels import Asked, Span, label_output
from sonyc_ml.base.cells import to_cell
from sonyc_ml.base.durable import atomic_file, write_atomically
from sonyc_ml.base.identity import Identity
from sonyc_ml.base.names import checked_name
from sonyc_ml.errors import ConfigError, OutputNameError
from sonyc_ml.outputs.names import split_label
from sonyc_ml.outputs.output import Output, Provenance

SUFFIXES = {  # behind the recording's whole name
    "audacity": ".txt",
    "raven": ".Table.1.selections.txt",
    "birdnet": ".BirdNET.results.csv",
}
RAVEN_HEADING = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Begin File", "Label", "Score"),
)
CSV_HEADING = ("recording", "start_s", "end_s", "start_time", "label", "score_mean", "score_max")
BIRDNET_HEADING = ("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File")
KALEIDOSCOPE_HEADING = (
    *("INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION", "TOP1MATCH"),
    *("scientific_name", "common_name", "confidence"),
)
NOT_IN_A_CELL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")  # tabs and whatever ends a line anywhere
CSV_NAME = "labels.csv"
OF_ALL = {"csv": CSV_NAME, "kaleidoscope": "kaleidoscope.csv"}  # one file of all recordings
FORMATS = (*SUFFIXES, *OF_ALL)


class Sum(NamedTuple):
    """How much was labelled."""

    n_recordings: int
    n_labels: int


def write_labels(
    outputs: Iterable[Output],
    rules: Asked,
    label_format: str,
    folder: Path,
    tell: Callable[[str], None] | None = None,
) -> Sum:
    """Write labels into a folder: a file for each recording, or one of all, each whole or not at all.

    A recording in which nothing is heard has a file too, without labels: one of other rules would stay there otherwise.

    Parameters
    ----------
    outputs : iterable of Output
    rules : Rules, mapping or None
        See :func:`~sonyc_ml.analysis.labels.label_output`.
    label_format : {"audacity", "raven", "birdnet", "csv", "kaleidoscope"}
    folder : Path
    tell : callable, optional
        Called with the reason for each recording whose labels cannot have its name; without it the first ends all.

    Raises
    ------
    ConfigError
        An output has no scores, or lacks a class of the rules; two are of the same recording.
    OutputNameError
        The labels of a recording cannot have its name, and nobody is told.
    StoreError
        A file cannot be written.
    """
    if label_format in OF_ALL:
        with atomic_file(folder / OF_ALL[label_format]) as file:
            return write_csv(outputs, rules, file, label_format)
    names, counts = _Names(SUFFIXES[label_format]), []
    for output in outputs:
        spans = label_output(output, rules)
        try:
            path = folder / names.free(output.provenance)
            write_atomically(path, _content(spans, output.provenance, label_format), folder)
            counts.append(len(spans))
        except OutputNameError as error:
            if tell is None:
                raise
            tell(str(error))
    return Sum(len(counts), sum(counts))


def write_one(outputs: Iterable[Output], rules: Asked, label_format: str, stream: BinaryIO) -> Sum:
    """Write the labels of the only recording there is, or a table of all, to a stream.

    Raises
    ------
    ConfigError
        As :func:`write_labels`; or there are several recordings, and the format has a file for each.
    """
    if label_format in OF_ALL:
        return write_csv(outputs, rules, stream, label_format)
    n_labels, content = 0, b""
    for n_before, output in enumerate(outputs):
        if n_before:
            raise ConfigError(f"{label_format} has a file for each recording, and there are several; give --output DIR")
        spans = label_output(output, rules)
        n_labels, content = len(spans), _content(spans, output.provenance, label_format)
    stream.write(content)
    return Sum(1, n_labels)


def write_csv(outputs: Iterable[Output], rules: Asked, stream: BinaryIO, label_format: str = "csv") -> Sum:
    """Write one row for each label of all recordings, as they come, with the columns of ``csv`` or ``kaleidoscope``."""
    n_recordings = n_labels = 0
    rows_of = {"csv": csv_rows, "kaleidoscope": kaleidoscope_rows}[label_format]
    stream.write(csv_heading() if label_format == "csv" else _csv([KALEIDOSCOPE_HEADING]))
    for output in outputs:
        spans = label_output(output, rules)
        stream.write(rows_of(spans, output.provenance))
        n_recordings, n_labels = n_recordings + 1, n_labels + len(spans)
    return Sum(n_recordings, n_labels)


def _content(spans: list[Span], provenance: Provenance, label_format: str) -> bytes:
    if label_format == "audacity":
        return audacity_track(spans)
    return raven_table(spans, provenance) if label_format == "raven" else birdnet_table(spans, provenance)


class _Names:
    """The names of the files: no two are the same, and none leads out of the folder."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._taken: dict[str, Identity] = {}

    def free(self, provenance: Provenance) -> str:
        """The name for a recording; of one whose name was used before, with its time in it, as its output has."""
        name = checked_name(provenance.recording)
        identity = Identity(name, provenance.recording_bytes, provenance.recording_mtime_ns)
        if self._taken.get(name, identity) != identity:
            name = f"{name}.{identity.stamp}"
        if name in self._taken:
            raise ConfigError(
                f"there are two outputs of the same recording {provenance.recording}, whose labels would have the same "
                "name; give the outputs of one bundle at a time"
            )
        self._taken[name] = identity
        return f"{name}{self._suffix}"


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


def birdnet_table(spans: Iterable[Span], provenance: Provenance) -> bytes:
    """A table with the columns of BirdNET-Analyzer's csv, which birda has too; confidence is the highest score."""
    rows: list[Sequence[str]] = [BIRDNET_HEADING]
    for span in spans:
        names = map(to_cell, split_label(span.label))
        times = (_seconds(span.start_s), _seconds(span.end_s))
        rows.append([*times, *names, f"{span.score_max:.4f}", to_cell(provenance.recording)])
    return _csv(rows)


def kaleidoscope_rows(spans: Iterable[Span], provenance: Provenance) -> bytes:
    """One row per label, with columns that Kaleidoscope reads; ``INDIR`` is empty, as outputs do not know it."""
    path = PurePosixPath(provenance.recording)
    folder = "" if path.parent == PurePosixPath() else path.parent.as_posix()
    return _csv(
        [
            *("", to_cell(folder), to_cell(path.name)),
            *(_seconds(span.start_s), _seconds(span.end_s - span.start_s)),
            *(to_cell(split_label(span.label).common), *map(to_cell, split_label(span.label))),
            f"{span.score_max:.4f}",
        ]
        for span in spans
    )


def _seconds(seconds: float) -> str:
    return str(round(seconds, 6))


def csv_heading() -> bytes:
    """The first row of the csv."""
    return _csv([CSV_HEADING])


def csv_rows(spans: Iterable[Span], provenance: Provenance) -> bytes:
    """One row per label; ``start_time`` is empty where nobody knows when the recording begins.

    A name or label that a spreadsheet would take for a formula has an apostrophe before it, which
    :func:`sonyc_ml.base.cells.from_cell` takes away.
    """
    return _csv(
        [
            to_cell(provenance.recording),
            f"{span.start_s:.6f}",
            f"{span.end_s:.6f}",
            _later(provenance.start_time, span.start_s),
            to_cell(span.label),
            f"{span.score_mean:.6g}",
            f"{span.score_max:.6g}",
        ]
        for span in spans
    )


def _later(start_time: str, seconds: float) -> str:
    """A time in ISO 8601 so much later, to the millisecond, in its own zone; empty where there is no such date."""
    if not start_time:
        return ""
    start = datetime.fromisoformat(start_time)
    start = start if start.tzinfo else start.replace(tzinfo=UTC)
    try:
        return (start + timedelta(milliseconds=round(seconds * 1e3))).isoformat(timespec="milliseconds")
    except OverflowError:  # there is no date before the year 1 and after 9999
        return ""


def _tabbed(rows: Iterable[Sequence[str]]) -> bytes:
    lines = ("\t".join(NOT_IN_A_CELL.sub(" ", cell) for cell in row) for row in rows)
    return _encoded("".join(f"{line}\n" for line in lines))


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return _encoded(text.getvalue())


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # a recording's name need not be UTF-8
