"""Sound levels as arrays of an npz, and as lines of a csv."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.sound.levels.result import QUANTITIES, SoundLevels

PREFIX = "level_"  # of the arrays, and of the lines
BY_PERIOD = {
    "start_s": np.float64,
    "measured_s": np.float32,
    "n_clipped": np.int32,
    "near_floor": np.bool_,
}
TEXT, HEADING, PERIOD, TOTAL = (f"{PREFIX}{name}" for name in ("made", "columns", "period", "total"))
IN_FRONT = tuple(BY_PERIOD)


def to_arrays(levels: SoundLevels) -> dict[str, npt.NDArray[Any]]:
    """The arrays by their names, as in ``level_values``; ``level_names`` are the columns of that."""
    return {
        **{f"{PREFIX}{name}": getattr(levels, name) for name in BY_PERIOD},
        "level_values": levels.values,
        "level_total": levels.total,
        "level_names": np.array(QUANTITIES),
        "level_bands": levels.bands,
        "level_band_total": levels.band_total,
        "level_band_hz": np.array(levels.band_hz, np.float64),
        TEXT: np.array(levels.made),
    }


def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> SoundLevels | None:
    """What :func:`to_arrays` was given; None where the arrays are not there.

    Raises
    ------
    ValueError
        They are not of shapes that fit.
    """
    if TEXT not in arrays:
        return None
    n_periods, band_hz = len(arrays["level_start_s"]), tuple(arrays["level_band_hz"].tolist())
    if tuple(arrays["level_names"].tolist()) != QUANTITIES:
        raise ValueError("its levels are of other kinds than are known")
    shapes = {
        **{f"{PREFIX}{name}": (n_periods,) for name in BY_PERIOD},
        "level_values": (n_periods, len(QUANTITIES)),
        "level_total": (len(QUANTITIES),),
        "level_bands": (n_periods, len(band_hz)),
        "level_band_total": (len(band_hz),),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} is of shape {arrays[name].shape}, and {shape} was expected")
    return SoundLevels(
        **{name[len(PREFIX) :]: arrays[name] for name in shapes},
        band_hz=band_hz,
        made=str(arrays[TEXT].item()),
    )


def columns(levels: SoundLevels) -> list[str]:
    """What a row of numbers has of each period: where it is, the levels, and the bands by their frequencies."""
    return [*IN_FRONT, *QUANTITIES, *(f"{hz:g}" for hz in levels.band_hz)]


def to_lines(levels: SoundLevels) -> Iterator[tuple[str, str]]:
    """Names and texts of a csv's lines before its rows; empty for what is not a number."""
    yield TEXT, levels.made
    yield HEADING, ",".join(columns(levels))
    yield TOTAL, ",".join(map(_text, (*levels.total, *levels.band_total)))
    for row in range(len(levels)):
        front = [str(getattr(levels, name)[row]) for name in IN_FRONT]
        yield PERIOD, ",".join([*front, *map(_text, (*levels.values[row], *levels.bands[row]))])


def from_lines(lines: Iterable[tuple[str, str]]) -> SoundLevels | None:
    """What :func:`to_lines` was given; None where there are no such lines."""
    found: dict[str, list[str]] = {}
    for name, text in lines:
        found.setdefault(name, []).append(text)
    if TEXT not in found:
        return None
    names = found[HEADING][0].split(",")
    n_front, n_values = len(IN_FRONT), len(QUANTITIES)
    rows = [text.split(",") for text in found.get(PERIOD, ())]
    if any(len(row) != len(names) for row in rows):
        raise ValueError("its levels are not as many as their heading says")
    total = np.array([_number(text) for text in found[TOTAL][0].split(",")], np.float32)
    numbers = np.array([[_number(text) for text in row[n_front:]] for row in rows], np.float32)
    numbers = numbers.reshape(len(rows), len(names) - n_front)
    kinds: dict[Any, Any] = {np.bool_: lambda text: text == "True"}
    front: dict[str, npt.NDArray[Any]] = {
        name: np.array([kinds.get(dtype, float)(row[IN_FRONT.index(name)]) for row in rows], dtype)
        for name, dtype in BY_PERIOD.items()
    }
    return SoundLevels(
        **front,
        values=numbers[:, :n_values],
        total=total[:n_values],
        bands=numbers[:, n_values:],
        band_total=total[n_values:],
        band_hz=tuple(map(float, names[n_front + n_values :])),
        made=found[TEXT][0],
    )


def _text(value: np.float32) -> str:
    return "" if math.isnan(value) else str(value)


def _number(text: str) -> float:
    return float(text) if text else math.nan
