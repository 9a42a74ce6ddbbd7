"""``sonyc-ml info``: what a model reads, writes and needs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonyc_ml.cli.flags import add_command, add_model_flags, model_parameters, until_reader_leaves

OK = 0


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``info`` to a parser's commands."""
    parser = add_command(commands, "info", _run, texts["info"])
    parser.add_argument("path", type=Path, metavar="NAME.tflite")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_model_flags(parser, with_path=False)


def _run(parsed: argparse.Namespace) -> int:
    from sonyc_ml.authoring.describe import describe, render  # noqa: PLC0415  imports numpy

    description = describe(parsed.path, **model_parameters(parsed))
    with until_reader_leaves():
        print(json.dumps(description, indent=2) if parsed.json else render(description), flush=True)
    return OK
