"""What a daemon's configuration means for its process: what it says of itself, what it takes of the machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial

from sonyc_ml import __version__
from sonyc_ml.base import process
from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.config import Config
from sonyc_ml.node.facts import DaemonFacts
from sonyc_ml.node.retention.proof import proof

logger = logging.getLogger("sonyc_ml.node.daemon")


def facts_of(config: Config) -> DaemonFacts:
    """What runs and how it is configured, but for its bundles."""
    return DaemonFacts(
        pid=os.getpid(),
        version=__version__,
        folder=str(config.spool.folder.absolute()),
        extensions=config.spool.extensions,
        recursive=config.spool.recursive,
        output=str(config.output.folder.absolute()),
        format=config.output.format,
        overload=config.overload.policy,
        retention=config.retention.policy,
        moved_to=_moved_to(config),
        node=config.node.record(),
        sources=tuple(one.name for one in config.listen.source if one.command or one.stdin) if config.listen else (),
        upload=_upload_folder(config),
    )


def _moved_to(config: Config) -> str:
    """Where recordings that are done are moved to; empty where they stay, or are deleted."""
    settings = config.retention
    return str(settings.folder.absolute()) if settings.policy == "move" and settings.folder else ""


def _upload_folder(config: Config) -> str:
    """Where the process that uploads keeps its state; empty where nothing is uploaded."""
    if config.upload is None or config.upload.to is None:
        return ""
    from sonyc_ml.node.upload.facts import upload_folder  # noqa: PLC0415

    return str(upload_folder(config).absolute())


def proof_of(config: Config) -> Callable[[Identity], str]:
    """What says why a recording that is done may not go; see :class:`sonyc_ml.node.retention.sweep.Sweeper`."""
    return partial(
        proof,
        folder=config.spool.folder,
        output_folders=config.output_folders,
        output_format=config.output.format,
    )


def be_modest(config: Config) -> None:
    """Leave room for others, as the configuration says.

    Raises
    ------
    ConfigError
    """
    if config.process.memory_mb is not None:
        try:
            process.limit_memory(config.process.memory_mb)
        except (ValueError, OverflowError, OSError) as error:
            raise ConfigError(f"process.memory_mb = {config.process.memory_mb} cannot be had: {error}") from error
    if config.process.nice:
        try:
            process.be_nice(config.process.nice)
        except OSError as error:
            logger.warning("process.nice = %d: %s; use systemd's Nice= instead", config.process.nice, error.strerror)
