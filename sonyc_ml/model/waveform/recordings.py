"""A recording to its tracks on the disk: read once, written as it goes, published when all of it is right."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.durable import atomic_file
from sonyc_ml.base.identity import Identity
from sonyc_ml.base.records import dataclass, replace
from sonyc_ml.bundles.waveform import REMAINDER
from sonyc_ml.errors import RecordingError, UnreadableRecordingError
from sonyc_ml.features import n_resampled
from sonyc_ml.model.provenance import make_provenance
from sonyc_ml.model.waveform.model import WaveformModel
from sonyc_ml.outputs.output import fingerprint_of
from sonyc_ml.outputs.tracks import SUBTYPES, TrackFile, TrackWriter, read_track_file, track_path, write_track_file
from sonyc_ml.sound.files import FileRecording
from sonyc_ml.sound.start_time import StartTimes

Floats = npt.NDArray[np.float32]

SILENCE_LENGTH = 1 << 16  # samples of a gap that are written at once


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be written of each recording.

    Attributes
    ----------
    tracks : tuple of str
        Which of the model's.
    remainder : bool
        Whether the recording without these tracks is written too, as the track ``remainder``.
    subtype : {"FLOAT", "PCM_24", "PCM_16"}
        How samples are stored.
    at_model_rate : bool
        Whether tracks are left at the networks' sample rate.
    channel : int, optional
        The one channel that is read; all where not given.

    Raises
    ------
    ValueError
        It cannot be meant.
    """

    tracks: tuple[str, ...]
    remainder: bool = False
    subtype: str = "FLOAT"
    at_model_rate: bool = False
    channel: int | None = None

    def __post_init__(self) -> None:
        if self.subtype not in SUBTYPES:
            raise ValueError(f"subtype must be one of {', '.join(SUBTYPES)}, not {self.subtype!r}")
        if self.remainder and self.at_model_rate:
            raise ValueError("a remainder is what is left of the recording, at its own rate: leave out one of the two")
        if not self.tracks:
            raise ValueError("there is no track to write")

    @property
    def all_tracks(self) -> tuple[str, ...]:
        """Their names, with that of the remainder."""
        return (*self.tracks, *([REMAINDER] if self.remainder else []))

    def settings(self, model: WaveformModel, track: str) -> dict[str, Any]:
        """What decides the numbers of a track beside the bundle, as its provenance has it."""
        parameters: dict[str, Any] = {"subtype": self.subtype}
        if self.at_model_rate:
            parameters["rate"] = "model"
        if self.channel is not None:
            parameters["channel"] = self.channel
        if self.remainder and self.subtype == "FLOAT":
            parameters["rounded_to_bits"] = 24
        if track == REMAINDER:
            parameters["remainder_of"] = list(self.tracks)
        return {
            "window_size_s": model.window_size_s,
            "hop_size_s": model.hop_size_s,
            "res_type": model.res_type,
            "parameters": json.dumps(parameters, sort_keys=True),
        }


