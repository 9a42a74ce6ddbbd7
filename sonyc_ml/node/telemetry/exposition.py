"""Metrics in Prometheus' text format (0.0.4), which node-exporter's textfile collector reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TypeAlias

from sonyc_ml.base.records import dataclass, field
from sonyc_ml.node.telemetry.counts import Histogram

Labels: TypeAlias = Mapping[str, str]
Value: TypeAlias = float | Histogram


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one name.

    Attributes
    ----------
    name : str
    kind : {"counter", "gauge", "histogram"}
    text : str
        What it measures, in a sentence.
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
    counted = buckets(histogram)
    lines = [f"{name}_bucket{_labelled({**labels, 'le': end})} {total}" for end, total in counted]
    pairs = _labelled(labels)
    return [*lines, f"{name}_sum{pairs} {_number(histogram.sum)}", f"{name}_count{pairs} {counted[-1][1]}"]


def buckets(histogram: Histogram) -> list[tuple[str, int]]:
    """The upper end of each bucket, as it is written, and how many values are at most so large."""
    ends = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    return list(zip(ends, accumulate(histogram.counts), strict=True))


def _labelled(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value, quoted=True)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str, *, quoted: bool = False) -> str:
    """On one line; in a HELP line a quotation mark stands for itself, in a label's value it does not."""
    clean = shown(text).replace("\\", r"\\").replace("\n", r"\n")
    return clean.replace('"', r"\"") if quoted else clean


def shown(text: str) -> str:
    """A label as UTF-8 has it: a name that is none is shown by its bytes, and stays different from every other."""
    return text.encode(errors="backslashreplace").decode()


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
