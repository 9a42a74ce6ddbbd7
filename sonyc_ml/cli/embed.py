"""``sonyc-ml embed``: arguments to a batch, and its events to the terminal."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from sonyc_ml.cli.flags import (
    add_command,
    add_detection_flags,
    add_level_flags,
    add_model_flags,
    detection_parameters,
    keep_parameters,
    level_table,
    model_parameters,
)
from sonyc_ml.errors import ConfigError, SonycMLError

if TYPE_CHECKING:
    from sonyc_ml.batch.run import Batch
    from sonyc_ml.batch.sources import Sources

OK, SOME_FAILED, NOTHING_DONE = 0, 1, 2
SIGNALLED = 128  # and the signal's number, as shells have it

EPILOG = """\
examples:
  sonyc-ml embed recordings/ --model models/NAME.tflite --output embeddings/
  sonyc-ml embed night.flac --model models/NAME.tflite --output . --format csv --hop-size 0.5
  sonyc-ml embed 'archive/*/2026-11/**/*.wav' --model models/NAME.tflite --output embeddings/ --format parquet
  find archive -name '*.wav' -size +1M | sonyc-ml embed --files-from - --model models/NAME.tflite --output embeddings/
  sonyc-ml embed s3://bucket/node-12 --model models/NAME.tflite --output embeddings/
  sonyc-ml embed recordings/ --model models/NAME.tflite --output s3://bucket/embeddings --format parquet
  sonyc-ml embed recordings/ --model yamnet.tflite --outputs scores=0 --target-sr 16000 --output scores/
  sonyc-ml embed recordings/ --levels --calibration microphone.toml --output levels/

A folder is searched with its sub-folders; recordings/sub/a.wav becomes embeddings/sub/a.wav.npz. Recordings that are
embedded already, with the same bundle and parameters, are skipped: after an interruption, run the same command again.
What could not be embedded is listed in failures.csv in the folder of the outputs. Credentials of a store come from the
environment. What is known of outputs in a store is kept in $XDG_STATE_HOME/sonyc-ml/batches.
Exit status: 0 all embedded, 1 some could not be, 2 nothing could be done."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``embed`` to a parser's commands."""
    parser = add_command(commands, "embed", _run, texts["embed"], EPILOG)
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="a recording, folder, quoted pattern or address")
    _add_input_flags(parser)
    _add_output_flags(parser)
    _add_work_flags(parser)
    add_detection_flags(parser)
    add_level_flags(parser)
    add_model_flags(parser)


def _add_input_flags(parser: argparse.ArgumentParser) -> None:
    flags = parser.add_argument_group("recordings")
    flags.add_argument("--files-from", metavar="FILE", help="more inputs, one per line; - for standard input")
    flags.add_argument("--root", metavar="DIR", help="name the outputs of single files by their path from here")
    flags.add_argument("--salvage", action="store_true", help="embed what can be read of truncated recordings")
    flags.add_argument(
        "--start-pattern",
        action="append",
        metavar="PATTERN",
        help="how to read the start time from the name of a recording",
    )
    flags.add_argument(
        "--time-zone", default="UTC", metavar="ZONE", help="of start times that do not name one (default UTC)"
    )


def _add_output_flags(parser: argparse.ArgumentParser) -> None:
    flags = parser.add_argument_group("outputs")
    flags.add_argument(
        "--output",
        default="embeddings",
        metavar="DIR",
        help="where embeddings are written: a folder or an address (default embeddings)",
    )
    flags.add_argument(
        "--format",
        default="npz",
        choices=("npz", "csv", "parquet"),
        help="one npz or csv per recording, or a Parquet dataset (default npz)",
    )
    flags.add_argument(
        "--partition",
        metavar="KEYS",
        help="of a Parquet dataset: day, node, node,date as archives of nodes have, or none (default day)",
    )


def _add_work_flags(parser: argparse.ArgumentParser) -> None:
    flags = parser.add_argument_group("work")
    flags.add_argument("--workers", type=int, metavar="N", help="processes at the same time (default: one per core)")
    flags.add_argument("--scheduler", metavar="ADDRESS", help="use the workers of a Dask cluster: tcp://HOST:8786")
    flags.add_argument("--strict", action="store_true", help="end at the first recording that cannot be embedded")
    flags.add_argument("--quiet", action="store_true", help="print only what went wrong")
    flags.add_argument("--verbose", action="store_true", help="print one line per recording")
    flags.add_argument("--json", action="store_true", help="for programs: one event per line, on standard output")


