"""A TOML file to frozen dataclasses: every key known, every type checked, every default written once."""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from sonyc_ml.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """``[model]``: the bundle and how it runs; see :func:`sonyc_ml.model.load_model`."""

    path: Path = field(metadata={"flag": "--model NAME.tflite"})
    input_kind: str | None = None
    duration: float | None = None
    hop_size: float | None = None
    target_sr: int | None = None
    outputs: dict[str, int | str] = field(default_factory=dict)
    channel: int | None = None
    num_threads: int = 1
    batch_size: int = 1
    reference_kernels: bool = False
    backend: str | None = None

    def parameters(self) -> dict[str, Any]:
        """Keywords for :func:`sonyc_ml.model.load_model`: those that say something."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self) if entry.name != "path"}
        return {name: value for name, value in values.items() if value not in (None, {})}


@dataclass(frozen=True, slots=True)
class OutputConfig:
    """``[output]``: where embeddings go."""

    folder: Path = field(metadata={"flag": "--output DIR"})
    format: str = "npz"

    def __post_init__(self) -> None:
        if self.format not in ("npz", "csv"):
            raise ValueError(f"format must be npz or csv, not {self.format!r}")


@dataclass(frozen=True, slots=True)
class SpoolConfig:
    """``[spool]``: where recordings appear; see :class:`sonyc_ml.spool.Spool`."""

    folder: Path = field(metadata={"flag": "the FOLDER"})
    extensions: tuple[str, ...] = (".wav",)
    recursive: bool = True
    settle_s: float = 2.0

    def __post_init__(self) -> None:
        for extension in self.extensions:
            if not extension.startswith(".") or extension != extension.lower():
                raise ValueError(f"extensions must be like '.wav', lower case with the dot, not {extension!r}")
        if self.settle_s <= 0:
            raise ValueError(f"settle_s must be above 0 seconds, not {self.settle_s:g}")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything ``sonyc-ml watch`` is told."""

    spool: SpoolConfig
    model: ModelConfig
    output: OutputConfig


def load_config(path: Path | None, overrides: Mapping[str, Mapping[str, Any]]) -> Config:
    """Read a configuration; what the command line says wins.

    Parameters
    ----------
    path : Path or None
        Of the TOML file, if there is one. Paths in it are relative to its folder.
    overrides : mapping
        Values by table and key, as in ``{"spool": {"folder": "recordings"}}``.

    Raises
    ------
    ConfigError
        Says which key, and what it takes.
    """
    tables = _read(path) if path is not None else {}
    if path is not None:
        _resolve_paths(tables, path.parent)
    for name, values in overrides.items():
        tables[name] = {**tables.get(name, {}), **values}
    config: Config = _build(Config, tables, "", str(path) if path is not None else "the command line")
    return config


def _read(path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  7 ms that a start without a file does not need

    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _resolve_paths(tables: dict[str, Any], folder: Path) -> None:
    for table, key in (("model", "path"), ("spool", "folder"), ("output", "folder")):
        if isinstance(tables.get(table), dict) and isinstance(tables[table].get(key), str):
            tables[table][key] = str(folder / tables[table][key])


def _build(cls: type[Any], table: Mapping[str, Any], prefix: str, where: str) -> Any:
    """Make a dataclass of a table, refusing what it does not know."""
    hints = get_type_hints(cls)
    for key in table:
        if key not in hints:
            close = difflib.get_close_matches(key, hints, n=1)
            meant = f"; did you mean {prefix}{close[0]}?" if close else f"; known are {', '.join(hints)}"
            raise ConfigError(f"{where}: {prefix}{key} is not a known key{meant}")
    values = {}
    for entry in dataclasses.fields(cls):
        name, hint = f"{prefix}{entry.name}", hints[entry.name]
        if dataclasses.is_dataclass(hint):
            content = table.get(entry.name, {})
            if not isinstance(content, Mapping):
                raise ConfigError(f"{where}: {name} must be a table, [{name}]")
            values[entry.name] = _build(hint, content, f"{name}.", where)  # type: ignore[arg-type]
        elif entry.name in table:
            values[entry.name] = _converted(table[entry.name], hint, name, where)
        elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
            flag = entry.metadata.get("flag", "")
            raise ConfigError(f"{where}: {name} is missing; give {flag}, or set it in the configuration file")
    try:
        return cls(**values)
    except ValueError as error:  # what types cannot say, the dataclass does
        raise ConfigError(f"{where}: {prefix}{error}") from error


def _converted(value: Any, hint: Any, name: str, where: str) -> Any:
    """The value as its type, or an error that says which it takes."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    for option in options:
        if option is Path and isinstance(value, (str, Path)):
            return Path(value)
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if option in (int, str, bool) and type(value) is option:
            return value
        if get_origin(option) is tuple and _all_strings(value):
            return tuple(value)
        if get_origin(option) is dict and isinstance(value, dict):
            return {key: _converted(item, get_args(option)[1], f"{name}.{key}", where) for key, item in value.items()}
    wanted = " or ".join(_NAMES.get(get_origin(option) or option, "") for option in options if option is not type(None))
    raise ConfigError(f"{where}: {name} must be {wanted}, not {value!r}")


_NAMES = {
    Path: "a path",
    float: "a number",
    int: "a whole number",
    str: "a string",
    bool: "true or false",
    tuple: "a list of strings",
    dict: "a table",
}


def _all_strings(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
