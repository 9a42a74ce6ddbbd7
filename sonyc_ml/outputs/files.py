"""Outputs as files: how they get onto the disk, whole or not at all, and whose they are."""

from __future__ import annotations

import csv
import errno
import io
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, BinaryIO, cast
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.cells import from_cell, from_comment, to_cell, to_comment
from sonyc_ml.base.durable import atomic_file
from sonyc_ml.base.identity import Identity
from sonyc_ml.base.names import checked_name
from sonyc_ml.base.strict import open_npz
from sonyc_ml.outputs.detection_arrays import HEADING, from_arrays, from_lines, to_lines
from sonyc_ml.outputs.detections import Detection
from sonyc_ml.outputs.kinds import KINDS, split_headings
from sonyc_ml.outputs.levels import levels_in_arrays, levels_in_lines, lines_of
from sonyc_ml.outputs.output import Output, Provenance, provenance_of
from sonyc_ml.outputs.rows import CHUNK_BYTES, chunks

FORMATS = ("npz", "csv")
SYNC_BYTES = 8 << 20


def output_path(recording: str, output_dir: Path, output_format: str = "npz") -> Path:
    """Where the output of a recording belongs: ``DIR/sub/a.wav`` becomes ``OUTPUT_DIR/sub/a.wav.npz``.

    The recording's own suffix stays, so that ``a.wav`` and ``a.flac`` do not overwrite each other.

    Raises
    ------
    OutputNameError
        The output would lie outside the folder; see :func:`sonyc_ml.base.names.checked_name`.
    """
    return output_dir / f"{checked_name(recording)}.{output_format}"


def write_output(output: Output, path: Path, progress: Callable[[], None] | None = None) -> None:
    """Write an output, in the format its suffix names.

    Parameters
    ----------
    output : Output
    path : Path
    progress : callable, optional
        Called as the work goes on. What it raises ends the work; nothing is published then.

    Raises
    ------
    StoreError
        Nothing was published, and nothing half-written is left.
    OutputNameError
        There can be no file of this name.
    ValueError
        The suffix names no format.
    """
    if path.suffix not in {f".{name}" for name in FORMATS}:
        raise ValueError(f"an output is written as {' or '.join(FORMATS)}, not as {path.name!r}")
    with atomic_file(path, root_of(path, output)) as file:
        if path.suffix == ".csv":
            _write_csv(_Sequential(file, progress), output)
        else:
            _write_npz(_Sequential(file, progress), output.arrays())


def root_of(path: Path, output: Output) -> Path:
    """The folder from which on the path of an output is made of its recording's name."""
    above = path.parents
    return above[min(output.provenance.recording.count("/"), len(above) - 1)]


def find_output(identity: Identity, output_dir: Path, output_format: str) -> Path | None:
    """The output of just this recording, if it is published."""
    for path in _paths(identity, output_dir, output_format):
        if is_output_of(path, identity.n_bytes, identity.mtime_ns):
            return path
    return None


def free_path(identity: Identity, output_dir: Path, output_format: str) -> Path:
    """Where the output of a recording is published without replacing that of another.

    A recorder may use a name again. The first recording of a name has :func:`output_path`; a later one has its time to
    the nanosecond in the name, ``a.wav.20261121T105322.123456789Z.npz``.
    """
    path, stamped = _paths(identity, output_dir, output_format)
    published = read_provenance(path)
    if published is None or (published.recording_bytes, published.recording_mtime_ns) == identity[1:]:
        return path
    return stamped


def _paths(identity: Identity, output_dir: Path, output_format: str) -> tuple[Path, Path]:
    return (
        output_path(identity.name, output_dir, output_format),
        output_path(f"{identity.name}.{identity.stamp}", output_dir, output_format),
    )


def read_provenance(path: Path) -> Provenance | None:
    """Where an output comes from; None for what is no output, or damaged."""
    try:
        return _provenance_in_csv(path) if path.suffix == ".csv" else _provenance_in_npz(path)
    except Exception:  # noqa: BLE001  a damaged file fails in a dozen ways, and is no output in any of them
        return None


