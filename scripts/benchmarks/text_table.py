"""A result as text: ratios first, then the details, then the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scripts.benchmarks.figures import Figure, Spread


def render(result: dict[str, Any]) -> str:
    """Lay a result out for reading."""
    parts = [_figures(result["figures"])]
    parts += [f"{title}\n{aligned(rows)}" for title, rows in result.get("tables", {}).items()]
    if result.get("skipped"):
        parts.append("\n".join(["not measured", *(f"  {reason}" for reason in result["skipped"])]))
    parts.append("\n".join(["machine", *(f"  {name:21} {text}" for name, text in result["machine"].items())]))
    return "\n\n".join(parts)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as columns; the first is text and leans left, the others are numbers and lean right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def number(value: float) -> str:
    """A number with three figures, or whole from a hundred on."""
    if 0 < abs(value) < 0.001:
        return f"{value:.1e}"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def low_to_high(values: Spread) -> str:
    """The range of several measurements; empty for a single one."""
    return f"{number(values.low)} – {number(values.high)}" if values.n > 1 else ""


def _figures(figures: Sequence[Figure]) -> str:
    rows: list[tuple[str, ...]] = [("figure", "median", "lowest – highest", "n", "bar", "held")]
    rows += [_row(figure) for figure in figures]
    return "figures\n" + aligned(rows)


def _row(figure: Figure) -> tuple[str, ...]:
    bar = "" if figure.bar is None else f"{'>=' if figure.at_least else '<='} {figure.bar:g}"
    held = {None: "", True: "yes", False: "NO"}[figure.held]
    value = f"{number(figure.spread.median)} {figure.unit}"
    return figure.name, value, low_to_high(figure.spread), str(figure.spread.n), bar, held
