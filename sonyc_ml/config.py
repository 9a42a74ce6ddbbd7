"""A TOML file to frozen dataclasses: every key known, every type checked, every default written once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sonyc_ml.errors import ConfigError
from sonyc_ml.strict import build


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """``[model]``: the bundle and how it runs; see :func:`sonyc_ml.loading.load_model`."""

    path: Path = field(metadata={"flag": "--model NAME.tflite"})
    trusted_keys: Path | None = None
    golden: str = "once"
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
        """Keywords for :func:`sonyc_ml.loading.load_model`: those that say something."""
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
    try:
        return build(Config, tables)
    except ValueError as error:
        raise ConfigError(f"{path or 'the command line'}: {error}") from error


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
    for table, key in (("model", "path"), ("model", "trusted_keys"), ("spool", "folder"), ("output", "folder")):
        if isinstance(tables.get(table), dict) and isinstance(tables[table].get(key), str):
            tables[table][key] = str(folder / tables[table][key])
