"""What an output is, and how it gets onto the disk: whole or not at all."""

from __future__ import annotations

import csv
import errno
import io
import itertools
import os
import secrets
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.errors import StoreError

FORMAT_VERSION = 1
FORMATS = ("npz", "csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where an output comes from: everything needed to make it again.

    Attributes
    ----------
    recording : str
        Path of the recording, relative to the folder it was found in.
    recording_sha256 : str
    recording_bytes, recording_mtime_ns : int
        Size and time of the recording when it was read: with its path, its identity.
    sample_rate : int
        Of the recording (in Hz).
    n_samples : int
        Of the recording, each channel.
    start_time : str
        When the recording begins, ISO 8601 with its zone; empty where nothing tells.
    bundle, bundle_sha256 : str
        Name of the bundle, and the SHA-256 of the ``sha256sum`` listing of its files.
    window_size_s, hop_size_s : float
        Length of a window and distance between two (in seconds).
    res_type : str
        Resampler of the extractor; empty where only the extractor knows.
    versions : str
        Of the package and of what computed the numbers, ``name version`` joined by ``; ``.
    format_version : int
    """

    recording: str
    recording_sha256: str
    recording_bytes: int
    recording_mtime_ns: int
    sample_rate: int
    n_samples: int
    start_time: str
    bundle: str
    bundle_sha256: str
    window_size_s: float
    hop_size_s: float
    res_type: str
    versions: str
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What one recording became.

    Attributes
    ----------
    timestamps : np.ndarray [shape=(n_windows,), dtype=float64]
        Where each window begins, in seconds from the recording's first sample. Windows are laid over the middle of
        the recording, so that where they do not fit exactly the first begins a little before it, at a negative time.
    embedding : np.ndarray [shape=(n_windows, n_dims), dtype=float32] or None
    scores : np.ndarray [shape=(n_windows, n_classes), dtype=float32] or None
    provenance : Provenance
    """

    timestamps: npt.NDArray[np.float64]
    embedding: npt.NDArray[np.float32] | None
    scores: npt.NDArray[np.float32] | None
    provenance: Provenance

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything by name, as plain arrays that ``np.load(allow_pickle=False)`` reads."""
        named: dict[str, Any] = {"timestamps": self.timestamps, "embedding": self.embedding, "scores": self.scores}
        named |= {field.name: getattr(self.provenance, field.name) for field in fields(Provenance)}
        return {name: np.asarray(value) for name, value in named.items() if value is not None}


def output_path(recording: str, output_dir: Path, output_format: str = "npz") -> Path:
    """Where the output of a recording belongs: ``DIR/sub/a.wav`` becomes ``OUTPUT_DIR/sub/a.wav.npz``.

    The recording's own suffix stays, so that ``a.wav`` and ``a.flac`` do not overwrite each other.
    """
    return output_dir / f"{recording}.{output_format}"


def write_output(output: Output, path: Path) -> None:
    """Write an output, in the format its suffix names.

    Raises
    ------
    StoreError
        Nothing was published, and nothing half-written is left.
    ValueError
        The suffix names no format.
    """
    if path.suffix not in {f".{name}" for name in FORMATS}:
        raise ValueError(f"an output is written as {' or '.join(FORMATS)}, not as {path.name!r}")
    write_atomically(path, _csv(output) if path.suffix == ".csv" else _npz(output))


def is_output_of(path: Path, recording_bytes: int, recording_mtime_ns: int) -> bool:
    """Whether `path` is the output of just this state of the recording."""
    try:
        identity = _identity_in_csv(path) if path.suffix == ".csv" else _identity_in_npz(path)
    except Exception:  # noqa: BLE001  a damaged file fails in a dozen ways, and is no output in any of them
        return False
    return identity == (recording_bytes, recording_mtime_ns)


def _identity_in_npz(path: Path) -> tuple[int, int]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return int(arrays["recording_bytes"]), int(arrays["recording_mtime_ns"])


def _identity_in_csv(path: Path) -> tuple[int, int]:
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        lines = itertools.takewhile(lambda line: line.startswith("# "), file)
        values = dict(line[2:].rstrip("\n").split(": ", 1) for line in lines)
    return int(values["recording_bytes"]), int(values["recording_mtime_ns"])


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Put `content` at `path` so that, whatever happens, there is all of it or what was there before.

    Written to a hidden file beside it, flushed to the disk, renamed, and the folder flushed too.

    Raises
    ------
    StoreError
    """
    try:
        _make_folder(path.parent)
        temporary = path.with_name(
            f".{secrets.token_hex(8)}.tmp"
        )  # not from the name, which may be as long as a name can
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)  # there only if something went wrong
        _flush_folder(path.parent)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably: a file is only as safe as the entry of its folder."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder") from error
    _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _npz(output: Output) -> memoryview:
    content = io.BytesIO()
    arrays: dict[str, Any] = output.arrays()
    np.savez(content, **arrays)
    return content.getbuffer()


def _csv(output: Output) -> bytes:
    """One row a window: ``timestamp, embedding_0 …, scores_0 …``, after the provenance in lines that begin with #."""
    text = io.StringIO(newline="")
    arrays = output.arrays()
    for field in fields(Provenance):
        text.write(f"# {field.name}: {_one_line(str(arrays[field.name]))}\n")
    columns = [(name, arrays[name]) for name in ("embedding", "scores") if name in arrays]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["timestamp", *(f"{name}_{i}" for name, array in columns for i in range(array.shape[1]))])
    for window, timestamp in enumerate(output.timestamps):
        values = (str(value) for _, array in columns for value in array[window])
        writer.writerow([str(timestamp), *values])
    return text.getvalue().encode(errors="surrogateescape")  # a recording's name need not be UTF-8


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n").replace("\r", "\\r")
