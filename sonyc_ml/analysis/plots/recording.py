"""The picture of one recording: what was heard, what the network read of it, and what it made of that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sonyc_ml.analysis.plots import style as drawing
from sonyc_ml.analysis.plots.columns import Floats, MelScale, Spectrogram, Timeline, envelope, shown_values
from sonyc_ml.analysis.plots.components import order_of_likeness, varying
from sonyc_ml.analysis.plots.levels import draw_bands, draw_levels
from sonyc_ml.base.blas import one_blas_thread
from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import ConfigError
from sonyc_ml.model import Model
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.files import FileRecording, open_recording

N_COLUMNS = 1800  # 300 an inch
SILENCE_LENGTH = 1 << 16  # samples
FREQUENCIES_HZ = (0, 125, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000)
DEEPEST = 80.0  # below the loudest feature, as a window is clipped; in dB where features are levels
QUIETEST_PERCENT = 1  # of the features share the darkest colour
MOST_ROWS = 2000  # windows that the order of dimensions is taken from
DEVIATIONS = 2.5  # of a dimension, at either end of the colours


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


def look_at(output: Output, recording: Path | None = None, model: Model | None = None) -> View:
    """Collect what there is to show.

    Parameters
    ----------
    output : Output
    recording : Path, optional
        The recording it was made of, for the waveform.
    model : Model, optional
        The model it was made with, for what the network read of the recording.

    Raises
    ------
    ConfigError
        They do not belong together, or there is nothing to show.
    RecordingError, UnavailableRecordingError
        The recording cannot be read.
    """
    provenance = output.provenance
    _check(output, recording, model)
    timeline = Timeline(0.0, provenance.duration_s, N_COLUMNS)
    parts: dict[str, Any] = {
        kind: shown_values(timeline, output.timestamps, provenance.window_size_s, rows)
        for kind, rows in output.computed().items()
    }
    if recording is not None:
        channel = model.channel if model is not None else None
        with open_recording(recording, channel, salvage=provenance.salvaged) as sound:
            if sound.sha256() != provenance.recording_sha256:
                raise ConfigError(f"{recording} is not the recording that the output was made of: its SHA-256 differs")
            parts["waveform"] = envelope(_in_time(sound), sound.n_elapsed, N_COLUMNS)
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


def draw(view: View, width_inch: float = drawing.WIDTH_INCH, height_inch: float | None = None) -> Figure:
    """Draw the panels that there is something for, on one time axis."""
    shown = list(_panels(view))
    heights = [height for _, height in shown]
    figure = drawing.new_figure(width_inch, height_inch or sum(heights) + 0.12 * len(heights) + 0.75)
    rows = drawing.panels(figure, heights)
    for (draw_panel, _), (axes, bar) in zip(shown, rows, strict=True):
        draw_panel(view, axes, bar)
    bottom = rows[-1][0]
    bottom.set_xlim(view.timeline.start_s, view.timeline.end_s)
    drawing.seconds_axis(bottom, view.timeline.end_s)
    provenance = view.output.provenance
    remarks = ["by the file's time"] if provenance.start_time_source == "mtime" else []
    remarks += [f"in doubt: {provenance.start_time_doubt}"] if provenance.start_time_doubt else []
    begins = provenance.start_time + (f" ({', '.join(remarks)})" if remarks else "")
    drawing.with_heading(figure, provenance.recording, begins, _footnote(view))
    return figure


def _panels(view: View) -> Iterator[tuple[Any, float]]:
    if view.waveform is not None:
        yield _draw_waveform, 0.75
    if view.features is not None:
        yield _draw_features, 1.3
    if view.embedding is not None:
        yield _draw_embedding, 1.4
    if view.scores is not None:
        yield _draw_scores, _height_of_scores(view.output)
    levels = view.output.levels
    if levels is not None and len(levels):
        yield lambda _view, axes, bar: draw_levels(levels, axes, bar), 0.75
        if levels.band_hz:
            yield lambda _view, axes, bar: draw_bands(levels, axes, bar), 0.9


def _height_of_scores(output: Output) -> float:
    n_rows = 0 if output.scores is None else len(drawing.loudest(output.scores.max(axis=0)))
    return max(0.5, 0.125 * n_rows)


def _draw_waveform(view: View, axes: Axes, bar: Axes) -> None:
    bar.set_visible(False)
    if view.waveform is None:
        return
    low, high = view.waveform
    edges_s = np.linspace(view.timeline.start_s, view.timeline.end_s, len(low) + 1)
    middles_s = (edges_s[1:] + edges_s[:-1]) / 2
    axes.fill_between(middles_s, low, high, color=drawing.INK, linewidth=0.3)
    peak = float(max(np.abs(low).max(), np.abs(high).max())) or 1.0
    axes.set_ylim(-1.08 * peak, 1.08 * peak)
    axes.set_ylabel("Amplitude")
    axes.locator_params(axis="y", nbins=3)


def _draw_features(view: View, axes: Axes, bar: Axes) -> None:
    if view.features is None:
        return
    n_bands = len(view.features)
    extent = (view.timeline.start_s, view.timeline.end_s, -0.5, n_bands - 0.5)
    low = max(float(np.nanpercentile(view.features, QUIETEST_PERCENT)), float(np.nanmax(view.features)) - DEEPEST)
    image = drawing.draw_image(axes, view.features, extent, origin="lower", cmap=drawing.LEVELS, vmin=low)
    if view.mel_scale is None:
        axes.set_ylabel("Band")
        drawing.colour_bar(bar, image, "Feature", extend="min")
        return
    axes.set_ylabel("Frequency (Hz)")
    places = {hz: view.mel_scale.position(hz) for hz in FREQUENCIES_HZ}
    ticks = {hz: place for hz, place in places.items() if -0.5 <= place <= n_bands and hz >= 250}
    axes.set_yticks([min(place, n_bands - 0.5) for place in ticks.values()], [str(hz) for hz in ticks])
    drawing.colour_bar(bar, image, "Level (dB)", extend="min")


def _draw_embedding(view: View, axes: Axes, bar: Axes) -> None:
    if view.embedding is None or view.output.embedding is None:
        return
    rows = view.output.embedding
    varies, mean, deviation = varying(rows)
    n_dims, n_varying = len(varies), int(varies.sum())
    scaled = (view.embedding[varies] - mean[varies, None]) / deviation[varies, None]
    order = order_of_likeness(rows[:: -(-len(rows) // MOST_ROWS), varies])
    extent = (view.timeline.start_s, view.timeline.end_s, max(1, n_varying), 0)
    look: dict[str, Any] = {"cmap": drawing.EMBEDDING, "vmin": -DEVIATIONS, "vmax": DEVIATIONS}
    image = drawing.draw_image(axes, scaled[order] if n_varying else view.embedding[:1] * 0, extent, **look)
    axes.set_ylabel(
        f"Embedding,\n{n_dims} dimensions" if n_varying == n_dims else f"Embedding,\n{n_varying} of {n_dims} dims."
    )
    axes.set_yticks([])
    drawing.colour_bar(bar, image, "Std. deviations", extend="both")


def _draw_scores(view: View, axes: Axes, bar: Axes) -> None:
    if view.scores is None or view.output.scores is None:
        return
    peaks = view.output.scores.max(axis=0)
    rows = drawing.loudest(peaks)
    names = drawing.class_names(view.output.labels, len(peaks))
    extent = (view.timeline.start_s, view.timeline.end_s, len(rows), 0)
    image = drawing.draw_image(axes, view.scores[rows], extent, cmap=drawing.SCORES, vmin=0, vmax=1)
    drawing.name_rows(axes, [names[row] for row in rows], [bool(peaks[row] >= drawing.LIKELY) for row in rows])
    drawing.colour_bar(bar, image, "Score", (0, 0.5, 1))


def _footnote(view: View) -> list[str]:
    provenance = view.output.provenance
    parts = drawing.made_by(provenance, view.version)
    if view.output.embedding is not None:
        parts.append("dimensions ordered by likeness")
    if view.output.scores is not None:
        parts += drawing.what_classes(view.output.scores.max(axis=0))
    if provenance.salvaged:
        parts.append("salvaged from an unfinished file")
    if provenance.segments:
        parts.append("recorded only above a trigger's threshold")
    if provenance.without_sound:
        parts.append("no sound: the microphone may be dead")
    return parts
