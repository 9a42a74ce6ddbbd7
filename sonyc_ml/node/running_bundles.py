"""The bundles that a folder's recordings go through; replaced between two recordings, or not at all."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from sonyc_ml.errors import ConfigError
from sonyc_ml.model import Model
from sonyc_ml.model.loading import load_model
from sonyc_ml.node.config import Config, ModelConfig

logger = logging.getLogger(__name__)

CHECK_S = 10.0  # how often the files are looked at: they are replaced once in months, and may be told (SIGHUP)

Signature: TypeAlias = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class LoadedBundle:
    """A bundle that runs.

    Attributes
    ----------
    config : ModelConfig
        What it was loaded with.
    model : Model
    output_folder : Path
        Where its outputs go.
    """

    config: ModelConfig
    model: Model
    output_folder: Path


class Bundles:
    """The bundles of a configuration, loaded and verified.

    Parameters
    ----------
    config : Config
    timer : callable
        Returns seconds that only grow.

    Raises
    ------
    BundleError, ConfigError
        One of them cannot be used.
    """

    def __init__(self, config: Config, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._seen = self._tried = _signature(config)
        self._loaded = _load(config)
        self._config = config
        self._next_check_s = timer() + CHECK_S

    def __iter__(self) -> Iterator[LoadedBundle]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)

    def reload(self, config: Config) -> None:
        """Load the bundles anew; those that run stay where one of the new ones fails.

        Raises
        ------
        BundleError, ConfigError
            The old ones run on.
        """
        # Before they are loaded: what is replaced meanwhile is seen. Where it fails, the old ones are looked after.
        self._seen = self._tried = _signature(self._config)
        signature = _signature(config)
        self._loaded = _load(config)
        self._config, self._seen, self._tried = config, signature, signature

    def were_replaced(self) -> bool:
        """Whether files of a bundle were replaced on the disk, and are quiet again."""
        now = self._timer()
        if now < self._next_check_s:
            return False
        self._next_check_s = now + CHECK_S
        before, self._seen = self._seen, _signature(self._config)
        if not before == self._seen != self._tried:
            return False
        self._tried = self._seen  # told once
        return True

    @property
    def config(self) -> Config:
        """What the bundles that run were loaded with."""
        return self._config


def _signature(config: Config) -> Signature:
    """What tells one state of the files from another."""
    return tuple(sorted(_files(config)))


def _load(config: Config) -> tuple[LoadedBundle, ...]:
    loaded = []
    for settings in config.model:
        try:
            model = load_model(settings.path, **settings.parameters())
        except (ValueError, TypeError) as error:  # here, a mistake in the call is one in the configuration
            raise ConfigError(f"[model] {settings.path}: {error}") from error
        model.warm_up()
        loaded.append(LoadedBundle(settings, model, config.output_folder(settings)))
    return tuple(loaded)


def _files(config: Config) -> Iterator[tuple[str, int, int, int]]:
    for settings in config.model:
        try:
            with os.scandir(settings.path.parent) as entries:
                found = [entry for entry in entries if entry.name.startswith(f"{settings.path.stem}.")]
            for entry in found:
                status = entry.stat()
                yield entry.path, status.st_ino, status.st_size, status.st_mtime_ns
        except OSError:  # somebody is at it
            continue
