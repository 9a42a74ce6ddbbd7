"""``sonyc-ml labels``, ``compare``: what folders of outputs say."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.cli_command import add_command
from sonyc_ml.errors import ConfigError

if TYPE_CHECKING:
    from sonyc_ml.comparing import Tolerances
    from sonyc_ml.labelling import Rules
    from sonyc_ml.output import Output

OK, DIFFERENT = 0, 1

LABELS_EPILOG = """\
examples:
  sonyc-ml labels embeddings/ --format audacity --output labels/
  sonyc-ml labels embeddings/ --format csv --threshold 0.6,siren=0.3 --merge 1 --min_duration 0.5
  sonyc-ml labels embeddings/a.wav.npz --format raven --classes dog,siren > a.Table.1.selections.txt

audacity and raven have a file for each recording (DIR/sub/a.wav.txt, DIR/sub/a.wav.Table.1.selections.txt), csv one for
all (DIR/labels.csv). Spans of a class are merged first, then the short ones are left out. Windows that overlap stand
for one hop around their middles.
Exit status: 0, or 2 if an output is damaged, has no scores, or lacks a class that is named."""


COMPARE_EPILOG = """\
examples:
  sonyc-ml compare before/ after/
  sonyc-ml compare before/ after/ --model NAME.tflite
  sonyc-ml compare a.wav.npz b.wav.npz --exact --json

Recordings are matched by name, in whatever order and format they are. Where the outputs come from (bundle, versions,
parameters) and whether the recordings were the same files is told too, but only numbers decide.
Exit status: 0 the same within the tolerances, 1 they differ or recordings are missing, 2 they cannot be compared."""


def add_commands(commands: Any) -> None:
    """Add ``labels`` and ``compare`` to a parser's commands."""
    _add_labels(commands)
    _add_compare(commands)


def _add_labels(commands: Any) -> None:
    parser = add_command(commands, "labels", _labels, "write what was heard, and when, as labels", LABELS_EPILOG)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="OUTPUT_OR_FOLDER")
    parser.add_argument("--format", required=True, choices=("audacity", "raven", "csv"), help="of the labels")
    parser.add_argument(
        "--output", default="-", metavar="DIR", help="where labels are written; - is the terminal (default -)"
    )
    parser.add_argument(
        "--threshold",
        default="0.5",
        metavar="X,LABEL=X,…",
        help="a window counts from this score on, for classes their own (default 0.5)",
    )
    parser.add_argument(
        "--merge", type=float, default=0.0, metavar="SECONDS", help="spans no further apart become one (default 0)"
    )
    parser.add_argument(
        "--min_duration", type=float, default=0.0, metavar="SECONDS", help="shorter ones are left out (default 0)"
    )
    parser.add_argument("--classes", default="", metavar="A,B,… or FILE", help="only these; a file has one a line")


def _add_compare(commands: Any) -> None:
    parser = add_command(
        commands, "compare", _compare, "say how far the numbers of two folders lie apart", COMPARE_EPILOG
    )
    parser.add_argument("a", type=Path, metavar="A", help="a folder of outputs, or one output")
    parser.add_argument("b", type=Path, metavar="B", help="another")
    parser.add_argument(
        "--model", type=Path, metavar="NAME.tflite", help="the bundle whose golden vector's tolerances are the defaults"
    )
    parser.add_argument(
        "--cosine", type=float, metavar="X", help="lowest cosine of two embeddings (default the bundle's, or 0.9997)"
    )
    parser.add_argument(
        "--scores", type=float, metavar="X", help="largest difference of two scores (default the bundle's, or 0.05)"
    )
    parser.add_argument("--exact", action="store_true", help="every value must be the same number")
    parser.add_argument("--json", action="store_true", help="for programs")


def _labels(parsed: argparse.Namespace) -> int:
    from sonyc_ml.human import count  # noqa: PLC0415
    from sonyc_ml.label_files import write_labels, write_one  # noqa: PLC0415  imports numpy

    with _told():
        rules = _rules(parsed)
        outputs = _outputs(parsed.inputs)
        if parsed.output == "-":
            with _piped():
                write_one(outputs, rules, parsed.format, sys.stdout.buffer)
                sys.stdout.buffer.flush()
        else:
            n = write_labels(outputs, rules, parsed.format, Path(parsed.output))
            print(f"{parsed.output}: {count(n.n_labels, 'label')} in {count(n.n_recordings)}")
    return OK


def _compare(parsed: argparse.Namespace) -> int:
    from sonyc_ml.comparing import compare  # noqa: PLC0415  imports numpy
    from sonyc_ml.comparison_text import comparison_text  # noqa: PLC0415

    with _told():
        tolerances = _tolerances(parsed)
        one_each = parsed.a.is_file() and parsed.b.is_file()
        comparison = compare(_outputs([parsed.a]), _outputs([parsed.b]), tolerances, one_each=one_each)
    table = {"a": str(parsed.a), "b": str(parsed.b), **comparison.table()}
    with _piped():
        print(json.dumps(table, indent=2) if parsed.json else comparison_text(table), flush=True)
    return OK if comparison.same else DIFFERENT


def _tolerances(parsed: argparse.Namespace) -> Tolerances:
    """What the flags say; else what the bundle named allows another machine."""
    from sonyc_ml.bundle import read_bundle  # noqa: PLC0415
    from sonyc_ml.comparing import Tolerances  # noqa: PLC0415  imports numpy

    given = {name: getattr(parsed, name) for name in ("cosine", "scores") if getattr(parsed, name) is not None}
    if parsed.model is not None:
        manifest = read_bundle(parsed.model).manifest
        if manifest is None or manifest.golden is None:
            raise ConfigError(f"{parsed.model} has no golden vector, and so no tolerances: give --cosine and --scores")
        given = {"cosine": manifest.golden.cosine, "scores": manifest.golden.scores} | given
    return Tolerances(exact=parsed.exact, **given)


def _rules(parsed: argparse.Namespace) -> Rules:
    from sonyc_ml.human import names_in  # noqa: PLC0415
    from sonyc_ml.labelling import Rules  # noqa: PLC0415

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


def _outputs(paths: Iterable[Path]) -> Iterator[Output]:
    """The outputs of files and folders; there must be one in each."""
    from sonyc_ml.reading import iter_outputs  # noqa: PLC0415  imports numpy

    for path in paths:
        is_empty = True
        for output in iter_outputs(path):
            is_empty = False
            yield output
        if is_empty:
            raise ConfigError(f"there are no outputs in {path}")


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong with a flag or an output is the user's to hear, without a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from error


@contextmanager
def _piped() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # who reads has read enough; what is left must not be flushed at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
