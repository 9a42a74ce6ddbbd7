"""The picture of a day, or of all there is in a folder: classes over the hours, gaps, and a map of the embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime, tzinfo
from typing import Any

import matplotlib.dates
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, GridSpecFromSubplotSpec

from sonyc_ml.analysis.plots import style as drawing
from sonyc_ml.analysis.plots.bins import (
    Bins,
    Timetable,
    bin_edges,
    longest_pause_s,
    merged,
    read_timetable,
    span_of,
    span_of_day,
)
from sonyc_ml.analysis.plots.components import Floats, Numbers, on_unit_sphere, principal_components
from sonyc_ml.analysis.plots.levels import LevelBins, draw_steps
from sonyc_ml.analysis.plots.maps import draw_maps
from sonyc_ml.base.human import count, span
from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.output import Output, Provenance

DAY_S = 86400
N_COMPONENTS = 8  # rows of the heat map where there are no scores
FINEST = 2000  # shares of the span: shorter pauses are not seen
DIMMEST = 0.5  # exponent of the colours: a faint score is seen


@dataclass(frozen=True, slots=True, kw_only=True)
class DayView:
    """What the picture of a span shows.

    Attributes
    ----------
    start_s, end_s : float
        In seconds since 1970.
    day : date or None
        The day that it is; None for all there is.
    zone : tzinfo
        Of the hours.
    bins : Bins
    starts_s, ends_s : np.ndarray [shape=(n_recordings,), dtype=float64]
        Of each recording that is shown, within the span, in seconds since 1970.
    n_others : int
        Recordings in the span that are not shown, because another bundle embedded them.
    labels : tuple of str
        Of the scores.
    provenance : Provenance
        Of one of the outputs, for the names of what made them.
    note_on_starts : str
        What is to be said of where the start times come from; empty where all is well.
    levels : LevelBins or None
        How loud it was.
    """

    start_s: float
    end_s: float
    day: date | None
    zone: tzinfo
    bins: Bins
    starts_s: Numbers
    ends_s: Numbers
    n_others: int
    labels: tuple[str, ...]
    provenance: Provenance
    note_on_starts: str = ""
    levels: LevelBins | None = None


def look_at(
    read: Callable[[], Iterable[Output]], zone: tzinfo, day: date | None = None, *, whole: bool = False
) -> DayView:
    """Collect what there is to show of a folder of outputs.

    Parameters
    ----------
    read : callable
        Gives the outputs, one after another; called twice.
    zone : tzinfo
        Whose day and hours are meant.
    day : date, optional
        Which day; the one with the most recordings where not given.
    whole : bool
        Whether all there is is meant rather than a day.

    Raises
    ------
    ConfigError
    """
    timetable = read_timetable(read())
    if not len(timetable.starts_s):
        raise ConfigError("there are no outputs there")
    day = None if whole else day or _fullest(timetable, zone)
    start_s, end_s, there = _recordings_of(timetable, zone, day)
    number = int(np.bincount(timetable.bundle[there]).argmax())  # embeddings of two bundles are not comparable
    chosen = there & (timetable.bundle == number)
    starts_s, ends_s = timetable.starts_s[chosen], timetable.ends_s[chosen]
    edges_s = bin_edges(start_s, end_s, starts_s, timetable.hop_size_s)
    bins, levels = Bins(edges_s), LevelBins(edges_s)
    last = _fill(bins, levels, read(), timetable.bundles[number])
    return DayView(
        start_s=start_s,
        end_s=end_s,
        day=day,
        zone=zone,
        bins=bins,
        starts_s=np.maximum(starts_s, start_s),
        ends_s=np.minimum(ends_s, end_s),
        n_others=int((there & ~chosen).sum()),
        labels=last.labels,
        provenance=last.provenance,
        note_on_starts=timetable.note_on_starts(chosen),
        levels=None if levels.is_empty else levels,
    )


def _recordings_of(timetable: Timetable, zone: tzinfo, day: date | None) -> tuple[float, float, npt.NDArray[np.bool_]]:
    """Begin and end of a day, or of all there is, and which recordings lie in it."""
    if day is None:
        start_s, end_s = float(timetable.starts_s.min()), float(timetable.ends_s.max())
    else:
        start_s, end_s = span_of_day(day, zone)
    there = timetable.within(start_s, end_s)
    if not there.any():
        days = ", ".join(f"{other} ({n})" for other, n in timetable.days(zone).most_common(5))
        raise ConfigError(f"there are no recordings on {day}; there are on {days}")
    return start_s, end_s, there


def _fullest(timetable: Timetable, zone: tzinfo) -> date:
    """The day with the most recordings, the first of several."""
    days = timetable.days(zone)
    return min(days, key=lambda day: (-days[day], day))


def _fill(bins: Bins, levels: LevelBins, outputs: Iterable[Output], bundle: str) -> Output:
    """Add a bundle's outputs to bins; returns the last."""
    last = None
    for output in outputs:
        if output.provenance.bundle_sha256 == bundle:
            bins.add(output)
            levels.add(output, span_of(output)[0])
            last = output
    if last is None or not bins.n_windows.any():
        raise ConfigError("the recordings there have no window in that time")
    return last


