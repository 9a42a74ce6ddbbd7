"""The bundles that a folder's recordings go through; replaced between two recordings, or not at all."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.base.records import dataclass
from sonyc_ml.bundles.replaced import BundleFiles
from sonyc_ml.errors import BundleError, ConfigError
from sonyc_ml.model import Model
from sonyc_ml.model.loading import load_model
from sonyc_ml.node.config import ModelConfig, OutputConfig, output_folders
from sonyc_ml.node.crash import LoadingMark, refuse_to_crash

if TYPE_CHECKING:
    from sonyc_ml.sound.levels.settings import LevelSettings

logger = logging.getLogger(__name__)


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
        self._files = BundleFiles(_paths(models), timer)
        self._loaded = _load(models, output, levels)
        self._models = tuple(models)
        self._passed_s = self._end_of_trial()

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
        self._files.are_known()
        files = BundleFiles(_paths(models), self._timer)
        if any(model.is_pulled for model in models):
            self._loaded = self._load_on_trial(models)
        else:
            self._loaded = _load(models, self._output, self._levels)
        self._models, self._files = tuple(models), files
        self._passed_s = self._end_of_trial()

    def were_replaced(self) -> bool:
        """Whether files of a bundle were replaced on the disk, and are quiet again."""
        if self._timer() >= self._passed_s:
            from sonyc_ml.node.rollout.trial import passed  # noqa: PLC0415

            passed(self._models)
            self._passed_s = math.inf
        return self._files.were_replaced()

    def stopped(self) -> None:
        """The daemon ends by itself: what it ran has not killed it."""
        if self._passed_s < math.inf:
            from sonyc_ml.node.rollout.trial import ended  # noqa: PLC0415

            ended(self._models)

    def _end_of_trial(self) -> float:
        """When what was pulled has run for long enough, by the timer; never where nothing is on trial."""
        if not any(model.is_pulled for model in self._models):
            return math.inf
        from sonyc_ml.node.rollout.trial import trial_s  # noqa: PLC0415  most bundles were not pulled

        return self._timer() + trial_s(self._models)

    def _load_on_trial(self, models: Sequence[ModelConfig]) -> tuple[LoadedBundle, ...]:
        """Load bundles that were pulled; where one cannot be used, the link names the version before again."""
        from sonyc_ml.node.rollout.trial import leave_refused, on_trial  # noqa: PLC0415

        self.stopped()  # what runs now gives way in order
        try:
            with on_trial(models):
                return _load(models, self._output, self._levels)
        except BundleError as error:
            if leave_refused(models, error):
                self._files.are_known()
            raise


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
    if any(model.is_pulled for model in models):
        from sonyc_ml.node.rollout.trial import load_proved  # noqa: PLC0415  most bundles were not pulled

        return load_proved(lambda some: _load_guarded(some, output, state_folder, levels), models)
    return _load_guarded(models, output, state_folder, levels)


def _load_guarded(
    models: Sequence[ModelConfig], output: OutputConfig, state_folder: Path, levels: LevelSettings | None
) -> RunningBundles:
    """The same, whoever made the bundles."""
    with LoadingMark(state_folder) as mark:
        if mark.was_left:
            logger.warning("the last start was killed while it loaded its bundles; they are loaded in a child first")
            names = ", ".join(str(settings.path) for settings in models)
            refuse_to_crash(lambda: RunningBundles(models, output, levels=levels), names)
        return RunningBundles(models, output, levels=levels)


def _paths(models: Sequence[ModelConfig]) -> list[Path]:
    """Networks of bundles, and of those whose tracks they hear."""
    heard = [Path(str(settings.reads).rpartition(":")[0]) for settings in models if settings.reads]
    return [settings.path for settings in models] + heard


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
        one = settings.in_its_folder()
        try:
            model = load_model(one.path, keep=output.keep(), levels=levels, **one.parameters())
        except (ValueError, TypeError) as error:  # here, a mistake in the call is one in the configuration
            raise ConfigError(f"[model] {settings.path}: {error}") from error
        model.warm_up()
        loaded.append(LoadedBundle(settings, model, folder))
    return tuple(loaded)
