"""``sonyc-ml metrics``: a node's metrics in Prometheus' text format, printed or written for node-exporter."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonyc_ml.cli.flags import add_command, until_reader_leaves
from sonyc_ml.cli.node import OK, WHERE, add_where, journal_folder
from sonyc_ml.errors import ConfigError

EPILOG = """\
examples:
  sonyc-ml metrics
  sonyc-ml metrics --textfile /var/lib/prometheus/node-exporter/sonyc-ml.prom

In Prometheus' text format. sonyc-ml serve has the same at /metrics. A textfile is replaced in one step; a timer may
write it, as sonyc-ml-metrics.timer does, or the daemon itself (metrics.textfile). Exit status: 0, or 2 if the file
cannot be written; sonyc_ml_daemon_up and sonyc_ml_journal_up say whether there is a daemon, and a journal."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``metrics`` to a parser's commands."""
    parser = add_command(commands, "metrics", _run, texts["metrics"], f"{EPILOG}\n\n{WHERE}")
    add_where(parser)
    parser.add_argument("--textfile", type=Path, metavar="FILE", help="write them for node-exporter; ends in .prom")


def _run(parsed: argparse.Namespace) -> int:
    from sonyc_ml.node.telemetry.collector import Collector  # noqa: PLC0415
    from sonyc_ml.node.telemetry.exposition import render  # noqa: PLC0415
    from sonyc_ml.node.telemetry.textfile import write_textfile  # noqa: PLC0415

    text, path = render(Collector(journal_folder(parsed)).families()), parsed.textfile
    if path is None:
        with until_reader_leaves():
            print(text.decode(), end="", flush=True)
        return OK
    try:
        write_textfile(path, text)
    except OSError as error:
        raise ConfigError(f"--textfile {path} cannot be written: {error.strerror}") from error
    return OK
