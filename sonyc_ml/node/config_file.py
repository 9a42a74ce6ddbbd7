"""A daemon's configuration file: where it is when nobody names it, and its tables as they stand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonyc_ml.bundles.location import default_bundle
from sonyc_ml.errors import ConfigError

PATHS = (
    ("model", "path"),
    ("model", "trusted_keys"),
    ("model", "reads"),
    ("spool", "folder"),
    ("output", "folder"),
    ("retention", "folder"),
    ("state", "folder"),
    ("metrics", "socket"),
    ("metrics", "textfile"),
    ("serve", "socket"),
    ("mqtt", "password_file"),
    ("mqtt", "ca_file"),
    ("mqtt", "cert_file"),
    ("mqtt", "key_file"),
    ("levels", "calibration"),
    ("levels", "response"),
)


def usual_config(flags: str) -> Path:
    """The configuration of this machine's daemon.

    Parameters
    ----------
    flags : str
        What can be given instead, for the message.

    Returns
    -------
    Path
        ``$SONYC_ML_CONFIG``, else the one in ``$XDG_CONFIG_HOME``, else the one in ``/etc``.

    Raises
    ------
    ConfigError
        There is none of them.
    """
    found = find_config()
    if found is None:
        raise ConfigError(f"which daemon? There is no {' and no '.join(map(str, _usual()))}; give {flags}")
    return found


def find_config() -> Path | None:
    """The same; None where there is none."""
    named = os.environ.get("SONYC_ML_CONFIG")
    return Path(named) if named else next((path for path in _usual() if path.exists()), None)


def _usual() -> list[Path]:
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return [Path(folder, "sonyc-ml", "sonyc-ml.toml") for folder in (home, "/etc")]


def read_tables(path: Path) -> dict[str, Any]:
    """A file's tables, unchecked: what flags can give may be missing.

    Raises
    ------
    ConfigError
        It cannot be read, or is not TOML.
    """
    import tomllib  # noqa: PLC0415  7 ms that a start without a file does not need

    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))  # some editors put a mark before the text
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def overridden(name: str, table: Any, values: Mapping[str, Any]) -> Any:
    """A table with what the command line says; of several bundles it can say nothing."""
    if not isinstance(table, list):
        return {**table, **values} if isinstance(table, dict) else table
    if len(table) == 1 and isinstance(table[0], dict):
        return [{**table[0], **values}]
    if values:
        raise ConfigError(f"the file has several [[{name}]]; change {' and '.join(values)} there, not by a flag")
    return table


def resolve_paths(tables: dict[str, Any], folder: Path) -> None:
    """Make the paths in a file's tables relative to the file's folder."""
    for name, key in PATHS:
        entry = tables.get(name)
        for table in entry if isinstance(entry, list) else [entry]:
            if isinstance(table, dict) and isinstance(table.get(key), str):
                table[key] = str(folder / table[key])


def name_model(tables: dict[str, Any]) -> None:
    """The default bundle where none is named; none where levels are asked for and nothing is said of a model.

    An empty ``[model]`` asks for the default bundle: to switch levels on must not switch a network off.
    """
    levels = tables.get("levels")
    if levels and isinstance(levels, dict):
        levels.setdefault("enabled", True)  # whatever is set there asks for them, a default too
    is_measured = isinstance(levels, dict) and levels.get("enabled")
    model = tables.get("model", [] if is_measured else {})
    tables["model"] = {"path": default_bundle(), **model} if isinstance(model, dict) else model