def draw(span_: DayView, width_inch: float = drawing.WIDTH_INCH, height_inch: float | None = None) -> Figure:
    """Draw when there were recordings, the heat map, and the map."""
    heat = _heat(span_)
    has_map = span_.bins.map.n_seen > 2
    strips_inch = [0.13, *([] if span_.levels is None else [0.8]), max(0.9, 0.145 * len(heat.rows))]
    heights = [*strips_inch, *([2.2] if has_map else [])]
    figure = drawing.new_figure(width_inch, height_inch or sum(heights) + 1.35)
    rows, n_strips = GridSpec(len(heights), 1, figure=figure, height_ratios=heights), len(strips_inch)
    strips = GridSpecFromSubplotSpec(n_strips, 2, rows[:n_strips, 0], height_ratios=strips_inch, width_ratios=(60, 1))
    coverage = figure.add_subplot(strips[0, 0])
    _draw_coverage(span_, coverage)
    if span_.levels is not None:
        loud = figure.add_subplot(strips[1, 0], sharex=coverage)
        draw_steps(loud, _days(span_.levels.edges_s), span_.levels.steps_db(), span_.levels.reference)
        loud.tick_params(axis="x", labelbottom=False)
    axes = figure.add_subplot(strips[n_strips - 1, 0], sharex=coverage)
    _draw_heat(span_, heat, axes, figure.add_subplot(strips[n_strips - 1, 1]))
    if has_map:
        draw_maps(figure, rows[n_strips, 0], span_.bins.map, span_.labels, span_.zone)
    sound_s = float((merged(span_.starts_s, span_.ends_s) @ (-1, 1)).sum())
    subtitle = f"{count(len(span_.starts_s))}, {span(sound_s)} of sound"
    drawing.with_heading(figure, _title(span_), subtitle, _footnote(span_, heat))
    return figure


@dataclass(frozen=True, slots=True)
class Heat:
    """The rows of a heat map: what they are called, which are in bold, and `(n_rows, n_bins)` values."""

    names: list[str]
    bold: list[bool]
    rows: Floats
    label: str
    is_score: bool
    notes: list[str]
    is_level: bool = False


def _heat(span_: DayView) -> Heat:
    """Mean scores, or else principal components of the mean embeddings."""
    scores, embedding = span_.bins.means("scores"), span_.bins.means("embedding")
    if scores is not None:
        peaks = np.nanmax(scores, axis=0)
        rows, names = drawing.loudest(peaks), drawing.class_names(span_.labels, len(peaks))
        bold = [bool(peaks[row] >= drawing.LIKELY) for row in rows]
        return Heat(
            [names[row] for row in rows], bold, scores[:, rows].T, "Mean score", True, drawing.what_classes(peaks)
        )
    if embedding is None and span_.levels is not None and span_.levels.band_hz:
        names = [f"{hz:g} Hz" for hz in span_.levels.band_hz][::-1]
        bands = span_.levels.levels_db()[:, 1:].T[::-1].astype(np.float32)
        return Heat(names, [False] * len(names), bands, span_.levels.reference, False, [], is_level=True)
    if embedding is None:
        raise ConfigError("the outputs hold neither embeddings nor scores, nor levels in bands")
    points = on_unit_sphere(np.array([point for point, _, _ in span_.bins.map.kept]))
    components = principal_components(points, N_COMPONENTS)
    levels = components.coordinates(on_unit_sphere(embedding)).T
    levels /= np.maximum(np.nanstd(levels, axis=1), 1e-12)[:, None]
    names = [f"component {n + 1} ({share:.0%})" for n, share in enumerate(components.shares)]
    return Heat(
        names,
        [False] * len(names),
        levels.astype(np.float32),
        "Std. deviations",
        False,
        ["principal components of the embeddings"],
    )


