"""A bundle that was pulled is on trial until the daemon has run with it for a while; else the one before runs again.

An attempt is counted before the work begins, and taken back when the process ends it in order: what is left of the
count are the times that the process was killed.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

from sonyc_ml.bundles.rollout.kept import KeptVersions
from sonyc_ml.bundles.rollout.record import changed_record, read_record
from sonyc_ml.errors import BundleError, CrashError, SonycMLError, StoreError
from sonyc_ml.node.config import ModelConfig

T = TypeVar("T")
logger = logging.getLogger(__name__)

TRIAL_S = 600.0  # a daemon that has lived for so long with a bundle has not been killed by it
MAX_KILLED = 2  # less than recordings.max_attempts: no recording is given up for what a bundle did


def kept_versions(model: ModelConfig) -> KeptVersions | None:
    """The versions of a bundle that is pulled; None for one that is not, or of which nothing was pulled yet."""
    return KeptVersions(model.path.parent.parent, model.path.stem) if model.is_pulled else None


def load_proved(load: Callable[[Sequence[ModelConfig]], T], models: Sequence[ModelConfig]) -> T:
    """Load bundles at the start of a daemon; one that was pulled and cannot be used gives way to the one before.

    Raises
    ------
    BundleError, ConfigError, CrashError
        Of the bundles that no other version helps.
    """
    _leave_deadly(models)
    try:
        with on_trial(models):
            return load(models)
    except (BundleError, CrashError):
        left = [_leave_failing(load, model) for model in models]  # each of them
        if True not in left:
            raise
    with on_trial(models):
        return load(models)


@contextmanager
def on_trial(models: Sequence[ModelConfig]) -> Iterator[None]:
    """A beginning with bundles that are on trial: counted, and taken back where loading them fails, and nobody dies."""
    _count(models, 1)
    try:
        yield
    except BaseException:
        _count(models, -1)
        raise


def trial_s(models: Sequence[ModelConfig]) -> float:
    """For how long one of the bundles is on trial yet (in seconds)."""
    return TRIAL_S if any(_trials(models)) else math.inf


def passed(models: Sequence[ModelConfig]) -> None:
    """The daemon has lived for long enough: what it runs is no more on trial."""
    for kept in _trials(models):
        with suppress(SonycMLError), changed_record(kept.folder) as record:
            record.trial, record.n_starts = "", 0
            logger.info("%s %s is no more on trial", kept.name, record.versions.get(kept.current, ""))


def ended(models: Sequence[ModelConfig]) -> None:
    """The daemon ends in order, whatever it was that it ran."""
    _count(models, -1)


def leave_refused(models: Sequence[ModelConfig], error: Exception) -> bool:
    """After a reload that failed: what is on trial gives way to the version before, on the disk."""
    left = [_roll_back(kept, f"as the daemon could not load it: {error}") for kept in _trials(models)]
    return True in left


def _trials(models: Sequence[ModelConfig]) -> Iterator[KeptVersions]:
    for kept in filter(None, map(kept_versions, models)):
        with suppress(SonycMLError):
            if kept.current and read_record(kept.folder).trial == kept.current:
                yield kept


def _count(models: Sequence[ModelConfig], n: int) -> None:
    for kept in _trials(models):
        try:
            with changed_record(kept.folder) as record:
                record.n_starts = max(0, record.n_starts + n)
        except (StoreError, BundleError) as error:
            logger.warning("%s; starts with %s are not counted", error, kept.name)


def _leave_deadly(models: Sequence[ModelConfig]) -> None:
    """Go back from what the daemon was killed with so many times."""
    for kept in _trials(models):
        n_killed = read_record(kept.folder).n_starts
        if n_killed >= MAX_KILLED:
            _roll_back(kept, f"as the daemon was killed {n_killed} times in its first {TRIAL_S / 60:.0f} min with it")


def _leave_failing(load: Callable[[Sequence[ModelConfig]], object], model: ModelConfig) -> bool:
    """Go back from a bundle that alone cannot be loaded, where the version before can be."""
    kept = kept_versions(model)
    if kept is None:
        return False
    try:
        load([model])
    except (BundleError, CrashError) as error:
        before = kept.before()
        if not before:
            return False
        try:
            load([model.at(kept.network(before))])
        except SonycMLError:
            return False
        return _roll_back(kept, f"as the daemon could not load it: {error}")
    return False


def _roll_back(kept: KeptVersions, why: str) -> bool:
    try:
        kept.roll_back(why, time.time())
    except (BundleError, StoreError) as error:
        logger.error("%s %s, and it cannot be rolled back: %s", kept.name, why, error)
        return False
    logger.error("%s", read_record(kept.folder).detail)
    return True
