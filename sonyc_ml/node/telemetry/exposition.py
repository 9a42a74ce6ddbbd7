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
    # A name that is not UTF-8 is shown by its bytes, and stays different from every other.
    clean = text.encode(errors="backslashreplace").decode()
    clean = clean.replace("\\", r"\\").replace("\n", r"\n")
    return clean.replace('"', r"\"") if quoted else clean


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
