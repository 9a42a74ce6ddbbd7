"""A TOML file to frozen dataclasses: every key known, every type checked, every default written once."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.base.lock import STATE_FOLDER
from sonyc_ml.base.records import dataclass, field
from sonyc_ml.base.strict import build, check_above_zero, check_choice, check_not_negative
from sonyc_ml.bundles.location import PULLED, pulled_path, refuse_address
from sonyc_ml.bundles.sections import Detections
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.config_file import name_model, overridden, read_tables, resolve_paths
from sonyc_ml.node.config_outputs import OutputConfig as OutputConfig  # noqa: PLC0414  it was here once
from sonyc_ml.node.operate.serve_config import ServeConfig
from sonyc_ml.node.telemetry.config import MetricsConfig as MetricsConfig  # noqa: PLC0414  they were here once
from sonyc_ml.node.telemetry.config import MqttConfig as MqttConfig  # noqa: PLC0414
from sonyc_ml.outputs.rules import DetectionRules
from sonyc_ml.sound.levels.table import LevelsTable
from sonyc_ml.sound.node import Node
from sonyc_ml.sound.start_time import StartTimes

if TYPE_CHECKING:
    from sonyc_ml.sound.levels.settings import LevelSettings


OWN = ("path", "source")  # keys of [model] that the model itself does not take


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """``[model]``: the bundle and how it runs; see :func:`sonyc_ml.model.loading.load_model`."""

    path: Path = field(metadata={"flag": "--model NAME.tflite"})
    trusted_keys: Path | None = None
    trust_owners: tuple[str, ...] = ()
    golden: str = "once"
    input_kind: str | None = None
    duration: float | None = None
    hop_size: float | None = None
    target_sr: int | None = None
    features: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, int | str] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    activation: str | None = None
    sensitivity: float | None = None
    channel: int | None = None
    num_threads: int = 1
    batch_size: int = 1
    reference_kernels: bool = False
    backend: str | None = None
    reads: Path | None = None
    detections: Detections | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        if self.source is not None:
            from sonyc_ml.bundles.rollout.store import check_source  # noqa: PLC0415  most bundles stay as they are

            check_source(self.source)
            if self.trusted_keys is None:
                raise ValueError("source needs trusted_keys: nothing is run that no key of yours has signed")

    def parameters(self) -> dict[str, Any]:
        """Keywords for :func:`sonyc_ml.model.loading.load_model`: those that are given."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self) if entry.name not in OWN}
        values["detections"] = self.detections.given() if self.detections else {}
        if self.is_pulled:  # a signed rollout may go back to an older version, which is this one
            values["accepted"] = (self.path.parent.resolve().name,)
        return {name: value for name, value in values.items() if value not in (None, {}, ())}

    @property
    def is_pulled(self) -> bool:
        """Whether this is a version that came from the source, not the one that the node began with."""
        return self.source is not None and self.path.parent.parent.parent.name == PULLED

    def at(self, path: Path) -> ModelConfig:
        """The same of another version of the bundle, by the path of its network."""
        return dataclasses.replace(self, path=path)

    def in_its_folder(self) -> ModelConfig:
        """The same, with all files of one version, whatever the link to the one that runs names meanwhile."""
        return self.at(self.path.parent.resolve() / self.path.name) if self.is_pulled else self

    def pulled_in(self, state_folder: Path) -> ModelConfig:
        """The same of the version that was pulled; as it is where none was.

        Whose files these are does not matter: a trusted key has signed them.
        """
        path = pulled_path(state_folder, self.path.stem)
        if not os.path.isdir(path.parent):  # noqa: PTH112  Path.is_dir raises where it may not look
            return self
        owners = (*self.trust_owners, str(path.parent.stat().st_uid))
        return dataclasses.replace(self, path=path, trust_owners=owners)


