"""Parts of a picture in SVG: a plot as wide as its place, in which lines stretch and text does not.

Colours are classes, which the page's stylesheet gives for light and dark. Along the time axis, positions are percent of
the width; up and down they are pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from html import escape
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.human import shown
from sonyc_ml.web.clock import local, midnight_s

Shades: TypeAlias = npt.NDArray[np.intp]

ROW_HEIGHT, AXIS_HEIGHT = 20, 22  # pixels
SHADES_FROM = (0.01, 0.03, 0.07, 0.15, 0.25, 0.4, 0.6, 0.8)  # closer together where values are faint
N_SHADES = len(SHADES_FROM)
DAY_S, HOUR_S = 86400.0, 3600.0
STEPS_S = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200),
    *(DAY_S * n for n in (1, 2, 7, 14, 28, 91, 182, 364, 1820, 18200)),
)
MOST_TICKS = 9
EPOCH = date(1970, 1, 1).toordinal()


def text(value: str) -> str:
    """A text as SVG and HTML hold it; a name of a file may hold anything."""
    return escape(shown(value), quote=True)


def plot(content: str, height: int, label: str) -> str:
    """A plot as wide as its place, and so many pixels high; `label` is what a screen reader says of it."""
    return f'<svg class="plot" width="100%" height="{height}" role="img" aria-label="{text(label)}">{content}</svg>'


def ground(y: int, height: int) -> str:
    """What is behind a plot."""
    return f'<rect class="ground" y="{y}" width="100%" height="{height}"/>'


def hatched(name: str, ends: Iterable[tuple[float, float]], y: int, height: int) -> str:
    """Stripes from one share of the width to another: not recorded. `name` is the pattern's own on its page."""
    bars = "".join(
        f'<rect x="{start:.3%}" y="{y}" width="{end - start:.3%}" height="{height}" fill="url(#{name})"/>'
        for start, end in ends
    )
    return (
        f'<defs><pattern id="{name}" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><path class="hatch" d="M0 0V6"/></pattern></defs>{bars}'
    )


def empty_columns(shades: Shades) -> list[tuple[float, float]]:
    """Where no row has a shade, in shares of the width."""
    is_empty: npt.NDArray[np.bool_] = np.asarray((shades < 0).all(axis=0))
    return [(first / shades.shape[1], last / shades.shape[1]) for first, last in _ends(is_empty)]


def stretched(content: str, y: int, height: int, width: float, rows: float) -> str:
    """Content of its own scales, `width` times `rows`, stretched over the plot from `y` on."""
    return (
        f'<svg y="{y}" width="100%" height="{height}" viewBox="0 0 {width:g} {rows:g}" preserveAspectRatio="none">'
        f"{content}</svg>"
    )


def shade(values: npt.NDArray[np.floating], *, all_count: bool = False) -> Shades:
    """Which of the shades values in [0, 1] have, by :data:`SHADES_FROM`; -1 for none.

    With `all_count`, whatever is more than 0 is seen.
    """
    shades = np.searchsorted(SHADES_FROM, values, side="right")
    if all_count:
        shades = np.where((values > 0) & (shades == 0), 1, shades)
    return np.where(np.isfinite(values), shades, -1).astype(np.intp)


def heat(shades: Shades, titles: Sequence[str], y: int = 0) -> str:
    """Rows of cells, stretched over the plot.

    Parameters
    ----------
    shades : np.ndarray [shape=(n_rows, n_columns)]
        See :func:`shade`; where there is none, the ground shows.
    titles : sequence of str
        What a pointer over each row is told.
    """
    n_rows, n_columns = shades.shape
    rows = []
    for row, title in enumerate(titles):
        paths = [
            f'<path class="h{level}" d="{_runs(shades[row] == level, row)}"/>'
            for level in range(N_SHADES + 1)
            if (shades[row] == level).any()
        ]
        rows.append(f"<g><title>{text(title)}</title>{''.join(paths)}</g>")
    return stretched("".join(rows), y, n_rows * ROW_HEIGHT, n_columns, n_rows)


def _runs(chosen: npt.NDArray[np.bool_], row: int) -> str:
    """A path of rectangles over the runs of cells in a row."""
    return "".join(f"M{first} {row + 0.06:g}H{last}V{row + 0.94:g}H{first}z" for first, last in _ends(chosen))


