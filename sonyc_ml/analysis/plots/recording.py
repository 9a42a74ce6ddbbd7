"""The picture of one recording: what was heard, what the network read of it, and what it made of that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sonyc_ml.analysis.plots import style as drawing
from sonyc_ml.analysis.plots.components import order_of_likeness, varying
from sonyc_ml.analysis.plots.levels import draw_bands, draw_levels
from sonyc_ml.analysis.plots.recording_view import View
from sonyc_ml.analysis.plots.recording_view import look_at as look_at  # noqa: PLC0414  it was here once
from sonyc_ml.outputs.output import Output

MOST_ROWS = 2000  # windows that the order of dimensions is taken from
DEVIATIONS = 2.5  # of a dimension, at either end of the colours


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
    image = drawing.draw_image(axes, view.features, extent, origin="lower", cmap=drawing.LEVELS, vmin=view.lowest())
    if view.mel_scale is None:
        axes.set_ylabel("Band")
        drawing.colour_bar(bar, image, "Feature", extend="min")
        return
    axes.set_ylabel("Frequency (Hz)")
    ticks = view.mel_scale.ticks()
    axes.set_yticks(list(ticks.values()), [str(hz) for hz in ticks])
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
