"""Sound levels as files hold them; what is imported here costs nothing where an output has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sonyc_ml.sound.levels.result import SoundLevels

MADE = "level_made"  # the array, and the line of a csv, that is there where there are levels


def arrays_of(levels: SoundLevels | None) -> dict[str, Any]:
    """The arrays of an npz; none where there are no levels."""
    if levels is None:
        return {}
    from sonyc_ml.outputs.levels.arrays import to_arrays  # noqa: PLC0415

    return to_arrays(levels)


def levels_in_arrays(arrays: Mapping[str, Any]) -> SoundLevels | None:
    """The levels of an npz; None where there are none."""
    if MADE not in arrays:
        return None
    from sonyc_ml.outputs.levels.arrays import from_arrays  # noqa: PLC0415

    return from_arrays(arrays)


def lines_of(levels: SoundLevels | None) -> Iterator[tuple[str, str]]:
    """Names and texts of a csv's lines before its rows; none where there are no levels."""
    if levels is not None:
        from sonyc_ml.outputs.levels.arrays import to_lines  # noqa: PLC0415

        yield from to_lines(levels)


def levels_in_lines(lines: Sequence[tuple[str, str]]) -> SoundLevels | None:
    """The levels of a csv; None where there are none."""
    if not any(name == MADE for name, _ in lines):
        return None
    from sonyc_ml.outputs.levels.arrays import from_lines  # noqa: PLC0415

    return from_lines(lines)
