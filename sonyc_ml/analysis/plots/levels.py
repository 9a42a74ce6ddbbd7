"""Sound levels in pictures: how loud it was over time, and in which bands."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from sonyc_ml.analysis.plots import style as drawing
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.levels.result import QUANTITIES, SoundLevels

Numbers = npt.NDArray[np.float64]

LAEQ, LAFMAX, LAFMIN = (QUANTITIES.index(name) for name in ("LAeq", "LAFmax", "LAFmin"))
BAND_TICKS_HZ = (63, 250, 1000, 4000, 16000)


def draw_levels(levels: SoundLevels, axes: Axes, bar: Axes) -> None:
    """Draw LAeq as steps over the periods, before the span from LAFmin to LAFmax."""
    bar.set_visible(False)
    edges_s = _edges_s(levels)
    draw_steps(axes, edges_s, levels.values[:, [LAEQ, LAFMAX, LAFMIN]].astype(np.float64), levels.reference)


def draw_steps(axes: Axes, edges: Numbers, values: Numbers, reference: str) -> None:
    """Draw steps between edges: LAeq as a line, LAFmax and LAFmin as the ends of an area, `(n, 3)`; NaN are gaps."""
    laeq, highest, lowest = np.repeat(values, 2, axis=0).T
    places = np.repeat(edges, 2)[1:-1]
    axes.fill_between(places, lowest, highest, color=drawing.INK, alpha=0.2, linewidth=0)
    axes.plot(places, laeq, color=drawing.INK, linewidth=0.8)
    broken = reference.replace(" re ", "\nre ")
    axes.set_ylabel(f"LAeq ({broken})")
    axes.locator_params(axis="y", nbins=4)


def draw_bands(levels: SoundLevels, axes: Axes, bar: Axes) -> None:
    """Draw the level of each band over time."""
    edges_s = _edges_s(levels)
    extent = (float(edges_s[0]), float(edges_s[-1]), -0.5, len(levels.band_hz) - 0.5)
    image = drawing.draw_image(axes, levels.bands.T, extent, origin="lower", cmap=drawing.LEVELS)
    axes.set_ylabel("Band (Hz)")
    ticks = {hz: levels.band_hz.index(hz) for hz in BAND_TICKS_HZ if hz in levels.band_hz}
    axes.set_yticks(list(ticks.values()), [str(hz) for hz in ticks])
    drawing.colour_bar(bar, image, levels.reference.replace(" re 20 µPa", " SPL"))


def _edges_s(levels: SoundLevels) -> Numbers:
    return np.append(levels.start_s, levels.start_s[-1] + float(levels.measured_s[-1]))


class LevelBins:
    """Mean levels of the periods that begin in each bin of a span.

    Parameters
    ----------
    edges_s : np.ndarray [shape=(n_bins + 1,), dtype=float64]
        In seconds since 1970, equally far apart.
    """

    def __init__(self, edges_s: Numbers) -> None:
        self.edges_s, self.reference = edges_s, ""
        self.band_hz: tuple[float, ...] = ()
        self._energies: Numbers = np.zeros((len(edges_s) - 1, 0))
        self._measured_s = np.zeros(len(edges_s) - 1)
        self._extremes = np.full((len(edges_s) - 1, 2), np.nan)

    @property
    def is_empty(self) -> bool:
        """Whether no output had levels."""
        return not self._measured_s.any()

    def add(self, output: Output, start_s: float) -> None:
        """Add the levels of an output that begins at a time (in seconds since 1970).

        Those of another reference, or of other bands, than the first had cannot be averaged with them and are left out.
        """
        levels = output.levels
        if levels is None or not len(levels):
            return
        if not self.reference:
            self.reference, self.band_hz = levels.reference, levels.band_hz
            self._energies = np.zeros((len(self._measured_s), 1 + len(levels.band_hz)))
        if (levels.reference, levels.band_hz) != (self.reference, self.band_hz):
            return
        width_s = self.edges_s[1] - self.edges_s[0]
        bins = np.floor((start_s + levels.start_s - self.edges_s[0]) / width_s).astype(np.intp)
        inside = (bins >= 0) & (bins < len(self._measured_s)) & (levels.measured_s > 0)
        all_db: Any = np.concatenate([levels.values[:, LAEQ : LAEQ + 1], levels.bands], axis=1)[inside]
        measured_s = levels.measured_s[inside].astype(np.float64)
        np.add.at(self._energies, bins[inside], 10 ** (all_db.astype(np.float64) / 10) * measured_s[:, None])
        np.add.at(self._measured_s, bins[inside], measured_s)
        np.fmax.at(self._extremes[:, 0], bins[inside], levels.values[inside, LAFMAX])
        np.fmin.at(self._extremes[:, 1], bins[inside], levels.values[inside, LAFMIN])

    def levels_db(self) -> Numbers:
        """LAeq and the bands of each bin, `(n_bins, 1 + n_bands)`; NaN where nothing was measured."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(10 * np.log10(self._energies / self._measured_s[:, None]))

    def steps_db(self) -> Numbers:
        """LAeq, LAFmax and LAFmin of each bin, `(n_bins, 3)`."""
        return np.concatenate([self.levels_db()[:, :1], self._extremes], axis=1)