def _ends(chosen: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where runs begin, and the places behind their ends."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    return [(first, last) for first, last in edges.reshape(-1, 2).tolist()]


def spans(ends: Iterable[tuple[float, float]], css: str, y: float, height: float, title: str = "") -> str:
    """Bars from one share of the width to another."""
    told = f"<title>{text(title)}</title>" if title else ""
    bars = "".join(
        f'<rect x="{start:.3%}" y="{y:g}" width="{max(end - start, 0.001):.3%}" height="{height:g}">{told}</rect>'
        for start, end in ends
    )
    return f'<g class="{css}">{bars}</g>'


def steps(values: npt.NDArray[np.floating], low: float, high: float) -> list[str]:
    """Lines over equal steps, from `low` at the bottom (100) to `high` at the top (0), broken where no number is."""
    y = np.round((high - np.clip(values, low, high)) / (high - low) * 100, 2).tolist()
    lines, is_open = [], False
    for column, level in enumerate(y):
        if math.isnan(level):
            is_open = False
            continue
        lines.append(f"{'L' if is_open else 'M'}{column} {level:g}H{column + 1}")
        is_open = True
    return lines


def band(lower: npt.NDArray[np.floating], upper: npt.NDArray[np.floating], low: float, high: float) -> str:
    """A path of the areas between two lines over equal steps; see :func:`steps`."""
    with np.errstate(invalid="ignore"):
        top, bottom = (
            np.round((high - np.clip(values, low, high)) / (high - low) * 100, 2) for values in (upper, lower)
        )
    return "".join(
        f"M{column} {top[column]:g}H{column + 1}V{bottom[column]:g}H{column}z"
        for column in np.flatnonzero(np.isfinite(top) & np.isfinite(bottom)).tolist()
    )


def nice_steps(low: float, high: float, most: int) -> list[float]:
    """Round numbers from `low` to `high`, at most so many."""
    span = max(high - low, 1e-9)
    size = 10 ** math.floor(math.log10(span / most))
    step = next(size * factor for factor in (1, 2, 5, 10) if span / (size * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def grid(levels: Sequence[float], low: float, high: float, y: int, height: int) -> str:
    """Lines across the plot at levels."""
    lines = (
        f'<line x1="0" x2="100%" y1="{place:.1f}" y2="{place:.1f}"/>'
        for place in (y + (high - level) / (high - low) * height for level in levels)
    )
    return f'<g class="grid">{"".join(lines)}</g>'


def scale(levels: Sequence[float], low: float, high: float, height: int, unit: str = "") -> str:
    """The labels of :func:`grid`, for the column left of the plot; the last has the unit."""
    words = []
    for level in levels:
        place = min(max((high - level) / (high - low) * height, 8), height - 3)
        label = f"{level:g} {unit}" if unit and level == levels[-1] else f"{level:g}"
        words.append(f'<text x="100%" y="{place + 4:.1f}" text-anchor="end">{text(label)}</text>')
    return f'<svg class="scale" width="100%" height="{height}">{"".join(words)}</svg>'


def day_axis(start_s: float, end_s: float, y: int) -> str:
    """Hours or dates below a plot, with lines above them; every other one only where there is room."""
    step_s = next((step_s for step_s in STEPS_S if (end_s - start_s) / step_s <= MOST_TICKS), STEPS_S[-1])
    moments = _days(start_s, end_s, round(step_s / DAY_S)) if step_s >= DAY_S else _hours(start_s, end_s, step_s)
    labels = [_hour(moment_s, step_s) for moment_s in moments]
    if end_s - start_s <= DAY_S + HOUR_S + 1 and labels and moments[-1] == end_s:
        labels[-1] = "24:00" if labels[-1] == "00:00" else labels[-1]
    return axis([((moment_s - start_s) / (end_s - start_s)) for moment_s in moments], labels, y)


def seconds_axis(end_s: float, y: int) -> str:
    """Seconds, minutes or hours of a recording below a plot."""
    unit, size_s = next(
        (unit, size_s)
        for unit, size_s, least_s in (("h", 3600, 10800), ("min", 60, 180), ("s", 1, 0))
        if end_s >= least_s
    )
    moments = nice_steps(0, end_s / size_s, MOST_TICKS)
    labels = [f"{moment:g}" for moment in moments]
    labels[0] = f"0 {unit}"
    return axis([moment * size_s / end_s for moment in moments], labels, y)


def axis(shares: Sequence[float], labels: Sequence[str], y: int) -> str:
    """Labels below a plot at shares of its width."""
    words = []
    for number, (share, label) in enumerate(zip(shares, labels, strict=True)):
        anchor = "start" if share < 0.02 else "end" if share > 0.98 else "middle"
        css = ' class="minor"' if number % 2 else ""
        words.append(
            f'<g{css}><line x1="{share:.2%}" x2="{share:.2%}" y1="{y}" y2="{y + 5}"/>'
            f'<text x="{share:.2%}" y="{y + 18}" text-anchor="{anchor}">{text(label)}</text></g>'
        )
    return f'<g class="axis">{"".join(words)}</g>'


def _hours(start_s: float, end_s: float, step_s: float) -> list[float]:
    """Whole steps of the clock of the node's place."""
    offset_s = (local(start_s).utcoffset() or timedelta(0)).total_seconds()
    first = math.ceil((start_s + offset_s) / step_s - 1e-9) * step_s - offset_s
    return [first + n * step_s for n in range(math.floor((end_s - first) / step_s + 1e-9) + 1)]


def _days(start_s: float, end_s: float, step: int) -> list[float]:
    """Midnights, so many days apart, which need not have 24 hours."""
    first = local(start_s).date().toordinal() - EPOCH
    numbers = range(-(-first // step) * step, local(end_s).date().toordinal() - EPOCH + 1, step)
    found = [midnight_s(date.fromordinal(EPOCH + number)) for number in numbers]
    return [moment_s for moment_s in found if start_s - 1e-6 <= moment_s <= end_s + 1e-6]


def _hour(moment_s: float, step_s: float) -> str:
    moment = local(moment_s)
    return f"{moment:%Y-%m-%d}"[5:] if step_s >= DAY_S else f"{moment:%H:%M}"
