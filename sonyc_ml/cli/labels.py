"""``sonyc-ml labels``: what was heard, and when."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.cli.flags import add_command, outputs_in, until_reader_leaves
from sonyc_ml.errors import ConfigError, UserMistakes

if TYPE_CHECKING:
    from sonyc_ml.analysis.labels import Rules


LABELS_EPILOG = """\
examples:
  sonyc-ml labels embeddings/ --format audacity --output labels/
  sonyc-ml labels embeddings/ --format csv --threshold 0.6,siren=0.3 --merge 1 --min-duration 0.5
  sonyc-ml labels embeddings/a.wav.npz --format raven --classes dog,siren > a.Table.1.selections.txt

audacity and raven make one file per recording (DIR/sub/a.wav.txt, DIR/sub/a.wav.Table.1.selections.txt), csv one
for all (DIR/labels.csv). Spans of a class are merged first, then the short ones are left out. Of windows that overlap,
each counts for one hop around its middle.
Exit status: 0, 1 if recordings were left out as their labels cannot have their names, or 2 if an output is damaged,
has no scores, or lacks a class that is named."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``labels`` to a parser's commands."""
    parser = add_command(commands, "labels", _labels, texts["labels"], LABELS_EPILOG)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="OUTPUT_OR_FOLDER")
    parser.add_argument("--format", required=True, choices=("audacity", "raven", "csv"), help="of the labels")
    parser.add_argument(
        "--output", default="-", metavar="DIR", help="where labels are written; - is the terminal (default -)"
    )
    parser.add_argument(
        "--threshold",
        default="0.5",
        metavar="X,LABEL=X,…",
        help="lowest score that counts, and those of single classes (default 0.5)",
    )
    parser.add_argument(
        "--merge",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="merge spans that are not further apart than this (default 0)",
    )
    parser.add_argument(
        "--min-duration", type=float, default=0.0, metavar="SECONDS", help="leave out shorter spans (default 0)"
    )
    parser.add_argument(
        "--classes", default="", metavar="A,B,… or FILE", help="only these classes; a file has one per line"
    )


def _labels(parsed: argparse.Namespace) -> int:
    from sonyc_ml.analysis.label_files import write_labels, write_one  # noqa: PLC0415  imports numpy
    from sonyc_ml.base.human import count, shown  # noqa: PLC0415

    with UserMistakes():
        rules = _rules(parsed)
        outputs = outputs_in(parsed.inputs)
        if parsed.output == "-":
            with until_reader_leaves():
                write_one(outputs, rules, parsed.format, sys.stdout.buffer)
                sys.stdout.buffer.flush()
        else:
            left_out: list[str] = []
            n = write_labels(outputs, rules, parsed.format, Path(parsed.output), left_out.append)
            for reason in left_out:
                print(f"sonyc-ml: left out: {shown(reason)}", file=sys.stderr)
            told = f", {count(len(left_out))} left out" if left_out else ""
            print(f"{parsed.output}: {count(n.n_labels, 'label')} in {count(n.n_recordings)}{told}")
            return 1 if left_out else 0
    return 0


def _rules(parsed: argparse.Namespace) -> Rules:
    from sonyc_ml.analysis.labels import Rules  # noqa: PLC0415
    from sonyc_ml.base.human import names_in  # noqa: PLC0415

    thresholds = _thresholds(parsed.threshold)
    return Rules(
        threshold=thresholds.pop("", 0.5),
        thresholds=thresholds,
        classes=names_in(parsed.classes),
        merge_s=parsed.merge,
        min_duration_s=parsed.min_duration,
    )


def _thresholds(text: str) -> dict[str, float]:
    """``0.6,siren=0.3`` to a mapping, with that of all others under an empty name; a label may hold commas."""
    thresholds: dict[str, float] = {}
    label = ""
    for part in text.split(","):
        label = f"{label},{part}" if label else part
        name, _, value = label.rpartition("=")
        try:
            thresholds[name.strip()] = float(value)
        except ValueError:
            continue  # the label goes on behind the comma
        label = ""
    if label or not text:
        raise ConfigError(f"--threshold takes X and LABEL=X, as in 0.5 or 0.6,siren=0.3, not {text!r}")
    return thresholds
