"""Texts in the cells of a csv: whatever a recording or a class is called, a spreadsheet computes nothing."""

from __future__ import annotations

import re

# What a spreadsheet takes for the beginning of a formula; behind blanks too, and as Japanese keyboards write it.
# These are compiled at their first use, for few nodes write a csv.
FORMULA = r"'*(?:\s*[=+\-@\uff0b\uff0d\uff1d\uff20]|[\t\r\n])"
SEPARATOR = r"([,;\t])"
BEFORE_FORMULA = rf"(\s*)(?={FORMULA})"
QUOTED_BEFORE_FORMULA = rf"(\s*)'(?={FORMULA})"


def to_cell(text: str) -> str:
    """A text as the cell of a csv: one that would be a formula has an apostrophe before it; not for numbers.

    See Also
    --------
    from_cell
    """
    return f"'{text}" if re.match(FORMULA, text) else text


def from_cell(cell: str) -> str:
    """What :func:`to_cell` was given."""
    return cell[1:] if cell.startswith("'") and re.match(FORMULA, cell) else cell


def to_comment(text: str) -> str:
    """A text as a part of a line of comment, which a spreadsheet parts into cells at its commas."""
    return _each_cell(text, BEFORE_FORMULA, r"\1'")


def from_comment(text: str) -> str:
    """What :func:`to_comment` was given."""
    return _each_cell(text, QUOTED_BEFORE_FORMULA, r"\1")


def _each_cell(text: str, pattern: str, replacement: str) -> str:
    """The text, changed at the beginning of each cell but the first."""
    first, *others = re.split(SEPARATOR, text)  # separators and cells by turns
    cells = (re.sub(rf"\A{pattern}", replacement, part) if i % 2 else part for i, part in enumerate(others))
    return "".join([first, *cells])
