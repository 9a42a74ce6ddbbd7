"""``sonyc-ml doctor``: the machine is checked from end to end."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.base.human import count, shown
from sonyc_ml.cli.flags import add_command, until_reader_leaves
from sonyc_ml.node.config_file import usual_config

if TYPE_CHECKING:
    from sonyc_ml.node.doctor.machine import Finding

WELL, ILL = 0, 1

EPILOG = """\
examples:
  sonyc-ml doctor
  sonyc-ml doctor --config /etc/sonyc-ml/sonyc-ml.toml --json
  sonyc-ml doctor --model models/NAME.tflite

Checks Python, runtime and bundle, folders and their permissions, disks, journal, daemon and service, clock, power and
heat, and the speed against real time; says how to repair what is not well. Changes nothing. Run it as the user of the
daemon, whose permissions count.

Without --config and --model, the configuration is the one that $SONYC_ML_CONFIG names, else
$XDG_CONFIG_HOME/sonyc-ml/sonyc-ml.toml, else /etc/sonyc-ml/sonyc-ml.toml.
Exit status: 0 all is well, or there are warnings only; 1 something is bad; 2 there is no configuration to check."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``doctor`` to a parser's commands."""
    parser = add_command(commands, "doctor", _doctor, texts["doctor"], EPILOG)
    parser.add_argument("--config", type=Path, metavar="FILE", help="the daemon's TOML file")
    parser.add_argument(
        "--model", type=Path, metavar="NAME.tflite", help="the bundle; alone, for a machine without a configuration"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _doctor(parsed: argparse.Namespace) -> int:
    config_path = parsed.config
    if config_path is None and parsed.model is None:
        config_path = usual_config("--config FILE or --model NAME.tflite")

    from sonyc_ml.node.doctor import BAD, examine, worst  # noqa: PLC0415

    findings = examine(config_path, parsed.model)
    verdict = worst(findings)
    answer = {"verdict": verdict, "findings": [dataclasses.asdict(finding) for finding in findings]}
    with until_reader_leaves():
        print(json.dumps(answer, indent=2) if parsed.json else _text(findings), flush=True)
    return ILL if verdict == BAD else WELL


def _text(findings: Sequence[Finding]) -> str:
    """A line for each, how to repair it below, and a sum at the end."""
    width = max(len(finding.check) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(shown(f"{finding.verdict:7}  {finding.check:{width}}  {finding.text}"))
        if finding.verdict in ("warn", "bad"):
            lines.append(shown(f"{'':{width + 11}}to repair: {finding.remedy}"))
    n = Counter(finding.verdict for finding in findings)
    lines.append(
        f"{count(len(findings), 'check')}: {n['ok']} ok, {n['warn']} warn, {n['bad']} bad, {n['skipped']} skipped"
    )
    return "\n".join(lines)
