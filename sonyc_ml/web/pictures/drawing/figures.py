"""A figure as the page shows it: a plot with what stands left of it, and the numbers behind it as table and csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sonyc_ml.base.cells import to_cell
from sonyc_ml.base.records import dataclass
from sonyc_ml.web.pictures.drawing.svg import text

MOST_ROWS, MOST_COLUMNS, MOST_CELLS = 100, 24, 1300  # of a table on the page; a csv has all


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows below a heading, as a csv has them.

    Attributes
    ----------
    name : str
        Of the csv, without its suffix.
    heading : sequence of str
    rows : list of sequences of str
    links : sequence of str
        Where the first cell of each row leads on the page; empty for nowhere.
    """

    name: str
    heading: Sequence[str]
    rows: list[Sequence[str]]
    links: Sequence[str] = ()

    def to_csv(self) -> bytes:
        """All of it; a cell that a spreadsheet would take for a formula is marked."""
        content = io.StringIO()
        writer = csv.writer(content, lineterminator="\n")
        writer.writerow(map(to_cell, self.heading))
        writer.writerows((cell if is_number(cell) else to_cell(cell) for cell in row) for row in self.rows)
        return content.getvalue().encode("utf-8", "surrogateescape")

    def shown(self) -> dict[str, Any]:
        """What a page shows of it."""
        n_columns = min(MOST_COLUMNS, len(self.heading))
        n_rows = min(MOST_ROWS, MOST_CELLS // n_columns)
        return {
            "name": self.name,
            "heading": list(self.heading[:n_columns]),
            "rows": [list(row[:n_columns]) for row in self.rows[:n_rows]],
            "n_columns_more": len(self.heading) - n_columns,
            "links": list(self.links[:n_rows]),
            "n_more": max(0, len(self.rows) - n_rows),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A plot, and what belongs to it.

    Attributes
    ----------
    title, note : str
        Above and below it.
    plot : str
        SVG.
    left : str
        HTML or SVG beside the plot.
    below : str
        HTML: a legend.
    table : Table or None
    image : bytes or None
        A PNG in the plot.
    css : str
        A class of its own.
    """

    title: str
    plot: str
    note: str = ""
    left: str = ""
    below: str = ""
    table: Table | None = None
    image: bytes | None = None
    css: str = ""

    def shown(self) -> dict[str, Any]:
        """What a page shows of it."""
        return {
            "title": self.title,
            "note": self.note,
            "left": self.left,
            "plot": self.plot,
            "below": self.below,
            "table": self.table.shown() if self.table else None,
            "css": self.css,
        }


def is_number(cell: str) -> bool:
    """Whether a cell is a number, which a spreadsheet may take as it is."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def csv_parts(tables: Iterable[Table | None]) -> dict[str, bytes]:
    """The tables as files, by their names."""
    return {f"{table.name}.csv": table.to_csv() for table in tables if table is not None}


def rows_left(names: Sequence[str], bold: Sequence[bool]) -> str:
    """Names of rows, for the column left of a plot."""
    items = (
        f'<li title="{text(name)}" class="{"likely" if is_bold else "other"}">{text(name)}</li>'
        for name, is_bold in zip(names, bold, strict=True)
    )
    return f'<ul class="names" aria-hidden="true">{"".join(items)}</ul>'


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Small pictures with what they mean: pairs of SVG and text."""
    items = (
        f'<li><svg class="key" width="16" height="16" aria-hidden="true">{mark}</svg>{text(words)}</li>'
        for mark, words in entries
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def key(css: str) -> str:
    """A square of a class's colour, for a legend."""
    return f'<g class="{css}"><rect x="1" y="2" width="14" height="12"/></g>'


def number(value: float, digits: int = 1) -> str:
    """A number in a table; empty for what is none."""
    return "" if value != value else f"{value:.{digits}f}"  # noqa: PLR0124  NaN is not itself


def reference_in(made: Mapping[str, Any]) -> str:
    """What 0 dB is."""
    return str(made.get("reference", "dBFS"))
