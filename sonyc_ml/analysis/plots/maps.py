"""Maps of embeddings: their first two principal components, by class and by time of day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec

from sonyc_ml.analysis.plots import style as drawing
from sonyc_ml.analysis.plots.components import (
    Components,
    Indices,
    Numbers,
    Reservoir,
    on_unit_sphere,
    principal_components,
)

MOST_MARKS = 500  # of a map that is drawn as lines; more of them are an image


def draw_maps(figure: Figure, cell: SubplotSpec, sample: Reservoir, labels: Sequence[str], zone: tzinfo) -> None:
    """Draw the map by class, and by hour where there is room for both or there are no classes.

    Parameters
    ----------
    figure : Figure
    cell : SubplotSpec
        Which part of the figure is for them.
    sample : Reservoir
        Embeddings, the number of their likeliest class (-1 where there is none), and their time in seconds since 1970.
    labels : sequence of str
        Of the classes.
    zone : tzinfo
        Of the hours.
    """
    embeddings, kinds, times_s = (np.array(values) for values in zip(*sample.kept, strict=True))
    units = on_unit_sphere(embeddings)
    components = principal_components(units, 2)
    points = components.coordinates(units)
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    has_classes = bool((kinds >= 0).all())
    has_hours = not has_classes or figure.get_figwidth() >= drawing.ROOM_FOR_TWO_INCH
    widths = [*((29, 9) if has_classes else ()), *((29, 1) if has_hours else ())]
    cells = GridSpecFromSubplotSpec(1, len(widths), cell, width_ratios=widths)
    panels = [figure.add_subplot(cells[0, column]) for column in range(len(widths))]
    if has_classes:
        _label_map(panels[0], components, "Embeddings, by likeliest class")
        _draw_classes(panels[0], panels[1], points, kinds, labels)
    if has_hours:
        _label_map(panels[-2], components, "Embeddings, by time of day")
        _draw_hours(panels[-2], panels[-1], points, hours_of_day(times_s, zone))


def _draw_hours(axes: Axes, bar: Axes, points: Numbers, hours: Numbers) -> None:
    """Points by the hour, in colours that end as they begin."""
    look: dict[str, Any] = {
        "cmap": drawing.HOURS,
        "vmin": 0,
        "vmax": 24,
        "s": drawing.MARK_SIZE,
        "linewidths": 0.25,
        "edgecolors": drawing.GREY,
        "rasterized": len(points) > MOST_MARKS,
    }
    marks = axes.scatter(points[:, 0], points[:, 1], c=hours, **look)
    drawing.colour_bar(bar, marks, "Hour", (0, 6, 12, 18, 24))


def _label_map(axes: Axes, components: Components, title: str) -> None:
    shares = [*components.shares, 0.0][:2]
    axes.set_title(title, fontsize=7.5, fontweight="normal")
    axes.set_xlabel(f"Component 1 ({shares[0]:.0%} of variance)")
    axes.set_ylabel(f"Component 2 ({shares[1]:.0%})")
    axes.set_aspect("equal", "datalim")
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_classes(axes: Axes, legend: Axes, points: Numbers, kinds: Indices, labels: Sequence[str]) -> None:
    """Points by class, the most frequent classes with a colour and a mark of their own."""
    names = drawing.class_names(labels, max(len(labels), int(kinds.max()) + 1))
    frequent = [kind for kind, _ in Counter(kinds.tolist()).most_common(len(drawing.CLASS_COLOURS))]
    look: dict[str, Any] = {
        "s": drawing.MARK_SIZE,
        "linewidths": 0.25,
        "edgecolors": "white",
        "rasterized": len(points) > MOST_MARKS,
    }
    rest = ~np.isin(kinds, frequent)
    if rest.any():
        axes.scatter(points[rest, 0], points[rest, 1], c=drawing.PALE, marker=".", label="other", **look)
    for kind, colour, mark in zip(sorted(frequent), drawing.CLASS_COLOURS, drawing.CLASS_MARKS, strict=False):
        axes.scatter(
            points[kinds == kind, 0],
            points[kinds == kind, 1],
            c=colour,
            marker=mark,
            label=drawing.shortened(names[kind]),
            **look,
        )
    legend.set_axis_off()
    handles, texts = axes.get_legend_handles_labels()
    legend.legend(handles, texts, loc="center left", fontsize=6.5, frameon=False, borderaxespad=0, handletextpad=0.1)


def hours_of_day(times_s: Numbers, zone: tzinfo) -> Numbers:
    """Hours since midnight in a time zone, in [0, 24), of times in seconds since 1970."""
    times = (datetime.fromtimestamp(time_s, zone) for time_s in times_s.tolist())
    return np.array([time.hour + time.minute / 60 + time.second / 3600 for time in times])