@dataclass(frozen=True, slots=True)
class SpoolConfig:
    """``[spool]``: where recordings appear; see :class:`sonyc_ml.node.spool.spool.Spool`."""

    folder: Path = field(metadata={"flag": "the FOLDER"})
    extensions: tuple[str, ...] = (".wav",)
    recursive: bool = True
    settle_s: float = 2.0
    discovery: str = "auto"
    rescan_s: float = 300.0
    poll_s: float = 10.0
    quiet_after_s: float = 900.0

    def __post_init__(self) -> None:
        if not self.extensions:
            raise ValueError("extensions is empty, so that nothing would be a recording; give one, such as '.wav'")
        for extension in self.extensions:
            if not extension.startswith(".") or extension != extension.lower():
                raise ValueError(f"extensions must be like '.wav', lower case with the dot, not {extension!r}")
        check_choice(self, discovery=("auto", "inotify", "polling"))
        check_above_zero(self, "settle_s", "rescan_s", "poll_s")
        check_not_negative(self, "quiet_after_s")


@dataclass(frozen=True, slots=True)
class RecordingsConfig:
    """``[recordings]``: what is done with odd ones, and when they begin."""

    unfinished: str = "salvage"
    abandoned_s: float = 600.0
    max_attempts: int = 3
    silent_after: int = 6
    start_patterns: tuple[str, ...] = ("recorders",)
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        check_choice(self, unfinished=("salvage", "quarantine"))
        check_above_zero(self, "abandoned_s", "max_attempts")
        check_not_negative(self, "silent_after")
        for key, given in (("start_patterns", (self.start_patterns,)), ("time_zone", ((), self.time_zone))):
            try:
                StartTimes(*given)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error


@dataclass(frozen=True, slots=True)
class OverloadConfig:
    """``[overload]``: what gives when recordings come faster than they are embedded: :mod:`sonyc_ml.node.overload`."""

    policy: str = "oldest-first"
    max_age_s: float = 7 * 86400.0
    max_recordings: int = 1_000_000
    hop_sizes_s: tuple[float, ...] = (0.2, 0.5, 1.0)
    lags_s: tuple[float, ...] = (60.0, 300.0, 900.0)

    def __post_init__(self) -> None:
        check_choice(self, policy=("oldest-first", "newest-first", "stretch-hop"))
        check_above_zero(self, "max_age_s", "max_recordings")
        if len(self.hop_sizes_s) != len(self.lags_s):
            raise ValueError("hop_sizes_s and lags_s must have as many numbers: a hop for each lag")
        for name in ("hop_sizes_s", "lags_s"):
            values = getattr(self, name)
            if any(value <= 0 for value in values) or list(values) != sorted(values):
                raise ValueError(f"{name} must be above 0 and rise, not {list(values)}")


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """``[retention]``: what becomes of recordings that are done; see :mod:`sonyc_ml.node.retention.sweep`."""

    policy: str = "keep"
    folder: Path | None = None
    after_s: float = 0.0
    free_low: float = 0.0
    free_high: float = 0.0
    states: tuple[str, ...] = ("done",)
    every_s: float = 600.0
    history_days: float = 90.0

    def __post_init__(self) -> None:
        check_choice(self, policy=("keep", "move", "delete"))
        check_above_zero(self, "every_s", "history_days")
        check_not_negative(self, "after_s")
        if self.policy == "move" and self.folder is None:
            raise ValueError("folder is missing: say where recordings are moved to")
        if not 0 <= self.free_low <= self.free_high < 1:
            raise ValueError("free_low and free_high must be shares of the disk, from 0 to below 1, the low one first")
        for state in self.states:
            if state not in ("done", "quarantined", "shed"):
                raise ValueError(
                    f"states may be done, quarantined and shed, not {state!r}: what is pending is never touched"
                )


@dataclass(frozen=True, slots=True)
class ProcessConfig:
    """``[process]``: how it lives with other things on a small computer."""

    nice: int = 0
    memory_mb: int | None = None
    summary_s: float = 60.0

    def __post_init__(self) -> None:
        if self.nice not in range(-20, 20):
            raise ValueError(f"nice must be from -20 to 19, not {self.nice}")
        if self.memory_mb is not None and self.memory_mb < 64:
            raise ValueError(f"memory_mb must be at least 64, not {self.memory_mb}: the libraries alone need so much")
        check_above_zero(self, "summary_s")


