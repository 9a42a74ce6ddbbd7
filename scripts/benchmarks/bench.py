"""``scripts/bench``: arguments to one measurement, and its outcome to the terminal and to a file."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks import latency, loading_time, machine, other_process, predictions, resamplers, sound_levels
from scripts.benchmarks.batch import batches
from scripts.benchmarks.figures import as_plain
from scripts.benchmarks.inputs import MissingError
from scripts.benchmarks.path import road
from scripts.benchmarks.text_table import render
from scripts.benchmarks.workers import WorkerError
from sonyc_ml.errors import SonycMLError

COMMANDS = {
    "road": road.measure,
    "latency": latency.measure,
    "load": loading_time.measure,
    "batch": batches.measure,
    "resample": resamplers.measure,
    "levels": sound_levels.measure,
    "client": other_process.measure,
    "predict": predictions.measure,
}
DEFAULT = "road"


def main(arguments: Sequence[str]) -> int:
    """Run one measurement; 0 whether or not a bar holds, 2 where nothing could be measured, 130 after Ctrl-C."""
    parsed = _parser().parse_args(_with_command(arguments))
    load_before = os.getloadavg()[0]
    try:
        result = COMMANDS[parsed.command](parsed)
    except (MissingError, WorkerError, SonycMLError) as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    result["machine"] = machine.describe(load_before)
    print(render(result))
    if parsed.json:
        parsed.json.write_text(json.dumps(as_plain(result), indent=1) + "\n")
    return 0


def _with_command(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``road`` in front where no command is named."""
    if arguments and (arguments[0] in COMMANDS or arguments[0] in {"-h", "--help"}):
        return list(arguments)
    return [DEFAULT, *arguments]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure sonyc_ml on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_road(commands)
    _add_latency(commands)
    _add_load(commands)
    _add_batch(commands)
    _add_resample(commands)
    _add_levels(commands)
    _add_client(commands)
    _add_predict(commands)
    return parser


def _add_road(commands: Any) -> None:
    parser = commands.add_parser(
        "road",
        help="a recording's whole way, beside the original algorithm and the bare network (the default)",
        description="Time the way from a recording to its embedding, stage by stage, beside the original algorithm "
        "and beside the bare network; memory and start of the daemon; log-mel beside librosa.",
    )
    parser.add_argument("--model", type=Path, metavar="NAME.tflite", help="the network (default: SONYC's)")
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="what to embed (default: SONYC's)")
    _add_common(parser, repeats=15, what="times each recording is embedded by each variant")
    parser.add_argument("--long", action="store_true", help="also 2,000 recordings in a row, and one of six hours")


def _add_latency(commands: Any) -> None:
    parser = commands.add_parser(
        "latency",
        help="from close() of a recording until the worker has it",
        description="Time from close() of a recording until the worker is handed it.",
    )
    _add_common(parser, repeats=1000, what="recordings that are written")


def _add_load(commands: Any) -> None:
    parser = commands.add_parser(
        "load",
        help="what it costs to check a bundle before it is loaded",
        description="Time the load of a bundle that is checked, against one that is not.",
    )
    parser.add_argument("--model", type=Path, metavar="NAME.tflite", help="the bundle (default: the one in models/)")
    _add_common(parser, repeats=30, what="times it is loaded in each way")


def _add_batch(commands: Any) -> None:
    parser = commands.add_parser(
        "batch",
        help="many recordings on all cores, killed and interrupted too",
        description="Time batches on one worker and on two, beside the bare network and the original algorithm; kill "
        "and interrupt them; embed recordings by the thousand; read ESC-10 back.",
    )
    parser.add_argument("--model", type=Path, metavar="NAME.tflite", help="the network (default: SONYC's)")
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="what to embed (default: SONYC's)")
    parser.add_argument("--esc10", type=Path, metavar="FOLDER", help="the data set ESC-10, for the probe")
    _add_common(parser, repeats=5, what="rounds of runs that are compared")
    parser.add_argument("--long", action="store_true", help="100,000 recordings instead of 10,000")


def _add_resample(commands: Any) -> None:
    parser = commands.add_parser(
        "resample",
        help="how far the resamplers are from the ideal, and what they cost",
        description="Resample sines and noise between usual rates: distance from the ideal, and processor time.",
    )
    _add_common(parser, repeats=7, what="times each resampler is run, of which the fastest counts")


def _add_levels(commands: Any) -> None:
    parser = commands.add_parser(
        "levels",
        help="what sound levels cost, beside the embedding",
        description="Time the sound levels of ten seconds at usual rates, beside the embedding by the default bundle.",
    )
    _add_common(parser, repeats=15, what="times each is run, in turn")


def _add_client(commands: Any) -> None:
    parser = commands.add_parser(
        "client",
        help="a model in a process of its own, beside the same in this one",
        description="Time calls of sonyc_ml.client beside calls in this process, in turn; kill the other process at "
        "100 random moments; import sonyc_ml.client.",
    )
    parser.add_argument("--model", type=Path, metavar="NAME.tflite", help="the bundle (default: the one in models/)")
    _add_common(parser, repeats=1000, what="calls of 10 s of sound in each of the two")


def _add_predict(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="predictions over HTTP beside bare calls",
        description="Throughput of sonyc-ml serve with eight clients beside bare calls in as many threads as it has "
        "workers; how soon health answers beside sixteen; memory.",
    )
    parser.add_argument("--model", type=Path, metavar="NAME.tflite", help="the network (default: the one in models/)")
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="what to embed (default: SONYC's)")
    _add_common(parser, repeats=5, what="rounds of requests, bare and served in turn")


def _add_common(parser: argparse.ArgumentParser, repeats: int, what: str) -> None:
    parser.add_argument("--repeats", type=_positive, default=repeats, metavar="N", help=f"{what} (default {repeats})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it must be a whole number of at least 1, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
