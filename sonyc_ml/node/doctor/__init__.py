"""The machine from end to end: what is well, what is not, and how to repair it. Computes; prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from sonyc_ml.errors import ConfigError
from sonyc_ml.node.config import Config, MetricsConfig, ModelConfig, load_config
from sonyc_ml.node.crash import REMEDY, crash_text, fault_of
from sonyc_ml.node.doctor import folders, machine, node
from sonyc_ml.node.doctor.machine import BAD, OK, SKIPPED, VERDICTS, WARN, Finding

if TYPE_CHECKING:
    from sonyc_ml.model import Model

__all__ = ["BAD", "OK", "SKIPPED", "VERDICTS", "WARN", "Check", "Finding", "examine", "run_checks", "worst"]

Check: TypeAlias = tuple[str, Callable[[], Finding]]


def examine(config_path: Path | None, model_path: Path | None = None) -> list[Finding]:
    """Check everything that there is to check.

    Parameters
    ----------
    config_path : Path or None
        Of the daemon's configuration; without one, the machine and the bundle alone are checked.
    model_path : Path, optional
        ``NAME.tflite``; wins over the configuration's.

    Returns
    -------
    list of Finding
        What each check has found, in the order in which one would repair it.
    """
    findings: list[Finding] = []
    config: Config | None = None
    if config_path is not None:
        config, finding = _configuration(config_path, model_path)
        findings.append(finding)
    models = config.model if config else ((ModelConfig(model_path),) if model_path else ())
    findings += run_checks(_of_runtime())
    findings += _of_bundles(models, sees_processor=findings[-1].verdict == OK)
    findings += run_checks([*(_of_node(config) if config else ()), *_of_machine()])
    return findings


def run_checks(checks: Sequence[Check]) -> Iterator[Finding]:
    """Yield what each check finds; one that cannot be made says so, and the others go on."""
    for name, check in checks:
        try:
            yield check()
        except Exception as error:  # noqa: BLE001  a machine that is ill fails in ways nobody thought of
            text = f"could not be checked ({type(error).__name__}: {error})"
            yield Finding(name, WARN, text, "ask as root, who may look everywhere: sudo sonyc-ml doctor")


def worst(findings: Sequence[Finding]) -> str:
    """The verdict over all: the worst of them."""
    verdicts = {finding.verdict for finding in findings}
    return next((verdict for verdict in (BAD, WARN) if verdict in verdicts), OK)


def _configuration(path: Path, model_path: Path | None) -> tuple[Config | None, Finding]:
    try:
        config = load_config(path, {"model": {"path": model_path}} if model_path else {})
    except (ConfigError, UnicodeDecodeError) as error:
        remedy = "correct it by deploy/sonyc-ml.toml, where every key is explained; the node's checks need it"
        text = str(error) if isinstance(error, ConfigError) else f"{path} is not TOML: {error}"
        return None, Finding("configuration", BAD, text, remedy)
    return config, Finding("configuration", OK, str(path))


def _of_runtime() -> list[Check]:
    return [
        ("python", machine.python),
        ("libraries", partial(_survived, "libraries", "importing them", machine.libraries)),
        ("runtime", partial(_survived, "runtime", "importing it", machine.runtime)),
        ("processor", machine.processor),
    ]


def _of_bundles(settings: Sequence[ModelConfig], *, sees_processor: bool) -> Iterator[Finding]:
    """Load each bundle once, for all checks of it."""
    models: list[Model] = []
    for one in settings:
        before = len(models)
        check = partial(_bundle, one, models, sees_processor=sees_processor)
        yield from run_checks([("bundle", partial(_survived, "bundle", f"loading {one.path}", check))])
        for model in models[before:]:
            yield from run_checks(
                [("kernels", partial(_kernels, model, one)), ("golden", partial(_golden, model, one))]
            )
    if settings:
        yield from run_checks([("speed", partial(_speed, models))])


def _survived(name: str, work: str, check: Callable[[], Finding]) -> Finding:
    """What a check finds that runs native code; one that would end the doctor too is made in a child alone."""
    fault = fault_of(check)
    return check() if fault is None else Finding(name, BAD, crash_text(work, fault), REMEDY)


# numpy and the runtime are imported by the checks that need them: where they are broken, the others go on.


def _bundle(settings: ModelConfig, models: list[Model], *, sees_processor: bool) -> Finding:
    from sonyc_ml.node.doctor.bundle import bundle  # noqa: PLC0415

    return bundle(settings, models.append, sees_processor=sees_processor)


def _kernels(model: Model, settings: ModelConfig) -> Finding:
    from sonyc_ml.node.doctor.bundle import kernels  # noqa: PLC0415

    return kernels(model, settings)


def _golden(model: Model, settings: ModelConfig) -> Finding:
    from sonyc_ml.node.doctor.bundle import golden  # noqa: PLC0415

    return golden(model, settings)


def _speed(models: Sequence[Model]) -> Finding:
    from sonyc_ml.node.doctor.bundle import speed  # noqa: PLC0415

    return speed(models)


def _live(config: Config) -> list[Check]:
    from sonyc_ml.node.doctor.live import of_live  # noqa: PLC0415

    return of_live(config)


def _rollout(config: Config, model: ModelConfig) -> Finding:
    from sonyc_ml.node.doctor.rollout import rollout  # noqa: PLC0415

    return rollout(config.state_folder, model)


def _uploads(config: Config) -> list[Check]:
    if config.upload is None or config.upload.to is None:
        return []
    from sonyc_ml.node.doctor.upload import of_upload  # noqa: PLC0415

    return of_upload(config)


def _of_node(config: Config) -> list[Check]:
    outputs = folders.output_folders(config)
    return [
        ("node", partial(node.name, config)),
        ("user", partial(node.user, config)),
        *([] if config.has_own_spool else [("spool", partial(folders.spool, config))]),
        *(_live(config) if config.listen is not None else ()),
        ("inotify", partial(node.inotify, config)),
        ("retention", partial(folders.retention, config)),
        *(("output", partial(folders.writable, "output", folder)) for folder in outputs),
        ("state", partial(folders.writable, "state", config.state_folder)),
        *(("disk", partial(folders.disk, name, folder)) for name, folder in folders.disks(config).items()),
        ("file systems", partial(folders.file_systems, config)),
        ("journal", partial(node.journal, config)),
        ("daemon", partial(node.daemon, config)),
        *[("rollout", partial(_rollout, config, model)) for model in config.model if model.source],
        ("service", node.service),
        *([("metrics", partial(node.metrics, config))] if config.metrics != MetricsConfig() else []),
        *_uploads(config),
        ("nice", partial(node.nice, config)),
        ("time zone", partial(node.time_zone, config)),
    ]


def _of_machine() -> list[Check]:
    return [
        ("clock", machine.clock),
        ("memory", machine.memory),
        ("power", machine.power),
        ("temperature", machine.temperature),
        ("governor", machine.governor),
    ]
