"""``sonyc-ml separate``: arguments to a separation, and its events to the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.cli.embed import show_events
from sonyc_ml.cli.flags import add_command, add_trust_owner

if TYPE_CHECKING:
    from sonyc_ml.batch.separation import Separation

EPILOG = """\
examples:
  sonyc-ml separate night.wav --model models/dtln.tflite --output tracks/
  sonyc-ml separate recordings/ --model models/dtln.tflite --output tracks/ --remainder --subtype PCM_24

recordings/sub/a.wav becomes tracks/sub/a.wav.TRACK.wav, one file for each track, as long as the recording and aligned
with it, and a.wav.TRACK.json, which says where it comes from. Nothing is scaled. Recordings whose tracks are there
already, made with the same bundle and flags, are skipped: after an interruption, run the same command again.
Exit status: 0 all separated, 1 some could not be, 2 nothing could be done."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``separate`` to a parser's commands."""
    parser = add_command(commands, "separate", _run, texts["separate"], EPILOG)
    parser.add_argument("inputs", nargs="+", metavar="RECORDING", help="a recording, folder or quoted pattern")
    parser.add_argument("--root", metavar="DIR", help="name the tracks of single files by their path from here")
    parser.add_argument("--salvage", action="store_true", help="separate what can be read of truncated recordings")
    tracks = parser.add_argument_group("tracks")
    tracks.add_argument("--output", required=True, type=Path, metavar="DIR", help="where tracks are written")
    tracks.add_argument("--tracks", default="", metavar="A,B,…", help="only these of the model's tracks")
    tracks.add_argument(
        "--remainder", action="store_true", help="also write the recording without these tracks: all add up to it"
    )
    tracks.add_argument(
        "--subtype",
        default="FLOAT",
        choices=("FLOAT", "PCM_24", "PCM_16"),
        help="how samples are stored; PCM is full at a level of 1 (default FLOAT)",
    )
    tracks.add_argument(
        "--rate",
        default="recording",
        choices=("model", "recording"),
        help="sample rate of the tracks: the networks' or the recording's (default recording)",
    )
    work = parser.add_argument_group("work")
    work.add_argument("--strict", action="store_true", help="end at the first recording that cannot be separated")
    work.add_argument("--quiet", action="store_true", help="print only what went wrong")
    work.add_argument("--verbose", action="store_true", help="print one line per recording")
    work.add_argument("--json", action="store_true", help="for programs: one event per line, on standard output")
    _add_model_flags(parser)


def _add_model_flags(parser: argparse.ArgumentParser) -> None:
    flags = parser.add_argument_group("model")
    flags.add_argument(
        "--model", required=True, type=Path, metavar="NAME.tflite", help="the network; its manifest is NAME.json"
    )
    flags.add_argument(
        "--trusted-keys", type=Path, metavar="FILE", help="load only bundles signed by one of these public keys"
    )
    add_trust_owner(flags)
    flags.add_argument(
        "--golden",
        choices=("once", "always", "never"),
        help="when to check the bundle's numbers against its golden vector (default once)",
    )
    flags.add_argument("--channel", type=int, metavar="N", help="the one channel to read, from 0 (default: all)")
    flags.add_argument("--num-threads", type=int, metavar="N", help="threads of the networks (default 1)")
    flags.add_argument("--backend", choices=("litert", "tflite-runtime"), help="runtime (default: the one installed)")
    flags.add_argument(
        "--reference-kernels",
        action="store_true",
        default=None,
        help="run without a delegate: slower, and the same numbers on every machine",
    )


LOADING = ("trusted_keys", "trust_owners", "golden", "num_threads", "backend", "reference_kernels")


def _run(parsed: argparse.Namespace) -> int:
    separation = _separation(parsed)

    from sonyc_ml.batch.separation import separate_recordings  # noqa: PLC0415  imports numpy
    from sonyc_ml.cli.progress import SeparationProgress  # noqa: PLC0415

    return show_events(SeparationProgress(parsed), separate_recordings(separation))


def _separation(parsed: argparse.Namespace) -> Separation:
    from sonyc_ml.base.human import names_in  # noqa: PLC0415
    from sonyc_ml.batch.separation import Separation  # noqa: PLC0415  imports numpy
    from sonyc_ml.batch.sources import Sources  # noqa: PLC0415

    return Separation(
        sources=Sources(parsed.inputs, root=parsed.root),
        model_path=str(parsed.model),
        folder=parsed.output,
        tracks=names_in(parsed.tracks),
        wanted={
            "remainder": parsed.remainder,
            "subtype": parsed.subtype,
            "at_model_rate": parsed.rate == "model",
            "channel": parsed.channel,
        },
        parameters={name: getattr(parsed, name) for name in LOADING if getattr(parsed, name) is not None},
        salvage=parsed.salvage,
        strict=parsed.strict,
    )
