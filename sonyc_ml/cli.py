"""``sonyc-ml``: arguments to one call, and its outcome to the terminal. Decides nothing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml import __version__
from sonyc_ml.cli_bundle import add_bundle_command, parse_outputs
from sonyc_ml.cli_doctor import add_doctor_command
from sonyc_ml.cli_node import add_node_commands
from sonyc_ml.errors import ConfigError, CrashError, SonycMLError

if TYPE_CHECKING:
    from sonyc_ml.batch import Event
    from sonyc_ml.model import Model

OK, SOME_FAILED, NOTHING_DONE, INTERRUPTED = 0, 1, 2, 130
WOULD_CRASH = os.EX_SOFTWARE  # 70: the unit does not start it again

EMBED_EPILOG = """\
examples:
  sonyc-ml embed recordings/ --model models/NAME.tflite --output embeddings/
  sonyc-ml embed night.flac --model models/NAME.tflite --output . --format csv --hop_size 0.5
  sonyc-ml embed recordings/ --model yamnet.tflite --outputs scores=0 --target_sr 16000 --output scores/

A folder is searched with its sub-folders; recordings/sub/a.wav becomes embeddings/sub/a.wav.npz.
Exit status: 0 all embedded, 1 some could not be, 2 nothing could be done."""

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
    _add_embed(commands)
    _add_info(commands)
    add_node_commands(commands)
    add_doctor_command(commands)
    add_bundle_command(commands)
    commands.add_parser("features", help="export feature extractors")  # exporter.main parses its arguments
    return parser


def _add_command(commands: Any, name: str, run: Callable[..., int], text: str, epilog: str | None = None) -> Any:
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def _add_watch(commands: Any) -> None:
    parser = _add_command(
        commands, "watch", _run_watch, "embed each recording of a folder as it is finished", WATCH_EPILOG
    )
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="where recordings appear")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file; see deploy/sonyc-ml.toml")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where embeddings are written")
    parser.add_argument("--format", choices=("npz", "csv"), help="of the embeddings (default npz)")
    parser.add_argument("--extensions", metavar="LIST", help="of recordings, comma-separated (default .wav)")
    parser.add_argument("--verbose", action="store_true", help="say more")
    _add_model_flags(parser)


def _add_embed(commands: Any) -> None:
    parser = _add_command(commands, "embed", _run_embed, "embed recordings and folders of them", EMBED_EPILOG)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="RECORDING_OR_FOLDER")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="where embeddings are written")
    parser.add_argument("--format", default="npz", choices=("npz", "csv"), help="of the embeddings (default npz)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="recordings at the same time (default 1)")
    parser.add_argument("--quiet", action="store_true", help="say only what went wrong")
    _add_model_flags(parser, required=True)


def _add_info(commands: Any) -> None:
    parser = _add_command(commands, "info", _run_info, "say what a model reads, writes and needs")
    parser.add_argument("path", type=Path, metavar="NAME.tflite")
    parser.add_argument("--json", action="store_true", help="for programs")
    _add_model_flags(parser, with_path=False)


def _add_model_flags(parser: argparse.ArgumentParser, *, required: bool = False, with_path: bool = True) -> None:
    flags = parser.add_argument_group("model")
    if with_path:
        flags.add_argument(
            "--model",
            required=required,
            type=Path,
            metavar="NAME.tflite",
            help="the network; its manifest is NAME.json",
        )
    flags.add_argument(
        "--input_kind",
        choices=("pickled", "log_mel", "pcm"),
        help="what the network reads: features of NAME.pkl, log-mel, or samples (default: the manifest tells)",
    )
    flags.add_argument(
        "--trusted_keys", type=Path, metavar="FILE", help="load only bundles signed by one of these public keys"
    )
    flags.add_argument(
        "--golden", choices=("once", "always", "never"), help="when to prove the bundle's numbers (default once)"
    )
    flags.add_argument(
        "--hop_size", type=float, metavar="SECONDS", help="distance between windows (default: the extractor's)"
    )
    flags.add_argument("--duration", type=float, metavar="SECONDS", help="length of a window (default: the model's)")
    flags.add_argument("--target_sr", type=int, metavar="HZ", help="sample rate of a network that reads samples")
    flags.add_argument(
        "--outputs",
        metavar="KIND=N,…",
        help="which output is the embedding and which the scores, as in scores=0,embedding=1",
    )
    flags.add_argument("--channel", type=int, metavar="N", help="channel to read, from 0 (default: the mean of all)")
    flags.add_argument("--num_threads", type=int, metavar="N", help="threads of the network (default 1)")
    flags.add_argument(
        "--batch_size", type=int, metavar="N", help="windows at once, where the network allows (default 1)"
    )
    flags.add_argument("--backend", choices=("litert", "tflite-runtime"), help="runtime (default: the one installed)")
    flags.add_argument(
        "--reference_kernels", action="store_true", default=None, help="no delegate: slower, equal on every machine"
    )


MODEL_FLAGS = (
    "input_kind",
    "trusted_keys",
    "golden",
    "hop_size",
    "duration",
    "target_sr",
    "channel",
    "num_threads",
    "batch_size",
    "backend",
    "reference_kernels",
)


def _model_parameters(parsed: argparse.Namespace) -> dict[str, Any]:
    """Keywords for ``load_model`` from the flags that were given."""
    parameters = {name: getattr(parsed, name) for name in MODEL_FLAGS if getattr(parsed, name) is not None}
    if parsed.outputs:
        parameters["outputs"] = parse_outputs(parsed.outputs)
    return parameters


def _run_watch(parsed: argparse.Namespace) -> int:
    from sonyc_ml.config import load_config  # noqa: PLC0415

    config = load_config(parsed.config, _overrides(parsed))

    from sonyc_ml.daemon import Daemon  # noqa: PLC0415  imports numpy

    _log_to_stderr(verbose=parsed.verbose)
    Daemon(config, reread=lambda: load_config(parsed.config, _overrides(parsed))).run()
    return OK


def _overrides(parsed: argparse.Namespace) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {
        "model": {"path": parsed.model, **_model_parameters(parsed)},
        "spool": {"folder": parsed.folder, "extensions": parsed.extensions and parsed.extensions.split(",")},
        "output": {"folder": parsed.output, "format": parsed.format},
    }
    return {name: {key: value for key, value in values.items() if value is not None} for name, values in tables.items()}


def _run_embed(parsed: argparse.Namespace) -> int:
    from sonyc_ml.batch import Embedded, embed_recordings, find_recordings  # noqa: PLC0415  imports numpy
    from sonyc_ml.loading import load_model  # noqa: PLC0415

    if parsed.workers < 1:
        raise ConfigError(f"--workers must be at least 1, not {parsed.workers}")
    parameters = _model_parameters(parsed)
    tasks = find_recordings(parsed.inputs)
    if not tasks:
        return _complain(f"there are no recordings in {', '.join(map(str, parsed.inputs))}")

    def make_model() -> Model:
        try:
            return load_model(parsed.model, **parameters)
        except (ValueError, TypeError) as error:  # here, a mistake in the call is one of the user's
            raise ConfigError(str(error)) from error

    events = embed_recordings(tasks, make_model, parsed.output, output_format=parsed.format, workers=parsed.workers)
    n_embedded = 0
    for event in events:
        n_embedded += isinstance(event, Embedded)
        _show(event, quiet=parsed.quiet)
    if not parsed.quiet:
        print(f"embedded {n_embedded} of {len(tasks)} recordings", file=sys.stderr)
    if n_embedded == len(tasks):
        return OK
    return SOME_FAILED if n_embedded else NOTHING_DONE


def _show(event: Event, *, quiet: bool) -> None:
    from sonyc_ml.batch import Failed  # noqa: PLC0415

    if isinstance(event, Failed):
        print(f"failed: {event.reason}", file=sys.stderr)
    elif not quiet:
        print(f"{event.output}  {event.n_windows} windows, {event.duration_s:.1f} s in {event.elapsed_s * 1e3:.0f} ms")


def _run_info(parsed: argparse.Namespace) -> int:
    from sonyc_ml.info import describe, render  # noqa: PLC0415  imports numpy

    description = describe(parsed.path, **_model_parameters(parsed))
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
