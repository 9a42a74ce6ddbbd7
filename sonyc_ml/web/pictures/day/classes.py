"""Classes over the hours of a span: by what was detected, or else by the scores of outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sonyc_ml.analysis.plots.classes import LIKELY, MOST_CLASSES, class_names, loudest, shortened
from sonyc_ml.base.human import count
from sonyc_ml.web.clock import short
from sonyc_ml.web.pictures.drawing import svg
from sonyc_ml.web.pictures.drawing.figures import Figure, Table, legend, number, rows_left

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sonyc_ml.analysis.plots.components import Numbers
    from sonyc_ml.web.pictures.day.making import Day
    from sonyc_ml.web.pictures.drawing.svg import Shades

HEADING = ("from", "to", "recordings")


def figure_of_heard(day: Day) -> list[Figure]:
    """In what share of the recordings of each bin each class was heard."""
    counts: dict[str, Numbers] = {}
    highest: dict[str, float] = {}
    n_bins = len(day.edges_s) - 1
    for one in day.heard:
        if 0 <= one.bin < n_bins:
            counts.setdefault(one.label, np.zeros(n_bins))[one.bin] += one.n_recordings
            highest[one.label] = max(highest.get(one.label, 0.0), one.score_max)
    labels = sorted(counts, key=lambda label: (-counts[label].sum(), label))[:MOST_CLASSES]
    values = np.stack([counts[label] for label in labels])
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(day.n_made > 0, np.clip(values / day.n_made, 0, 1), np.nan)
    titles = [
        f"{label}: heard in {count(int(counts[label].sum()))}, most from {_at(day, counts[label])}, "
        f"highest score {highest[label]:.2f}"
        for label in labels
    ]
    n_others = len(counts) - len(labels)
    note = "Shade: the share of recordings in which a class was heard."
    note += f" The {len(labels)} most frequent of {len(counts)} classes." if n_others else ""
    table = Table(name="classes", heading=(*HEADING, *sorted(counts)), rows=_rows(day, counts, day.n_made, 0))
    return [
        _figure(
            day, labels, [False] * len(labels), svg.shade(shares, all_count=True), titles, note, table, percent=True
        )
    ]


def figure_of_scores(day: Day) -> list[Figure]:
    """The mean score of each class in each bin; nothing where there are no scores."""
    read = [(one, summary) for one, summary in day.read if summary.scores is not None]
    if not read:
        return []
    n_classes = len(read[-1][1].scores)  # type: ignore[arg-type]
    read = [(one, summary) for one, summary in read if len(summary.scores) == n_classes]  # type: ignore[arg-type]
    sums, n_read = np.zeros((n_classes, len(day.edges_s) - 1)), np.zeros(len(day.edges_s) - 1)
    for one, summary in read:
        place = day.bin_of(one.start_s)
        sums[:, place] += summary.scores  # type: ignore[arg-type]
        n_read[place] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / n_read
    peaks = np.nanmax(means, axis=1)
    names = class_names(read[-1][1].labels, n_classes)
    rows = loudest(peaks)
    labels, bold = [names[row] for row in rows], [bool(peaks[row] >= LIKELY) for row in rows]
    titles = [f"{names[row]}: highest mean {peaks[row]:.2f}, from {_at(day, means[row])}" for row in rows]
    note = f"Shade: the mean score. Bold: reaches {LIKELY:g}."
    note += f" The {len(rows)} highest of {n_classes} classes." if len(rows) < n_classes else ""
    by_name = dict(zip(names, means, strict=True))
    table = Table(name="classes", heading=(*HEADING, *sorted(by_name)), rows=_rows(day, by_name, n_read, 3))
    return [_figure(day, labels, bold, svg.shade(means[rows]), titles, note, table)]


def _at(day: Day, values: Numbers) -> str:
    """When a class was most."""
    return short(float(day.edges_s[int(np.nanargmax(values))]))[:16]


def _rows(day: Day, values: dict[str, Numbers], n_made: Numbers, digits: int) -> list[Sequence[str]]:
    names = sorted(values)
    return [
        (
            short(float(day.edges_s[place])),
            short(float(day.edges_s[place + 1])),
            f"{n_made[place]:.0f}",
            *(number(float(values[name][place]), digits) for name in names),
        )
        for place in range(len(day.edges_s) - 1)
    ]


def _figure(
    day: Day,
    labels: list[str],
    bold: list[bool],
    shades: Shades,
    titles: list[str],
    note: str,
    table: Table,
    *,
    percent: bool = False,
) -> Figure:
    start_s, end_s = float(day.edges_s[0]), float(day.edges_s[-1])
    height = len(labels) * svg.ROW_HEIGHT
    content = svg.ground(0, height) + svg.hatched("hatch-classes", svg.empty_columns(shades), 0, height)
    content += svg.heat(shades, titles)
    said = f"Classes over the hours. {'; '.join(titles[:5])}"
    return Figure(
        title="Classes over the hours",
        note=note,
        left=rows_left([shortened(label) for label in labels], bold),
        plot=svg.plot(content + svg.day_axis(start_s, end_s, height), height + svg.AXIS_HEIGHT, said),
        below=shades_legend(percent=percent),
        table=table,
    )


def shades_legend(*, percent: bool = False) -> str:
    """What the shades mean, in a legend."""
    marks = [(0, "less")]
    for level in range(2, svg.N_SHADES + 1, 2):
        least = svg.SHADES_FROM[level - 1]
        marks.append((level, f"from {100 * least:.0f} %" if percent else f"from {least:g}"))
    return legend([(f'<rect class="h{level}" x="1" y="2" width="14" height="12"/>', words) for level, words in marks])
