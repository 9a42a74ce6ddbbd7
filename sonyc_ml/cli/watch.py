"""``sonyc-ml watch``: arguments to the daemon."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.cli.flags import (
    add_command,
    add_detection_flags,
    add_level_flags,
    add_model_flags,
    detection_parameters,
    keep_parameters,
    level_table,
    model_parameters,
)

if TYPE_CHECKING:
    from sonyc_ml.node.config import Config

OK = 0

EPILOG = """\
examples:
  sonyc-ml watch recordings/ --model models/NAME.tflite --output embeddings/
  sonyc-ml watch --config /etc/sonyc-ml/sonyc-ml.toml

Flags override the configuration file. Recordings that are in the folder already are embedded too; those whose output
exists are skipped. The state of each is kept in DIR/.sonyc-ml: see sonyc-ml status, explain and audit. SIGTERM and
Ctrl-C finish the current recording, a second one stops at once. SIGHUP (sonyc-ml reload) loads the bundles again, and
so does replacing their files; if the new ones cannot be used, the old ones stay. On a terminal there is one line per
recording; elsewhere only with --verbose."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``watch`` to a parser's commands."""
    parser = add_command(commands, "watch", _run, texts["watch"], EPILOG)
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="where recordings appear")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file; see deploy/sonyc-ml.toml")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where embeddings are written")
    parser.add_argument("--format", choices=("npz", "csv"), help="of the embeddings (default npz)")
    parser.add_argument("--extensions", metavar="LIST", help="of recordings, comma-separated (default .wav)")
    parser.add_argument("--verbose", action="store_true", help="print one line per recording, and details")
    add_detection_flags(parser)
    add_level_flags(parser)
    add_model_flags(parser)


def _run(parsed: argparse.Namespace) -> int:
    gc.disable()  # until the daemon is ready: what a start makes stays, and to look through it costs a tenth of it
    from sonyc_ml.node.config import load_config  # noqa: PLC0415

    config = load_config(parsed.config, _overrides(parsed))
    return run_daemon(config, lambda: load_config(parsed.config, _overrides(parsed)), verbose=parsed.verbose)


def run_daemon(config: Config, reread: Callable[[], Config], *, verbose: bool) -> int:
    """Run the daemon until it ends; returns the exit status.

    Parameters
    ----------
    config : Config
    reread : callable
        Reads the configuration again.
    verbose : bool
        Whether there is a line per recording.
    """
    from sonyc_ml.node.daemon import Daemon  # noqa: PLC0415  imports numpy

    log_to_stderr(verbose=verbose)
    _tell_default(config)
    Daemon(config, reread=reread).run()
    return OK


def _tell_default(config: Config) -> None:
    import logging  # noqa: PLC0415

    from sonyc_ml.bundles.location import default_bundle  # noqa: PLC0415
    from sonyc_ml.errors import MissingBundleError  # noqa: PLC0415

    with suppress(MissingBundleError):
        path = default_bundle()
        if path in [model.path for model in config.model]:
            logging.getLogger(__name__).info("the model is the default bundle, %s", path.stem)


def _overrides(parsed: argparse.Namespace) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {
        "model": {"path": parsed.model, **model_parameters(parsed)},
        "spool": {"folder": parsed.folder, "extensions": parsed.extensions and parsed.extensions.split(",")},
        "output": {"folder": parsed.output, "format": parsed.format, **keep_parameters(parsed)},
        "detections": detection_parameters(parsed),
    }
    levels = level_table(parsed)
    if levels is not None:
        tables["levels"] = levels
    return {name: {key: value for key, value in values.items() if value is not None} for name, values in tables.items()}


def log_to_stderr(*, verbose: bool) -> None:
    """Send log records to where whoever started this looks: the terminal, a file, or systemd's journal."""
    import logging  # noqa: PLC0415

    from sonyc_ml.node.systemd import OneLineFormatter, journal_handler  # noqa: PLC0415

    handler = journal_handler()  # keeps the fields of each record, and its time
    if sys.stderr.isatty():  # a person sees each recording; a log is short when all is well
        logging.getLogger("sonyc_ml.node.worker").setLevel(logging.DEBUG)
    if handler is None:
        handler = logging.StreamHandler()
        handler.setFormatter(OneLineFormatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    logging.getLogger("watchdog").setLevel(logging.WARNING)
