"""``sonyc-ml search``: the windows of a dataset that are most like an example."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.cli.flags import add_command, add_model_flags, model_parameters, until_reader_leaves
from sonyc_ml.errors import ConfigError, UserMistakes

if TYPE_CHECKING:
    from sonyc_ml.analysis.search import Found

OK, NOTHING_FOUND = 0, 1
EPILOG = """\
examples:
  sonyc-ml search siren.wav archive/ --top 20
  sonyc-ml search siren.wav s3://bucket/archive --node pole_12 --since 2026-11-01 --csv > matches.csv
  sonyc-ml search street.wav archive/ --at 12.5 --model NAME.tflite

The example is embedded with the bundle of the dataset; what was made with another bundle, window or parameters is left
out and counted. Every window is compared by the cosine of the embeddings. In one recording, of matches closer than
--apart the nearest counts. A csv of matches is what sonyc-ml clips takes.
Exit status: 0, 1 if nothing was compared or parts were left out as they are damaged, 2 if it cannot be done."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``search`` to a parser's commands."""
    parser = add_command(commands, "search", _search, texts["search"], EPILOG)
    parser.add_argument("example", type=Path, metavar="EXAMPLE.wav", help="a recording of what is searched for")
    parser.add_argument("dataset", metavar="DATASET", help="a folder of Parquet files, or an address")
    parser.add_argument("--top", type=int, default=50, metavar="N", help="how many matches (default 50)")
    parser.add_argument(
        "--at", type=float, metavar="SECONDS", help="the window around this moment (default: the mean of all windows)"
    )
    parser.add_argument(
        "--apart", type=float, metavar="SECONDS", help="between two matches in a recording (default: a window)"
    )
    add_choice_flags(parser)
    parser.add_argument("--csv", action="store_true", help="a table with commas")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_model_flags(parser)


def add_choice_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose nodes and a time."""
    parser.add_argument("--node", action="append", metavar="NAME", help="only this one; may be given several times")
    parser.add_argument("--since", metavar="TIME", help="from then on, as in 2026-11-21 (in UTC)")
    parser.add_argument("--until", metavar="TIME", help="before then")


def _search(parsed: argparse.Namespace) -> int:
    if parsed.csv and parsed.json:
        raise ConfigError("--csv and --json exclude each other; give one of them")
    from sonyc_ml.analysis.search import embed_example, search  # noqa: PLC0415  imports numpy
    from sonyc_ml.base.human import shown  # noqa: PLC0415
    from sonyc_ml.bundles.location import default_bundle, resolve_bundle_path  # noqa: PLC0415
    from sonyc_ml.model.loading import load_model  # noqa: PLC0415
    from sonyc_ml.outputs.parquet import check_installed  # noqa: PLC0415

    check_installed()
    damaged: list[str] = []
    with UserMistakes(ValueError, TypeError):
        path = resolve_bundle_path(parsed.model) if parsed.model else default_bundle()
        example = embed_example(load_model(path, **model_parameters(parsed)), parsed.example, parsed.at)
        found = search(
            parsed.dataset,
            example,
            top=parsed.top,
            apart_s=parsed.apart,
            nodes=parsed.node,
            since=parsed.since,
            until=parsed.until,
            tell=damaged.append,
        )
    for reason in damaged:
        print(f"sonyc-ml: left out: {shown(reason)}", file=sys.stderr)
    with until_reader_leaves():
        _show(found, parsed)
        sys.stdout.flush()
    return OK if found.n_recordings and not damaged else NOTHING_FOUND


def _show(found: Found, parsed: argparse.Namespace) -> None:
    from sonyc_ml.analysis.search import Match  # noqa: PLC0415
    from sonyc_ml.base.cells import to_cell  # noqa: PLC0415
    from sonyc_ml.base.human import count, shown  # noqa: PLC0415

    if parsed.json:
        table = {"windows": found.n_windows, "recordings": found.n_recordings, "left_out": dict(found.others)}
        print(json.dumps({**table, "matches": [match._asdict() for match in found.matches]}, indent=2))
        return
    if parsed.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(Match._fields)
        writer.writerows([to_cell(str(value)) for value in match] for match in found.matches)
    else:
        for match in found.matches:
            node = f"{match.node}  " if match.node else ""
            print(
                f"{match.cosine:.4f}  {shown(node)}{match.time or '-'}  {shown(match.recording)}  {match.start_s:.2f} s"
            )
    compared = f"{count(found.n_windows, 'window')} of {count(found.n_recordings)} compared"
    print(f"sonyc-ml: {compared}", file=sys.stderr)
    for other, n in found.others.items():
        print(f"sonyc-ml: left out: {count(n)} made with {shown(other)}", file=sys.stderr)
