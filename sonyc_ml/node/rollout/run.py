"""All bundles of a node that come from a store: looked for, switched to, or rolled back by a person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from sonyc_ml.base.lock import PULL, Lock
from sonyc_ml.base.records import dataclass
from sonyc_ml.bundles.location import pulled_path
from sonyc_ml.bundles.rollout.kept import KeptVersions
from sonyc_ml.bundles.rollout.record import FAILED, RUNS, changed_record, read_record
from sonyc_ml.bundles.rollout.store import BundleStore
from sonyc_ml.errors import ConfigError, SonycMLError, StoreError
from sonyc_ml.node.config import Config, ModelConfig
from sonyc_ml.node.journal.event_table import log_rollout
from sonyc_ml.node.journal.file import FILE_NAME
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.operate.reload import reload
from sonyc_ml.node.rollout.proving import prove
from sonyc_ml.node.rollout.pull import Pull

RELOAD_S = 300.0  # the daemon finishes its recording first


@dataclass(frozen=True, slots=True)
class Looked:
    """How one look at a store, or one rolling back, came out.

    Attributes
    ----------
    name : str
        Of the bundle.
    word, detail : str
        See :class:`sonyc_ml.bundles.rollout.record.RolloutRecord`.
    """

    name: str
    word: str
    detail: str


def pull(config: Config, config_path: Path, *, again: bool = False) -> list[Looked]:
    """Look at the store of each bundle that has one, once, and have the daemon switch to what is new.

    Parameters
    ----------
    config : Config
    config_path : Path
        Of the same configuration, for the process that proves bundles.
    again : bool
        Whether what was refused before is tried again.

    Raises
    ------
    ConfigError
        No bundle has a source, another pull runs, or what reads the store is not installed.
    StoreError
        The node's own disk does not do as it should.
    """
    with _alone(config.state_folder):
        before = {kept.folder: _said(kept) for _, kept in _sources(config)}
        is_new = [_pull_of(config, config_path, model, kept).look(again=again) for model, kept in _sources(config)]
        if any(is_new):
            _have_reloaded(config, [kept for (_, kept), new in zip(_sources(config), is_new, strict=True) if new])
        return _told(config, before)


def roll_back(config: Config, name: str, why: str) -> list[Looked]:
    """Go back to the version before, by a person's word; the one that runs is not tried again.

    Raises
    ------
    ConfigError
        There is no such bundle, or it has no source.
    BundleError
        There is no version to go back to.
    StoreError
    """
    with _alone(config.state_folder):
        chosen = [kept for _, kept in _sources(config) if name in ("", kept.name)]
        if len(chosen) != 1:
            names = ", ".join(kept.name for _, kept in _sources(config))
            raise ConfigError(f"say which bundle is rolled back: {names}")
        before = {kept.folder: _said(kept) for kept in chosen}
        chosen[0].roll_back(why, time.time())
        looked = _told(config, before)
    outcome = reload(config.state_folder, RELOAD_S)
    if outcome is not None and not outcome.ok:
        raise StoreError(f"{looked[0].detail}; on the disk, but the daemon has not loaded it: {outcome.detail}")
    return looked


@contextmanager
def _alone(state_folder: Path) -> Iterator[None]:
    """Nobody else pulls, or rolls back, for as long as the context lasts."""
    lock = Lock(state_folder, PULL)
    try:
        yield
    finally:
        lock.release()


def _sources(config: Config) -> Iterator[tuple[ModelConfig, KeptVersions]]:
    """Each bundle that has a source, and where its versions are."""
    models = [model for model in config.model if model.source]
    if not models:
        raise ConfigError("no bundle of the configuration has a store to come from: set source in [model]")
    for model in models:
        name = model.path.stem
        yield model, KeptVersions(pulled_path(config.state_folder, name).parent.parent, name)


def _pull_of(config: Config, config_path: Path, model: ModelConfig, kept: KeptVersions) -> Pull:
    assert model.source is not None
    assert model.trusted_keys is not None  # a source needs them
    return Pull(
        kept, BundleStore(model.source), model.trusted_keys, config.node.name, model.path, partial(prove, config_path)
    )


def _have_reloaded(config: Config, switched: list[KeptVersions]) -> None:
    """Have the daemon switch now; where that does not go, take down why. Without a daemon, the next start does it."""
    try:
        outcome = reload(config.state_folder, RELOAD_S)
        trouble = "" if outcome is None or outcome.ok else outcome.detail
    except SonycMLError as error:
        trouble = str(error)
    for kept in switched if trouble else ():
        with changed_record(kept.folder) as record:
            if record.word == RUNS:  # else the daemon has rolled it back, and says why
                record.says(FAILED, f"{record.detail}, and the daemon has not loaded it yet: {trouble}")


def _said(kept: KeptVersions) -> Looked:
    record = read_record(kept.folder)
    return Looked(kept.name, record.word, record.detail)


def _told(config: Config, before: dict[Path, Looked]) -> list[Looked]:
    """How it came out; what is new is an event of the journal too."""
    looked = []
    for _, kept in _sources(config):
        if kept.folder in before:
            looked.append(_said(kept))
            if looked[-1] != before[kept.folder] and (config.state_folder / FILE_NAME).exists():
                _log(config.state_folder, looked[-1])
    return looked


def _log(state_folder: Path, looked: Looked) -> None:
    with suppress(StoreError), closing(Journal(state_folder)) as journal, journal.transaction():
        log_rollout(journal.connection, time.time(), looked.name, looked.word, looked.detail)
