"""``sonyc-ml``: arguments to one call, and its outcome to the terminal. Decides nothing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonyc_ml import __version__
from sonyc_ml.cli_archive import add_compare_command, add_labels_command
from sonyc_ml.cli_bundle import add_bundle_command
from sonyc_ml.cli_command import add_command
from sonyc_ml.cli_doctor import add_doctor_command
from sonyc_ml.cli_embed import add_embed_command
from sonyc_ml.cli_model import add_model_flags, model_parameters
from sonyc_ml.cli_node import add_node_commands
from sonyc_ml.cli_plot import add_plot_command
from sonyc_ml.errors import CrashError, SonycMLError

OK, NOTHING_DONE, INTERRUPTED = 0, 2, 130
WOULD_CRASH = os.EX_SOFTWARE  # 70: the unit does not start it again

WATCH_EPILOG = """\
examples:
  sonyc-ml watch recordings/ --model models/NAME.tflite --output embeddings/
  sonyc-ml watch --config /etc/sonyc-ml/sonyc-ml.toml

What is given here wins over the configuration file. Recordings that are in the folder already are embedded too; those
whose output exists are left alone. What became of each is kept in DIR/.sonyc-ml: ask sonyc-ml status, explain and
audit. SIGTERM and Ctrl-C finish the recording at hand, a second one stops now. SIGHUP (sonyc-ml reload) loads the
bundles anew, as does replacing their files; the old ones run on if the new ones are no good. On a terminal each
recording is told; elsewhere only --verbose does so."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``sonyc-ml``; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["features"]:
        from sonyc_ml import exporter  # noqa: PLC0415  imports numpy

        return exporter.main(arguments[1:], prog="sonyc-ml features")
    parsed = _parser().parse_args(arguments)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sonyc-ml",
        description="Turn the recordings of an acoustic sensor node into embeddings, on the node.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"sonyc-ml {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_watch(commands)
    add_embed_command(commands)
    _add_info(commands)
    add_node_commands(commands)
    add_doctor_command(commands)
    add_labels_command(commands)
    add_compare_command(commands)
    add_bundle_command(commands)
    add_plot_command(commands)
    commands.add_parser("features", help="export feature extractors")  # exporter.main parses its arguments
    return parser


def _add_watch(commands: Any) -> None:
    parser = add_command(
        commands, "watch", _run_watch, "embed each recording of a folder as it is finished", WATCH_EPILOG
    )
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="where recordings appear")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file; see deploy/sonyc-ml.toml")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where embeddings are written")
    parser.add_argument("--format", choices=("npz", "csv"), help="of the embeddings (default npz)")
    parser.add_argument("--extensions", metavar="LIST", help="of recordings, comma-separated (default .wav)")
    parser.add_argument("--verbose", action="store_true", help="say more")
    add_model_flags(parser)


def _add_info(commands: Any) -> None:
    parser = add_command(commands, "info", _run_info, "say what a model reads, writes and needs")
    parser.add_argument("path", type=Path, metavar="NAME.tflite")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_model_flags(parser, with_path=False)


def _run_watch(parsed: argparse.Namespace) -> int:
    from sonyc_ml.config import load_config  # noqa: PLC0415

    config = load_config(parsed.config, _overrides(parsed))

    from sonyc_ml.daemon import Daemon  # noqa: PLC0415  imports numpy

    _log_to_stderr(verbose=parsed.verbose)
    Daemon(config, reread=lambda: load_config(parsed.config, _overrides(parsed))).run()
    return OK


def _overrides(parsed: argparse.Namespace) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {
        "model": {"path": parsed.model, **model_parameters(parsed)},
        "spool": {"folder": parsed.folder, "extensions": parsed.extensions and parsed.extensions.split(",")},
        "output": {"folder": parsed.output, "format": parsed.format},
    }
    return {name: {key: value for key, value in values.items() if value is not None} for name, values in tables.items()}


def _run_info(parsed: argparse.Namespace) -> int:
    from sonyc_ml.info import describe, render  # noqa: PLC0415  imports numpy

    description = describe(parsed.path, **model_parameters(parsed))
    if parsed.json:
        import json  # noqa: PLC0415

        print(json.dumps(description, indent=2))
    else:
        print(render(description))
    return OK


def _prepare_process() -> None:
    from sonyc_ml import process  # noqa: PLC0415

    process.use_one_thread_a_worker()
    process.keep_freed_memory()
    process.ignore_known_warnings()


def _log_to_stderr(*, verbose: bool) -> None:
    import logging  # noqa: PLC0415

    from sonyc_ml.service import journal_handler  # noqa: PLC0415

    handler = journal_handler()  # keeps the fields of each record, and its time
    if sys.stderr.isatty():  # who looks on sees each recording; a log says little when all is well
        logging.getLogger("sonyc_ml.worker").setLevel(logging.DEBUG)
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S%z",
        handlers=None if handler is None else [handler],
    )
    logging.getLogger("watchdog").setLevel(logging.WARNING)


def _complain(message: str) -> int:
    from sonyc_ml.service import error_prefix  # noqa: PLC0415

    print(f"{error_prefix()}sonyc-ml: error: {message}", file=sys.stderr)
    return NOTHING_DONE


if __name__ == "__main__":
    sys.exit(main())