def _days(times_s: npt.ArrayLike) -> Numbers:
    """Seconds since 1970 as matplotlib counts time: in days."""
    return np.asarray(times_s, np.float64) / DAY_S


def _draw_coverage(span_: DayView, axes: Axes) -> None:
    drawing.hatch_ground(axes)
    pause_s = max((span_.end_s - span_.start_s) / FINEST, longest_pause_s(span_.starts_s))
    spans = _days(merged(span_.starts_s, span_.ends_s, pause_s))
    bars = [(start, end - start) for start, end in spans]
    axes.broken_barh(bars, (0, 1), facecolor=drawing.INK, edgecolor=drawing.INK, linewidth=0.5)
    axes.set_ylim(0, 1)
    axes.set_yticks([0.5], ["recordings"])
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=False)
    axes.spines[["top", "right"]].set_visible(True)


def _draw_heat(span_: DayView, heat: Heat, axes: Axes, bar: Axes) -> None:
    drawing.hatch_ground(axes)
    edges = _days(span_.bins.edges_s)
    n_rows = len(heat.rows)
    extent = (float(edges[0]), float(edges[-1]), n_rows, 0)
    if heat.is_score:
        norm = PowerNorm(DIMMEST, 0, 1)
        image = drawing.draw_image(axes, heat.rows, extent, cmap=drawing.SCORES, norm=norm)
        drawing.colour_bar(bar, image, heat.label, (0, 0.05, 0.2, 0.5, 1))
    elif heat.is_level:
        image = drawing.draw_image(axes, heat.rows, extent, cmap=drawing.LEVELS)
        drawing.colour_bar(bar, image, heat.label)
    else:
        image = drawing.draw_image(axes, heat.rows, extent, cmap=drawing.EMBEDDING, vmin=-2.5, vmax=2.5)
        drawing.colour_bar(bar, image, heat.label, extend="both")
    drawing.name_rows(axes, heat.names, heat.bold)
    axes.set_xlim(*_days([span_.start_s, span_.end_s]))
    _label_hours(span_, axes)


def _label_hours(span_: DayView, axes: Axes) -> None:
    dates: Any = matplotlib.dates  # which has no types
    zone = datetime.fromtimestamp(span_.start_s, span_.zone).tzname() or str(span_.zone)
    if span_.day is not None:
        step = 2 if axes.figure.bbox.width / axes.figure.dpi >= drawing.ROOM_FOR_TWO_INCH else 6
        axes.xaxis.set_major_locator(dates.HourLocator(byhour=range(0, 24, step), tz=span_.zone))
        axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M", tz=span_.zone))
        axes.set_xlabel(f"Time of day ({zone})")
        return
    locator = dates.AutoDateLocator(tz=span_.zone, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    formatter = dates.ConciseDateFormatter(locator, tz=span_.zone, show_offset=False)
    formatter.formats = ["%Y", "%Y-%m", "%Y-%m-%d", "%H:%M", "%H:%M", "%H:%M:%S"]
    formatter.zero_formats = ["", "%Y-%m", "%Y-%m-%d", "%Y-%m-%d", "%H:%M", "%H:%M"]
    axes.xaxis.set_major_formatter(formatter)
    axes.set_xlabel(f"Time ({zone})")


def _title(span_: DayView) -> str:
    if span_.day is not None:
        return span_.day.isoformat()
    first, last = (datetime.fromtimestamp(time_s, span_.zone).date() for time_s in (span_.start_s, span_.end_s))
    return f"{first.isoformat()} to {last.isoformat()}"


def _footnote(span_: DayView, heat: Heat) -> list[str]:
    provenance = span_.provenance
    width_s = span_.bins.edges_s[1] - span_.bins.edges_s[0]
    parts = [
        *drawing.made_by(provenance),
        f"bins of {span(width_s)}",
        "hatched: not recorded",
        *heat.notes,
    ]
    if span_.n_others:
        parts.append(f"without {count(span_.n_others)} of other bundles")
    if span_.note_on_starts:
        parts += span_.note_on_starts.split("; ")
    return parts
