"""The sound levels of many outputs, as arrays and as rows of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.cells import to_cell
from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import MissingOutputsError
from sonyc_ml.outputs.archive.shared_columns import pandas_table
from sonyc_ml.outputs.output import Output, Provenance
from sonyc_ml.sound.levels.result import QUANTITIES, SoundLevels

if TYPE_CHECKING:
    import pandas as pd

BEFORE, BEHIND = ("recording", "time", "start_s", "measured_s"), ("n_clipped", "near_floor", "reference")
HEADING = (*BEFORE, *QUANTITIES, *BEHIND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """The levels of many recordings, one row per period, in the order of the recordings.

    Attributes
    ----------
    time : np.ndarray [shape=(n_periods,), dtype=datetime64[us]]
        When each period begins, in UTC; NaT where nobody knows.
    start_s : np.ndarray [shape=(n_periods,), dtype=float64]
        In seconds from its recording's first sample.
    measured_s : np.ndarray [shape=(n_periods,), dtype=float32]
    values : np.ndarray [shape=(n_periods, 10), dtype=float32]
        The levels :data:`~sonyc_ml.sound.levels.result.QUANTITIES`; NaN where there is none.
    band_hz : tuple of float
    bands : np.ndarray [shape=(n_periods, n_bands), dtype=float32]
        By the frequencies of all recordings; NaN where a recording has no such band.
    n_clipped : np.ndarray [shape=(n_periods,), dtype=int32]
    near_floor : np.ndarray [shape=(n_periods,), dtype=bool]
    reference : np.ndarray [shape=(n_periods,), dtype=object]
        What 0 dB is.
    number : np.ndarray [shape=(n_periods,), dtype=int32]
        Which of `provenances` each is of.
    provenances : tuple of Provenance
    """

    time: npt.NDArray[np.datetime64]
    start_s: npt.NDArray[np.float64]
    measured_s: npt.NDArray[np.float32]
    values: npt.NDArray[np.float32]
    band_hz: tuple[float, ...]
    bands: npt.NDArray[np.float32]
    n_clipped: npt.NDArray[np.int32]
    near_floor: npt.NDArray[np.bool_]
    reference: npt.NDArray[np.object_]
    number: npt.NDArray[np.int32]
    provenances: tuple[Provenance, ...]

    def __len__(self) -> int:
        return len(self.start_s)

    def __repr__(self) -> str:
        return f"<Levels of {len(self.provenances)} recordings: {len(self)} periods, {len(self.band_hz)} bands>"

    def __getitem__(self, name: str) -> npt.NDArray[np.float32]:
        """A level by its name, as ``LAeq``, `(n_periods,)`."""
        return self.values[:, QUANTITIES.index(name)]

    def to_pandas(self) -> pd.DataFrame:
        """Put everything into one table of the package pandas, which is imported only here.

        Returns
        -------
        pandas.DataFrame
            One row per period, with the columns of ``sonyc-ml levels``.

        Raises
        ------
        ConfigError
            There is no pandas.
        """
        columns = {
            "start_s": self.start_s,
            "measured_s": self.measured_s,
            **{name: self[name] for name in QUANTITIES},
            "n_clipped": self.n_clipped,
            "near_floor": self.near_floor,
            "reference": self.reference,
            **{f"{hz:g}": self.bands[:, place] for place, hz in enumerate(self.band_hz)},
        }
        return pandas_table(self.provenances, self.number, self.time, columns)


def read_levels(folder: str | Path) -> Levels:
    """Read the sound levels of a folder of outputs, or of a single one.

    Parameters
    ----------
    folder : str or Path
        What :func:`sonyc_ml.outputs.reading.read_embeddings` takes.

    Raises
    ------
    MissingOutputsError
        There are no outputs, or none with levels.
    """
    from sonyc_ml.outputs.reading import iter_outputs  # noqa: PLC0415  it reads every format

    levels = levels_of(iter_outputs(folder))
    if not levels.provenances:
        raise MissingOutputsError(f"there are no sound levels in the outputs of {folder}; --levels measures them")
    return levels


def levels_of(outputs: Iterable[Output]) -> Levels:
    """The levels of outputs as one table; outputs without any are left out."""
    found = [(output, output.levels) for output in outputs if output.levels is not None]
    band_hz = tuple(sorted({hz for _, levels in found for hz in levels.band_hz}))
    bands = [_in_columns(levels, band_hz) for _, levels in found]
    times = [output.times_at(levels.start_s) for output, levels in found]

    def joined(name: str, like: npt.NDArray[Any]) -> Any:
        return np.concatenate([like, *(getattr(levels, name) for _, levels in found)])

    lengths = [len(levels) for _, levels in found]
    references = np.array([levels.reference for _, levels in found], dtype=object)
    return Levels(
        time=np.concatenate([np.zeros(0, "datetime64[us]"), *times]),
        start_s=joined("start_s", np.zeros(0)),
        measured_s=joined("measured_s", np.zeros(0, np.float32)),
        values=joined("values", np.zeros((0, len(QUANTITIES)), np.float32)),
        band_hz=band_hz,
        bands=np.concatenate([np.zeros((0, len(band_hz)), np.float32), *bands]),
        n_clipped=joined("n_clipped", np.zeros(0, np.int32)),
        near_floor=joined("near_floor", np.zeros(0, bool)),
        reference=np.repeat(references, lengths),
        number=np.repeat(np.arange(len(found), dtype=np.int32), lengths),
        provenances=tuple(output.provenance for output, _ in found),
    )


def _in_columns(levels: SoundLevels, band_hz: Sequence[float]) -> npt.NDArray[np.float32]:
    """Bands in the columns of some frequencies."""
    bands = np.full((len(levels), len(band_hz)), np.nan, np.float32)
    for place, hz in enumerate(levels.band_hz):
        if hz in band_hz:
            bands[:, band_hz.index(hz)] = levels.bands[:, place]
    return bands


def rows_of(output: Output, levels: SoundLevels, band_hz: Sequence[float]) -> Iterator[list[str]]:
    """The cells of each period, by :data:`HEADING` and the frequencies of bands; empty for what is not a number."""
    name, reference = to_cell(output.provenance.recording), levels.reference
    times, bands = output.times_at(levels.start_s), _in_columns(levels, band_hz)
    for row, moment in enumerate(times):
        time = "" if np.isnat(moment) else f"{np.datetime_as_string(moment, unit='ms')}Z"
        values = [*map(_text, levels.values[row])]
        behind = [str(levels.n_clipped[row]), str(bool(levels.near_floor[row])).lower(), reference]
        before = [name, time, f"{levels.start_s[row]:g}", f"{levels.measured_s[row]:g}"]
        yield [*before, *values, *behind, *map(_text, bands[row])]


def _text(value: np.float32) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"
