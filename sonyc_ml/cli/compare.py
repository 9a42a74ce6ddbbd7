"""``sonyc-ml compare``: how far the numbers of two folders of outputs lie apart."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.cli.flags import add_command, outputs_in, until_reader_leaves
from sonyc_ml.cli.questions.search import add_choice_flags
from sonyc_ml.errors import ConfigError, UserMistakes

if TYPE_CHECKING:
    from sonyc_ml.analysis.compare import Tolerances

OK, DIFFERENT = 0, 1
COMPARE_EPILOG = """\
examples:
  sonyc-ml compare before/ after/
  sonyc-ml compare before/ after/ --model NAME.tflite
  sonyc-ml compare a.wav.npz b.wav.npz --exact --json
  sonyc-ml compare archive/ --by bundle --since 2026-11-21 --until 2026-11-28

Recordings are matched by name; order and format do not matter. Where the outputs come from (bundle, versions,
parameters) and whether the recordings were the same files is shown too, but only the numbers decide.
With --by, one dataset is put apart: of a bundle that runs on some of the nodes, what it has heard, beside the other.
Exit status: 0 the same within the tolerances, 1 they differ or recordings are missing, 2 they cannot be compared."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``compare`` to a parser's commands."""
    parser = add_command(commands, "compare", _compare, texts["compare"], COMPARE_EPILOG)
    parser.add_argument("a", metavar="A", help="a folder of outputs, or one output; with --by, a dataset")
    parser.add_argument("b", nargs="?", metavar="B", help="another")
    parser.add_argument(
        "--by", choices=("node", "bundle"), help="compare what nodes or bundles of a dataset have heard"
    )
    add_choice_flags(parser)
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


def _compare(parsed: argparse.Namespace) -> int:
    if parsed.by:
        return _compare_groups(parsed)
    if parsed.b is None or parsed.node or parsed.since or parsed.until:
        raise ConfigError("give two folders, A and B; or one dataset with --by node or --by bundle, and of what time")
    from sonyc_ml.analysis.compare import compare  # noqa: PLC0415  imports numpy
    from sonyc_ml.cli.compare_text import comparison_text  # noqa: PLC0415

    with UserMistakes():
        tolerances = _tolerances(parsed)
        a, b = Path(parsed.a), Path(parsed.b)
        one_each = a.is_file() and b.is_file()
        comparison = compare(outputs_in([a]), outputs_in([b]), tolerances, one_each=one_each)
    table = {"a": parsed.a, "b": parsed.b, **comparison.table()}
    with until_reader_leaves():
        print(json.dumps(table, indent=2) if parsed.json else comparison_text(table), flush=True)
    return OK if comparison.same else DIFFERENT


def _compare_groups(parsed: argparse.Namespace) -> int:
    if parsed.b is not None:
        raise ConfigError("--by puts one dataset apart, and two are given; leave out one, or --by")
    from sonyc_ml.analysis.by_node import outputs_by_node  # noqa: PLC0415
    from sonyc_ml.analysis.groups import group_outputs  # noqa: PLC0415  imports numpy
    from sonyc_ml.cli.compare_text import groups_text  # noqa: PLC0415

    with UserMistakes():
        kinds = ("scores", "detections")
        chosen = outputs_by_node(parsed.a, nodes=parsed.node, since=parsed.since, until=parsed.until, kinds=kinds)
        groups = {name: group.table() for name, group in group_outputs(chosen, parsed.by).items()}
    with until_reader_leaves():
        print(
            json.dumps({"by": parsed.by, "groups": groups}, indent=2) if parsed.json else groups_text(groups),
            flush=True,
        )
    return OK


def _tolerances(parsed: argparse.Namespace) -> Tolerances:
    """What the flags say; else what the bundle named allows another machine."""
    from sonyc_ml.analysis.compare import Tolerances  # noqa: PLC0415  imports numpy
    from sonyc_ml.bundles.bundle import read_bundle  # noqa: PLC0415

    given = {name: getattr(parsed, name) for name in ("cosine", "scores") if getattr(parsed, name) is not None}
    if parsed.model is not None:
        manifest = read_bundle(parsed.model).manifest
        if manifest is None or manifest.golden is None:
            raise ConfigError(f"{parsed.model} has no golden vector, and so no tolerances: give --cosine and --scores")
        given = {"cosine": manifest.golden.cosine, "scores": manifest.golden.scores} | given
    return Tolerances(exact=parsed.exact, **given)
