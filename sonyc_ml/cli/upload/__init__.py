"""``sonyc-ml upload``: arguments and configuration to the uploading process."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonyc_ml.cli.flags import add_command
from sonyc_ml.errors import ConfigError

OK, WAITS = 0, 1
EPILOG = """\
examples:
  sonyc-ml upload --config /etc/sonyc-ml/sonyc-ml.toml
  sonyc-ml upload --once
  sonyc-ml upload --once --now

Sends what the daemon writes to the store that [upload] names (docs/upload.md), each thing once, and goes on where it
was when it is started again. Credentials are taken from the environment or from systemd, never from the file. Without
--config, the configuration is the one that $SONYC_ML_CONFIG names, else $XDG_CONFIG_HOME/sonyc-ml/sonyc-ml.toml, else
/etc/sonyc-ml/sonyc-ml.toml.
Exit status: 0 ended by a signal, or with --once all that was due has been sent; 1 with --once, something still waits;
2 it could not start."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``upload`` to a parser's commands."""
    parser = add_command(commands, "upload", _run, texts["upload"], EPILOG)
    parser.add_argument("--config", type=Path, metavar="FILE", help="the daemon's TOML file")
    parser.add_argument("--once", action="store_true", help="do once what there is to do, and end")
    parser.add_argument(
        "--now", action="store_true", help="with --once: pack what is there, before its day or hour is over"
    )
    parser.add_argument("--verbose", action="store_true", help="log one line per object")


def _run(parsed: argparse.Namespace) -> int:
    if parsed.now and not parsed.once:
        raise ConfigError("--now belongs to --once; give both")
    import signal  # noqa: PLC0415
    import threading  # noqa: PLC0415
    from contextlib import closing  # noqa: PLC0415

    from sonyc_ml.cli.watch import log_to_stderr  # noqa: PLC0415
    from sonyc_ml.node.config import load_config  # noqa: PLC0415
    from sonyc_ml.node.config_file import usual_config  # noqa: PLC0415
    from sonyc_ml.node.upload.stores.opening import open_store  # noqa: PLC0415
    from sonyc_ml.node.upload.uploader import Uploader  # noqa: PLC0415

    path = parsed.config or usual_config("--config FILE")
    config = load_config(path, {})
    if config.upload is None or config.upload.to is None:
        raise ConfigError(f'{path} does not say where to: write [upload] and to = "s3://bucket/prefix"')
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log_to_stderr(verbose=parsed.verbose)
    with closing(Uploader(config, open_store(config.upload), stop)) as uploader:
        if not parsed.once:
            uploader.run()
            return OK
        uploader.turn(at_once=parsed.now)
        return OK if uploader.ledger.next_waiting() is None else WAITS
