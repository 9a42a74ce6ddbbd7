"""How loud it was over a span: LAeq of each bin, and how it was spread."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np

from sonyc_ml.base.human import span
from sonyc_ml.base.records import dataclass
from sonyc_ml.web.clock import short
from sonyc_ml.web.pictures.drawing import svg
from sonyc_ml.web.pictures.drawing.figures import Figure, Table, key, legend, number, reference_in

if TYPE_CHECKING:
    from sonyc_ml.analysis.plots.components import Numbers
    from sonyc_ml.web.pictures.day.making import Day

HEIGHT = 180  # pixels
BELOW_DB = 25.0  # that is shown below the lowest LAeq
# L10 is exceeded for a tenth of the time, so it is a high percentile.
PERCENTILES = {"L10": 90, "L50": 50, "L90": 10}


@dataclass(frozen=True, slots=True)
class LevelBins:
    """Levels of each bin, `(n_bins,)` by name, NaN where nothing was measured; over all of them; and how measured."""

    bins: dict[str, Numbers]
    total: dict[str, float]
    reference: str
    period_s: float


def levels_in(day: Day) -> LevelBins | None:
    """Reduce the levels of outputs to bins; None where there are none.

    LAeq is the mean energy of the periods (of a second, mostly), each by the sound that was measured of it. L10, L50
    and L90 are percentiles of the periods' LAeq. Outputs with another reference than the last have others, and are
    left out.
    """
    found = [(one, summary.levels) for one, summary in day.read if summary.levels is not None]
    found = [(one, levels) for one, levels in found if len(levels.start_s)]
    if not found:
        return None
    made = json.loads(found[-1][1].made)
    reference = reference_in(made)
    alike = [(one, levels) for one, levels in found if reference_in(json.loads(levels.made)) == reference]
    times_s = np.concatenate([one.start_s + levels.start_s for one, levels in alike])
    laeq, highest, measured_s = (
        np.concatenate([getattr(levels, name) for _, levels in alike]).astype(np.float64)
        for name in ("laeq", "lafmax", "measured_s")
    )
    width_s = day.edges_s[1] - day.edges_s[0]
    places = np.floor((times_s - day.edges_s[0]) / width_s).astype(np.intp)
    n_bins = len(day.edges_s) - 1
    good = np.isfinite(laeq) & (measured_s > 0) & (places >= 0) & (places < n_bins)
    columns = (laeq[good], highest[good], measured_s[good])
    names = ("LAeq", "LAFmax", *PERCENTILES)
    bins = {name: np.full(n_bins, np.nan) for name in names}
    for place in np.unique(places[good]).tolist():
        own = _reduced(*(column[places[good] == place] for column in columns))
        for name in names:
            bins[name][place] = own[name]
    return LevelBins(bins, _reduced(*columns), reference, float(made.get("period_s", 1.0)))


def _reduced(laeq: Numbers, highest: Numbers, measured_s: Numbers) -> dict[str, float]:
    """Levels over some periods."""
    if not len(laeq):
        return dict.fromkeys(("LAeq", "LAFmax", *PERCENTILES), math.nan)
    energy = float((10 ** (laeq / 10) * measured_s).sum() / measured_s.sum())
    known = highest[np.isfinite(highest)]
    return {
        "LAeq": 10 * math.log10(energy),
        "LAFmax": float(known.max()) if len(known) else math.nan,
        **{name: float(np.percentile(laeq, percent)) for name, percent in PERCENTILES.items()},
    }


def figure_of_levels(day: Day) -> list[Figure]:
    """LAeq, with the span from L90 to L10; nothing where nobody measured."""
    found = levels_in(day)
    if found is None:
        return []
    low, high = range_of(found.bins["LAeq"], found.bins["L90"], found.bins["LAFmax"])
    start_s, end_s = float(day.edges_s[0]), float(day.edges_s[-1])
    n_bins = len(day.edges_s) - 1
    lines = {name: "".join(svg.steps(found.bins[name], low, high)) for name in ("LAeq", "LAFmax")}
    area = f'<path class="band" d="{svg.band(found.bins["L90"], found.bins["L10"], low, high)}"/>'
    paths = "".join(f'<path class="line {name.lower()}" d="{path}"/>' for name, path in lines.items())
    ticks = svg.nice_steps(low, high, 5)
    content = svg.grid(ticks, low, high, 0, HEIGHT) + svg.stretched(area + paths, 0, HEIGHT, n_bins, 100)
    total = ", ".join(f"{name} {level:.1f}" for name, level in found.total.items() if not math.isnan(level))
    said = f"Sound levels over the span, in {found.reference}: {total}"
    plot = svg.plot(content + svg.day_axis(start_s, end_s, HEIGHT), HEIGHT + svg.AXIS_HEIGHT, said)
    return [
        Figure(
            title="Sound levels",
            note=f"{total} ({found.reference}), of periods of {span(found.period_s)}.",
            left=svg.scale(ticks, low, high, HEIGHT, "dB"),
            plot=plot,
            below=legend([(_line("laeq"), "LAeq"), (_line("lafmax"), "LAFmax"), (key("band"), "from L90 to L10")]),
            table=_table(day, found),
        )
    ]


def _line(css: str) -> str:
    return f'<path class="line {css}" d="M0 8H16"/>'


def range_of(laeq: Numbers, lower: Numbers, upper: Numbers) -> tuple[float, float]:
    """Lowest and highest level of a plot, in whole tens of dB; digital silence is far below, and cut off."""
    known = [values[np.isfinite(values)] for values in (laeq, lower, upper)]
    if not len(known[0]):
        return 0.0, 10.0
    lowest = min(float(values.min()) for values in known if len(values))
    highest = max(float(values.max()) for values in known if len(values))
    # LAeq decides: of a band from a tenth of silence to the rest, the silence would be the whole plot.
    usual = np.sort(known[0])[len(known[0]) // 50]
    low = math.floor(max(lowest, float(usual) - BELOW_DB) / 10) * 10
    return low, max(math.ceil(highest / 10) * 10, low + 10)


def _table(day: Day, found: LevelBins) -> Table:
    rows = [
        (short(float(edge_s)), *(number(float(values[place])) for values in found.bins.values()))
        for place, edge_s in enumerate(day.edges_s[:-1])
    ]
    return Table(
        name="levels", heading=("from", *(f"{name} ({found.reference})" for name in found.bins)), rows=list(rows)
    )