def _run(parsed: argparse.Namespace) -> int:
    batch = _batch(parsed)

    from sonyc_ml.batch.run import embed_recordings  # noqa: PLC0415  imports numpy
    from sonyc_ml.cli.progress import Progress  # noqa: PLC0415

    progress = Progress(parsed)
    return show_events(progress, embed_recordings(batch, progress.show))


def show_events(progress: Any, events: Any) -> int:
    """Show what a batch reports until it ends, a signal asks to stop, or it cannot go on; returns the exit status.

    Parameters
    ----------
    progress : Progress or SeparationProgress
    events : generator
        Is closed in any case, so that the batch puts its house in order.
    """
    from sonyc_ml.base.human import shown  # noqa: PLC0415

    with progress, stop_by_signals(), closing(events):
        try:
            for event in events:
                progress.show(event)
        except Stop as stop:
            progress.stopped()
            return SIGNALLED + stop.number
        except SonycMLError as error:
            progress.close()
            print(f"sonyc-ml: error: {shown(str(error))}", file=sys.stderr)
            return SOME_FAILED if progress.n_good else NOTHING_DONE
    if not progress.n_failed:
        return OK
    return SOME_FAILED if progress.n_good else NOTHING_DONE


def _batch(parsed: argparse.Namespace) -> Batch:
    if parsed.workers is not None and parsed.workers < 1:
        raise ConfigError(f"--workers must be at least 1, not {parsed.workers}")

    from sonyc_ml.batch.job import Job  # noqa: PLC0415
    from sonyc_ml.batch.partitions import parse_keys  # noqa: PLC0415
    from sonyc_ml.batch.places.addresses import output_of  # noqa: PLC0415
    from sonyc_ml.batch.run import Batch  # noqa: PLC0415  imports numpy
    from sonyc_ml.bundles.location import resolve_bundle_path  # noqa: PLC0415
    from sonyc_ml.sound.start_time import PATTERNS  # noqa: PLC0415

    folder, store = output_of(parsed.output)
    partition = parse_keys(parsed.partition or "day")
    if parsed.partition is not None and parsed.format != "parquet":
        raise ConfigError(f"--partition is for --format parquet, and --format is {parsed.format}; leave it out")
    patterns = tuple(parsed.start_pattern or PATTERNS)
    parameters = model_parameters(parsed)
    said = {"detections": detection_parameters(parsed), "keep": keep_parameters(parsed)}
    parameters |= {name: values for name, values in said.items() if values}
    levels = level_table(parsed)
    is_levels_alone = parsed.model is None and levels is not None and not parameters
    if levels is not None:
        from sonyc_ml.sound.levels.microphone_files import read_settings  # noqa: PLC0415
        from sonyc_ml.sound.levels.table import LevelsTable  # noqa: PLC0415

        parameters["levels"] = read_settings(LevelsTable(**levels))
    path = "" if is_levels_alone else str(resolve_bundle_path(parsed.model or _default(parsed)))
    return Batch(
        sources=_sources(parsed),
        job=Job(path, parameters, parsed.salvage, patterns, parsed.time_zone),
        folder=folder,
        store=store,
        output_format=parsed.format,
        partition=partition,
        workers=parsed.workers or len(os.sched_getaffinity(0)),
        scheduler=parsed.scheduler,
        strict=parsed.strict,
    )


def _default(parsed: argparse.Namespace) -> Path:
    from sonyc_ml.bundles.location import default_bundle  # noqa: PLC0415

    path = default_bundle()
    if not (parsed.quiet or parsed.json):
        print(f"the model is the default bundle, {path.stem}", file=sys.stderr)
    return path


def _sources(parsed: argparse.Namespace) -> Sources:
    from sonyc_ml.batch.sources import Sources  # noqa: PLC0415

    listed: list[str] = []
    if parsed.files_from:
        try:
            content = sys.stdin.buffer.read() if parsed.files_from == "-" else Path(parsed.files_from).read_bytes()
        except OSError as error:
            raise ConfigError(f"{parsed.files_from}: {error.strerror}") from error
        separator = b"\0" if b"\0" in content else b"\n"  # as find -print0 writes it, for names that hold anything
        listed = [os.fsdecode(line.rstrip(b"\r")) for line in content.split(separator) if line.strip()]
    return Sources(parsed.inputs, listed, parsed.root)


class Stop(BaseException):
    """A signal asks to stop; not an error of anything that runs."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def stop_by_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM stop the batch once; a second one ends it as it stands."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, _frame: FrameType | None) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_DFL)
        raise Stop(number)

    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
