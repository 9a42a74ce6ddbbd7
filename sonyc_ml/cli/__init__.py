"""``sonyc-ml``: arguments to one call, and its outcome to the terminal. Decides nothing."""

from __future__ import annotations

import os
import sys

from sonyc_ml import __version__
from sonyc_ml.errors import CrashError, SonycMLError

TYPE_CHECKING = False  # typing takes longer to import than all of `sonyc-ml --help`
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sonyc_ml.base.arguments import Parser

OK, NOTHING_DONE, INTERRUPTED = 0, 2, 130
WOULD_CRASH = os.EX_SOFTWARE  # 70: the unit does not start it again

# The commands that each module adds, and what they do, in the order in which --help lists them.
COMMANDS = {
    "watch": {"watch": "embed each recording of a folder as it is finished"},
    "listen": {"listen": "embed live sound, which is never written to a disk"},
    "embed": {"embed": "embed recordings, folders and archives of them"},
    "separate": {"separate": "turn recordings into tracks, as without noise or apart by source"},
    "info": {"info": "show what a model reads, writes and needs"},
    "node": {
        "status": "show what the daemon does, and what needs attention",
        "explain": "show where a recording is, and why",
        "audit": "add up what was recorded, embedded and lost, and list the gaps",
        "list": "list recordings, and why they are in their state",
        "retry": "try recordings again that were given up",
        "forget": "remove recordings that were given up from the journal",
        "reload": "make the daemon load its bundles again, and wait for the result",
    },
    "upload": {"upload": "send what the daemon writes to a store, each thing once"},
    "outbox": {"outbox": "list what has not left the node, for a program that sends it"},
    "events": {"events": "show what happened to recordings, once or as it happens"},
    "metrics": {"metrics": "show the node's metrics, or write them for node-exporter"},
    "doctor": {"doctor": "check this machine from end to end, and say how to repair it"},
    "levels": {
        "calibrate": "find a microphone's sensitivity by the tone of a calibrator",
        "levels": "write the sound levels in outputs as a table",
    },
    "labels": {"labels": "write what was heard, and when, as labels"},
    "archive": {
        "compact": "merge the small parts of an archive, while others read it",
        "check": "show what an archive lacks, has twice, or cannot be read of",
    },
    "compare": {"compare": "show how much the numbers of two folders differ"},
    "bundle": {"bundle": "make, trust, sign, verify and show bundles"},
    "plot": {"plot": "draw a recording, an output, or a day of outputs"},
    "serve": {"serve": "show the page of a node, and answer predictions, over HTTP"},
}
FEATURES = {"features": "export feature extractors"}  # its module imports numpy, and parses its own arguments
DESCRIPTION = "Turn the recordings of an acoustic sensor node into embeddings, on the node."
HELP = f"""\
usage: sonyc-ml [-h] [-V] COMMAND ...

{DESCRIPTION}

commands:
{{}}

options:
  -h, --help     show this help message and exit
  -V, --version  show the version and exit

sonyc-ml COMMAND --help shows what a command takes."""
VERSION = f"sonyc-ml {__version__}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``sonyc-ml``; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] in (["-h"], ["--help"]):  # without argparse, which takes as long as Python itself
        texts = (item for texts in (*COMMANDS.values(), FEATURES) for item in texts.items())
        print(HELP.format("\n".join(f"  {name:9} {text}" for name, text in texts)))
        return OK
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


def _parser(asked: Sequence[str]) -> Parser:
    """The parser, with the command that is asked for; or with the names of all of them.

    To import the modules of all would be a tenth of the daemon's start.
    """
    from importlib import import_module  # noqa: PLC0415

    from sonyc_ml.base.arguments import Parser  # noqa: PLC0415

    parser = Parser(prog="sonyc-ml", description=DESCRIPTION)
    parser.add_argument("-V", "--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    module = next((module for module, texts in COMMANDS.items() if {*asked} & texts.keys()), None)
    if module:
        import_module(f"sonyc_ml.cli.{module}").add_commands(commands, COMMANDS[module])
        return parser
    for texts in (*COMMANDS.values(), FEATURES):
        for name in texts:
            commands.add_parser(name)
    return parser


def _prepare_process() -> None:
    from sonyc_ml.base import process  # noqa: PLC0415

    process.use_one_thread_a_worker()
    process.keep_freed_memory()
    process.ignore_known_warnings()


def _complain(message: str) -> int:
    from sonyc_ml.base.human import shown  # noqa: PLC0415
    from sonyc_ml.node.systemd import error_prefix  # noqa: PLC0415

    print(f"{error_prefix()}sonyc-ml: error: {shown(message)}", file=sys.stderr)
    return NOTHING_DONE
