"""Figures as text, in the format that Prometheus reads (0.0.4): exact, and nothing else."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels: TypeAlias = Mapping[str, str]
Value: TypeAlias = "float | Histogram"


class Histogram:
    """How often a value was at most so large.

    Parameters
    ----------
    bounds : sequence of float
        Upper ends of the buckets, rising; one more takes what is beyond.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def copy(self) -> Histogram:
        """One that stays as it is."""
        copied = Histogram(self.bounds)
        copied.counts, copied.sum = self.counts.copy(), self.sum
        return copied


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one name.

    Attributes
    ----------
    name : str
    kind : {"counter", "gauge", "histogram"}
    text : str
        What it says, in a sentence.
    samples : sequence of (labels, value)
    """

    name: str
    kind: str
    text: str
    samples: Sequence[tuple[Labels, Value]] = field(default_factory=tuple)


def render(families: Iterable[Family]) -> bytes:
    """All families as one text; those without a sample are left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines += [f"# HELP {family.name} {_escaped(family.text)}", f"# TYPE {family.name} {family.kind}"]
        for labels, value in family.samples:
            if isinstance(value, Histogram):
                lines += _histogram(family.name, labels, value)
            else:
                lines.append(f"{family.name}{_labelled(labels)} {_number(value)}")
    return "".join(f"{line}\n" for line in lines).encode()


def _histogram(name: str, labels: Labels, histogram: Histogram) -> list[str]:
    ends = [f"{bound:g}" for bound in histogram.bounds] + ["+Inf"]
    totals = list(accumulate(histogram.counts))
    lines = [
        f"{name}_bucket{_labelled({**labels, 'le': end})} {total}" for end, total in zip(ends, totals, strict=True)
    ]
    shown = _labelled(labels)
    return [*lines, f"{name}_sum{shown} {_number(histogram.sum)}", f"{name}_count{shown} {totals[-1]}"]


def _labelled(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value, quoted=True)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str, *, quoted: bool = False) -> str:
    """On one line; in a HELP line a quotation mark stands for itself, in a label's value it does not."""
    # A name that is not UTF-8 is told by its bytes, and stays different from every other.
    clean = text.encode(errors="backslashreplace").decode()
    clean = clean.replace("\\", r"\\").replace("\n", r"\n")
    return clean.replace('"', r"\"") if quoted else clean


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
