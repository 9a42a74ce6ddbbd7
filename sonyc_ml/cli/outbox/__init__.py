"""``sonyc-ml outbox``: what has not left the node, for a program of one's own that sends it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.cli.flags import add_command, until_reader_leaves
from sonyc_ml.errors import ConfigError

if TYPE_CHECKING:
    from sonyc_ml.node.upload.outbox import Outbox

OK, NOT_ALL = 0, 1
MAX_REFUSALS = 10  # that are listed one by one
EPILOG = """\
examples:
  sonyc-ml outbox
  sonyc-ml outbox --exec 'rsync -a --files-from=- ./ archive@example.org:pole-12/'
  sonyc-ml outbox --packed --exec 'rclone copy --files-from-raw - ./ store:fleet'
  sonyc-ml outbox -0 | my-program && sonyc-ml outbox --mark < sent.txt

Lists the outputs that nobody has acknowledged, the oldest first, as names below the folder of the outputs (with
--packed: below the folder of the parts, by the names that they have in an archive). --exec runs a command of the shell
in that folder, with the names on its standard input; where it ends with 0, all of them are marked. --mark reads names
from the standard input. Needs the right to write where [upload] keeps its state. Without --config, the configuration
is the one that $SONYC_ML_CONFIG names, else $XDG_CONFIG_HOME/sonyc-ml/sonyc-ml.toml, else
/etc/sonyc-ml/sonyc-ml.toml.
Exit status: 0; 1 the command failed, or some names were not marked; 2 it cannot say."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``outbox`` to a parser's commands."""
    parser = add_command(commands, "outbox", _run, texts["outbox"], EPILOG)
    parser.add_argument("--config", type=Path, metavar="FILE", help="the daemon's TOML file")
    parser.add_argument(
        "--packed", action="store_true", help="pack the outputs of days that are over, as [upload] says, and list parts"
    )
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="at most so many, 0 for all (default 0)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--json", action="store_true", help="for programs")
    what.add_argument("--mark", action="store_true", help="take the names on the standard input as acknowledged")
    what.add_argument("--exec", metavar="COMMAND", dest="command_line", help="run a command that sends them, then mark")
    parser.add_argument("-0", action="store_true", dest="by_zero", help="names end with a zero, not with a line's end")


def _run(parsed: argparse.Namespace) -> int:
    from sonyc_ml.node.config import load_config  # noqa: PLC0415
    from sonyc_ml.node.config_file import usual_config  # noqa: PLC0415
    from sonyc_ml.node.upload.outbox import Outbox  # noqa: PLC0415

    if parsed.limit < 0:
        raise ConfigError(f"--limit must not be below 0, and is {parsed.limit}")
    config = load_config(parsed.config or usual_config("--config FILE"), {})
    with Outbox(config, packed=parsed.packed) as outbox:
        outbox.find()
        if parsed.mark:
            return _mark(outbox, "\0" if parsed.by_zero else "\n")
        if parsed.command_line is not None:
            return _execute(outbox, parsed)
        _list(outbox, parsed)
    return OK


def _list(outbox: Outbox, parsed: argparse.Namespace) -> None:
    from itertools import islice  # noqa: PLC0415

    from sonyc_ml.base.human import shown  # noqa: PLC0415

    items = islice(outbox.items(), parsed.limit or None)
    with until_reader_leaves():
        if parsed.json:
            plain = [{"name": shown(item.name), "bytes": item.n_bytes} for item in items]
            print(json.dumps({"folder": str(outbox.folder.absolute()), "items": plain}, indent=2), flush=True)
            return
        end = "\0" if parsed.by_zero else "\n"
        for item in items:
            sys.stdout.buffer.write(os.fsencode(item.name + end))
        sys.stdout.flush()


def _mark(outbox: Outbox, separator: str) -> int:
    names = [name for name in os.fsdecode(sys.stdin.buffer.read()).split(separator) if name]
    marked = outbox.mark(names)
    _tell(marked.n, marked.refused)
    return NOT_ALL if marked.refused else OK


def _execute(outbox: Outbox, parsed: argparse.Namespace) -> int:
    from itertools import islice  # noqa: PLC0415

    items = list(islice(outbox.items(), parsed.limit or None))
    if not items:
        _tell(0, ())
        return OK
    status = outbox.run(parsed.command_line, items, "\0" if parsed.by_zero else "\n")
    if status:
        print(f"sonyc-ml: the command ended with {status}: nothing is marked", file=sys.stderr)
        return NOT_ALL
    _tell(len(items), ())
    return OK


def _tell(n: int, refused: tuple[tuple[str, str], ...]) -> None:
    from sonyc_ml.base.human import count, shown  # noqa: PLC0415

    for name, why in refused[:MAX_REFUSALS]:
        print(f"not {shown(name)}: {why}", file=sys.stderr)
    if len(refused) > MAX_REFUSALS:
        print(f"not {len(refused) - MAX_REFUSALS} more", file=sys.stderr)
    print(f"{count(n, 'file')} marked as sent" if n else "nothing to mark", file=sys.stderr)
