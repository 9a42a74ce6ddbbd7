"""Texts in the cells of a csv: whatever a recording or a class is called, a spreadsheet computes nothing."""

from __future__ import annotations

import re

# What a spreadsheet takes for the beginning of a formula; behind blanks too, and as Japanese keyboards write it.
# These are compiled at their first use, for few nodes write a csv.
FORMULA = r"'*(?:\s*[=+\-@\uff0b\uff0d\uff1d\uff20]|[\t\r\n])"
AFTER_SEPARATOR = rf"([,;\t]\s*)(?={FORMULA})"
QUOTED_AFTER_SEPARATOR = rf"([,;\t]\s*)'(?={FORMULA})"


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
    return re.sub(AFTER_SEPARATOR, r"\1'", text)


def from_comment(text: str) -> str:
    """What :func:`to_comment` was given."""
    return re.sub(QUOTED_AFTER_SEPARATOR, r"\1", text)