class Separator:
    """Recordings to the files of their tracks.

    Parameters
    ----------
    model : WaveformModel
    wanted : Wanted
    folder : Path
        Of the tracks; see :func:`sonyc_ml.outputs.tracks.track_path`.

    Raises
    ------
    ValueError
        The model has no track of a name that is wanted.
    """

    def __init__(self, model: WaveformModel, wanted: Wanted, folder: Path) -> None:
        unknown = [track for track in wanted.tracks if track not in model.tracks]
        if unknown:
            raise ValueError(f"{model.bundle.name} has no track {', '.join(unknown)}; it has {', '.join(model.tracks)}")
        self._model, self._wanted, self._folder = model, wanted, folder
        self._settings = {track: wanted.settings(model, track) for track in wanted.all_tracks}

    def made(self, identity: Identity) -> tuple[TrackFile, ...] | None:
        """The tracks of a recording, where all are there, made of this state of it in this way; else None."""
        found = []
        for track, settings in self._settings.items():
            path = track_path(identity.name, self._folder, track)
            described = read_track_file(path)
            fingerprint = fingerprint_of(self._model.bundle.sha256, **settings)
            if described is None or not described.is_of(identity, fingerprint, path.parent):
                return None
            found.append(described)
        return tuple(found)

    def outdated(self, identity: Identity) -> tuple[str, ...]:
        """Tracks that are there and not wanted now, made of another state of the recording or in another way."""
        found = []
        for track in {*self._model.tracks, REMAINDER}.difference(self._settings):
            path = track_path(identity.name, self._folder, track)
            described = read_track_file(path)
            settings = self._wanted.settings(self._model, track)
            fingerprint = fingerprint_of(self._model.bundle.sha256, **settings)
            if described is not None and not described.is_of(identity, fingerprint, path.parent):
                found.append(track)
        return tuple(sorted(found))

    def separate(
        self, recording: FileRecording, name: str, progress: Callable[[], None] | None = None
    ) -> tuple[TrackFile, ...]:
        """Write the tracks of a recording, each whole or not at all; memory does not grow with the recording.

        Each is as long as the recording and aligned with it. What a triggered recorder left out is silence in them.

        Parameters
        ----------
        recording : FileRecording
        name : str
            What its tracks are called by, with ``/`` between its parts.
        progress : callable, optional
            Called after every few blocks. What it raises ends the work.

        Raises
        ------
        RecordingError
            This recording cannot be separated; says why.
        UnavailableRecordingError
            It cannot be read for now.
        StoreError
            A track cannot be written. What is said of tracks is written last, so that none counts as made that is not.
        """
        paths = {track: track_path(name, self._folder, track) for track in self._settings}
        with ExitStack() as files:
            opened = {track: files.enter_context(atomic_file(path, self._folder)) for track, path in paths.items()}
            described = self._written(recording, name, opened, progress)
        for track, path in paths.items():
            write_track_file(path, described[track], self._folder)
        return tuple(described.values())

    def _written(
        self, recording: FileRecording, name: str, files: dict[str, BinaryIO], progress: Callable[[], None] | None
    ) -> dict[str, TrackFile]:
        """Write all of the tracks, and describe them."""
        model, wanted = self._model, self._wanted
        n_channels = recording.n_channels if wanted.channel is None else 1
        rate = model.sample_rate if wanted.at_model_rate else recording.sample_rate
        n_samples = n_resampled(recording.n_elapsed, recording.sample_rate, rate)
        form = dict[str, Any](sample_rate=rate, n_channels=n_channels, n_samples=n_samples, subtype=wanted.subtype)
        writers = {track: TrackWriter(files[track], **form, is_rounded=wanted.remainder) for track in files}
        try:
            difference = _write(model, recording, wanted, writers, progress)
        except UnreadableRecordingError:
            raise
        except (RecordingError, ValueError) as error:  # of samples, which do not know what they are from
            raise RecordingError(f"{recording.source}: {error}") from error
        for writer in writers.values():
            writer.finish()
        made_by = (model.bundle, model.versions, next(iter(self._settings.values())))
        provenance = make_provenance(recording, name, StartTimes(), progress, *made_by)
        return {
            track: TrackFile(
                track=track,
                file=track_path(name, self._folder, track).name,
                file_bytes=writer.n_bytes,
                n_saturated=writer.n_saturated,
                largest_difference=difference if track == REMAINDER else 0.0,
                provenance=replace(provenance, **self._settings[track]),
                **form,
            )
            for track, writer in writers.items()
        }


def _write(
    model: WaveformModel,
    recording: FileRecording,
    wanted: Wanted,
    writers: dict[str, TrackWriter],
    progress: Callable[[], None] | None,
) -> float:
    """Write the tracks of every stretch, and silence between them; return how far their sum is off the recording."""
    sr = recording.sample_rate
    target_sr = model.sample_rate if wanted.at_model_rate else sr
    n_written, difference = 0, 0.0
    for segment, frames in recording.segment_frames():
        _write_silence(writers, n_resampled(segment.start, sr, target_sr) - n_written)
        n_written = max(n_written, n_resampled(segment.start, sr, target_sr))
        n_left = n_resampled(segment.start + segment.n_samples, sr, target_sr) - n_written
        held = _Held(frames)
        for tracks in model.stream(held if wanted.remainder else frames, sr, at_model_rate=wanted.at_model_rate):
            kept = {track: tracks[track][:, :n_left] for track in wanted.tracks}
            stored = [writers[track].write(samples) for track, samples in kept.items()]
            n = stored[0].shape[1]
            if wanted.remainder:
                sum_of_tracks = np.sum(stored, axis=0)
                remainder = writers[REMAINDER].write(held.take(n) - sum_of_tracks)
                difference = max(difference, held.distance(remainder + sum_of_tracks))
            n_written, n_left = n_written + n, n_left - n
            if progress is not None:
                progress()
    _write_silence(writers, n_resampled(recording.n_elapsed, sr, target_sr) - n_written)
    return difference


def _write_silence(writers: dict[str, TrackWriter], n_samples: int) -> None:
    for start in range(0, n_samples, SILENCE_LENGTH):
        for writer in writers.values():
            writer.write(np.zeros((writer.n_channels, min(SILENCE_LENGTH, n_samples - start)), np.float32))


class _Held:
    """Blocks that somebody reads, kept until what became of them is there."""

    def __init__(self, blocks: Iterable[Floats]) -> None:
        self._blocks = iter(blocks)
        self._waiting: deque[Floats] = deque()
        self._taken: npt.NDArray[np.float64] = np.zeros((0, 0))

    def __iter__(self) -> Iterator[Floats]:
        for block in self._blocks:
            self._waiting.append(block)
            yield block

    def take(self, n: int) -> npt.NDArray[np.float64]:
        """The next `n` samples of each channel, as float64."""
        parts, n_missing = [], n
        while n_missing:
            block = self._waiting.popleft()
            if block.shape[1] > n_missing:
                self._waiting.appendleft(block[:, n_missing:])
                block = block[:, :n_missing]
            parts.append(block)
            n_missing -= block.shape[1]
        self._taken = np.concatenate(parts, axis=1).astype(np.float64)
        return self._taken

    def distance(self, samples: npt.NDArray[np.float64]) -> float:
        """How far samples are off those that were taken last, at most."""
        return float(np.abs(samples - self._taken).max(initial=0.0))
