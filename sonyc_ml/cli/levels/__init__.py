"""``sonyc-ml calibrate`` and ``levels``: a microphone's sensitivity, and the levels in outputs as a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonyc_ml.cli.flags import add_command, outputs_in, until_reader_leaves
from sonyc_ml.errors import ConfigError

OK = 0

CALIBRATE_EPILOG = """\
examples:
  sonyc-ml calibrate tone.wav --level 94 --frequency 1000 --calibrator 4231-2518 --output microphone.toml
  sonyc-ml calibrate tone.wav --level 114 --frequency 250 --start 2 --duration 5

Put the calibrator on the microphone, record its tone for five seconds or more with the gain that is measured with, and
name the file in [levels] or with --calibration. Refused: a tone that drifts by more than 0.2 dB, is off by more than
2 % in frequency, clips, or stands less than 20 dB out of the rest."""

LEVELS_EPILOG = """\
examples:
  sonyc-ml levels embeddings/ > levels.csv

One row per period: the recording, when it begins (in UTC, empty where nobody knows) and at which second, the levels,
what 0 dB is, the bands by their frequencies. Empty cells are levels that could not be measured."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``calibrate`` and ``levels`` to a parser's commands."""
    parser = add_command(commands, "calibrate", _calibrate, texts["calibrate"], CALIBRATE_EPILOG)
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="of the calibrator's tone")
    parser.add_argument("--level", type=float, required=True, metavar="DB", help="of the tone, as 94 or 114 dB SPL")
    parser.add_argument("--frequency", type=float, default=1000.0, metavar="HZ", help="of the tone (default 1000)")
    parser.add_argument("--channel", type=int, default=0, metavar="N", help="that is calibrated, from 0 (default 0)")
    parser.add_argument("--start", type=float, default=0.0, metavar="SECONDS", help="where the steady tone begins")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="how long it is (default: to the end)")
    parser.add_argument("--calibrator", default="", metavar="SERIAL", help="its serial number, kept in every output")
    parser.add_argument("--microphone", default="", metavar="SERIAL", help="its serial number, kept in every output")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the calibration is written (default: shown)")
    parser = add_command(commands, "levels", _levels, texts["levels"], LEVELS_EPILOG)
    parser.add_argument("outputs", nargs="+", type=Path, metavar="OUTPUT", help="an output, or a folder of outputs")


def _calibrate(parsed: argparse.Namespace) -> int:
    from sonyc_ml.base.durable import write_atomically  # noqa: PLC0415
    from sonyc_ml.sound.levels.calibrating import calibrate  # noqa: PLC0415  imports numpy

    found = calibrate(
        parsed.recording,
        parsed.level,
        parsed.frequency,
        channel=parsed.channel,
        start_s=parsed.start,
        duration_s=parsed.duration,
        calibrator=parsed.calibrator,
        microphone=parsed.microphone,
    )
    print(
        f"{parsed.level:g} dB SPL at {found.frequency_hz:.1f} Hz have {found.tone_dbfs:.2f} dBFS on channel "
        f"{found.channel}: over {found.duration_s:g} s it drifts by {found.drift_db:.2f} dB and stands "
        f"{found.above_db:.0f} dB out of the rest",
        file=sys.stderr,
    )
    if parsed.output is None:
        print(found.to_toml(), end="", flush=True)
    else:
        write_atomically(parsed.output, found.to_toml().encode())
    return OK


def _levels(parsed: argparse.Namespace) -> int:
    import csv  # noqa: PLC0415

    from sonyc_ml.outputs.levels.table import HEADING, rows_of  # noqa: PLC0415  imports numpy

    measured = [output.levels for output in outputs_in(parsed.outputs) if output.levels is not None]
    if not any(map(len, measured)):
        raise ConfigError("there are no sound levels in these outputs; --levels measures them")
    bands = sorted({hz for levels in measured for hz in levels.band_hz})
    with until_reader_leaves():
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([*HEADING, *(f"{hz:g}" for hz in bands)])
        for output in outputs_in(parsed.outputs):
            if output.levels is not None:
                writer.writerows(rows_of(output, output.levels, bands))
        sys.stdout.flush()
    return OK
