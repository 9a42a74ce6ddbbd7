"""Tracks as files: sound that was made of a recording, as ``a.wav.TRACK.wav``, and beside it where it comes from."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.durable import write_atomically
from sonyc_ml.base.identity import Identity
from sonyc_ml.base.names import checked_name
from sonyc_ml.base.records import dataclass
from sonyc_ml.base.strict import build
from sonyc_ml.errors import RecordingError
from sonyc_ml.outputs.output import Provenance

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # kinds of samples, as a header has them
SUBTYPES = {"FLOAT": (FLOAT, 32), "PCM_24": (PCM, 24), "PCM_16": (PCM, 16)}
SUB_FORMAT = bytes.fromhex("0000000010008000 00aa00389b71")  # behind the kind of samples, in an extensible header
LARGEST_RIFF = 0xFFFFFFFF  # bytes behind the first eight: beyond it RF64 has lengths of 64 bits (EBU Tech 3306)
MAX_PLAIN_CHANNELS = 2
FINEST = 2.0**-23  # one step of 24 bits; sums of multiples of it up to 2 are exact as float32
FORMAT_VERSION = 1


def wav_header(sample_rate: int, n_channels: int, n_samples: int, subtype: str) -> bytes:
    """What stands before the samples of a WAV file; of an RF64 file, where it is longer than 4 GiB.

    Parameters
    ----------
    sample_rate : int > 0
        In Hz.
    n_channels, n_samples : int > 0
        Samples of each channel.
    subtype : {"FLOAT", "PCM_24", "PCM_16"}
    """
    kind, bits = SUBTYPES[subtype]
    frame_size = n_channels * bits // 8
    n_bytes = n_samples * frame_size
    tag = kind if n_channels <= MAX_PLAIN_CHANNELS else EXTENSIBLE
    form = struct.pack("<HHIIHH", tag, n_channels, sample_rate, sample_rate * frame_size, frame_size, bits)
    if tag == EXTENSIBLE:
        form += struct.pack("<HHIH", 22, bits, 0, kind) + SUB_FORMAT  # no channel has a place in the room
    elif kind == FLOAT:
        form += struct.pack("<H", 0)
    chunks = _chunk(b"fmt ", form)
    size = len(b"WAVE") + len(chunks) + 12 + 8 + n_bytes + n_bytes % 2  # with a fact chunk and the head of the samples
    if size <= LARGEST_RIFF:
        fact = _chunk(b"fact", struct.pack("<I", n_samples))
        return b"RIFF" + struct.pack("<I", size) + b"WAVE" + chunks + fact + b"data" + struct.pack("<I", n_bytes)
    unknown = struct.pack("<I", LARGEST_RIFF)
    large = _chunk(b"ds64", struct.pack("<QQQI", size + 36, n_bytes, n_samples, 0))
    return b"RF64" + unknown + b"WAVE" + large + chunks + _chunk(b"fact", unknown) + b"data" + unknown


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content


class TrackWriter:
    """Writes the samples of a track as they come, behind a header that says from the start how many there will be.

    Parameters
    ----------
    file : binary file
        Open for writing, at its beginning.
    sample_rate, n_channels, n_samples, subtype
        Those of :func:`wav_header`.
    is_rounded : bool
        Whether floating point samples are rounded to the steps of 24 bits, so that sums of tracks are exact.

    Attributes
    ----------
    n_channels : int
    n_bytes : int
        Length of the file, once it is finished.
    n_saturated : int
        Samples that were louder than PCM can be, and are as loud as it can be.
    """

    def __init__(
        self,
        file: BinaryIO,
        sample_rate: int,
        n_channels: int,
        n_samples: int,
        subtype: str,
        *,
        is_rounded: bool = False,
    ) -> None:
        self._file, self._subtype, self._is_rounded = file, subtype, is_rounded
        self.n_channels, self._n_samples, self._n_written = n_channels, n_samples, 0
        self.n_saturated = 0
        header = wav_header(sample_rate, n_channels, n_samples, subtype)
        file.write(header)
        self._sound_bytes = n_samples * n_channels * SUBTYPES[subtype][1] // 8
        self.n_bytes = len(header) + self._sound_bytes + self._sound_bytes % 2

    def write(self, samples: npt.NDArray[np.floating[Any]]) -> Doubles:
        """Write the next samples.

        Parameters
        ----------
        samples : np.ndarray [shape=(n_channels, n)]
            Full scale is 1. Nothing is scaled.

        Returns
        -------
        np.ndarray [shape=(n_channels, n), dtype=float64]
            What the file holds now.

        Raises
        ------
        RecordingError
            There is NaN or infinity among them.
        """
        if not np.isfinite(samples).all():
            raise RecordingError("the networks make NaN or infinity of it")
        self._n_written += samples.shape[1]
        kind, bits = SUBTYPES[self._subtype]
        if kind == FLOAT:
            values = np.rint(samples.astype(np.float64) / FINEST) * FINEST if self._is_rounded else samples
            stored = values.astype("<f4")
            self._file.write(np.ascontiguousarray(stored.T).tobytes())
            return stored.astype(np.float64)
        full_scale = 2.0 ** (bits - 1)
        steps = np.rint(samples.astype(np.float64) * full_scale)
        kept = np.clip(steps, -full_scale, full_scale - 1)
        self.n_saturated += int(np.count_nonzero(kept != steps))
        whole = np.ascontiguousarray(kept.T).astype("<i4")
        lowest = whole.view(np.uint8).reshape(*whole.shape, 4)[..., : bits // 8]  # the lowest bytes come first
        self._file.write(lowest.tobytes())
        return kept / full_scale

    def finish(self) -> None:
        """Complete the file: a chunk is of even length.

        Raises
        ------
        RuntimeError
            There were more samples, or fewer, than the header says.
        """
        if self._n_written != self._n_samples:
            raise RuntimeError(f"{self._n_written:,} samples were written where {self._n_samples:,} were to come")
        if self._sound_bytes % 2:
            self._file.write(b"\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackFile:
    """A track on the disk, as the JSON file beside it describes it.

    Attributes
    ----------
    track : str
        Its name.
    file : str
        Name of the file, in the same folder.
    file_bytes : int
        Its size.
    sample_rate : int
        Of the track (in Hz).
    n_channels, n_samples : int
        Samples of each channel.
    subtype : str
        How the samples are stored.
    n_saturated : int
        Samples that were louder than PCM can be, and are as loud as it can be.
    largest_difference : float
        Of a remainder: how far the sum of all tracks is off the recording, at most (full scale is 1).
    provenance : Provenance
        Of the recording, and of what made the track.
    format_version : int
    """

    track: str
    file: str
    file_bytes: int
    sample_rate: int
    n_channels: int
    n_samples: int
    subtype: str
    n_saturated: int
    largest_difference: float
    provenance: Provenance
    format_version: int = FORMAT_VERSION

    def is_of(self, identity: Identity, fingerprint: str, folder: Path) -> bool:
        """Whether it is what this state of a recording becomes, and its file is there as it was written."""
        held = self.provenance
        if (held.recording, held.recording_bytes, held.recording_mtime_ns) != identity:
            return False
        try:
            return held.fingerprint == fingerprint and (folder / self.file).stat().st_size == self.file_bytes
        except OSError:
            return False


def track_path(recording: str, folder: Path, track: str) -> Path:
    """Where a track of a recording belongs: ``DIR/sub/a.wav`` becomes ``FOLDER/sub/a.wav.TRACK.wav``.

    Raises
    ------
    OutputNameError
        It would lie outside the folder; see :func:`sonyc_ml.base.names.checked_name`.
    """
    return folder / f"{checked_name(recording)}.{track}.wav"


def write_track_file(path: Path, described: TrackFile, root: Path) -> None:
    """Write what is said of a track beside it, once it is there; see :func:`sonyc_ml.base.durable.atomic_file`."""
    write_atomically(path.with_suffix(".json"), (json.dumps(asdict(described), indent=2) + "\n").encode(), root)


def read_track_file(path: Path) -> TrackFile | None:
    """What is said of the track at a path; None where nothing is, or it is damaged."""
    try:
        table: Any = json.loads(path.with_suffix(".json").read_bytes())
        return build(TrackFile, table) if isinstance(table, dict) else None
    except (OSError, ValueError, RecursionError):
        return None