@dataclass(frozen=True, slots=True)
class StateConfig:
    """``[state]``: where the journal lies."""

    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration of ``sonyc-ml watch``; only the daemon sees all of it."""

    spool: SpoolConfig
    model: tuple[ModelConfig, ...]
    output: OutputConfig
    recordings: RecordingsConfig = field(default_factory=RecordingsConfig)
    overload: OverloadConfig = field(default_factory=OverloadConfig)
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    state: StateConfig = field(default_factory=StateConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    detections: Detections = field(default_factory=Detections)
    levels: LevelsTable = field(default_factory=LevelsTable)
    upload: Any = None  # sonyc_ml.node.upload.config.UploadConfig, which only those import who upload
    node: Node = field(default_factory=Node)
    listen: Any = None  # sonyc_ml.node.intake.config.ListenConfig, which a node without live sound does not import

    def __post_init__(self) -> None:
        DetectionRules(**self.detections.rules())
        if self.levels.is_asked_for:
            self.levels.check()
        if not self.model and not self.levels.is_asked_for:
            raise ValueError("model is empty; give --model NAME.tflite, or set model.path")
        names = [refuse_address(model.path).stem for model in self.model]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"model: two bundles are called {name}; their outputs would have the same name")
        moved_to = self.retention.folder
        if moved_to is not None and moved_to.absolute().is_relative_to(self.spool.folder.absolute()):
            raise ValueError("retention.folder lies in spool.folder: what is moved there would be found as new")

    def level_settings(self) -> LevelSettings | None:
        """``[levels]``: what is measured of each recording; None where nothing is, and nothing is imported for it."""
        if not self.levels.is_asked_for:
            return None
        from sonyc_ml.sound.levels.microphone_files import read_settings  # noqa: PLC0415

        return read_settings(self.levels)

    @property
    def state_folder(self) -> Path:
        """Where the journal lies: with the outputs that it is an index of, where nothing else is said."""
        return self.state.folder or self.output.folder / STATE_FOLDER

    @property
    def has_own_spool(self) -> bool:
        """Whether no recorder writes into the spool: a node that only listens has one of its own."""
        return self.listen is not None and self.spool.folder.parent == self.state_folder

    @property
    def output_folders(self) -> tuple[Path, ...]:
        """Where the outputs of each bundle go."""
        return output_folders(self.output, self.model)


def output_folders(output: OutputConfig, models: Sequence[ModelConfig]) -> tuple[Path, ...]:
    """Where the outputs of each bundle go: into a folder of its own where there are several."""
    return (output.folder,) if len(models) <= 1 else tuple(output.folder / model.path.stem for model in models)


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
    tables = read_tables(path) if path is not None else {}
    if path is not None:
        resolve_paths(tables, path.parent)
    for name, values in overrides.items():
        if values or name in tables:  # what nothing is said of stays away: an empty [model] would be one
            tables[name] = overridden(name, tables.get(name, {}), values)
    name_model(tables)
    try:
        if "upload" in tables:
            from sonyc_ml.node.upload.config import use_upload  # noqa: PLC0415  most nodes keep their outputs

            use_upload(tables, path.parent if path is not None else None)
        if "listen" in tables:
            from sonyc_ml.node.intake.config import use_listen  # noqa: PLC0415  most nodes have a recorder

            use_listen(tables, path.parent if path is not None else None)
        config = _with_detections(build(Config, tables))
        return config if "path" in overrides.get("model", {}) else _with_pulled(config)
    except ValueError as error:
        raise ConfigError(f"{path or 'the command line'}: {error}") from error


def _with_pulled(config: Config) -> Config:
    """The version of each bundle that was pulled last, in place of the one that the node begins with."""
    models = [model.pulled_in(config.state_folder) if model.source else model for model in config.model]
    return dataclasses.replace(config, model=tuple(models))


def _with_detections(config: Config) -> Config:
    """What ``[detections]`` says is said of every bundle, but for the keys that the bundle's own table has."""
    common = config.detections.given()
    models = []
    for model in config.model:
        given = common | (model.detections.given() if model.detections else {})
        detections = Detections(**given)
        DetectionRules(**detections.rules())
        models.append(dataclasses.replace(model, detections=detections if given else None))
    return dataclasses.replace(config, model=tuple(models))
