"""``sonyc-ml listen``: live sound to embeddings, without a file of it."""

from __future__ import annotations

import argparse
import gc
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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

EPILOG = """\
a SOURCE is
  -                      standard input
  unix:PATH              a Unix socket that takes several connections
  tcp:PORT               the same at a port of this machine, for programs on it
  command:COMMAND        a command that is run, and started again when it ends
each may have a name before it, as in street=-

examples:
  arecord -D hw:1 -f S16_LE -r 48000 -t wav - | sonyc-ml listen - --model models/NAME.tflite --output embeddings/
  sonyc-ml listen "street=command:arecord -D hw:1 -f S16_LE -r 48000 -t wav -" --model models/NAME.tflite --output out/
  sonyc-ml listen unix:/run/sonyc-ml/audio.sock --model models/NAME.tflite --output embeddings/

A WAV header, or events of the Wyoming protocol, say what the sound is; raw samples need --sample-rate. The sound is
cut into recordings of 10 s, called NAME_20261128T170000Z, and never written to a disk. For each output there is a line
of JSON on standard output, or on the connection that the sound came from. The service does the same with [listen] in
its configuration file."""


def add_commands(commands: Any, texts: Mapping[str, str]) -> None:
    """Add ``listen`` to a parser's commands."""
    parser = add_command(commands, "listen", _run, texts["listen"], EPILOG)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="where the sound comes from")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file for all else; see deploy/sonyc-ml.toml")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where embeddings are written")
    parser.add_argument("--format", choices=("npz", "csv"), help="of the embeddings (default npz)")
    parser.add_argument("--verbose", action="store_true", help="print one line per recording, and details")
    sound = parser.add_argument_group("sound")
    sound.add_argument("--segment", type=float, metavar="SECONDS", help="length of a recording (default 10)")
    sound.add_argument("--gapless", action="store_true", default=None, help="let windows run on from one to the next")
    sound.add_argument("--sample-rate", type=int, metavar="HZ", help="of raw samples, which no header describes")
    sound.add_argument("--sample-format", metavar="NAME", help="of raw samples, as arecord has it (default S16_LE)")
    sound.add_argument("--channels", type=int, metavar="N", help="of raw samples (default 1)")
    sound.add_argument(
        "--max-buffer", type=float, metavar="SECONDS", help="sound of each source that is held in memory (default 60)"
    )
    sound.add_argument(
        "--spool",
        choices=("never", "on-lag", "always"),
        help="whether sound may be written to the disk, where it is embedded later (default never)",
    )
    add_detection_flags(parser)
    add_level_flags(parser)
    add_model_flags(parser)


def _run(parsed: argparse.Namespace) -> int:
    gc.disable()  # until the daemon is ready, as with `watch`
    from sonyc_ml.node.config import load_config  # noqa: PLC0415

    overrides = _overrides(parsed)
    config = load_config(parsed.config, overrides)

    from sonyc_ml.cli.watch import run_daemon  # noqa: PLC0415

    return run_daemon(config, lambda: load_config(parsed.config, overrides), verbose=parsed.verbose)


def _overrides(parsed: argparse.Namespace) -> dict[str, dict[str, Any]]:
    raw = {name: getattr(parsed, name) for name in ("sample_rate", "sample_format", "channels")}
    tables: dict[str, dict[str, Any]] = {
        "listen": {
            "source": list(_sources(parsed.sources, raw)),
            "segment_s": parsed.segment,
            "gapless": parsed.gapless,
            "max_buffer_s": parsed.max_buffer,
            "spool": parsed.spool,
        },
        "output": {"folder": parsed.output, "format": parsed.format, **keep_parameters(parsed)},
        "model": {"path": parsed.model, **model_parameters(parsed)},
        "detections": detection_parameters(parsed),
    }
    levels = level_table(parsed)
    if levels is not None:
        tables["levels"] = levels
    return {name: {key: value for key, value in values.items() if value is not None} for name, values in tables.items()}


def _sources(texts: Iterable[str], raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each SOURCE is, as a table of ``[[listen.source]]``."""
    from sonyc_ml.errors import ConfigError  # noqa: PLC0415

    found = []
    for number, text in enumerate(texts):
        name, equals, where = text.partition("=")
        if not equals or ":" in name:
            name, where = "live" if number == 0 else f"live-{number + 1}", text
        kind, _, value = where.partition(":")
        source: dict[str, Any]
        if where == "-":
            source = {"stdin": True}
        elif kind == "unix" and value:
            source = {"socket": str(Path(value).absolute())}
        elif kind == "tcp" and value.isdecimal():
            source = {"port": int(value)}
        elif kind == "command" and value.strip():
            source = {"command": shlex.split(value)}
        else:
            raise ConfigError(f"{text!r} is no source; give -, unix:PATH, tcp:PORT or command:COMMAND")
        found.append({"name": name, **source, **{key: given for key, given in raw.items() if given is not None}})
    return found
