"""``sonyc-ml clips``: what was found, cut out of the recordings."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.cli.flags import add_command
from sonyc_ml.cli.questions.search import add_choice_flags
from sonyc_ml.errors import ConfigError, UserMistakes

if TYPE_CHECKING:
    from sonyc_ml.analysis.clips import Cut, Wanted

OK, SOME_GONE, NOTHING_CUT = 0, 1, 2
EPILOG = """\
examples:
  sonyc-ml clips embeddings/ --class siren --recordings recordings/ --output clips/
  sonyc-ml clips archive/ --class siren,dog --since 2026-11-21 --recordings /mnt/cards --pad 2 --output clips/
  sonyc-ml clips matches.csv --state /var/lib/sonyc-ml --output clips/

Detections come from outputs, a dataset, or a csv as of sonyc-ml labels and search. A clip, LABEL/NUMBER_RECORDING.wav,
has the channels and samples of the recording; DIR/clips.csv has one row for each that was asked for, and says of those
without a clip why: the recording is gone, or another one has its name now (its SHA-256 differs).
Exit status: 0 all are cut, 1 some are not, 2 none is."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``clips`` to a parser's commands."""
    parser = add_command(commands, "clips", _clips, texts["clips"], EPILOG)
    parser.add_argument("found", metavar="DATASET_OR_CSV", help="outputs with detections, or a csv")
    parser.add_argument("--class", dest="classes", default="", metavar="A,B,…", help="only these classes (default all)")
    parser.add_argument(
        "--recordings",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="where they are kept, as DIR/NAME or DIR/NODE/NAME; may be given several times",
    )
    parser.add_argument("--state", type=Path, metavar="DIR", help="of a daemon: its journal knows where they are kept")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="where clips are written")
    parser.add_argument(
        "--pad", type=float, default=1.0, metavar="SECONDS", help="kept before and behind each (default 1)"
    )
    add_choice_flags(parser)
    parser.add_argument("--json", action="store_true", help="for programs: one clip per line")


def _clips(parsed: argparse.Namespace) -> int:
    from sonyc_ml.analysis.clips import cut_clips  # noqa: PLC0415  imports numpy
    from sonyc_ml.base.human import count, shown  # noqa: PLC0415

    folders = [*parsed.recordings, *(_folders_of(parsed.state) if parsed.state else ())]
    if not folders:
        raise ConfigError(
            "nobody says where the recordings are kept: give --recordings DIR, or --state DIR of a daemon"
        )
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no folder; give the one in which recordings are kept")

    def tell(cut: Cut) -> None:
        if parsed.json:
            said = {name: value for name, value in cut._asdict().items() if name != "wanted"}
            print(json.dumps({**cut.wanted._asdict(), **said}), flush=True)
        if not cut.clip:
            print(f"sonyc-ml: no clip of {shown(cut.wanted.recording)}: {shown(cut.why)}", file=sys.stderr)

    with UserMistakes():
        made = cut_clips(_wanted(parsed), folders, parsed.output, pad_s=parsed.pad, tell=tell)
    n = sum(1 for cut in made if cut.clip)
    left = f", {len(made) - n:,} without one" if n < len(made) else ""
    print(f"{parsed.output}: {count(n, 'clip')}{left}", file=sys.stderr if parsed.json else sys.stdout)
    if not made:
        return SOME_GONE
    return OK if n == len(made) else SOME_GONE if n else NOTHING_CUT


def _wanted(parsed: argparse.Namespace) -> Iterable[Wanted]:
    from sonyc_ml.analysis.by_node import outputs_by_node  # noqa: PLC0415
    from sonyc_ml.analysis.clips import wanted_in_outputs, wanted_in_table  # noqa: PLC0415
    from sonyc_ml.base.human import names_in  # noqa: PLC0415

    classes = names_in(parsed.classes)
    path = Path(parsed.found)
    if path.suffix == ".csv" and path.is_file() and not _is_output(path):
        if parsed.node or parsed.since or parsed.until:
            raise ConfigError("--node, --since and --until are for datasets; choose the rows of a csv yourself")
        return wanted_in_table(path, classes)
    chosen = outputs_by_node(parsed.found, nodes=parsed.node, since=parsed.since, until=parsed.until)
    return wanted_in_outputs(chosen, classes)


def _is_output(path: Path) -> bool:
    from sonyc_ml.outputs.files import read_provenance  # noqa: PLC0415

    return read_provenance(path) is not None


def _folders_of(state: Path) -> Iterator[Path]:
    """Where a daemon looks for recordings, and where it moves them when they are done."""
    from sonyc_ml.node.journal.journal import Journal  # noqa: PLC0415

    journal = Journal(state, read_only=True)
    try:
        daemon = journal.facts().daemon
    finally:
        journal.close()
    if daemon is None or not daemon.folder:
        raise ConfigError(f"the journal in {state} names no folder of recordings: give --recordings DIR")
    yield Path(daemon.folder)
    if daemon.moved_to and Path(daemon.moved_to).is_dir():  # it is made with the first that is moved
        yield Path(daemon.moved_to)
