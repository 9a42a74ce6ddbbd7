"""The figures of one recording, below one another on one time axis."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sonyc_ml.analysis.plots.classes import LIKELY, class_names, loudest, shortened
from sonyc_ml.analysis.plots.recording_view import View
from sonyc_ml.base.human import span
from sonyc_ml.outputs.detections import Detection
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.levels.result import QUANTITIES
from sonyc_ml.web.page.links import address
from sonyc_ml.web.pictures.day.classes import shades_legend
from sonyc_ml.web.pictures.day.levels import range_of
from sonyc_ml.web.pictures.drawing import svg
from sonyc_ml.web.pictures.drawing.figures import Figure, Table, key, legend, number, rows_left
from sonyc_ml.web.pictures.drawing.png import to_png
from sonyc_ml.web.pictures.jobs import RecordingJob

WAVE_HEIGHT, MEL_HEIGHT, LEVELS_HEIGHT = 90, 160, 120  # pixels
MOST_DETECTED = 12  # classes
MOST_CSV_CELLS = 300_000  # scores; of more, the csv has the classes that are shown
FEWEST_PERIODS = 0.1  # of a period, for it to be drawn


def figures_of(output: Output, view: View | None, job: RecordingJob) -> Iterator[Figure]:
    """The figures that there is something for."""
    duration_s = output.provenance.duration_s
    if view is not None and view.waveform is not None:
        yield _waveform(view, duration_s)
    if view is not None and view.features is not None:
        yield _log_mel(view, duration_s, job)
    if output.detections:
        yield _detections(output.detections, duration_s)
    if view is not None and view.scores is not None:
        yield _scores(output, view, duration_s)
    if output.levels is not None and len(output.levels):
        yield _levels(output, duration_s)


def _plot(content: str, height: int, duration_s: float, label: str) -> str:
    return svg.plot(content + svg.seconds_axis(duration_s, height), height + svg.AXIS_HEIGHT, label)


def _waveform(view: View, duration_s: float) -> Figure:
    assert view.waveform is not None
    low, high = view.waveform
    peak = float(max(np.abs(low).max(), np.abs(high).max())) or 1.0
    places = range(len(low))
    tops = " ".join(f"{x} {-y / peak * 48:.1f}" for x, y in zip(places, high.tolist(), strict=True))
    bottoms = " ".join(
        f"{x} {-y / peak * 48 + 0.4:.1f}" for x, y in zip(reversed(places), low[::-1].tolist(), strict=True)
    )
    shape = f'<g transform="translate(0 50)"><path class="wave" d="M{tops} {bottoms}z"/></g>'
    ticks = [-peak, 0.0, peak]
    content = svg.grid([0.0], -1, 1, 0, WAVE_HEIGHT) + svg.stretched(shape, 0, WAVE_HEIGHT, len(low) - 1, 100)
    top = 1 / 0.96
    left = svg.scale([float(f"{tick:.2g}") for tick in ticks], -peak * top, peak * top, WAVE_HEIGHT)
    width_s = duration_s / len(low)
    rows = [(number(place * width_s, 3), f"{low[place]:.5f}", f"{high[place]:.5f}") for place in places]
    said = f"Waveform of {span(duration_s)}; the highest sample is {peak:.2g} of full scale"
    return Figure(
        title="Waveform",
        note="Lowest and highest sample of equal parts; 1 is full scale.",
        plot=_plot(content, WAVE_HEIGHT, duration_s, said),
        left=left,
        table=Table(name="waveform", heading=("from (s)", "lowest", "highest"), rows=list(rows)),
    )


def _log_mel(view: View, duration_s: float, job: RecordingJob) -> Figure:
    assert view.features is not None
    low, high = view.lowest(), float(np.nanmax(view.features))
    where = {"name": job.name, "bytes": job.n_bytes, "mtime_ns": job.mtime_ns, "bundle": job.bundle or None}
    image = address("log-mel.png", **where)
    content = (
        f'<image class="pixels" href="{svg.text(image)}" width="100%" height="{MEL_HEIGHT}" '
        f'preserveAspectRatio="none"/>'
    )
    n_bands = len(view.features)
    left, unit = "", "features"
    if view.mel_scale is not None:
        ticks = {hz: (place + 0.5) / n_bands for hz, place in view.mel_scale.ticks().items()}
        left, unit = _frequencies(ticks), "dB"
    said = f"What the network read: {n_bands} bands over the time, from {low:.0f} to {high:.0f} {unit}"
    return Figure(
        title="Log-mel, as the network read it",
        note=f"{n_bands} mel bands; from {low:.0f} (dark) to {high:.0f} (light) {unit}.",
        plot=_plot(content, MEL_HEIGHT, duration_s, said),
        left=left,
        table=_mel_table(view, duration_s),
        image=to_png(view.features[::-1], low, high),
    )


def _mel_table(view: View, duration_s: float) -> Table:
    assert view.features is not None
    n_bands, n_columns = view.features.shape
    rows = [
        (number(column * duration_s / n_columns, 3), *(number(value, 2) for value in view.features[:, column].tolist()))
        for column in range(n_columns)
    ]
    return Table(name="log-mel", heading=("from (s)", *(f"band {band}" for band in range(n_bands))), rows=list(rows))


def _frequencies(ticks: dict[int, float]) -> str:
    words = "".join(
        f'<text x="100%" y="{min(max((1 - share) * MEL_HEIGHT + 4, 12), MEL_HEIGHT - 2):.1f}" text-anchor="end">'
        f"{hz:,}{' Hz' if hz == max(ticks) else ''}</text>"
        for hz, share in ticks.items()
    )
    return f'<svg class="scale" width="100%" height="{MEL_HEIGHT}">{words}</svg>'


def _detections(detections: tuple[Detection, ...], duration_s: float) -> Figure:
    best: dict[str, float] = {}
    for one in detections:
        best[one.label] = max(best.get(one.label, 0.0), one.score_max)
    labels = sorted(best, key=lambda label: -best[label])[:MOST_DETECTED]
    bars = []
    for row, label in enumerate(labels):
        for one in detections:
            if one.label == label:
                title = f"{label}: {one.start_s:.2f} to {one.end_s:.2f} s, highest score {one.score_max:.2f}"
                ends = [(one.start_s / duration_s, one.end_s / duration_s)]
                bars.append(svg.spans(ends, "detection", row * svg.ROW_HEIGHT + 3, svg.ROW_HEIGHT - 6, title))
    height = len(labels) * svg.ROW_HEIGHT
    lines = svg.grid(range(len(labels) + 1), 0, len(labels), 0, height)
    rows = [
        (one.label, number(one.start_s, 3), number(one.end_s, 3), number(one.score_max, 3), number(one.score_mean, 3))
        for one in detections
    ]
    said = "Detections: " + "; ".join(f"{label}, highest score {best[label]:.2f}" for label in labels)
    return Figure(
        title="Detections",
        plot=_plot(lines + "".join(bars), height, duration_s, said),
        left=rows_left([shortened(label) for label in labels], [True] * len(labels)),
        table=Table(
            name="detections",
            heading=("class", "from (s)", "to (s)", "highest score", "mean score"),
            rows=list(rows),
        ),
    )


def _scores(output: Output, view: View, duration_s: float) -> Figure:
    assert output.scores is not None
    assert view.scores is not None
    peaks = output.scores.max(axis=0)
    rows = loudest(peaks)
    names = class_names(output.labels, len(peaks))
    moments = output.scores.argmax(axis=0)
    titles = [f"{names[row]}: highest {peaks[row]:.2f} at {output.timestamps[moments[row]]:.2f} s" for row in rows]
    height = len(rows) * svg.ROW_HEIGHT
    shades = svg.shade(view.scores[rows])
    content = svg.ground(0, height) + svg.hatched("hatch-scores", svg.empty_columns(shades), 0, height)
    content += svg.heat(shades, titles)
    bold = [bool(peaks[row] >= LIKELY) for row in rows]
    told = list(range(len(peaks))) if output.scores.size <= MOST_CSV_CELLS else rows.tolist()
    values = [
        (number(start_s, 3), *(number(score, 4) for score in scores))
        for start_s, scores in zip(output.timestamps.tolist(), output.scores[:, told].tolist(), strict=True)
    ]
    note = f"Shade: the score of the window whose middle is nearest. Bold: reaches {LIKELY:g}."
    note += f" The {len(rows)} highest of {len(peaks)} classes." if len(rows) < len(peaks) else ""
    note += " The csv has these alone." if len(told) < len(peaks) else ""
    return Figure(
        title="Scores",
        note=note,
        plot=_plot(content, height, duration_s, "Scores: " + "; ".join(titles[:5])),
        left=rows_left([shortened(names[row]) for row in rows], bold),
        below=shades_legend(),
        table=Table(name="scores", heading=("window from (s)", *(names[row] for row in told)), rows=list(values)),
    )


def _levels(output: Output, duration_s: float) -> Figure:
    levels = output.levels
    assert levels is not None
    # Of a recording that is a few samples longer than its periods, the last one says nothing.
    is_whole = levels.measured_s >= FEWEST_PERIODS * levels.measured_s.max()
    laeq, highest, lowest = (
        np.where(is_whole, levels[name], np.nan).astype(np.float64) for name in ("LAeq", "LAFmax", "LAFmin")
    )
    low, high = range_of(laeq, lowest, highest)
    area = f'<path class="band" d="{svg.band(lowest, highest, low, high)}"/>'
    line = f'<path class="line laeq" d="{"".join(svg.steps(laeq, low, high))}"/>'
    # The last period may be shorter than the others, and the recording then ends within it.
    period_s = float(levels.start_s[1] - levels.start_s[0]) if len(levels) > 1 else duration_s
    ticks = svg.nice_steps(low, high, 4)
    content = svg.grid(ticks, low, high, 0, LEVELS_HEIGHT)
    content += svg.stretched(area + line, 0, LEVELS_HEIGHT, duration_s / period_s, 100)
    total = ", ".join(f"{name} {level:.1f}" for name, level in levels.totals().items())
    rows = [
        (number(start_s, 3), *(number(value) for value in values))
        for start_s, values in zip(levels.start_s.tolist(), levels.values.tolist(), strict=True)
    ]
    heading = ("from (s)", *(f"{name} ({levels.reference})" for name in QUANTITIES))
    mark = '<path class="line laeq" d="M0 8H16"/>'
    return Figure(
        title="Sound levels",
        note=f"{total} ({levels.reference}){'; ' + levels.note if levels.note else ''}",
        plot=_plot(content, LEVELS_HEIGHT, duration_s, f"Sound levels in {levels.reference}: {total}"),
        left=svg.scale(ticks, low, high, LEVELS_HEIGHT, "dB"),
        below=legend([(mark, "LAeq"), (key("band"), "from LAFmin to LAFmax")]),
        table=Table(name="levels", heading=heading, rows=list(rows)),
    )
