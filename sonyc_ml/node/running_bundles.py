"""The bundles that a folder's recordings go through; replaced between two recordings, or not at all."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import ConfigError
from sonyc_ml.model import Model
from sonyc_ml.model.loading import load_model
from sonyc_ml.node.config import ModelConfig, OutputConfig, output_folders
from sonyc_ml.node.crash import LoadingMark, refuse_to_crash

if TYPE_CHECKING:
    from sonyc_ml.sound.levels.settings import LevelSettings

logger = logging.getLogger(__name__)

CHECK_S = 10.0  # how often the files are looked at: they are replaced once in months

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


class RunningBundles:
    """The bundles of a configuration, loaded and verified.

    Parameters
    ----------
    models : sequence of ModelConfig
    output : OutputConfig
        Where their outputs go.
    timer : callable
        Returns seconds that only grow.
    levels : LevelSettings, optional
        What sound levels are measured of each recording; alone, where there are no models.

    Raises
    ------
    BundleError, ConfigError
        One of them cannot be used.
    """

    def __init__(
        self,
        models: Sequence[ModelConfig],
        output: OutputConfig,
        timer: Callable[[], float] = time.monotonic,
        levels: LevelSettings | None = None,
    ) -> None:
        self._output, self._timer, self._levels = output, timer, levels
        self._seen = self._tried = _signature(models)
        self._loaded = _load(models, output, levels)
        self._models = tuple(models)
        self._next_check_s = timer() + CHECK_S

    def __iter__(self) -> Iterator[LoadedBundle]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)

    @property
    def models(self) -> tuple[ModelConfig, ...]:
        """What the bundles that run were loaded with."""
        return self._models

    def reload(self, models: Sequence[ModelConfig]) -> None:
        """Load the bundles anew; those that run stay where one of the new ones fails.

        Raises
        ------
        BundleError, ConfigError
            The old ones run on.
        """
        # Before they are loaded: what is replaced meanwhile is seen. Where it fails, the old ones are looked after.
        self._seen = self._tried = _signature(self._models)
        signature = _signature(models)
        self._loaded = _load(models, self._output, self._levels)
        self._models, self._seen, self._tried = tuple(models), signature, signature

    def were_replaced(self) -> bool:
        """Whether files of a bundle were replaced on the disk, and are quiet again."""
        now = self._timer()
        if now < self._next_check_s:
            return False
        self._next_check_s = now + CHECK_S
        before, self._seen = self._seen, _signature(self._models)
        if not before == self._seen != self._tried:
            return False
        self._tried = self._seen  # once is enough
        return True


def load_guarded(
    models: Sequence[ModelConfig], output: OutputConfig, state_folder: Path, levels: LevelSettings | None = None
) -> RunningBundles:
    """Load the bundles; where the last start was killed at it, find out in a child first whether they do it.

    Raises
    ------
    BundleError, ConfigError
        One of them cannot be used.
    CrashError
        One of them kills the process that loads it.
    """
    with LoadingMark(state_folder) as mark:
        if mark.was_left:
            logger.warning("the last start was killed while it loaded its bundles; they are loaded in a child first")
            names = ", ".join(str(settings.path) for settings in models)
            refuse_to_crash(lambda: RunningBundles(models, output, levels=levels), names)
        return RunningBundles(models, output, levels=levels)


def _signature(models: Sequence[ModelConfig]) -> Signature:
    """What tells one state of the files from another."""
    return tuple(sorted(_files(models)))


def _load(
    models: Sequence[ModelConfig], output: OutputConfig, levels: LevelSettings | None
) -> tuple[LoadedBundle, ...]:
    if not models and levels is not None:
        from sonyc_ml.model.measuring import LevelMeter  # noqa: PLC0415  most nodes have a network

        meter: Any = LevelMeter(levels)  # it does all that is asked of a model here
        return (LoadedBundle(ModelConfig(path=meter.bundle.path), meter, output.folder),)
    loaded = []
    for settings, folder in zip(models, output_folders(output, models), strict=True):
        if settings.path.is_dir():  # outputs and reloads go by the name of the network
            raise ConfigError(f"[model] {settings.path} is a folder: name the network in it, NAME.tflite")
        try:
            model = load_model(settings.path, keep=output.keep(), levels=levels, **settings.parameters())
        except (ValueError, TypeError) as error:  # here, a mistake in the call is one in the configuration
            raise ConfigError(f"[model] {settings.path}: {error}") from error
        model.warm_up()
        loaded.append(LoadedBundle(settings, model, folder))
    return tuple(loaded)


def _files(models: Sequence[ModelConfig]) -> Iterator[tuple[str, int, int, int]]:
    paths = [settings.path for settings in models]
    paths += [Path(str(settings.reads).rpartition(":")[0]) for settings in models if settings.reads]
    for path in paths:
        try:
            with os.scandir(path.parent) as entries:
                found = [entry for entry in entries if entry.name.startswith(f"{path.stem}.")]
            for entry in found:
                status = entry.stat()
                yield entry.path, status.st_ino, status.st_size, status.st_mtime_ns
        except OSError:  # somebody is at it
            continue