def read_output(path: Path) -> Output:
    """Read all of an output: of an npz every array, whose checksums are compared; of a csv every row.

    A csv has no checksums: that it ends in the middle is seen, that a digit has become another is not.

    Raises
    ------
    ValueError
        It is damaged, or no output.
    OSError
        It cannot be read for now, or is not there.
    """
    try:
        return _output_in_csv(path) if path.suffix == ".csv" else _output_in_npz(path)
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # sought where no file can have it
            raise
        raise ValueError(f"{path} is no output, or damaged: {type(error).__name__}: {error}") from error


def _output_in_npz(path: Path) -> Output:
    with path.open("rb") as file, open_npz(file) as archive:
        arrays = {name: archive[name] for name in archive.files}
    labels, numbers = _labels_in(arrays)
    kinds: dict[str, Any] = {name: arrays[name] for name in KINDS if name in arrays}
    return Output(
        timestamps=arrays["timestamps"],
        labels=labels,
        label_numbers=numbers,
        detections=from_arrays(arrays, labels, numbers),
        levels=levels_in_arrays(arrays),
        provenance=provenance_of(lambda name: arrays[name].item(), arrays),
        **kinds,
    )


def _labels_in(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The labels of an npz, and which classes they are of where they are not those of all."""
    labels, numbers = (tuple(arrays[name].tolist()) if name in arrays else () for name in ("labels", "label_numbers"))
    return labels, numbers


def read_heard(path: Path) -> tuple[Detection, ...] | None:
    """Read the detections of an output and nothing else of it; None where there are none, or it is damaged."""
    try:
        if path.suffix == ".csv":
            comments = _comments_of_csv(path)
            return _detections_in(comments)
        with path.open("rb") as file, open_npz(file) as archive:
            names = [name for name in archive.files if name.startswith(("detection_", "label"))]
            arrays = {name: archive[name] for name in names}
        return from_arrays(arrays, *_labels_in(arrays))
    except Exception:  # noqa: BLE001  a damaged file fails in a dozen ways, and is no output in any of them
        return None


def _output_in_csv(path: Path) -> Output:
    provenance = _provenance_in_csv(path)
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        text = file.read()
    if not text.endswith("\n"):
        raise ValueError("its last row is not whole")
    lines = itertools.dropwhile(lambda line: line.startswith("# "), io.StringIO(text, newline=""))
    heading, *rows = csv.reader(lines, strict=True)
    values = np.array([[float(value) for value in row] for row in rows], np.float64).reshape(-1, len(heading))
    if len(values) != len(rows):
        raise ValueError("its rows are not as long as its heading")
    columns, labels = split_headings(heading[1:])
    comments = _comments_of_csv(path)
    some = [text.split(",", 1) for key, text in comments if key == "label"]
    kinds: dict[str, Any] = {name: values[:, 1:][:, columns[name]].astype(KINDS[name].dtype) for name in columns}
    return Output(
        timestamps=values[:, 0],
        labels=tuple(label for _, label in some) or tuple(map(from_cell, labels)),
        label_numbers=tuple(int(number) for number, _ in some),
        detections=_detections_in(comments),
        levels=levels_in_lines(comments),
        provenance=provenance,
        **kinds,
    )


def _detections_in(comments: list[tuple[str, str]]) -> tuple[Detection, ...] | None:
    """Those of a csv; None where nobody asked for them."""
    if not any(key == "detections" for key, _ in comments):
        return None
    return from_lines(text for key, text in comments if key == "detection")


def _provenance_in_npz(path: Path) -> Provenance:
    with path.open("rb") as file, open_npz(file) as arrays:
        return provenance_of(lambda name: arrays[name].item(), arrays.files)


def _provenance_in_csv(path: Path) -> Provenance:
    kinds: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": lambda text: text == "True"}
    types = {field.name: str(field.type) for field in fields(Provenance)}
    values = _header_of_csv(path)
    return provenance_of(lambda name: kinds[types[name]](values[name]), values)


def is_output_of(path: Path, recording_bytes: int, recording_mtime_ns: int) -> bool:
    """Whether `path` is the output of just this state of the recording."""
    try:
        identity = _identity_in_csv(path) if path.suffix == ".csv" else _identity_in_npz(path)
    except Exception:  # noqa: BLE001  a damaged file fails in a dozen ways, and is no output in any of them
        return False
    return identity == (recording_bytes, recording_mtime_ns)


def _identity_in_npz(path: Path) -> tuple[int, int]:
    with path.open("rb") as file, open_npz(file) as arrays:
        return int(arrays["recording_bytes"]), int(arrays["recording_mtime_ns"])


def _header_of_csv(path: Path) -> dict[str, str]:
    return dict(_comments_of_csv(path))


def _comments_of_csv(path: Path) -> list[tuple[str, str]]:
    """The lines before the rows, as pairs of name and text; those of detections have one name."""
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        lines = itertools.takewhile(lambda line: line.startswith("# "), file)
        parted = [from_comment(line[2:].rstrip("\n")).partition(": ") for line in lines]
    if not all(colon for _, colon, _ in parted):
        raise ValueError("a line of its head has no name")
    return [(name, text) for name, _, text in parted]


def _identity_in_csv(path: Path) -> tuple[int, int]:
    values = _header_of_csv(path)
    return int(values["recording_bytes"]), int(values["recording_mtime_ns"])


def _write_npz(file: _Sequential, arrays: Mapping[str, Any]) -> None:
    """Write what ``np.savez`` writes, byte for byte; that of numpy 1 complains of a full disk once more at its end."""
    with ZipFile(cast("BinaryIO", file), "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                _write_array(member, np.asanyarray(array))


def _write_array(member: IO[bytes], array: npt.NDArray[Any]) -> None:
    """What ``np.lib.format.write_array`` writes; a long array a megabyte at a time, for it need not be in memory."""
    if array.nbytes <= CHUNK_BYTES or not array.flags.c_contiguous:
        np.lib.format.write_array(member, array, allow_pickle=False)
        return
    np.lib.format.write_array_header_1_0(member, np.lib.format.header_data_from_array_1_0(array))
    for chunk in chunks(array):
        member.write(chunk.data)


class _Sequential(io.RawIOBase):
    """A file that is only written to, never sought in: an archive then takes as few writes as its size needs.

    What is written of a long output is put onto the disk as it comes: at its end nothing would hear that it is to stop
    while the disk takes a gigabyte.
    """

    def __init__(self, file: BinaryIO, progress: Callable[[], None] | None = None) -> None:
        self._file, self._progress = file, progress
        self._n_unsynced = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, content: Any) -> int:
        """Write all of it; with long outputs, what was written is flushed every few megabytes."""
        n_bytes = self._file.write(content)
        self._n_unsynced += n_bytes
        if self._n_unsynced >= SYNC_BYTES:
            self._file.flush()
            os.fdatasync(self._file.fileno())
            self._n_unsynced = 0
            if self._progress is not None:
                self._progress()
        return n_bytes

    def flush(self) -> None:
        """The file is flushed once, at its end."""


def _write_csv(file: _Sequential, output: Output) -> None:
    """One row per window, behind the provenance in lines that begin with #."""
    # A recording's name need not be UTF-8.
    text = io.TextIOWrapper(cast("BinaryIO", file), encoding="utf-8", errors="surrogateescape", newline="")
    held = output.arrays()
    comments = [(field.name, str(held[field.name])) for field in fields(Provenance)]
    for name, comment in (*comments, *_comments(output)):
        text.write(f"# {name}: {to_comment(_one_line(comment))}\n")
    writer = csv.writer(text, lineterminator="\n")
    arrays = output.by_kind()
    labels = tuple(map(to_cell, output.labels))
    headings = (KINDS[name].headings(array.shape[1], labels) for name, array in arrays.items())
    writer.writerow(["timestamp", *itertools.chain.from_iterable(headings)])
    columns: list[npt.NDArray[Any]] = [output.timestamps[:, None], *arrays.values()]
    for rows in zip(*map(_row_by_row, columns), strict=True):
        writer.writerow(str(value) for row in rows for value in row)
    text.flush()
    text.detach()  # whoever opened the file closes it


def _comments(output: Output) -> Iterator[tuple[str, str]]:
    """What a csv says in lines before its rows, beside the provenance: no row is of a class, or of a detection."""
    for number, label in zip(output.label_numbers, output.labels, strict=False):
        yield "label", f"{number},{label}"
    if output.detections is not None:
        yield "detections", HEADING
        for line in to_lines(output.detections):
            yield "detection", line
    yield from lines_of(output.levels)


def _row_by_row(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    for chunk in chunks(array):
        yield from chunk.astype(np.float32) if chunk.dtype == np.float16 else chunk  # its text is of the same number


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n").replace("\r", "\\r")
