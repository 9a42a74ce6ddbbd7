"""What there is to show of one recording, column by column: what was heard, read, and made of it. Nothing is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.analysis.plots.columns import Floats, MelScale, Spectrogram, Timeline, envelope, shown_values
from sonyc_ml.base.blas import one_blas_thread
from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import ConfigError
from sonyc_ml.model import Model
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.files import FileRecording, open_recording

N_COLUMNS = 1800  # 300 an inch
DEEPEST = 80.0  # below the loudest feature, as a window is clipped; in dB where features are levels
QUIETEST_PERCENT = 1  # of the features share the darkest colour
SILENCE_LENGTH = 1 << 16  # samples


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the panels of a recording's picture show, column by column.

    Attributes
    ----------
    output : Output
    timeline : Timeline
        From the recording's first sample to its last.
    waveform : np.ndarray [shape=(2, n), dtype=float32] or None
        Lowest and highest sample of equal spans.
    features : np.ndarray [shape=(n_bands, n_columns), dtype=float32] or None
        What the network read.
    mel_scale : MelScale or None
        Of the bands; None where only the extractor knows.
    embedding : np.ndarray [shape=(n_dims, n_columns), dtype=float32] or None
    scores : np.ndarray [shape=(n_classes, n_columns), dtype=float32] or None
    version : str
        Of the bundle; empty where it is not given.
    """

    output: Output
    timeline: Timeline
    waveform: Floats | None = None
    features: Floats | None = None
    mel_scale: MelScale | None = None
    embedding: Floats | None = None
    scores: Floats | None = None
    version: str = ""

    def lowest(self) -> float:
        """The feature from which on colours differ: what is fainter has the darkest."""
        assert self.features is not None
        quietest = float(np.nanpercentile(self.features, QUIETEST_PERCENT))
        return max(quietest, float(np.nanmax(self.features)) - DEEPEST)


def look_at(
    output: Output, recording: Path | None = None, model: Model | None = None, n_columns: int = N_COLUMNS
) -> View:
    """Collect what there is to show.

    Parameters
    ----------
    output : Output
    recording : Path, optional
        The recording it was made of, for the waveform.
    model : Model, optional
        The model it was made with, for what the network read of the recording.
    n_columns : int > 0

    Raises
    ------
    ConfigError
        They do not belong together, or there is nothing to show.
    RecordingError, UnavailableRecordingError
        The recording cannot be read.
    """
    provenance = output.provenance
    _check(output, recording, model)
    timeline = Timeline(0.0, provenance.duration_s, n_columns)
    parts: dict[str, Any] = {
        kind: shown_values(timeline, output.timestamps, provenance.window_size_s, rows)
        for kind, rows in output.computed().items()
    }
    if recording is not None:
        channel = model.channel if model is not None else None
        with open_recording(recording, channel, salvage=provenance.salvaged) as sound:
            if sound.sha256() != provenance.recording_sha256:
                raise ConfigError(f"{recording} is not the recording that the output was made of: its SHA-256 differs")
            parts["waveform"] = envelope(_in_time(sound), sound.n_elapsed, n_columns)
        if model is not None:
            with open_recording(recording, channel, salvage=provenance.salvaged) as sound:
                parts |= _features(output, sound, model, timeline)
    if model is not None and model.bundle.manifest is not None:
        parts["version"] = model.bundle.manifest.version
    return View(output=output, timeline=timeline, **parts)


def _in_time(sound: FileRecording) -> Iterator[npt.NDArray[np.float32]]:
    """The blocks of a recording, with silence for what a triggered recorder left out."""
    position = 0
    for segment, blocks in sound.segment_blocks():
        yield from _silence(segment.start - position)
        yield from blocks
        position = segment.start + segment.n_samples
    yield from _silence(sound.n_elapsed - position)


def _silence(n_samples: int) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(0, n_samples, SILENCE_LENGTH):
        yield np.zeros(min(SILENCE_LENGTH, n_samples - start), np.float32)


def _check(output: Output, recording: Path | None, model: Model | None) -> None:
    if not output.computed() and not output.levels:
        raise ConfigError(f"the output of {output.provenance.recording} holds neither an embedding nor scores")
    starts_s = output.timestamps
    if not len(starts_s) or not np.isfinite(starts_s).all() or (np.diff(starts_s) <= 0).any():
        raise ConfigError(f"the windows of {output.provenance.recording} do not follow one another in time")
    for rows in output.computed().values():
        if len(rows) != len(starts_s):
            raise ConfigError(f"{output.provenance.recording} has {len(rows)} rows for {len(starts_s)} windows")
    if model is None:
        return
    if recording is None:
        raise ConfigError("what the network read is computed from the recording: give it with --recording")
    if model.bundle.sha256 != output.provenance.bundle_sha256:
        raise ConfigError(
            f"the output was made by another bundle than {model.bundle.path}: "
            f"{output.provenance.bundle} with SHA-256 {output.provenance.bundle_sha256[:12]}…"
        )


def _features(output: Output, sound: FileRecording, model: Model, timeline: Timeline) -> dict[str, Any]:
    """What the network read of a recording, laid out in time; nothing where that is no picture, as samples are not."""
    shape = tuple(size for size in model.extractor.feature_shape if size != 1)
    if len(shape) != 2:
        return {}
    n_bands, n_frames = shape
    mel_scale, first_s, step_s = _frames(model, n_bands, n_frames)
    provenance = output.provenance
    spectrogram = Spectrogram(
        timeline,
        output.timestamps,
        provenance.window_size_s,
        n_bands=n_bands,
        n_frames=n_frames,
        first_s=first_s,
        step_s=step_s,
    )
    with one_blas_thread():  # as the model computes them, or the last bits differ
        for segment, blocks in sound.segment_blocks():
            for block in model.extractor.stream(blocks, sound.sample_rate, segment.n_samples, provenance.hop_size_s):
                spectrogram.add(block.reshape(len(block), n_bands, n_frames))
    return {"features": spectrogram.levels(), "mel_scale": mel_scale}


def _frames(model: Model, n_bands: int, n_frames: int) -> tuple[MelScale | None, float, float]:
    """The bands of an extractor, the middle of a window's first frame, and how far frames are apart (in seconds)."""
    known = getattr(model.extractor, "parameters", None)
    if isinstance(known, dict) and {"n_mels", "mel_hop_len", "fmin", "fmax"} <= known.keys():
        step_s = known["mel_hop_len"] / model.extractor.sample_rate
        return MelScale(n_bands, known["fmin"], known["fmax"]), 0.0, step_s
    step_s = model.extractor.window_size_s / n_frames  # how it cuts frames is not known: evenly
    return None, step_s / 2, step_s
