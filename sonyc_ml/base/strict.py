"""Content of files, taken strictly.

A table of plain values (TOML, JSON) to frozen dataclasses: every key known, every type checked. Archives of arrays:
numbers and texts, and nothing that could be code.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

BEGINNING_OF_ZIP = b"PK"

NAMES = {
    Path: "a path",
    float: "a number",
    int: "a whole number",
    str: "a string",
    bool: "true or false",
    dict: "a table",
}


def build(cls: type[T], table: Mapping[str, Any], prefix: str = "") -> T:
    """Make a dataclass of a table.

    Parameters
    ----------
    cls : type
        A dataclass. A field whose name is a word of Python ends in an underscore that its key does not have. A field's
        metadata may say under ``flag`` how else the value can be given.
    table : mapping
    prefix : str
        Of the keys in messages, as in ``model.``.

    Raises
    ------
    ValueError
        Names the key by its dotted path, and says what it takes.
    """
    hints = get_type_hints(cls)
    entries = {entry.name.rstrip("_"): entry for entry in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in entries:
            import difflib  # noqa: PLC0415  nothing is misspelt at most starts

            close = difflib.get_close_matches(key, entries, n=1)
            meant = f"did you mean {prefix}{close[0]}?" if close else f"known are {', '.join(entries)}"
            raise ValueError(f"{prefix}{key} is not a known key; {meant}")
    values = {}
    for key, entry in entries.items():
        if key in table:
            values[entry.name] = converted(table[key], hints[entry.name], f"{prefix}{key}")
        elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
            if dataclasses.is_dataclass(hints[entry.name]):
                values[entry.name] = build(hints[entry.name], {}, f"{prefix}{key}.")
                continue
            flag = f"; give {entry.metadata['flag']}, or set it in the file" if "flag" in entry.metadata else ""
            raise ValueError(f"{prefix}{key} is missing{flag}")
    try:
        return cls(**values)
    except ValueError as error:  # what types cannot say, the dataclass does
        raise ValueError(f"{prefix}{error}") from error


def converted(value: Any, hint: Any, name: str) -> Any:  # noqa: PLR0911  one for each type
    """The value as its type; a ValueError that names it says which types it takes."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if hint is Any or (value is None and type(None) in options):
        return value
    for option in options:
        origin = get_origin(option) or option
        if dataclasses.is_dataclass(option):
            if not isinstance(value, Mapping):
                raise ValueError(f"{name} must be a table, not {value!r}")
            return build(option, value, f"{name}.")  # type: ignore[arg-type]
        if option is Path and isinstance(value, (str, Path)):
            if "\0" in str(value):
                raise ValueError(f"{name} holds a zero character, which no path can: {str(value)!r}")
            return Path(value)
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            if isinstance(value, int) and abs(value) > sys.float_info.max:
                raise ValueError(f"{name} is larger than any number a computer reckons with")
            return float(value)
        if option in (int, str, bool) and type(value) is option:
            return value
        if origin is tuple:
            return _several(value, get_args(option)[0], name)
        if origin is dict and isinstance(value, Mapping):
            return {key: converted(item, get_args(option)[1], f"{name}.{key}") for key, item in value.items()}
    wanted = " or ".join(NAMES[get_origin(option) or option] for option in options if option is not type(None))
    raise ValueError(f"{name} must be {wanted}, not {value!r}")


def _several(value: Any, hint: Any, name: str) -> tuple[Any, ...]:
    """A list, each item as its type; a table alone needs no list."""
    if dataclasses.is_dataclass(hint):
        tables = value if isinstance(value, (list, tuple)) else [value]
        names = [name] if len(tables) == 1 else [f"{name}[{number}]" for number in range(len(tables))]
        return tuple(converted(table, hint, which) for table, which in zip(tables, names, strict=True))
    try:
        if isinstance(value, (list, tuple)):
            return tuple(converted(item, hint, name) for item in value)
    except ValueError:
        pass  # said of the list
    kind = {str: "strings", float: "numbers"}.get(hint, "values")
    raise ValueError(f"{name} must be a list of {kind}, not {value!r}")


def check_choice(config: object, **known: tuple[str, ...]) -> None:
    """Refuse a field that is none of its choices, by a ValueError that names it."""
    for name, choices in known.items():
        if getattr(config, name) not in choices:
            raise ValueError(f"{name} must be {' or '.join(choices)}, not {getattr(config, name)!r}")


def check_above_zero(config: object, *names: str) -> None:
    """Refuse a number that is not above 0; the same of nan."""
    for name in names:
        if not getattr(config, name) > 0:  # nan is neither
            raise ValueError(f"{name} must be above 0, not {getattr(config, name):g}")


def check_not_negative(config: object, *names: str) -> None:
    """Refuse a number below 0; the same of nan."""
    for name in names:
        if not getattr(config, name) >= 0:
            raise ValueError(f"{name} must not be below 0, and is {getattr(config, name):g}")


@contextmanager
def open_npz(file: BinaryIO) -> Iterator[Any]:
    """Open an ``.npz`` for as long as its arrays are read; nothing in it is run.

    What is wrong with one is said in words of our own: numpy advises to run whatever it holds.

    Parameters
    ----------
    file : binary file
        At its beginning.

    Yields
    ------
    np.lib.npyio.NpzFile
        The arrays by their names.

    Raises
    ------
    ValueError
        It is no archive, or an array that is asked for holds Python objects.
    Exception
        It is damaged: zipfile and numpy have a dozen ways of saying so.
    """
    import numpy as np  # noqa: PLC0415  the commands that read no archive do without

    beginning = file.read(len(BEGINNING_OF_ZIP))
    if beginning != BEGINNING_OF_ZIP:
        raise ValueError("it is not an archive of arrays" if beginning else "it is empty")
    file.seek(0)
    try:
        with np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        raise ValueError("it holds Python objects, which are never read, where numbers should be") from error
