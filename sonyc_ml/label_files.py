"""Labels of many recordings, to files or to a stream."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from sonyc_ml.errors import ConfigError
from sonyc_ml.identity import Identity
from sonyc_ml.label_formats import SUFFIXES, audacity_track, csv_heading, csv_rows, raven_table
from sonyc_ml.labelling import Rules, Span, label_output
from sonyc_ml.output import Output, Provenance
from sonyc_ml.store import atomic_file, write_atomically

FORMATS = (*SUFFIXES, "csv")
CSV_NAME = "labels.csv"


class Sum(NamedTuple):
    """How much was labelled."""

    n_recordings: int
    n_labels: int


def write_labels(outputs: Iterable[Output], rules: Rules, label_format: str, folder: Path) -> Sum:
    """Write labels into a folder: a file for each recording, or one csv of all, each whole or not at all.

    A recording in which nothing is heard has a file too, without labels: one of other rules would stay there otherwise.

    Parameters
    ----------
    outputs : iterable of Output
        One is held at a time.
    rules : Rules
    label_format : {"audacity", "raven", "csv"}
    folder : Path
        Made where it is not there.

    Raises
    ------
    ConfigError
        An output has no scores, or lacks a class of the rules; two are of the same recording.
    StoreError
        A file cannot be written.
    """
    n_recordings = n_labels = 0
    if label_format == "csv":
        with atomic_file(folder / CSV_NAME) as file:
            return write_csv(outputs, rules, file)
    names = _Names(SUFFIXES[label_format])
    for output in outputs:
        spans = label_output(output, rules)
        write_atomically(folder / names.free(output.provenance), _content(spans, output.provenance, label_format))
        n_recordings, n_labels = n_recordings + 1, n_labels + len(spans)
    return Sum(n_recordings, n_labels)


def write_one(outputs: Iterable[Output], rules: Rules, label_format: str, stream: BinaryIO) -> Sum:
    """Write the labels of the only recording there is, or a csv of all, to a stream.

    Raises
    ------
    ConfigError
        As :func:`write_labels`; or there are several recordings, and the format has a file for each.
    """
    if label_format == "csv":
        return write_csv(outputs, rules, stream)
    n_labels, content = 0, b""
    for n_before, output in enumerate(outputs):
        if n_before:
            raise ConfigError(f"{label_format} has a file for each recording, and there are several; give --output DIR")
        spans = label_output(output, rules)
        n_labels, content = len(spans), _content(spans, output.provenance, label_format)
    stream.write(content)
    return Sum(1, n_labels)


def write_csv(outputs: Iterable[Output], rules: Rules, stream: BinaryIO) -> Sum:
    """Write one row for each label of all recordings, as they come."""
    n_recordings = n_labels = 0
    stream.write(csv_heading())
    for output in outputs:
        spans = label_output(output, rules)
        stream.write(csv_rows(spans, output.provenance))
        n_recordings, n_labels = n_recordings + 1, n_labels + len(spans)
    return Sum(n_recordings, n_labels)


def _content(spans: list[Span], provenance: Provenance, label_format: str) -> bytes:
    return audacity_track(spans) if label_format == "audacity" else raven_table(spans, provenance)


class _Names:
    """The names of the files: no two are the same, and none leads out of the folder."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._taken: dict[str, Identity] = {}

    def free(self, provenance: Provenance) -> str:
        """The name for a recording; of one whose name was used before, with its time in it, as its output has."""
        name = provenance.recording
        parts = PurePosixPath(name).parts
        if not parts or parts[0] == "/" or ".." in parts or "\0" in name:
            raise ConfigError(f"an output is of a recording {name!r}, whose labels would lie outside the folder")
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
