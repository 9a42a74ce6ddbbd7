"""``sonyc-ml``: arguments to one call, and its outcome to the terminal. Decides nothing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from sonyc_ml import __version__
from sonyc_ml.errors import CrashError, SonycMLError

OK, NOTHING_DONE, INTERRUPTED = 0, 2, 130
WOULD_CRASH = os.EX_SOFTWARE  # 70: the unit does not start it again

# Which commands a room adds, in the order in which --help lists them.
ROOMS = {
    "watch": ("watch",),
    "embed": ("embed",),
    "info": ("info",),
    "node": ("status", "explain", "audit", "list", "retry", "reload"),
    "doctor": ("doctor",),
    "labels": ("labels",),
    "compare": ("compare",),
    "bundle": ("bundle",),
    "plot": ("plot",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``sonyc-ml``; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["features"]:
        from sonyc_ml.authoring import export as exporter  # noqa: PLC0415  imports numpy

        return exporter.main(arguments[1:], prog="sonyc-ml features")
    parsed = _parser(arguments[:1]).parse_args(arguments)
    _prepare_process()
    try:
        status: int = parsed.run(parsed)
    except CrashError as error:
        _complain(str(error))
        return WOULD_CRASH
    except SonycMLError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _parser(asked: Sequence[str]) -> argparse.ArgumentParser:
    """The parser, with all commands, or with those alone that come with the one that is asked for.

    To import and build them all would be a tenth of the daemon's start.
    """
    parser = argparse.ArgumentParser(
        prog="sonyc-ml",
        description="Turn the recordings of an acoustic sensor node into embeddings, on the node.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"sonyc-ml {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for room in [room for room, names in ROOMS.items() if {*asked} & {*names}] or ROOMS:
        import_module(f"sonyc_ml.cli.{room}").add_commands(commands)
    commands.add_parser("features", help="export feature extractors")  # exporter.main parses its arguments
    return parser


def _prepare_process() -> None:
    from sonyc_ml.base import process  # noqa: PLC0415

    process.use_one_thread_a_worker()
    process.keep_freed_memory()
    process.ignore_known_warnings()


def _complain(message: str) -> int:
    from sonyc_ml.node.systemd import error_prefix  # noqa: PLC0415

    print(f"{error_prefix()}sonyc-ml: error: {message}", file=sys.stderr)
    return NOTHING_DONE
