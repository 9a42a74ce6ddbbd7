"""What a measurement yields: numbers with their spread, and figures with the bar they are held to."""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of several measurements, and how far they lay apart."""

    median: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured.

    Attributes
    ----------
    name : str
    spread : Spread
    unit : str
        Written behind the number.
    bar : float or None
        What the median is held to.
    at_least : bool
        Whether the bar is a lower one.
    """

    name: str
    spread: Spread
    unit: str
    bar: float | None = None
    at_least: bool = False

    @property
    def held(self) -> bool | None:
        """Whether the bar held; None without one."""
        if self.bar is None:
            return None
        return self.spread.median >= self.bar if self.at_least else self.spread.median <= self.bar


def spread(values: Iterable[float]) -> Spread:
    """Median, lowest and highest of some values."""
    sorted_values = sorted(values)
    return Spread(statistics.median(sorted_values), sorted_values[0], sorted_values[-1], len(sorted_values))


def ratios(numerators: Iterable[float], denominators: Iterable[float]) -> Spread:
    """The spread of ratios taken round by round: both sides of each were measured within the same second or so."""
    return spread(above / below for above, below in zip(numerators, denominators, strict=True))


def single(value: float) -> Spread:
    """A thing that was measured once."""
    return Spread(value, value, value, 1)


def as_plain(value: Any) -> Any:
    """Dataclasses and paths as what JSON knows."""
    if isinstance(value, Figure):
        return {**as_plain(dataclasses.asdict(value)), "held": value.held}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def progress(text: str) -> None:
    """Say on a terminal what is being measured; an empty text wipes the line."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
