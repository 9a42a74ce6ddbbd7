"""``sonyc-ml labels``: what was heard, and when."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.cli.flags import add_command, outputs_in, parse_thresholds, until_reader_leaves
from sonyc_ml.errors import ConfigError, UserMistakes

if TYPE_CHECKING:
    from sonyc_ml.outputs.output import Output

LABELS_EPILOG = """\
examples:
  sonyc-ml labels embeddings/
  sonyc-ml labels embeddings/ --format audacity --output labels/
  sonyc-ml labels embeddings/ --format csv --threshold 0.6,siren=0.3 --merge 1 --min-duration 0.5
  sonyc-ml labels embeddings/a.wav.npz --format raven --classes dog,siren > a.Table.1.selections.txt
  sonyc-ml labels embeddings/ --format birdnet --no-merge --threshold 0.1 --output labels/

audacity, raven and birdnet make one file per recording (DIR/sub/a.wav.txt, DIR/sub/a.wav.Table.1.selections.txt,
DIR/sub/a.wav.BirdNET.results.csv), csv and kaleidoscope one for all (DIR/labels.csv, DIR/kaleidoscope.csv). Without
any of the flags that choose, the labels are the detections that an output holds, if it holds some. Spans of a class are
merged first, then the short ones are left out. Of windows that overlap, each counts for one hop around its middle;
with --no-merge, for all of it.
Exit status: 0, 1 if recordings were left out as their labels cannot have their names, or 2 if an output is damaged,
has neither scores nor detections, or lacks a class that is named."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``labels`` to a parser's commands."""
    parser = add_command(commands, "labels", _labels, texts["labels"], LABELS_EPILOG)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="OUTPUT_OR_FOLDER")
    parser.add_argument(
        "--format",
        choices=("audacity", "raven", "birdnet", "csv", "kaleidoscope"),
        help="of the labels (default csv, one table of all recordings)",
    )
    parser.add_argument(
        "--output", default="-", metavar="DIR", help="where labels are written; - is the terminal (default -)"
    )
    flags = parser.add_argument_group("which labels")
    flags.add_argument(
        "--threshold",
        metavar="X,LABEL=X,…",
        help="lowest score that counts, and those of single classes (default 0.5)",
    )
    flags.add_argument(
        "--merge", type=float, metavar="SECONDS", help="merge spans that are not further apart than this (default 0)"
    )
    flags.add_argument("--no-merge", action="store_true", help="each window that counts is a label of its own")
    flags.add_argument("--min-duration", type=float, metavar="SECONDS", help="leave out shorter spans (default 0)")
    flags.add_argument(
        "--cool-down", type=float, metavar="SECONDS", help="leave out spans that follow sooner on another (default 0)"
    )
    flags.add_argument("--top-k", type=int, metavar="K", help="only the K highest classes of each window")
    flags.add_argument(
        "--classes", default="", metavar="A,B,… or FILE", help="only these classes; a file has one per line"
    )


def _labels(parsed: argparse.Namespace) -> int:
    from sonyc_ml.analysis.label_files import write_labels, write_one  # noqa: PLC0415  imports numpy
    from sonyc_ml.base.human import count, shown  # noqa: PLC0415

    with UserMistakes():
        rules = _asked(parsed)
        if parsed.format is None:
            parsed.format = "csv"
            print("the labels are written as csv; --format names others", file=sys.stderr)
        seen: set[str] = set()
        outputs = _noting(outputs_in(parsed.inputs), seen)
        if parsed.output == "-":
            with until_reader_leaves():
                write_one(outputs, rules, parsed.format, sys.stdout.buffer)
                sys.stdout.buffer.flush()
            _warn_of_unseen(rules, seen)
        else:
            left_out: list[str] = []
            n = write_labels(outputs, rules, parsed.format, Path(parsed.output), left_out.append)
            for reason in left_out:
                print(f"sonyc-ml: left out: {shown(reason)}", file=sys.stderr)
            _warn_of_unseen(rules, seen)
            told = f", {count(len(left_out))} left out" if left_out else ""
            print(f"{parsed.output}: {count(n.n_labels, 'label')} in {count(n.n_recordings)}{told}")
            return 1 if left_out else 0
    return 0


def _noting(outputs: Iterable[Output], seen: set[str]) -> Iterator[Output]:
    """Pass outputs on, and note the classes that they name; one without all scores names those that were heard."""
    from sonyc_ml.analysis.labels import class_names  # noqa: PLC0415

    for output in outputs:
        seen |= {*class_names(output), *(one.label for one in output.detections or ())}
        yield output


def _warn_of_unseen(rules: Mapping[str, Any], seen: set[str]) -> None:
    from sonyc_ml.base.human import shown  # noqa: PLC0415

    if unseen := [name for name in (*rules.get("classes", ()), *rules.get("thresholds", ())) if name not in seen]:
        text = f"no output names {', '.join(unseen)}: not heard, or spelled in another way"
        print(f"sonyc-ml: warning: {shown(text)}", file=sys.stderr)


def _asked(parsed: argparse.Namespace) -> dict[str, Any]:
    """What the flags say of the rules, by their names."""
    from sonyc_ml.base.human import names_in  # noqa: PLC0415
    from sonyc_ml.outputs.rules import DetectionRules  # noqa: PLC0415

    if parsed.no_merge and parsed.merge is not None:
        raise ConfigError("--merge and --no-merge exclude each other; give one of them")
    said = {
        "classes": names_in(parsed.classes) or None,
        "merge_s": False if parsed.no_merge else parsed.merge,
        "min_duration_s": parsed.min_duration,
        "cool_down_s": parsed.cool_down,
        "top_k": parsed.top_k,
    }
    given = {name: value for name, value in said.items() if value is not None}
    if parsed.threshold is not None:
        given |= parse_thresholds(parsed.threshold, "--threshold")
    DetectionRules(**given)  # refuses what cannot be, whatever the outputs hold
    return given
